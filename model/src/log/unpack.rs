//! Plain, gzip or Zstandard files, recognised by their first bytes.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

/// Uncompressed bytes of a file; `raw` counts the bytes read from the file.
pub(crate) fn open(path: &Path, raw: Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
    if path == Path::new("-") {
        return unpack(io::stdin(), raw);
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    unpack(file, raw)
}

pub(crate) fn unpack(
    mut file: impl Read + Send + 'static,
    raw: Arc<AtomicU64>,
) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic)?;
    let other = match magic.as_slice() {
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X'] => Some("xz"),
        _ => None,
    };
    if let Some(other) = other {
        let reason = format!(
            "is compressed with {other}, which is not supported: pipe in the output of {other} \
             -dc FILE, with - as the file"
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    let gzip = magic.starts_with(&[0x1f, 0x8b]);
    let zstd = magic == [0x28, 0xb5, 0x2f, 0xfd];
    let whole = Counted {
        inner: Cursor::new(magic).chain(file),
        raw,
    };
    Ok(if gzip {
        // All members, because rotated files may be joined with cat(1).
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(
            1 << 16,
            whole,
        )))
    } else if zstd {
        Box::new(zstd::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

/// Counts bytes read.
struct Counted<R> {
    inner: R,
    raw: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.raw.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

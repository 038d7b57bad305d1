//! The text of a table in the form required by the parser: UTF-8, with LF
//! line ends and a terminated last line.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};
use memchr::memchr;

use crate::files::open_regular;
use crate::log::unpack;

/// Maximum length of a line.
const LONGEST: u64 = 16 << 20;

/// Converts LF, CR LF and CR line ends to LF; decodes UTF-8 or, with a
/// byte-order mark, UTF-16; unpacks gzip and Zstandard.
pub(in crate::pool) struct Text<R> {
    inner: R,
    left: u64, // bytes of the current line
    after_cr: bool,
    last: u8,
}

/// Input of a table.
pub(super) type Source = Text<DecodeReaderBytes<Box<dyn Read + Send>, Vec<u8>>>;

/// Opens a regular file; `raw` counts the bytes read from it.
pub(super) fn open(path: &Path, raw: Arc<AtomicU64>) -> io::Result<Source> {
    let file = unpack::unpack(open_regular(path)?, raw)?;
    Ok(Text::new(decode(file)))
}

/// Decodes by the byte-order mark, which is dropped.
pub(in crate::pool) fn decode<R: Read>(text: R) -> DecodeReaderBytes<R, Vec<u8>> {
    DecodeReaderBytesBuilder::new()
        .utf8_passthru(true)
        .strip_bom(true)
        .build(text)
}

impl<R> Text<R> {
    pub(in crate::pool) fn new(inner: R) -> Text<R> {
        Text {
            inner,
            left: LONGEST,
            after_cr: false,
            last: b'\n',
        }
    }

    /// Resets the byte limit after a record was read.
    pub(super) fn next_line(&mut self) {
        self.left = LONGEST;
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.inner.read(buffer)?;
            if got == 0 {
                // The last line is terminated like the others.
                let open = self.last != b'\n' && !buffer.is_empty();
                if open {
                    (buffer[0], self.last) = (b'\n', b'\n');
                }
                return Ok(open.into());
            }
            self.left = self.left.checked_sub(got as u64).ok_or_else(|| {
                let reason = "a line of more than 16 MiB: is a quotation mark unclosed?";
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })?;
            let kept = self.unify(&mut buffer[..got]);
            if kept > 0 {
                self.last = buffer[kept - 1];
                return Ok(kept);
            }
        }
    }
}

impl<R> Text<R> {
    /// Converts CR and CR LF to LF; returns the remaining number of bytes.
    fn unify(&mut self, bytes: &mut [u8]) -> usize {
        if !self.after_cr && memchr(b'\r', bytes).is_none() {
            return bytes.len();
        }
        let mut kept = 0;
        for i in 0..bytes.len() {
            let byte = bytes[i];
            let second = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            if !second {
                bytes[kept] = if byte == b'\r' { b'\n' } else { byte };
                kept += 1;
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_every_line_ending() {
        /// Yields one byte at a time.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let take = self.0.len().min(1).min(buffer.len());
                buffer[..take].copy_from_slice(&self.0[..take]);
                self.0 = &self.0[take..];
                Ok(take)
            }
        }
        for (text, want) in [
            ("a\nb\n", "a\nb\n"),
            ("a\r\nb\r\n", "a\nb\n"),
            ("a\rb\r", "a\nb\n"),
            ("a\n\nb", "a\n\nb\n"),
            ("a\r\r\nb", "a\n\nb\n"),
            ("", ""),
        ] {
            let mut whole = String::new();
            Text::new(text.as_bytes())
                .read_to_string(&mut whole)
                .unwrap();
            assert_eq!(whole, want, "{text:?}");
            let mut slow = String::new();
            Text::new(Slow(text.as_bytes()))
                .read_to_string(&mut slow)
                .unwrap();
            assert_eq!(slow, want, "{text:?}");
        }
    }

    #[test]
    fn line_length_is_bounded() {
        let error = io::copy(&mut Text::new(io::repeat(b'x')), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("16 MiB"), "{error}");
    }

    #[test]
    fn byte_order_marks_select_the_encoding() {
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}é,b".encode_utf16().flat_map(bytes).collect()
        };
        for text in [
            "é,b".as_bytes().to_vec(),
            "\u{feff}é,b".as_bytes().to_vec(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ] {
            let mut decoded = String::new();
            decode(text.as_slice())
                .read_to_string(&mut decoded)
                .unwrap();
            assert_eq!(decoded, "é,b");
        }
    }
}

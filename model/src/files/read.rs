//! Opens files that others may have replaced.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading, following links. Does not block on a FIFO
/// and does not open a device.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidInput`] if it is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY))
        .open(path)?;
    regular(file)
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// As [`open_regular`], and [`io::ErrorKind::FileTooLarge`].
pub fn read_regular(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    // The file's reported size is not sufficient, because it may grow.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let reason = format!("has more than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// Opens a regular file for reading and writing, creating it if missing; the
/// position is the start. Does not follow a link in the last component of the
/// path, which would redirect the write.
///
/// # Errors
/// The system's (a link: `ELOOP`, on FreeBSD `EMLINK`); it is not a regular
/// file.
pub fn open_append(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY))
        .open(path)?;
    regular(file)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits() as i32
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "is a directory, expected a file"
    } else {
        "not a regular file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn fifo(dir: &Path) -> PathBuf {
        let path = dir.join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    }

    #[test]
    fn special_and_oversized_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, [7; 100]).unwrap();
        assert_eq!(read_regular(&file, 100).unwrap(), [7; 100]);
        let error = read_regular(&file, 99).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "has more than 99 bytes");
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(read_regular(&link, u64::MAX).unwrap(), [7; 100]);
        // A FIFO without a writer would block.
        for path in [&fifo(dir.path()), Path::new("/dev/zero"), dir.path()] {
            let error = read_regular(path, 99).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
    }

    #[test]
    fn appending_does_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let link = dir.path().join("metrics.jsonl");
        symlink(&victim, &link).unwrap();
        open_append(&link).unwrap_err();
        open_append(&fifo(dir.path())).unwrap_err();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert!(open_append(&victim).is_ok());
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }
}

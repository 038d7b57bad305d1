//! Files that appear under their name only when complete.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::temporary::{Registered, plain};

/// Ends the name of a temporary file or directory.
pub(super) const SUFFIX: &str = ".part";

/// Bytes of the final name that a temporary name repeats, so that its total
/// length stays below the 255 bytes allowed by file systems.
const PREFIX_BYTES: usize = 200;

/// Random characters of a temporary name.
pub(super) const RANDOM: usize = 8;

/// Handling of an existing file with the final name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced; for files that are the program's own, or with `--force`.
    Replace,
    /// It is kept and the write fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// A file that is being written. [`AtomicFile::commit`] renames it to its final
/// name; if dropped before, it is removed. Writes are not buffered.
#[derive(Debug)]
pub struct AtomicFile {
    file: NamedTempFile,
    path: PathBuf,
    existing: Existing,
    registered: Registered,
}

impl AtomicFile {
    /// Creates `NAME.RANDOM.part` next to `path`, with the permissions of the
    /// file that it will replace, or those of a new file (0666 minus the umask).
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AlreadyExists`] if `path` exists and is
    /// to be kept; [`io::ErrorKind::InvalidInput`] if `path` names no file, or
    /// a directory, a device, a FIFO or a socket, which a rename must not
    /// replace.
    pub fn create(path: &Path, existing: Existing) -> io::Result<AtomicFile> {
        let found = inspect(path)?;
        if found.is_some() && existing == Existing::Keep {
            return Err(exists());
        }
        let mode = match &found {
            Some(metadata) if metadata.is_file() => metadata.permissions().mode() & 0o777,
            _ => 0o666,
        };
        let file = Builder::new()
            .prefix(&prefix(path)?)
            .suffix(SUFFIX)
            .rand_bytes(RANDOM)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(parent(path))
            .map_err(plain)?;
        Ok(AtomicFile {
            registered: Registered::new(file.path()),
            file,
            path: path.to_owned(),
            existing,
        })
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The temporary name, for libraries that write by path.
    pub fn temporary(&self) -> &Path {
        self.file.path()
    }

    /// The open file.
    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Syncs the file to disk and renames it to its final name.
    ///
    /// # Errors
    /// The system's, or [`io::ErrorKind::AlreadyExists`]; the temporary file is
    /// removed.
    pub fn commit(self) -> io::Result<()> {
        let AtomicFile {
            file,
            path,
            existing,
            registered,
        } = self;
        file.as_file().sync_all()?;
        // Also by path, because a library that wrote by path may have created
        // its own file.
        File::open(file.path())?.sync_all()?;
        match existing {
            Existing::Replace => file.persist(&path),
            Existing::Keep => file.persist_noclobber(&path),
        }
        .map_err(|error| error.error)?;
        drop(registered);
        sync_directory(parent(&path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.as_file_mut().seek(to)
    }
}

/// Replaces `path` by `bytes`; readers see the old file or the new one.
///
/// # Errors
/// As [`AtomicFile`].
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, Existing::Replace)
}

/// Writes `bytes` to `path`, which must not exist.
///
/// # Errors
/// As [`AtomicFile`].
pub fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, Existing::Keep)
}

fn write(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    let mut file = AtomicFile::create(path, existing)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Removes temporary files and directories of killed programs in `dir`, for
/// names accepted by `own` (at most their first 200 bytes). Only for callers
/// that have claimed the directory; otherwise files being written by another
/// program would be removed.
///
/// # Errors
/// The system's.
pub fn remove_leftovers(dir: &Path, own: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if final_name(&entry.file_name()).is_some_and(&own) {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// The final name for a temporary one.
fn final_name(name: &OsStr) -> Option<&OsStr> {
    let bytes = name.as_bytes().strip_suffix(SUFFIX.as_bytes())?;
    let (bytes, random) = bytes.split_at_checked(bytes.len().checked_sub(RANDOM)?)?;
    let name = bytes.strip_suffix(b".")?;
    let random = random.iter().all(u8::is_ascii_alphanumeric);
    (random && !name.is_empty()).then_some(OsStr::from_bytes(name))
}

/// The file at `path`, without following links, if a rename may replace it.
fn inspect(path: &Path) -> io::Result<Option<Metadata>> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_symlink() {
        return Ok(Some(metadata));
    }
    let what = if kind.is_dir() {
        "is a directory, expected a file"
    } else {
        "is a device, a FIFO or a socket, expected a regular file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// `NAME.`, with which temporary names of `path` start.
pub(super) fn prefix(path: &Path) -> io::Result<OsString> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "names no file"))?;
    let bytes = name.as_bytes();
    let mut prefix = OsStr::from_bytes(&bytes[..bytes.len().min(PREFIX_BYTES)]).to_owned();
    prefix.push(".");
    Ok(prefix)
}

/// The parent directory of `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Syncs a directory to disk. Some file systems do not support this and refuse
/// it.
pub(super) fn sync_directory(dir: &Path) -> io::Result<()> {
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
                    // A directory that is writable but not readable.
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

pub(super) fn exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "already exists")
}

#[cfg(test)]
mod tests;

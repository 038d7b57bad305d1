//! Temporary names, and their removal when a program ends early.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// The current temporary files and directories of this process.
static TEMPORARIES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes every temporary file and directory of this process, which is about
/// to end without unwinding: `std::process::exit` drops nothing.
pub fn remove_temporaries() {
    let mut temporaries = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
    for path in std::mem::take(&mut *temporaries) {
        // Renamed files are no longer listed here.
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
}

/// Registers a path for [`remove_temporaries`] until this is dropped.
#[derive(Debug)]
pub(super) struct Registered(PathBuf);

impl Registered {
    pub(super) fn new(path: &Path) -> Registered {
        let mut temporaries = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
        temporaries.insert(path.to_owned());
        Registered(path.to_owned())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut temporaries = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
        temporaries.remove(&self.0);
    }
}

/// The error without the temporary name that the library adds to its text; the
/// caller names the requested file.
pub(super) fn plain(error: io::Error) -> io::Error {
    // It keeps the kind but hides the errno.
    let errno = match error.kind() {
        io::ErrorKind::NotFound => Errno::NOENT,
        io::ErrorKind::PermissionDenied => Errno::ACCESS,
        io::ErrorKind::NotADirectory => Errno::NOTDIR,
        io::ErrorKind::StorageFull => Errno::NOSPC,
        io::ErrorKind::ReadOnlyFilesystem => Errno::ROFS,
        _ => return error,
    };
    errno.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{AtomicDir, AtomicFile, Existing};

    #[test]
    fn unfinished_files_can_be_removed_together() {
        let place = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(place.path()).unwrap().count();
        let file = AtomicFile::create(&place.path().join("pool"), Existing::Keep).unwrap();
        let dir = AtomicDir::create(&place.path().join("model")).unwrap();
        fs::write(dir.temporary().join("weights"), "w").unwrap();
        let done = AtomicFile::create(&place.path().join("done"), Existing::Keep).unwrap();
        done.commit().unwrap();
        assert_eq!(count(), 3);
        // Not remove_temporaries(): other tests of this process have some.
        for path in [file.temporary(), dir.temporary()] {
            assert!(TEMPORARIES.lock().unwrap().contains(path), "{path:?}");
        }
        drop(file);
        drop(dir);
        assert_eq!(count(), 1);
        let left = TEMPORARIES.lock().unwrap();
        assert!(!left.iter().any(|path| path.starts_with(place.path())));
    }

    #[test]
    fn errors_name_the_requested_path() {
        let path = Path::new("/nonexistent/pool");
        let error = AtomicFile::create(path, Existing::Keep).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), io::Error::from(Errno::NOENT).to_string());
    }
}

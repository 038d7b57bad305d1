//! One program at a time in a directory.

use std::fs::{File, create_dir_all};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::text::shown;

/// A directory claimed exclusively by this process until this is dropped or the
/// process ends for any reason.
#[derive(Debug)]
pub struct Claim {
    _locked: File,
}

/// An error of claiming a directory.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It cannot be created or opened.
    #[error("cannot {operation} {path}: {source}", path = shown(path))]
    Io {
        /// "create" or "open".
        operation: &'static str,
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has claimed it.
    #[error(
        "{path}: another l4sllm process is writing there: wait for it, or choose another directory",
        path = shown(path)
    )]
    Taken {
        /// The directory.
        path: PathBuf,
    },
}

impl Claim {
    /// Creates the directory if missing, and claims it with a lock on the
    /// directory itself. On file systems without locks there is no protection.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn of(dir: &Path) -> Result<Claim, ClaimError> {
        let failed = |operation| {
            move |source| ClaimError::Io {
                operation,
                path: dir.to_owned(),
                source,
            }
        };
        create_dir_all(dir).map_err(failed("create"))?;
        let file = File::open(dir).map_err(failed("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(ClaimError::Taken {
                path: dir.to_owned(),
            }),
            _ => Ok(Claim { _locked: file }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_claimed_once_until_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        let claim = Claim::of(&out).unwrap();
        let error = Claim::of(&out).unwrap_err();
        assert!(matches!(error, ClaimError::Taken { .. }));
        let error = error.to_string();
        assert!(error.contains("a/b: another l4sllm"), "{error}");
        assert!(Claim::of(&dir.path().join("a/c")).is_ok());
        drop(claim);
        assert!(Claim::of(&out).is_ok());
    }

    #[test]
    fn names_a_path_that_is_not_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Claim::of(&file).unwrap_err().to_string();
        assert!(
            error.contains("cannot create") && error.contains("file"),
            "{error}"
        );
    }
}

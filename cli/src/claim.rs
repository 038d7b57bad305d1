//! One program at a time in a directory.

use std::fs::{File, create_dir_all};
use std::path::Path;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A directory that this process has to itself, as far as other claims go,
/// until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Claim {
    _lock: Option<Flock<File>>,
}

impl Claim {
    /// Makes the directory if need be, and claims it.  Where its file system
    /// knows no locks, nothing is held.
    ///
    /// # Errors
    /// Another process has claimed it.
    pub fn of(dir: &Path) -> anyhow::Result<Claim> {
        create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let open = File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?;
        match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Claim { _lock: Some(lock) }),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "{}: another l4sllm is writing there: let it end, or name another directory",
                dir.display()
            ),
            Err(_) => Ok(Claim { _lock: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_directory_is_claimed_once_until_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        let claim = Claim::of(&out).unwrap();
        let error = Claim::of(&out).unwrap_err().to_string();
        assert!(error.contains("a/b: another l4sllm"), "{error}");
        assert!(Claim::of(&dir.path().join("a/c")).is_ok());
        drop(claim);
        assert!(Claim::of(&out).is_ok());
    }
}

//! Directories that appear under their name only when complete.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

use super::atomic::{RANDOM, SUFFIX, exists, parent, prefix, sync_directory};
use super::temporary::{Registered, plain};

/// A directory that is being filled. [`AtomicDir::commit`] renames it to its
/// final name; if dropped before, it is removed with its content.
#[derive(Debug)]
pub struct AtomicDir {
    dir: TempDir,
    path: PathBuf,
    _registered: Registered,
}

impl AtomicDir {
    /// Creates the directory `NAME.RANDOM.part` next to `path`, and missing
    /// parent directories.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AlreadyExists`] if `path` exists, whatever
    /// its type.
    pub fn create(path: &Path) -> io::Result<AtomicDir> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists());
        }
        AtomicDir::next(path)
    }

    /// Creates it for a caller that moves an existing `path` out of the way
    /// before committing.
    ///
    /// # Errors
    /// The system's.
    pub fn next(path: &Path) -> io::Result<AtomicDir> {
        fs::create_dir_all(parent(path))?;
        let dir = Builder::new()
            .prefix(&prefix(path)?)
            .suffix(SUFFIX)
            .rand_bytes(RANDOM)
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(parent(path))
            .map_err(plain)?;
        Ok(AtomicDir {
            _registered: Registered::new(dir.path()),
            dir,
            path: path.to_owned(),
        })
    }

    /// The temporary path for its content.
    pub fn temporary(&self) -> &Path {
        self.dir.path()
    }

    /// Syncs the directory to disk and renames it to its final name.
    ///
    /// # Errors
    /// The system's; something other than an empty directory exists under that
    /// name. The temporary directory is removed.
    pub fn commit(self) -> io::Result<()> {
        sync_tree(self.dir.path())?;
        // Replaces at most an empty directory, and follows no link.
        fs::rename(self.dir.path(), &self.path)?;
        // There is nothing left to remove.
        let _ = self.dir.keep();
        sync_directory(parent(&self.path))
    }
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_appear_only_when_complete() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("model");
        let dir = AtomicDir::create(&path).unwrap();
        fs::create_dir(dir.temporary().join("1")).unwrap();
        fs::write(dir.temporary().join("1/weights"), "w").unwrap();
        assert!(!path.exists());
        drop(dir);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);

        let dir = AtomicDir::create(&path).unwrap();
        fs::create_dir(dir.temporary().join("1")).unwrap();
        fs::write(dir.temporary().join("1/weights"), "w").unwrap();
        dir.commit().unwrap();
        assert_eq!(fs::read(path.join("1/weights")).unwrap(), b"w");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn existing_directory_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("model");
        let late = AtomicDir::create(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("precious"), "p").unwrap();
        assert_eq!(
            AtomicDir::create(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        late.commit().unwrap_err();
        assert_eq!(fs::read(path.join("precious")).unwrap(), b"p");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);

        let link = place.path().join("link");
        symlink(place.path().join("nowhere"), &link).unwrap();
        AtomicDir::create(&link).unwrap_err();
        AtomicDir::next(&link).unwrap().commit().unwrap_err();
        assert!(!place.path().join("nowhere").exists());
    }
}

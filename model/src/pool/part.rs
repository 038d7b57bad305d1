//! Files that appear under their name when they are complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::PoolError;

/// The name that a file has until it is complete; a file left under it is
/// removed.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    part: PathBuf,
    complete: bool,
}

impl Part {
    /// Makes `path` with `.part` behind it; what stands at `path` stays.
    pub fn create(path: &Path) -> Result<(Part, File), PoolError> {
        Part::beside(path, ".part")
    }

    /// The same with another suffix.
    pub(super) fn beside(path: &Path, suffix: &str) -> Result<(Part, File), PoolError> {
        let mut part = path.as_os_str().to_owned();
        part.push(suffix);
        let part = PathBuf::from(part);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&part)
            .map_err(PoolError::io("create", &part))?;
        let part = Part {
            path: path.to_owned(),
            part,
            complete: false,
        };
        Ok((part, file))
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the written `file` its name, once the disk has it.
    pub fn complete(mut self, file: &File) -> Result<(), PoolError> {
        file.sync_all()
            .map_err(PoolError::io("write", &self.part))?;
        fs::rename(&self.part, &self.path).map_err(PoolError::io("rename", &self.part))?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.complete {
            // What cannot be removed is named .part.
            let _ = fs::remove_file(&self.part);
        }
    }
}

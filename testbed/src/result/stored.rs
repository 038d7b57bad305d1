//! A result directory, read.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::columns;
use super::error::ResultError;
use super::layout::{FACTS, META, SUMMARY, run_dir};
use super::{Facts, Run, Summary};

/// What a result directory holds. Rows are read when asked for.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where it is.
    pub path: PathBuf,
    /// What was run.
    pub facts: Facts,
    /// The numbers so far.
    pub summary: Summary,
}

impl Stored {
    /// Reads facts and summary of a finished or partial result.
    ///
    /// # Errors
    /// [`ResultError::Missing`] when `path` is no result directory.
    pub fn open(path: &Path) -> Result<Stored, ResultError> {
        if !path.join(FACTS).is_file() {
            return Err(ResultError::Missing {
                path: path.to_owned(),
            });
        }
        Ok(Stored {
            path: path.to_owned(),
            facts: read_json(&path.join(FACTS))?,
            summary: read_json(&path.join(SUMMARY))?,
        })
    }

    /// The rows and counters of one repetition.
    pub fn run(&self, arm: &str, repetition: u32) -> Result<Run, ResultError> {
        read_run(&run_dir(&self.path, arm, repetition))
    }
}

pub(super) fn read_run(dir: &Path) -> Result<Run, ResultError> {
    Ok(Run {
        meta: read_json(&dir.join(META))?,
        packets: columns::read(dir)?,
        flows: columns::read(dir)?,
        decisions: columns::read(dir)?,
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ResultError> {
    let bytes = std::fs::read(path).map_err(ResultError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(ResultError::json(path))
}

//! Reads a result directory.

use std::path::{Path, PathBuf};

use l4sllm_model::files::read_regular;
use serde::de::DeserializeOwned;

use super::columns;
use super::error::ResultError;
use super::layout::{FACTS, JSON_MAX, META, SUMMARY, run_dir};
use super::statistics::{Recorder, Samples};
use super::{Facts, FlowRow, PacketRow, Run, RunMeta, SetPointRow, Summary};

/// The content of a result directory. Rows are read on demand.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Path of the directory.
    pub path: PathBuf,
    /// Facts of the run.
    pub facts: Facts,
    /// The numbers so far.
    pub summary: Summary,
}

impl Stored {
    /// Reads facts and summary of a finished or partial result.
    ///
    /// # Errors
    /// [`ResultError::Missing`] if `path` is not a result directory.
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

    /// Counters of one repetition.
    ///
    /// # Errors
    /// The repetition's file is missing or malformed.
    pub fn meta(&self, arm: &str, repetition: u32) -> Result<RunMeta, ResultError> {
        read_json(&run_dir(&self.path, arm, repetition).join(META))
    }

    /// The packets of one repetition, a part at a time and in order.
    ///
    /// # Errors
    /// As [`Stored::run`].
    pub fn for_each_packets(
        &self,
        arm: &str,
        repetition: u32,
        visit: impl FnMut(&[PacketRow]),
    ) -> Result<(), ResultError> {
        columns::for_each_group(&run_dir(&self.path, arm, repetition), visit)
    }

    /// The samples of senders in one repetition, a part at a time and in order.
    ///
    /// # Errors
    /// As [`Stored::run`].
    pub fn for_each_flows(
        &self,
        arm: &str,
        repetition: u32,
        visit: impl FnMut(&[FlowRow]),
    ) -> Result<(), ResultError> {
        columns::for_each_group(&run_dir(&self.path, arm, repetition), visit)
    }

    /// The set-points of one repetition over time: a row for each change; none
    /// if nothing controlled the queue, and in results of older versions.
    ///
    /// # Errors
    /// As [`Stored::run`], except for a missing file.
    pub fn set_points(&self, arm: &str, repetition: u32) -> Result<Vec<SetPointRow>, ResultError> {
        columns::read_if_present(&run_dir(&self.path, arm, repetition))
    }

    /// The rows and counters of one repetition.
    ///
    /// # Errors
    /// A file of the repetition is missing or malformed.
    pub fn run(&self, arm: &str, repetition: u32) -> Result<Run, ResultError> {
        read_run(&run_dir(&self.path, arm, repetition))
    }
}

/// Statistics of a repetition, with its rows read in parts.
pub(super) fn read_samples(dir: &Path) -> Result<(RunMeta, Samples), ResultError> {
    let meta: RunMeta = read_json(&dir.join(META))?;
    let mut recorder = Recorder::new(meta.window(), meta.flows.len());
    columns::for_each_group(dir, |rows| recorder.packets(rows))?;
    columns::for_each_group(dir, |rows| recorder.decisions(rows))?;
    let samples = recorder.finish(&meta);
    Ok((meta, samples))
}

fn read_run(dir: &Path) -> Result<Run, ResultError> {
    Ok(Run {
        meta: read_json(&dir.join(META))?,
        packets: columns::read(dir)?,
        flows: columns::read(dir)?,
        decisions: columns::read(dir)?,
        set_points: columns::read_if_present(dir)?,
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ResultError> {
    let bytes = read_regular(path, JSON_MAX).map_err(ResultError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(ResultError::json(path))
}

//! `metrics.jsonl`, with one line per step.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::Scores;
use crate::files::open_append;

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// Completed steps.
    pub step: u64,
    /// Passes over the training rows: records trained on, divided by the number
    /// of rows.
    pub epoch: f64,
    /// Time since the start, s, including evaluations, summed over the parts
    /// of a resumed training.
    pub seconds: f64,
    /// Mean loss of this step's batches, weighted as in training.
    pub loss: f64,
    /// Share of correct predictions in this step's batches.
    pub accuracy: f64,
    /// Share of the most frequent action in the training rows: the accuracy
    /// of always predicting it.
    pub majority_share: f64,
    /// Gradient norm before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Trained tokens per second since the start or the resumption.
    pub tokens_per_s: f64,
    /// Scores on held-out rows, if an evaluation followed this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
}

/// Losses and scores of a policy on held-out rows, given the actual returns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean cross-entropy over all records of the windows, unweighted, nats.
    pub loss: f64,
    /// At the last record of each window.
    #[serde(flatten)]
    pub scores: Scores,
}

/// The file, open for appending.
pub(super) struct Metrics {
    path: PathBuf,
    file: BufWriter<File>,
    /// `seconds` of the last retained line; 0 without one.
    pub(super) seconds: f64,
}

#[derive(Deserialize)]
struct Line {
    step: u64,
    #[serde(default)]
    seconds: f64,
}

/// The lines up to and including a step.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    bytes: u64,
    seconds: f64,
}

impl Metrics {
    /// Opens the file and keeps the lines up to and including `step`: later
    /// lines belong to steps that are not in any checkpoint and will be
    /// repeated.
    pub(super) fn open(path: &Path, step: u64) -> Result<Metrics, TrainError> {
        let failed = |e: std::io::Error| TrainError::Checkpoint {
            path: path.to_owned(),
            reason: e.to_string(),
        };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let mut file = open_append(path).map_err(failed)?;
        let kept = kept(BufReader::new(&file), step).map_err(failed)?;
        file.set_len(kept.bytes)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(failed)?;
        Ok(Metrics {
            path: path.to_owned(),
            file: BufWriter::new(file),
            seconds: kept.seconds,
        })
    }

    pub(super) fn write(&mut self, progress: &Progress) -> Result<(), TrainError> {
        let line = serde_json::to_string(progress).expect("numbers and strings only");
        let written = writeln!(self.file, "{line}").and_then(|()| self.file.flush());
        written.map_err(|e| self.failed(&e))
    }

    pub(super) fn sync(&mut self) -> Result<(), TrainError> {
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_data());
        synced.map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &std::io::Error) -> TrainError {
        TrainError::Checkpoint {
            path: self.path.clone(),
            reason: error.to_string(),
        }
    }
}

/// The complete lines up to and including `step`.
fn kept(mut file: impl BufRead, step: u64) -> std::io::Result<Kept> {
    let (mut kept, mut line) = (Kept::default(), Vec::new());
    loop {
        line.clear();
        let bytes = file.read_until(b'\n', &mut line)?;
        let whole = line.ends_with(b"\n");
        match serde_json::from_slice::<Line>(&line) {
            Ok(Line { step: of, seconds }) if whole && of <= step => {
                kept.bytes += bytes as u64;
                kept.seconds = seconds;
            }
            _ => return Ok(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_are_dropped() {
        let text = b"{\"step\":1,\"loss\":2}\n{\"step\":2,\"seconds\":4.5}\n{\"step\":3}\n{\"st";
        for (step, bytes, seconds) in [(0, 0, 0.0), (1, 20, 0.0), (2, 45, 4.5), (9, 56, 0.0)] {
            assert_eq!(kept(&text[..], step).unwrap(), Kept { bytes, seconds });
        }
    }
}

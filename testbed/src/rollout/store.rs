//! Finished roll-outs on disk.
//!
//! `runs.jsonl` has a line for each run. The features of its periods are in
//! `STAGE.periods`: a line of JSON that names the columns, then rows of f32,
//! little-endian. A line is written after its rows; rows without a line, from a
//! killed program, are removed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use l4sllm_model::files::open_append;
use l4sllm_model::text::shown;
use l4sllm_model::{Outcome, SET_POINTS, SummaryFeature};
use serde::{Deserialize, Serialize};

use super::{FEATURES, Period, Rollout, RolloutError};
use crate::json_lines::{JsonLines, append};

/// File name of the outcomes.
pub const RUNS_FILE: &str = "runs.jsonl";

/// Layout of the files of periods.
const FORMAT: &str = "l4sllm periods 1";

/// Numbers of a period.
const COLUMNS: usize = FEATURES + SET_POINTS;
const ROW_BYTES: usize = COLUMNS * size_of::<f32>();

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// SHA-256 of everything that determines the run. A run is reused if it
    /// matches a planned one, and otherwise ignored.
    pub(super) identity: String,
    /// Its stage, which is also the name of the file of its periods.
    pub(super) stage: String,
    /// Name of the condition, for readers.
    pub(super) condition: String,
    /// Its family, for readers.
    pub(super) family: String,
    /// The driver, for readers.
    pub(super) driver: String,
    /// Repetition, from 0, for readers.
    pub(super) repetition: u32,
    /// The measured part.
    pub(super) outcome: Outcome,
    /// Location of its periods; none if they were not stored.
    pub(super) periods: Option<Rows>,
}

/// Rows in a file of periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rows {
    first: u64,
    count: u64,
}

/// The runs of a directory claimed by the caller.
#[derive(Debug)]
pub struct RunStore {
    dir: PathBuf,
    file: JsonLines,
    runs: Mutex<HashMap<String, Line>>,
    stages: Mutex<HashMap<String, Stage>>,
}

/// An open file of periods.
#[derive(Debug)]
struct Stage {
    file: File,
    /// Offset of the rows, bytes.
    first: u64,
    /// Whole rows in the file.
    rows: u64,
}

impl RunStore {
    /// Opens the runs of `dir`, which is created if missing. Runs whose periods
    /// are incomplete count as unfinished.
    ///
    /// # Errors
    /// A line that is not a run, or a file that cannot be read or written.
    pub fn open(dir: &Path) -> Result<RunStore, RolloutError> {
        std::fs::create_dir_all(dir).map_err(failed("make", dir))?;
        let (file, lines) = JsonLines::open::<Line>(&dir.join(RUNS_FILE), "a roll-out")?;
        let mut stages: HashMap<String, Stage> = HashMap::new();
        let mut used: HashMap<String, u64> = HashMap::new();
        let mut runs = HashMap::new();
        for line in lines {
            if let Some(rows) = line.periods {
                let end = rows.first.saturating_add(rows.count);
                let stage = match stages.remove(&line.stage) {
                    Some(stage) => stage,
                    None => Stage::open(dir, &line.stage)?,
                };
                let whole = end <= stage.rows;
                stages.insert(line.stage.clone(), stage);
                if !whole {
                    continue;
                }
                let used = used.entry(line.stage.clone()).or_default();
                *used = (*used).max(end);
            }
            runs.insert(line.identity.clone(), line);
        }
        for (name, stage) in &mut stages {
            let used = used.get(name).copied().unwrap_or(0);
            stage.cut(used).map_err(failed("write", &path(dir, name)))?;
        }
        Ok(RunStore {
            dir: dir.to_owned(),
            file,
            runs: Mutex::new(runs),
            stages: Mutex::new(stages),
        })
    }

    /// Number of finished runs.
    pub fn len(&self) -> usize {
        lock(&self.runs).len()
    }

    /// Whether no run is finished.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The outcome of a finished run.
    pub fn outcome(&self, identity: &str) -> Option<Outcome> {
        Some(lock(&self.runs).get(identity)?.outcome)
    }

    /// The periods of a finished run; none if they were not stored.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn periods(&self, identity: &str) -> Result<Vec<Period>, RolloutError> {
        let (name, rows) = match lock(&self.runs).get(identity) {
            Some(Line {
                stage,
                periods: Some(rows),
                ..
            }) => (stage.clone(), *rows),
            _ => return Ok(Vec::new()),
        };
        let mut stages = lock(&self.stages);
        let stage = self.stage(&mut stages, &name)?;
        let mut bytes = vec![0; rows.count as usize * ROW_BYTES];
        let at = stage.first + rows.first * ROW_BYTES as u64;
        let read = stage.file.read_exact_at(&mut bytes, at);
        read.map_err(failed("read", &path(&self.dir, &name)))?;
        Ok(bytes.chunks_exact(ROW_BYTES).map(from_row).collect())
    }

    /// Whether a run is finished and, if required, its periods are stored.
    pub(super) fn has(&self, identity: &str, keep: bool) -> bool {
        let runs = lock(&self.runs);
        let found = runs.get(identity);
        found.is_some_and(|line| line.periods.is_some() || !keep)
    }

    /// Adds a run, and its periods if required, and syncs to disk.
    pub(super) fn add(
        &self,
        mut line: Line,
        rollout: &Rollout,
        keep: bool,
    ) -> Result<(), RolloutError> {
        if keep {
            let mut stages = lock(&self.stages);
            let stage = self.stage(&mut stages, &line.stage)?;
            let bytes: Vec<u8> = rollout.periods.iter().flat_map(to_row).collect();
            let first = stage.rows;
            let written = append(&mut stage.file, &bytes);
            written.map_err(failed("write", &path(&self.dir, &line.stage)))?;
            stage.rows += rollout.periods.len() as u64;
            line.periods = Some(Rows {
                first,
                count: rollout.periods.len() as u64,
            });
        }
        self.file.append(&line)?;
        lock(&self.runs).insert(line.identity.clone(), line);
        Ok(())
    }

    fn stage<'a>(
        &self,
        stages: &'a mut HashMap<String, Stage>,
        name: &str,
    ) -> Result<&'a mut Stage, RolloutError> {
        if !stages.contains_key(name) {
            // The file has no rows that belong to a line.
            let mut stage = Stage::open(&self.dir, name)?;
            stage
                .cut(0)
                .map_err(failed("write", &path(&self.dir, name)))?;
            stages.insert(name.to_owned(), stage);
        }
        Ok(stages.get_mut(name).expect("just inserted"))
    }
}

impl Stage {
    /// Opens the file of a stage. A file with a different header, from a
    /// program with other features, is emptied: its runs are not reused.
    fn open(dir: &Path, name: &str) -> Result<Stage, RolloutError> {
        let path = path(dir, name);
        let header = header();
        let mut file = open_append(&path).map_err(failed("open", &path))?;
        let mut found = vec![0; header.len()];
        let same = file.read_exact(&mut found).is_ok() && found == header.as_bytes();
        if !same {
            file.set_len(0).map_err(failed("write", &path))?;
            append(&mut file, header.as_bytes()).map_err(failed("write", &path))?;
        }
        let bytes = file.metadata().map_err(failed("read", &path))?.len();
        let first = header.len() as u64;
        Ok(Stage {
            file,
            first,
            rows: (bytes - first) / ROW_BYTES as u64,
        })
    }

    /// Keeps only the first `rows`.
    fn cut(&mut self, rows: u64) -> std::io::Result<()> {
        self.rows = rows;
        self.file.set_len(self.first + rows * ROW_BYTES as u64)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(dir: &Path, stage: &str) -> PathBuf {
    dir.join(format!("{stage}.periods"))
}

/// The line that a file of periods begins with.
fn header() -> String {
    let features = SummaryFeature::ALL.iter().map(|feature| feature.name());
    let outputs = ["target_output", "alpha_output", "beta_output", "k_output"];
    let columns: Vec<&str> = features.chain(outputs).collect();
    let header = serde_json::json!({ "format": FORMAT, "columns": columns });
    format!("{header}\n")
}

fn to_row(period: &Period) -> impl Iterator<Item = u8> {
    let numbers = period.features.iter().chain(&period.outputs);
    numbers.flat_map(|number| number.to_le_bytes())
}

fn from_row(row: &[u8]) -> Period {
    let mut period = Period {
        features: [0.0; FEATURES],
        outputs: [0.0; SET_POINTS],
    };
    let to = period.features.iter_mut().chain(&mut period.outputs);
    for (to, bytes) in to.zip(row.chunks_exact(size_of::<f32>())) {
        *to = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    period
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RolloutError {
    let path = shown(path).to_string();
    move |source| RolloutError::Io {
        operation,
        path,
        source,
    }
}

//! Finished cells on disk: a line each, so that a killed suite loses none.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use l4sllm_model::files::{Claim, ClaimError, open_append};
use l4sllm_model::text::shown;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Measures;

/// File name of the cells.
pub const CELLS_FILE: &str = "cells.jsonl";

/// What can go wrong with the cells of a directory.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory cannot be claimed.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The file system refused.
    #[error("cannot {operation} {}: {source}", shown(path))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A line is not a cell.
    #[error("{}:{line}: not a cell of a suite: {source}", shown(path))]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Cause, with its place in the line.
        source: serde_json::Error,
    },
}

/// A finished cell.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// SHA-256 of all that determines the cell. A cell is used where it is
    /// that of a planned one, and else left alone.
    pub identity: String,
    /// Name of the condition, for readers.
    pub condition: String,
    /// Name of the arm, for readers.
    pub arm: String,
    /// Repetition, from 0, for readers.
    pub repetition: u32,
    /// Numbers of the cell.
    pub measures: Measures,
}

/// The cells of a directory, which no other program writes to meanwhile.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    file: Mutex<File>,
    cells: HashMap<String, Measures>,
    _claim: Claim,
}

impl Store {
    /// Opens the cells of `dir`, which is made if it is missing. The rest of a
    /// line that was being written when its program was killed is cut off.
    pub(super) fn open(dir: &Path) -> Result<Store, StoreError> {
        let claim = Claim::of(dir)?;
        let path = dir.join(CELLS_FILE);
        let failed = |operation| {
            let path = path.clone();
            move |source| StoreError::Io {
                operation,
                path,
                source,
            }
        };
        let mut file = open_append(&path).map_err(failed("open"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed("read"))?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut cells = HashMap::new();
        for (number, line) in text[..whole]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
        {
            let line: Line = serde_json::from_slice(line).map_err(|source| StoreError::Line {
                path: path.clone(),
                line: number + 1,
                source,
            })?;
            cells.insert(line.identity, line.measures);
        }
        file.set_len(whole as u64).map_err(failed("write"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("write"))?;
        Ok(Store {
            path,
            file: Mutex::new(file),
            cells,
            _claim: claim,
        })
    }

    /// The numbers of a cell that was finished when the store was opened.
    pub(super) fn get(&self, identity: &str) -> Option<&Measures> {
        self.cells.get(identity)
    }

    /// How many cells were finished when the store was opened.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Appends a cell, to disk. Of one that does not fit nothing stays, so that
    /// the next one begins a line.
    pub(super) fn add(&self, line: &Line) -> Result<(), StoreError> {
        let mut text =
            serde_json::to_string(line).expect("plain structs with string keys are JSON");
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        append(&mut file, text.as_bytes()).map_err(|source| StoreError::Io {
            operation: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Writes all of `bytes` to the end of the file and to disk, or leaves the file
/// as it was.
fn append(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    let before = file.seek(SeekFrom::End(0))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        // Only the first error is reported.
        let _ = file.set_len(before);
    }
    written
}

//! Finished cells on disk.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use l4sllm_model::files::{Claim, ClaimError};
use l4sllm_model::text::shown;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Measures;
use crate::json_lines::{JsonLines, JsonLinesError};

/// File name of the cells.
pub const CELLS_FILE: &str = "cells.jsonl";

/// Errors of the cells of a directory.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory cannot be claimed.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// An error in the file of the cells.
    #[error(transparent)]
    File(#[from] JsonLinesError),
    /// The directory contains files, but no cells: they are not a suite's.
    #[error(
        "{} is not empty: it contains files that are not the result of a suite; choose another \
         directory",
        shown(path)
    )]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be read.
    #[error("cannot list {}: {source}", shown(path))]
    List {
        /// The directory.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Identity of the program in its cells.
    #[error("cannot read the running program: {0}")]
    Program(#[source] std::io::Error),
}

/// A finished cell.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// SHA-256 of everything that determines the cell. A cell is reused if it
    /// matches a planned one, and otherwise ignored.
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

/// The cells of a directory, locked against other programs.
#[derive(Debug)]
pub(super) struct Store {
    file: JsonLines,
    cells: HashMap<String, Measures>,
    _claim: Claim,
}

impl Store {
    /// Opens the cells of `dir`, which is created if missing.
    ///
    /// # Errors
    /// [`StoreError::Occupied`] if it contains other files and no cells.
    pub(super) fn open(dir: &Path) -> Result<Store, StoreError> {
        let claim = Claim::of(dir)?;
        if !dir.join(CELLS_FILE).exists() && !is_empty(dir)? {
            return Err(StoreError::Occupied {
                path: dir.to_owned(),
            });
        }
        let (file, lines) = JsonLines::open(&dir.join(CELLS_FILE), "a cell of a suite")?;
        let lines = lines.into_iter();
        Ok(Store {
            file,
            cells: lines
                .map(|line: Line| (line.identity, line.measures))
                .collect(),
            _claim: claim,
        })
    }

    /// The numbers of a cell that was finished when the store was opened.
    pub(super) fn get(&self, identity: &str) -> Option<&Measures> {
        self.cells.get(identity)
    }

    /// Number of cells that were finished when the store was opened.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Appends a cell and syncs to disk.
    pub(super) fn add(&self, line: &Line) -> Result<(), StoreError> {
        Ok(self.file.append(line)?)
    }
}

fn is_empty(dir: &Path) -> Result<bool, StoreError> {
    let mut entries = fs::read_dir(dir).map_err(|source| StoreError::List {
        path: dir.to_owned(),
        source,
    })?;
    Ok(entries.next().is_none())
}

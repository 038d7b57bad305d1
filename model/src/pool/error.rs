//! Why a pool could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use crate::PolicyError;
use crate::log::LogError;
use crate::text::shown;

/// Why a pool could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The file could not be opened, made, read, written or renamed.
    #[error("cannot {operation} {path}: {source}", path = shown(path))]
    Io {
        /// "open", "create", "read", "write" or "rename".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not Parquet, or damaged.
    #[error("cannot {operation} pool {path}: {source}", path = shown(path))]
    Parquet {
        /// "read" or "write".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The library's reason.
        source: ParquetError,
    },
    /// A column is missing, of the wrong type, or holds what it may not.
    #[error(
        "pool {path}: {}column {column}: {reason}",
        place(*.row),
        path = shown(path),
        column = shown(column)
    )]
    Column {
        /// The file.
        path: PathBuf,
        /// The row, counted from 0, where it is one's.
        row: Option<u64>,
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A place in a text holds what it may not.
    #[error("{path}:{place}: {reason}", path = shown(path))]
    Text {
        /// The file.
        path: PathBuf,
        /// A line, or a key with index and byte.
        place: String,
        /// What stands there and what was expected.
        reason: String,
    },
    /// A value that no pool may hold was to be written.
    #[error(
        "cannot write pool {path}: row {row}: {column} is {value}, expected {want}",
        path = shown(path)
    )]
    Value {
        /// The file.
        path: PathBuf,
        /// Counted from 0.
        row: u64,
        /// Its column.
        column: &'static str,
        /// What it holds.
        value: f64,
        /// What it may hold.
        want: String,
    },
    /// A device capture holds something else.
    #[error("{path}: byte {byte}: {source}", path = shown(path))]
    Capture {
        /// The file.
        path: PathBuf,
        /// Where the message begins.
        byte: u64,
        /// What is wrong with it.
        source: l4sllm_abi::AbiError,
    },
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
    /// A kernel log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The pool is not for this policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl PoolError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> PoolError {
        move |source| PoolError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn parquet(
        operation: &'static str,
        path: &Path,
    ) -> impl Fn(ParquetError) -> PoolError {
        move |source| PoolError::Parquet {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn text(path: &Path, place: impl ToString, reason: impl Into<String>) -> PoolError {
        PoolError::Text {
            path: path.to_owned(),
            place: place.to_string(),
            reason: reason.into(),
        }
    }
}

fn place(row: Option<u64>) -> String {
    row.map_or_else(String::new, |row| format!("row {row}, "))
}

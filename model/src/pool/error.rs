//! Errors of reading and writing pools.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use crate::PolicyError;
use crate::log::LogError;
use crate::text::shown;

/// Error from reading or writing a pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The file could not be opened, created, read, written or renamed.
    #[error("cannot {operation} {path}: {source}", path = shown(path))]
    Io {
        /// "open", "create", "read", "write" or "rename".
        operation: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Reason given by the system.
        source: io::Error,
    },
    /// The file is not Parquet or is damaged.
    #[error("cannot {operation} pool {path}: {source}", path = shown(path))]
    Parquet {
        /// "read" or "write".
        operation: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Reason given by the library.
        source: ParquetError,
    },
    /// A column is missing, has the wrong type, or contains an invalid value.
    #[error(
        "pool {path}: {}column {column}: {reason}",
        place(*.row),
        path = shown(path),
        column = shown(column)
    )]
    Column {
        /// Path of the file.
        path: PathBuf,
        /// Row number, counted from 0, if the error concerns one row.
        row: Option<u64>,
        /// Name of the column.
        column: String,
        /// The error.
        reason: String,
    },
    /// Invalid content at a place in a text.
    #[error("{path}:{place}: {reason}", path = shown(path))]
    Text {
        /// Path of the file.
        path: PathBuf,
        /// A line, or a key with index and byte offset.
        place: String,
        /// The content found, and the expected content.
        reason: String,
    },
    /// An attempt to write a value that is not allowed in a pool.
    #[error(
        "cannot write pool {path}: row {row}: {column} is {value}, expected {want}",
        path = shown(path)
    )]
    Value {
        /// Path of the file.
        path: PathBuf,
        /// Row number, counted from 0.
        row: u64,
        /// Name of the column.
        column: &'static str,
        /// The value.
        value: f64,
        /// The allowed values.
        want: String,
    },
    /// Invalid content in a device capture.
    #[error("{path}: byte {byte}: {source}", path = shown(path))]
    Capture {
        /// Path of the file.
        path: PathBuf,
        /// Byte offset of the message.
        byte: u64,
        /// The error.
        source: l4sllm_abi::AbiError,
    },
    /// Interrupted by the user.
    #[error("interrupted")]
    Interrupted,
    /// Error from reading a kernel log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The pool does not suit this policy.
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

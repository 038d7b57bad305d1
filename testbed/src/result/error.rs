//! Errors of result directories.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// An operation on a result directory that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResultError {
    /// A file system error.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A Parquet file cannot be written or read.
    #[error("cannot {operation} {}", path.display())]
    Parquet {
        /// The operation.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: parquet::errors::ParquetError,
    },
    /// A JSON file has unexpected content.
    #[error("{} is not valid", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parse error.
        source: serde_json::Error,
    },
    /// A column of a Parquet file is missing or has another type.
    #[error("{} has no column `{column}` of the expected type", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// A Parquet file is damaged.
    #[error("{}: column {column} is damaged in row group {group}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The row group, from 0.
        group: usize,
        /// The decoder's error.
        reason: String,
    },
    /// The directory contains something other than this run.
    #[error("{} is not empty: it contains {what}; choose another directory, or pass --force to \
    replace it", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// The content found.
        what: &'static str,
    },
    /// The directory contains no result.
    #[error("{} is not a result: it contains no facts.json", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A name of an arm or scenario cannot be used as a file name.
    #[error("name `{name}` {problem}")]
    Name {
        /// The name.
        name: String,
        /// The problem.
        problem: &'static str,
    },
    /// An arm does not belong to this run.
    #[error("arm `{name}` {problem}")]
    Arm {
        /// Its name.
        name: String,
        /// The problem.
        problem: &'static str,
    },
    /// Rows or counters contradict each other.
    #[error("arm `{arm}`, repetition {repetition}: {problem}")]
    Inconsistent {
        /// The arm.
        arm: String,
        /// The repetition.
        repetition: u32,
        /// The inconsistency.
        problem: String,
    },
}

impl ResultError {
    /// Turns an I/O error into [`ResultError::Io`] on `path`.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| ResultError::Io {
            operation,
            path,
            source,
        }
    }

    /// Turns a JSON error into [`ResultError::Json`] on `path`.
    pub fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_owned();
        move |source| ResultError::Json { path, source }
    }
}

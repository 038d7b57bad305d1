//! Errors in a backbone's configuration, weights or adapter.

use std::io;
use std::path::{Path, PathBuf};

/// An error of describing, reading or writing a backbone or an adapter.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// A file could not be read or written.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Io {
        /// The operation, such as "read", "write" or "map".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not JSON, or a key is missing or has the wrong type.
    #[error("{file}: {key}: {reason}")]
    Syntax {
        /// The configuration file.
        file: String,
        /// Path of the key, "." for the whole file.
        key: String,
        /// The parser's error.
        reason: String,
    },
    /// A key has a value that is out of its range or not supported.
    #[error("{file}: {key} = {got}, expected {want}")]
    Value {
        /// The configuration file.
        file: String,
        /// Path of the key.
        key: String,
        /// The actual value.
        got: String,
        /// The expected values.
        want: String,
    },
    /// A directory or a file does not have the expected layout.
    #[error("{path}: {reason}", path = path.display())]
    Layout {
        /// The file or directory.
        path: PathBuf,
        /// The error.
        reason: String,
    },
    /// One tensor is missing, unknown, or does not match the configuration.
    #[error("{file}: tensor {tensor}: {reason}")]
    Tensor {
        /// The weights file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The error.
        reason: String,
    },
    /// The embeddings or the mask of a forward pass have the wrong shape.
    #[error("{name}: shape {got:?}, expected {want}")]
    Input {
        /// "embeds" or "mask".
        name: &'static str,
        /// Its shape.
        got: Vec<i64>,
        /// The expected shape.
        want: String,
    },
}

impl BackboneError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        BackboneError::Io {
            operation: "read",
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn value(
        file: &str,
        key: impl Into<String>,
        got: impl ToString,
        want: impl Into<String>,
    ) -> Self {
        BackboneError::Value {
            file: file.to_owned(),
            key: key.into(),
            got: got.to_string(),
            want: want.into(),
        }
    }

    /// Removes the file's name if the configuration has none.
    pub(crate) fn key_and_reason(&self) -> String {
        match self {
            BackboneError::Syntax { key, reason, .. } => format!("{key}: {reason}"),
            BackboneError::Value { key, got, want, .. } => {
                format!("{key} = {got}, expected {want}")
            }
            other => other.to_string(),
        }
    }
}

//! What can be wrong with a backbone's configuration, weights or adapter.

use std::io;
use std::path::{Path, PathBuf};

/// Why a backbone or an adapter could not be described, read or written.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// A file could not be read or written.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Io {
        /// "read", "write", "map" and the like.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is no JSON, or a key of it is missing or of the wrong type.
    #[error("{file}: {key}: {reason}")]
    Syntax {
        /// The configuration file.
        file: String,
        /// Path of the key, "." for the whole file.
        key: String,
        /// What the parser said.
        reason: String,
    },
    /// A key has a value that is out of its range or not supported.
    #[error("{file}: {key} = {got}, expected {want}")]
    Value {
        /// The configuration file.
        file: String,
        /// Path of the key.
        key: String,
        /// What stands there.
        got: String,
        /// What may stand there.
        want: String,
    },
    /// A directory or a file has not the layout that it should have.
    #[error("{path}: {reason}", path = path.display())]
    Layout {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One tensor is missing, unknown, or not what the configuration calls for.
    #[error("{file}: tensor {tensor}: {reason}")]
    Tensor {
        /// Where it should be.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The embeddings or the mask given to a forward pass do not fit.
    #[error("{name}: shape {got:?}, expected {want}")]
    Input {
        /// "embeds" or "mask".
        name: &'static str,
        /// Its shape.
        got: Vec<i64>,
        /// What fits.
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

    /// Drops the file's name where the configuration has none of its own.
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

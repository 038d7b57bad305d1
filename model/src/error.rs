//! Errors of policies.

use std::io;
use std::path::{Path, PathBuf};

use crate::backbone::BackboneError;

/// An error of loading, building or writing a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file of the policy directory could not be read or written.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Io {
        /// "read" or "write".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `config.json` is not JSON, or a key of it is missing, unknown or of the wrong type.
    #[error("{file}: {key}: {reason}")]
    Syntax {
        /// The configuration file.
        file: String,
        /// Path of the key, "." for the whole file.
        key: String,
        /// The parser's error.
        reason: String,
    },
    /// A key of the configuration has an out-of-range value.
    #[error("config: {key} = {got}, expected {want}")]
    Config {
        /// Path of the key.
        key: String,
        /// The actual value.
        got: String,
        /// The expected values.
        want: String,
    },
    /// The weights are not a safetensors file of acceptable size.
    #[error("{file}: {reason}")]
    Format {
        /// The weights file.
        file: String,
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
    /// The policy is valid, but cannot be run here.
    #[error("policy {policy}: {what}: {remedy}")]
    Unsupported {
        /// The policy's name.
        policy: String,
        /// The reason.
        what: String,
        /// The remedy.
        remedy: String,
    },
    /// A decision is not finite.
    #[error(
        "policy {policy}: its outputs after {values} are {outputs}, expected finite numbers: its \
         weights are too large"
    )]
    NotFinite {
        /// The policy's name.
        policy: String,
        /// Its input.
        values: &'static str,
        /// The output.
        outputs: String,
    },
    /// This build lacks the engine.
    #[error("engine {engine}: this program was built without it; build with `--features torch'")]
    NotBuilt {
        /// Its name.
        engine: &'static str,
    },
    /// libtorch cannot be used, or refused.
    #[error("libtorch: {reason}")]
    Libtorch {
        /// The missing part, or libtorch's error.
        reason: String,
    },
    /// An error of the backbone's configuration, weights or adapter.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}

impl PolicyError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        PolicyError::Io {
            operation: "read",
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        PolicyError::Io {
            operation: "write",
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn config(
        key: impl Into<String>,
        got: impl ToString,
        want: impl Into<String>,
    ) -> Self {
        PolicyError::Config {
            key: key.into(),
            got: got.to_string(),
            want: want.into(),
        }
    }
}

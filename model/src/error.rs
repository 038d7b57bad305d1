//! What can be wrong with a policy.

use std::io;
use std::path::{Path, PathBuf};

use crate::backbone::BackboneError;

/// Why a policy could not be loaded, built or written.
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
        /// What the parser said.
        reason: String,
    },
    /// A key of the configuration has a value out of its range.
    #[error("config: {key} = {got}, expected {want}")]
    Config {
        /// Path of the key.
        key: String,
        /// What stands there.
        got: String,
        /// What may stand there.
        want: String,
    },
    /// The weights are no safetensors file of acceptable size.
    #[error("{file}: {reason}")]
    Format {
        /// The weights file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One tensor is missing, unknown, or not what the configuration calls for.
    #[error("{file}: tensor {tensor}: {reason}")]
    Tensor {
        /// The weights file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The policy is sound, but not one that can be run here.
    #[error("policy {policy}: {what}: {remedy}")]
    Unsupported {
        /// The policy's name.
        policy: String,
        /// What it is or has.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A decision is not a number.
    #[error(
        "policy {policy}: its outputs after {values} are {outputs}, expected finite numbers: its \
         weights are too large"
    )]
    NotFinite {
        /// The policy's name.
        policy: String,
        /// What it decided on.
        values: &'static str,
        /// What came out.
        outputs: String,
    },
    /// This build has not the engine.
    #[error("engine {engine}: this program was built without it; build with `--features torch'")]
    NotBuilt {
        /// Its name.
        engine: &'static str,
    },
    /// libtorch cannot be used, or refused.
    #[error("libtorch: {reason}")]
    Libtorch {
        /// What is missing, or what it said.
        reason: String,
    },
    /// The backbone's configuration, weights or adapter.
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

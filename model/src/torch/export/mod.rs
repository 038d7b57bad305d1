//! Exports policies for other programs: as a TorchScript file, and as a model
//! repository of a Triton inference server. Both describe the outputs and the decision
//! rule with the text of [`crate::PolicyConfig::outcomes`].

mod check;
mod metadata;
mod triton;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Network, TrainError};
use crate::PolicyConfig;
use crate::files::{AtomicDir, AtomicFile, Existing, create_new};
pub use check::difference;
pub use metadata::METADATA_FILE;

/// Name of the module's file within a version of a Triton model.
const MODEL_FILE: &str = "model.pt";

/// A model of a Triton model repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TritonModel {
    /// Name of the model and its directory: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Maximum number of windows in a batch of the server, at least 1.
    pub max_batch: u32,
    /// Maximum time that the server waits to fill a batch, µs.
    pub queue_delay_us: u32,
}

/// Writes the policy as a TorchScript file ([`Network::trace`]), with
/// [`METADATA_FILE`] in it.  `file` must not exist.
///
/// # Errors
/// The policy cannot be traced, or the file exists or cannot be written.
pub fn torchscript(network: &Network, file: &Path) -> Result<(), TrainError> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).map_err(|e| failed("make", dir, e))?;
    }
    let to = AtomicFile::create(file, Existing::Keep).map_err(|e| failed("write", file, e))?;
    module(network, to.temporary())?;
    to.commit().map_err(|e| failed("write", file, e))
}

/// The module, with its outputs described in it.
fn module(network: &Network, file: &Path) -> Result<(), TrainError> {
    network.trace()?.save(file)?;
    metadata::add(file, network.config())
}

/// Writes `NAME/` with `config.pbtxt`, `1/model.pt` and `README.md` into a model
/// repository, which is created if necessary; `NAME/` must not exist. Returns the model's
/// directory.
///
/// # Errors
/// The name has other characters than letters, digits, `_`, `-` and `.`, or
/// begins with `.`; the policy cannot be traced; the directory exists or
/// cannot be written.
pub fn triton(
    network: &Network,
    repository: &Path,
    model: &TritonModel,
) -> Result<PathBuf, TrainError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if model.name.is_empty() || model.name.starts_with('.') || !model.name.chars().all(allowed) {
        let reason = "letters, digits, _, - and . only, the first no .".to_owned();
        return Err(refused(&repository.join(&model.name), reason));
    }
    let dir = repository.join(&model.name);
    fs::create_dir_all(repository).map_err(|e| failed("make", repository, e))?;
    let to = AtomicDir::create(&dir).map_err(|e| failed("write", &dir, e))?;
    let version = to.temporary().join("1");
    fs::create_dir_all(&version).map_err(|e| failed("make", &version, e))?;
    module(network, &version.join(MODEL_FILE))?;
    let config = network.config();
    for (name, text) in [
        ("config.pbtxt", model.config(config, network.device())),
        ("README.md", model.readme(config)),
    ] {
        let file = to.temporary().join(name);
        create_new(&file, text.as_bytes()).map_err(|e| failed("write", &file, e))?;
    }
    to.commit().map_err(|e| failed("write", &dir, e))?;
    Ok(dir)
}

/// The decision rule, as in `config.json`.
fn rule(policy: &PolicyConfig) -> String {
    let value = serde_json::to_value(policy.decision_rule);
    let text = value.ok().and_then(|v| v.as_str().map(str::to_owned));
    text.expect("a decision rule is written as a string")
}

fn refused(path: &Path, reason: String) -> TrainError {
    TrainError::Export {
        path: path.to_owned(),
        reason,
    }
}

fn failed(operation: &str, path: &Path, error: io::Error) -> TrainError {
    refused(path, format!("cannot {operation}: {error}"))
}

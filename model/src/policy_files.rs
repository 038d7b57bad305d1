//! The files of a policy directory: names, reading and writing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::files;
use crate::tensors::file_size_max;
use crate::{PolicyConfig, PolicyError, Spec, Tensors, specs};

/// Configuration, in a policy directory.
pub const CONFIG_FILE: &str = "config.json";

/// Weights, in a policy directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Weights outside the backbone, in the directory of a policy with a base.
pub const MODULES_FILE: &str = "modules.safetensors";

/// The adapter, in PEFT's layout, in the directory of a policy with a base.
pub const ADAPTER_DIR: &str = "adapter";

/// The weights in an adapter's directory.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";

/// Maximum size of `config.json`, bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// Opens a file by path; does not block on a FIFO.
pub(crate) fn by_path(path: &Path) -> io::Result<File> {
    files::open_regular(path)
}

/// Reads and checks `config.json`; also returns its bytes.
pub(crate) fn read_config(
    dir: &Path,
    open: impl Fn(&Path) -> io::Result<File>,
) -> Result<(PolicyConfig, Vec<u8>), PolicyError> {
    let path = dir.join(CONFIG_FILE);
    let bytes = read_bounded(&path, open, CONFIG_MAX)?;
    let config = PolicyConfig::from_json(&path.display().to_string(), &bytes)?;
    Ok((config, bytes))
}

/// Reads `model.safetensors` with the tensors required by the configuration;
/// also returns its bytes.
pub(crate) fn read_weights(
    dir: &Path,
    config: &PolicyConfig,
    open: impl Fn(&Path) -> io::Result<File>,
) -> Result<(Tensors, Vec<u8>), PolicyError> {
    read_tensors(&dir.join(WEIGHTS_FILE), &specs(config), open)
}

/// Reads a file with exactly these tensors; also returns its bytes.
pub(crate) fn read_tensors(
    path: &Path,
    specs: &[Spec],
    open: impl Fn(&Path) -> io::Result<File>,
) -> Result<(Tensors, Vec<u8>), PolicyError> {
    let bytes = read_bounded(path, open, file_size_max(specs))?;
    let tensors = Tensors::from_safetensors(specs, &path.display().to_string(), &bytes)?;
    Ok((tensors, bytes))
}

/// Reads a regular file of at most `max` bytes.  A larger or non-regular file
/// is refused before it is read: `open` must not block on a FIFO.
fn read_bounded(
    path: &Path,
    open: impl Fn(&Path) -> io::Result<File>,
    max: u64,
) -> Result<Vec<u8>, PolicyError> {
    let failed = |e| PolicyError::read(path, e);
    let refused = |reason: String| PolicyError::Format {
        file: path.display().to_string(),
        reason,
    };
    let file = open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(refused("is not a regular file".into()));
    }
    let too_large = |size: u64| refused(format!("has {size} bytes, expected at most {max}"));
    if facts.len() > max {
        return Err(too_large(facts.len()));
    }
    let mut bytes = Vec::new();
    // It may grow in the meantime.
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 {
        size if size > max => Err(too_large(size)),
        _ => Ok(bytes),
    }
}

/// Replaces a file of a policy directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PolicyError> {
    files::replace(path, bytes).map_err(|e| PolicyError::write(path, e))
}

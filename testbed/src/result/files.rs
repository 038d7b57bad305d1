//! Writing and removing the files of a result.

use std::fs;
use std::path::Path;

use l4sllm_model::files::replace;
use serde::Serialize;

use super::error::ResultError;

/// Replaces `path` by `bytes` atomically: readers see the old file or the new
/// one.
///
/// # Errors
/// The file cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ResultError> {
    replace(path, bytes).map_err(ResultError::io("write", path))
}

/// `value` as indented JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes =
        serde_json::to_vec_pretty(value).expect("plain structs with string keys are JSON");
    bytes.push(b'\n');
    bytes
}

/// Removes a file or a directory, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), ResultError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ResultError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

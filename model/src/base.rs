//! The frozen backbone of an adapter: a Hugging Face directory, and the hash
//! that identifies it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::PolicyError;
use crate::config::BaseConfig;
use crate::digest::{add_file, hex};
use crate::files::read_regular;
use crate::policy_files::WEIGHTS_FILE;

/// Index that maps tensors to shards, if there are several.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// Maximum size of an index, bytes; that of the largest models has 1 MB.
const INDEX_MAX: u64 = 64 << 20;

/// A directory and its hash, as in a policy's configuration. `path` is the
/// configured path: absolute, or relative to the policy's directory.
///
/// # Errors
/// As [`base_hash`].
pub fn base_config(dir: &Path, path: &Path) -> Result<BaseConfig, PolicyError> {
    Ok(BaseConfig {
        path: path.to_owned(),
        sha256: base_hash(dir)?,
    })
}

/// SHA-256, in hex, of `model.safetensors`, or of the index's shards,
/// concatenated in the order of their names.
///
/// # Errors
/// A file cannot be read, or the index is malformed or names a file outside
/// the directory.
pub fn base_hash(dir: &Path) -> Result<String, PolicyError> {
    let one = dir.join(WEIGHTS_FILE);
    let index = dir.join(INDEX_FILE);
    let files: BTreeSet<String> = match one.is_file() || !index.is_file() {
        true => BTreeSet::from([WEIGHTS_FILE.to_owned()]),
        false => shards(&index)?,
    };
    let mut sha = Sha256::new();
    for file in files {
        add_file(&mut sha, &dir.join(file))?;
    }
    Ok(hex(sha))
}

fn shards(index: &Path) -> Result<BTreeSet<String>, PolicyError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = read_regular(index, INDEX_MAX).map_err(|e| PolicyError::read(index, e))?;
    let format = |reason: String| PolicyError::Format {
        file: index.display().to_string(),
        reason,
    };
    let parsed: Index = serde_json::from_slice(&text).map_err(|e| format(e.to_string()))?;
    let files: BTreeSet<String> = parsed.weight_map.into_values().collect();
    // Like the reader of weights: only files of this directory.
    match files
        .iter()
        .find(|f| f.contains(['/', '\\']) || !f.ends_with(".safetensors"))
    {
        Some(file) => Err(format(format!(
            "{file:?} is not a safetensors file of this directory"
        ))),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;

    use super::*;

    #[test]
    fn hash_is_equal_for_whole_and_sharded_weights() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let error = base_hash(dir.path()).unwrap_err().to_string();
        assert!(error.contains(WEIGHTS_FILE), "{error}");
        write("a.safetensors", "ab");
        write("b.safetensors", "c");
        let map =
            r#"{"weight_map": {"y": "b.safetensors", "x": "a.safetensors", "z": "b.safetensors"}}"#;
        write(INDEX_FILE, map);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(base_hash(dir.path()).unwrap(), abc);
        write(INDEX_FILE, r#"{"weight_map": {"x": "../a.safetensors"}}"#);
        assert!(
            base_hash(dir.path())
                .unwrap_err()
                .to_string()
                .contains("not a safetensors file")
        );
        write(WEIGHTS_FILE, "abc");
        assert_eq!(base_hash(dir.path()).unwrap(), abc);
    }
}

//! A policy: configuration and weights, read from a directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::forward::{Scratch, State, advance, embed};
use crate::shape::{Shape, not_merged};
use crate::tensors::file_size_max;
use crate::weights::Weights;
use crate::{ACTIONS, PolicyConfig, PolicyError, Spec, Tensors, specs};

/// Configuration, in a policy directory.
pub const CONFIG_FILE: &str = "config.json";

/// Weights, in a policy directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Longest acceptable `config.json`, bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// A trained policy.  Immutable; share it between sessions.
pub struct Policy {
    config: PolicyConfig,
    pub(crate) weights: Weights,
    hash: String,
}

/// One record of a window, scaled as the policy's configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Return-to-go, scaled.
    pub return_to_go: f32,
    /// What the features put in, scaled: one value a scalar, `history` values
    /// a series, oldest first ([`PolicyConfig::fill_inputs`]).
    pub inputs: Vec<f32>,
    /// Code of the action that was taken, below [`ACTIONS`].
    pub action: usize,
}

impl Policy {
    /// Reads `config.json` and `model.safetensors` from a directory.
    ///
    /// Neither file is trusted: sizes are bounded before they are read, keys
    /// and tensors must be exactly those expected, values finite.
    pub fn load(dir: &Path) -> Result<Arc<Policy>, PolicyError> {
        Policy::load_by(dir, by_path)
    }

    /// The same for a process that may not open files by their paths: each is
    /// opened by `open`, which gets the path of a file in `dir`.
    pub fn load_by(
        dir: &Path,
        open: impl Fn(&Path) -> io::Result<File>,
    ) -> Result<Arc<Policy>, PolicyError> {
        let (config, config_bytes) = read_config(dir, &open)?;
        let shape = Shape::of(&config.name, &config)?;
        let (tensors, weight_bytes) = read_weights(dir, &config, &open)?;
        Ok(Arc::new(Policy {
            weights: Weights::pack(&config, shape, &tensors),
            hash: hash(&config_bytes, &weight_bytes),
            config,
        }))
    }

    /// Reads and checks `config.json` alone, of any policy directory.
    pub fn load_config(dir: &Path) -> Result<PolicyConfig, PolicyError> {
        Ok(read_config(dir, by_path)?.0)
    }

    /// Reads `config.json` and `model.safetensors` as tensors, of any backbone:
    /// to train on, to convert, to look at.
    pub fn load_tensors(dir: &Path) -> Result<(PolicyConfig, Tensors), PolicyError> {
        let (config, _) = read_config(dir, by_path)?;
        if config.base.is_some() {
            return Err(not_merged(&config.name));
        }
        let (tensors, _) = read_weights(dir, &config, by_path)?;
        Ok((config, tensors))
    }

    /// A policy from tensors in memory, e.g. [`Tensors::random`].
    pub fn new(config: PolicyConfig, tensors: &Tensors) -> Result<Arc<Policy>, PolicyError> {
        config.check()?;
        let shape = Shape::of(&config.name, &config)?;
        let specs = specs(&config);
        tensors.check(&specs)?;
        Ok(Arc::new(Policy {
            weights: Weights::pack(&config, shape, tensors),
            hash: hash(config.to_json().as_bytes(), &tensors.to_safetensors(&specs)),
            config,
        }))
    }

    /// Writes `model.safetensors` and `config.json` into a directory, which is
    /// made if need be.  Each file is replaced whole or not at all.
    ///
    /// # Errors
    /// A policy whose base is elsewhere is refused: its network saves it.
    pub fn save(dir: &Path, config: &PolicyConfig, tensors: &Tensors) -> Result<(), PolicyError> {
        config.check()?;
        if let Some(base) = &config.base {
            let want = "null: all weights in one file";
            return Err(PolicyError::config("base", base.path.display(), want));
        }
        let specs = specs(config);
        tensors.check(&specs)?;
        fs::create_dir_all(dir).map_err(|e| PolicyError::write(dir, e))?;
        replace(&dir.join(WEIGHTS_FILE), &tensors.to_safetensors(&specs))?;
        replace(&dir.join(CONFIG_FILE), config.to_json().as_bytes())
    }

    /// Whether the plain engine runs such a policy; the error says why not,
    /// and what to do.
    pub fn check_plain(config: &PolicyConfig) -> Result<(), PolicyError> {
        Shape::of(&config.name, config).map(drop)
    }

    /// What the policy is.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// SHA-256 over `config.json` and `model.safetensors`, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Probabilities of enqueue, drop and mark after the last step of a
    /// window, of which the policy sees at most the last `window` steps.
    /// Allocates; a stream of records goes through a [`crate::Session`].
    ///
    /// # Panics
    /// Without steps, or when a step has not [`PolicyConfig::inputs`] of them.
    pub fn decide(&self, steps: &[Step]) -> [f32; ACTIONS] {
        let config = &self.config;
        let steps = &steps[steps.len().saturating_sub(config.window)..];
        let shape = &self.weights.shape;
        let (d, tokens) = (shape.width, config.tokens_per_record());
        let mut scratch = Scratch::new(config, shape, steps.len() * tokens);
        let mut hidden = vec![0.0; self.weights.path_scratch()];
        for (i, step) in steps.iter().enumerate() {
            assert_eq!(step.inputs.len(), config.inputs(), "inputs of a step");
            let record = &mut scratch.tokens[i * tokens * d..][..tokens * d];
            embed(
                &self.weights,
                step.return_to_go,
                &step.inputs,
                step.action,
                &mut hidden,
                record,
            );
            self.add_time(i, record);
        }
        let count = steps.len() * tokens - 1; // all but the newest action
        advance(
            config.head.residual,
            &self.weights,
            &mut State::new(config, shape),
            &mut scratch,
            count,
            true,
        )
    }

    /// Adds the time embedding of window position `position` to each token.
    pub(crate) fn add_time(&self, position: usize, tokens: &mut [f32]) {
        let d = self.weights.shape.width;
        let time = &self.weights.time[position * d..][..d];
        for token in tokens.chunks_exact_mut(d) {
            for (x, t) in token.iter_mut().zip(time) {
                *x += t;
            }
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("config", &self.config)
            .field("hash", &self.hash)
            .finish()
    }
}

pub(crate) fn by_path(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn read_config(
    dir: &Path,
    open: impl Fn(&Path) -> io::Result<File>,
) -> Result<(PolicyConfig, Vec<u8>), PolicyError> {
    let path = dir.join(CONFIG_FILE);
    let bytes = read_bounded(&path, open, CONFIG_MAX)?;
    let config = PolicyConfig::from_json(&path.display().to_string(), &bytes)?;
    Ok((config, bytes))
}

fn read_weights(
    dir: &Path,
    config: &PolicyConfig,
    open: impl Fn(&Path) -> io::Result<File>,
) -> Result<(Tensors, Vec<u8>), PolicyError> {
    read_tensors(&dir.join(WEIGHTS_FILE), &specs(config), open)
}

/// Reads a file with these tensors and no others, and gives its bytes, too.
pub(crate) fn read_tensors(
    path: &Path,
    specs: &[Spec],
    open: impl Fn(&Path) -> io::Result<File>,
) -> Result<(Tensors, Vec<u8>), PolicyError> {
    let bytes = read_bounded(path, open, file_size_max(specs))?;
    let tensors = Tensors::from_safetensors(specs, &path.display().to_string(), &bytes)?;
    Ok((tensors, bytes))
}

/// Reads a regular file of at most `max` bytes.
fn read_bounded(
    path: &Path,
    open: impl Fn(&Path) -> io::Result<File>,
    max: u64,
) -> Result<Vec<u8>, PolicyError> {
    let failed = |e| PolicyError::read(path, e);
    let file = open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        let reason = format!("more than {max} bytes");
        return Err(PolicyError::Format {
            file: path.display().to_string(),
            reason,
        });
    }
    Ok(bytes)
}

/// Writes beside the file and renames over it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PolicyError> {
    let part = path.with_extension("part");
    fs::write(&part, bytes).map_err(|e| PolicyError::write(&part, e))?;
    fs::rename(&part, path).map_err(|e| PolicyError::write(path, e))
}

fn hash(config: &[u8], weights: &[u8]) -> String {
    let mut sha = Sha256::new();
    sha.update(config);
    sha.update(weights);
    hex(sha)
}

pub(crate) fn hex(sha: Sha256) -> String {
    sha.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

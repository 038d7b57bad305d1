//! Policies: configuration and weights, read from a directory into an engine.
//!
//! ```text
//! all weights trained, or merged      config.json  model.safetensors
//! adapter on a frozen base            config.json  modules.safetensors  adapter/
//!                                     base: a Hugging Face directory elsewhere
//! ```

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::backbone::ADAPTER_CONFIG_FILE;
use crate::digest::{add_file, hex};
use crate::plain::forward::{State, advance, embed};
use crate::plain::scratch::Scratch;
use crate::plain::shape::{Shape, not_merged};
use crate::plain::weights::Weights;
use crate::policy_files::{
    ADAPTER_DIR, ADAPTER_FILE, CONFIG_FILE, MODULES_FILE, WEIGHTS_FILE, by_path, read_config,
    read_weights, replace,
};
use crate::step::Step;
#[cfg(feature = "torch")]
use crate::torch::session::Shared;
use crate::{
    ACTIONS, EngineKind, EngineOptions, Outputs, PolicyConfig, PolicyError, RunsOn, Tensors, specs,
};

/// A trained policy loaded into an engine. Immutable, to be shared between
/// sessions.
pub struct Policy {
    config: PolicyConfig,
    loaded: Loaded,
    hash: String,
    runs_on: RunsOn,
}

/// Weights in an engine.
pub(crate) enum Loaded {
    Plain(Arc<Weights>),
    #[cfg(feature = "torch")]
    Torch(Arc<Shared>),
}

impl Policy {
    /// Reads `config.json` and `model.safetensors` from a directory, for the
    /// plain engine.
    ///
    /// The files are not trusted: only regular files of bounded size are read,
    /// keys and tensors must be exactly those expected, and values and
    /// decisions on synthetic windows must be finite ([`Policy::probe`]).
    ///
    /// # Errors
    /// A file cannot be read or is malformed, the plain engine cannot run the
    /// policy, or an output is not finite.
    pub fn load(dir: &Path) -> Result<Arc<Policy>, PolicyError> {
        Policy::load_by(dir, by_path)
    }

    /// Loads it in a process that cannot open files by path: each is opened by
    /// `open`, which gets the path of a file in `dir`.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn load_by(
        dir: &Path,
        open: impl Fn(&Path) -> io::Result<File>,
    ) -> Result<Arc<Policy>, PolicyError> {
        let (config, config_bytes) = read_config(dir, &open)?;
        let shape = Shape::of(&config.name, &config)?;
        let (tensors, weight_bytes) = read_weights(dir, &config, &open)?;
        let policy = Policy {
            loaded: Loaded::Plain(Arc::new(Weights::pack(&config, shape, &tensors))),
            hash: hash(&config_bytes, &weight_bytes),
            runs_on: RunsOn::plain(),
            config,
        };
        policy.probe()?;
        Ok(Arc::new(policy))
    }

    /// Reads any policy directory into the engine that it needs, or that is
    /// requested.
    ///
    /// # Errors
    /// Those of [`Policy::load`] and [`EngineOptions::choose`]. With libtorch:
    /// the base is missing or differs from the one trained on, the device
    /// cannot be used, or a decision is not finite.
    pub fn load_with(dir: &Path, options: &EngineOptions) -> Result<Arc<Policy>, PolicyError> {
        match options.choose(&Policy::load_config(dir)?)? {
            EngineKind::Plain => Policy::load(dir),
            #[cfg(feature = "torch")]
            EngineKind::Libtorch => {
                let (network, runs_on) = Shared::load(dir, options)?;
                let policy = Policy {
                    config: network.config().clone(),
                    loaded: Loaded::Torch(Arc::new(network)),
                    hash: Policy::hash_of(dir)?,
                    runs_on,
                };
                // Detects computing errors now, and makes the first decision as
                // fast as others.
                policy.probe()?;
                Ok(Arc::new(policy))
            }
            #[cfg(not(feature = "torch"))]
            EngineKind::Libtorch => Err(EngineKind::Libtorch.not_built()),
        }
    }

    /// The value of [`Policy::hash`] for the policy in a directory, without
    /// loading it.
    ///
    /// # Errors
    /// A file cannot be read, or `config.json` is malformed.
    pub fn hash_of(dir: &Path) -> Result<String, PolicyError> {
        let adapter = dir.join(ADAPTER_DIR);
        let files = match Policy::load_config(dir)?.base {
            None => vec![dir.join(CONFIG_FILE), dir.join(WEIGHTS_FILE)],
            Some(_) => vec![
                dir.join(CONFIG_FILE),
                dir.join(MODULES_FILE),
                adapter.join(ADAPTER_CONFIG_FILE),
                adapter.join(ADAPTER_FILE),
            ],
        };
        let mut sha = Sha256::new();
        files.iter().try_for_each(|file| add_file(&mut sha, file))?;
        Ok(hex(sha))
    }

    /// Reads and checks only `config.json` of any policy directory.
    ///
    /// # Errors
    /// The file cannot be read or is malformed, or a value is out of range.
    pub fn load_config(dir: &Path) -> Result<PolicyConfig, PolicyError> {
        Policy::load_config_by(dir, by_path)
    }

    /// Reads and checks `config.json`, with `open` as in [`Policy::load_by`].
    ///
    /// # Errors
    /// As [`Policy::load_config`].
    pub fn load_config_by(
        dir: &Path,
        open: impl Fn(&Path) -> io::Result<File>,
    ) -> Result<PolicyConfig, PolicyError> {
        Ok(read_config(dir, open)?.0)
    }

    /// Reads `config.json` and `model.safetensors` as tensors, of any backbone:
    /// for training, conversion or inspection.
    ///
    /// # Errors
    /// A file cannot be read or is malformed, or the policy has an unmerged
    /// adapter.
    pub fn load_tensors(dir: &Path) -> Result<(PolicyConfig, Tensors), PolicyError> {
        let (config, _) = read_config(dir, by_path)?;
        if config.base.is_some() {
            return Err(not_merged(&config.name));
        }
        let (tensors, _) = read_weights(dir, &config, by_path)?;
        Ok((config, tensors))
    }

    /// A policy in the plain engine from tensors in memory, e.g.
    /// [`Tensors::random`].
    ///
    /// # Errors
    /// The configuration is invalid, the plain engine cannot run it, or the
    /// tensors do not fit it.
    pub fn new(config: PolicyConfig, tensors: &Tensors) -> Result<Arc<Policy>, PolicyError> {
        config.check()?;
        let shape = Shape::of(&config.name, &config)?;
        let specs = specs(&config);
        tensors.check(&specs)?;
        Ok(Arc::new(Policy {
            loaded: Loaded::Plain(Arc::new(Weights::pack(&config, shape, tensors))),
            hash: hash(config.to_json().as_bytes(), &tensors.to_safetensors(&specs)),
            runs_on: RunsOn::plain(),
            config,
        }))
    }

    /// Writes `model.safetensors` and `config.json` into a directory, which is
    /// created if necessary. Each file is replaced completely or not at all.
    ///
    /// # Errors
    /// A policy with a separate base is refused: its network saves it.
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

    /// Whether the plain engine runs such a policy; the error gives the reason
    /// and the remedy.
    ///
    /// # Errors
    /// The reason why it does not, and the remedy.
    pub fn check_plain(config: &PolicyConfig) -> Result<(), PolicyError> {
        Shape::of(&config.name, config).map(drop)
    }

    /// The configuration.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// SHA-256 in hex over `config.json` and `model.safetensors`; with a base,
    /// whose hash is in the configuration, over `config.json`,
    /// `modules.safetensors`, and the adapter's configuration and weights.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Its engine.
    pub fn runs_on(&self) -> &RunsOn {
        &self.runs_on
    }

    /// Probabilities of enqueue, drop and mark after the last step of a
    /// window, of which at most the last `window` steps are used. Allocates;
    /// use a [`crate::Session`] for a stream of records.
    ///
    /// # Errors
    /// libtorch failed; the plain engine cannot fail.
    ///
    /// # Panics
    /// Without steps, or if a step does not have [`PolicyConfig::inputs`]
    /// inputs.
    pub fn decide(&self, steps: &[Step]) -> Result<[f32; ACTIONS], PolicyError> {
        let all = self.decide_all(&[steps])?;
        Ok(all[0])
    }

    /// Probabilities after each of several windows, in batches chosen by the
    /// engine.
    ///
    /// # Errors
    /// As [`Policy::decide`].
    ///
    /// # Panics
    /// As [`Policy::decide`].
    pub fn decide_all<W: AsRef<[Step]>>(
        &self,
        windows: &[W],
    ) -> Result<Vec<[f32; ACTIONS]>, PolicyError> {
        let outputs = self.outputs_all(windows)?;
        let probabilities = |[enqueue, drop, mark, ..]: Outputs| [enqueue, drop, mark];
        Ok(outputs.into_iter().map(probabilities).collect())
    }

    /// Outputs of the head after each of several windows: probabilities, or the
    /// inputs of set-points.
    ///
    /// # Errors
    /// As [`Policy::decide`].
    ///
    /// # Panics
    /// As [`Policy::decide`].
    pub fn outputs_all<W: AsRef<[Step]>>(
        &self,
        windows: &[W],
    ) -> Result<Vec<Outputs>, PolicyError> {
        let windows: Vec<&[Step]> = windows
            .iter()
            .map(|steps| {
                let steps = steps.as_ref();
                let fits = |step: &Step| step.inputs.len() == self.config.inputs();
                assert!(!steps.is_empty(), "a window without steps");
                assert!(steps.iter().all(fits), "inputs of a step");
                &steps[steps.len().saturating_sub(self.config.window)..]
            })
            .collect();
        match &self.loaded {
            Loaded::Plain(weights) => {
                let decide = |steps: &&[Step]| dense(&self.config, weights, steps);
                Ok(windows.iter().map(decide).collect())
            }
            #[cfg(feature = "torch")]
            Loaded::Torch(network) => network.decide_all(&windows),
        }
    }

    /// Weights in the engine.
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }
}

/// One pass of the plain engine over a window.
fn dense(config: &PolicyConfig, weights: &Weights, steps: &[Step]) -> Outputs {
    let shape = &weights.shape;
    let (d, tokens) = (shape.width, config.tokens_per_record());
    let mut scratch = Scratch::new(config, shape, steps.len() * tokens);
    let mut hidden = vec![0.0; weights.path_scratch()];
    for (i, step) in steps.iter().enumerate() {
        let record = &mut scratch.tokens[i * tokens * d..][..tokens * d];
        embed(
            weights,
            step.return_to_go,
            &step.inputs,
            &step.action.numbers(),
            &mut hidden,
            record,
        );
        weights.add_time(i, record);
    }
    let count = steps.len() * tokens - 1; // all but the newest action
    advance(
        config.head.residual,
        weights,
        &mut State::new(config, shape),
        &mut scratch,
        count,
        true,
    )
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("config", &self.config)
            .field("hash", &self.hash)
            .field("runs_on", &self.runs_on)
            .finish_non_exhaustive()
    }
}

fn hash(config: &[u8], weights: &[u8]) -> String {
    let mut sha = Sha256::new();
    sha.update(config);
    sha.update(weights);
    hex(sha)
}

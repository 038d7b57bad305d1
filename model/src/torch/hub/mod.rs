//! Backbones as Hugging Face directories: `config.json`, and
//! `model.safetensors` or `model.safetensors.index.json` with the shards it
//! lists.

pub(super) mod read;
pub(super) mod write;

use std::fs;
use std::path::Path;

use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::backbone::Weights;
use crate::backbone::{BackboneConfig, BackboneError, CONFIG_FILE, Initial};
use read::Source;

/// The weights in a single file.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Index that maps tensors to shards.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Reads a model's configuration and its bare weights, converted to `kind`,
/// to `device`.
///
/// Stored types are f32, f16 and bf16; tensors may be named as in the bare
/// model or as in one with an output layer. Files are mapped, and only required
/// tensors are read.
///
/// # Errors
/// A file is missing, cannot be read, or is malformed; a tensor is missing or
/// has the wrong shape; libtorch failed.
pub fn load(
    dir: &Path,
    kind: Kind,
    device: Device,
) -> Result<(BackboneConfig, Weights), TrainError> {
    let config = BackboneConfig::from_dir(dir)?;
    let weights = load_weights(dir, &config, kind, device)?;
    Ok((config, weights))
}

/// As above with a given configuration, e.g. one without positions.
///
/// # Errors
/// As [`load`].
pub fn load_weights(
    dir: &Path,
    config: &BackboneConfig,
    kind: Kind,
    device: Device,
) -> Result<Weights, TrainError> {
    let source = Source::open(dir)?;
    read::read(
        &source,
        &config.specs(),
        |name| aliases(config, name),
        kind,
        device,
    )
}

/// Random weights, initialised as in the family. The same seed gives the same
/// weights on the same kind of device; the state of libtorch's generator
/// changes.
///
/// # Errors
/// libtorch failed.
pub fn random(
    config: &BackboneConfig,
    seed: u64,
    kind: Kind,
    device: Device,
) -> Result<Weights, TrainError> {
    let tensors = config.specs().into_iter().map(|(name, shape)| {
        let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let tensor = match config.initial(&name) {
            Initial::Zeros => Tensor::f_zeros(&shape, (kind, device))?,
            Initial::Constant(value) => Tensor::f_full(&shape, value, (kind, device))?,
            Initial::Normal(deviation) => {
                tch::manual_seed(seed_of(seed, &name));
                Tensor::f_randn(&shape, (Kind::Float, device))?
                    .f_mul_scalar(deviation)?
                    .f_to_kind(kind)?
            }
        };
        Ok((name, tensor))
    });
    tensors.collect()
}

/// Writes a directory for [`load`] and `transformers`: `config.json` and the
/// bare model in one file, in the types of the weights. Each file is replaced
/// atomically, the configuration last.
///
/// # Errors
/// The configuration is invalid, a tensor is missing or has the wrong shape,
/// or a file cannot be written.
pub fn save(dir: &Path, config: &BackboneConfig, weights: &Weights) -> Result<(), TrainError> {
    config.check(CONFIG_FILE)?;
    let tensors = config
        .specs()
        .into_iter()
        .map(|(name, shape)| {
            let tensor = weights.get(&name)?;
            if tensor
                .size()
                .iter()
                .map(|n| *n as usize)
                .ne(shape.iter().copied())
            {
                return Err(BackboneError::Tensor {
                    file: "weights".into(),
                    tensor: name,
                    reason: format!("shape {:?}, expected {shape:?}", tensor.size()),
                });
            }
            Ok((name, tensor))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let kind = tensors.first().map_or(Kind::Float, |(_, t)| t.kind());
    fs::create_dir_all(dir).map_err(|e| write::failed(dir, e))?;
    write::tensors(&dir.join(WEIGHTS_FILE), &tensors)?;
    write::text(&dir.join(CONFIG_FILE), &config_json(config, kind)?)?;
    Ok(())
}

/// The configuration, with the other keys required by `transformers`.
fn config_json(config: &BackboneConfig, kind: Kind) -> Result<String, BackboneError> {
    let syntax = |e: serde_json::Error| BackboneError::Syntax {
        file: CONFIG_FILE.into(),
        key: ".".into(),
        reason: e.to_string(),
    };
    let class = match config {
        BackboneConfig::Gpt2(_) => "GPT2Model",
        BackboneConfig::Opt(_) => "OPTModel",
        BackboneConfig::Llama(_) => "LlamaModel",
        BackboneConfig::T5(_) => "T5Model",
    };
    let kind = match kind {
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        _ => "float32",
    };
    let mut value = serde_json::to_value(config).map_err(syntax)?;
    value["architectures"] = json!([class]);
    value["torch_dtype"] = json!(kind);
    let mut text = serde_json::to_string_pretty(&value).map_err(syntax)?;
    text.push('\n');
    Ok(text)
}

/// Possible names of a bare model's tensor in a file, its own name first.
pub(super) fn aliases(config: &BackboneConfig, name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    for prefix in ["transformer.", "model."] {
        names.push(format!("{prefix}{name}"));
    }
    if let (BackboneConfig::Opt(_), Some(rest)) = (config, name.strip_prefix("decoder.")) {
        names.push(rest.to_owned());
    }
    names
}

/// FNV-1a hash, so that a tensor's values do not depend on the preceding
/// tensors.
fn seed_of(seed: u64, name: &str) -> i64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(crate::splitmix::GOLDEN);
    let hash = name.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash as i64
}

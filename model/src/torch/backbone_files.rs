//! File-level operations on backbones, adapters and hidden states.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::backbone::{Pass, hidden as forward};
use super::hub::read::{self, Source};
use super::hub::{self, write};
use super::lora;
use crate::backbone::{BackboneConfig, BackboneError, LoraConfig};
use crate::files::AtomicDir;

/// Tensors of a Hugging Face directory, compared with its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Tensors of the bare model that are present.
    pub found: usize,
    /// Tensors of the bare model that are missing.
    pub missing: Vec<String>,
    /// Tensors that the bare model does not use, e.g. word embeddings.
    pub ignored: usize,
    /// Number types, in safetensors notation.
    pub kinds: Vec<String>,
}

/// Determines which tensors of its model a Hugging Face directory contains.
/// Reads no weights.
///
/// # Errors
/// A file is missing, cannot be read, or is malformed.
pub fn stored(dir: &Path) -> Result<Stored, TrainError> {
    let config = BackboneConfig::from_dir(dir)?;
    let files: BTreeSet<PathBuf> = match Source::open(dir)? {
        Source::One(file) => [file].into(),
        Source::Sharded { shards, .. } => shards.into_values().collect(),
    };
    let (mut names, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let mapped = read::open(&file)?;
        for (name, view) in read::parse(&file, &mapped)?.tensors() {
            kinds.insert(format!("{:?}", view.dtype()));
            names.insert(name);
        }
    }
    let known = |name: &String| {
        let mut aliases = hub::aliases(&config, name).into_iter();
        aliases.any(|alias| names.contains(&alias))
    };
    let specs = config.specs().into_iter().map(|(name, _)| name);
    let (found, missing): (Vec<String>, Vec<String>) = specs.partition(known);
    Ok(Stored {
        ignored: names.len().saturating_sub(found.len()),
        found: found.len(),
        missing,
        kinds: kinds.into_iter().collect(),
    })
}

/// Reads `embeds` [B, T, d] and, where there is padding, `mask` [B, T] (0: no
/// token) from `input`, and writes the model's `last_hidden_state` [B, T, d],
/// f32, to `out`.  Returns its shape.
///
/// # Errors
/// A file cannot be read or is malformed, shapes do not match, or `out` cannot
/// be written.
pub fn hidden(
    dir: &Path,
    adapter: Option<&Path>,
    input: &Path,
    out: &Path,
) -> Result<[i64; 3], TrainError> {
    let mapped = read::open(input)?;
    let tensors = read::parse(input, &mapped)?;
    let embeds = tensors
        .tensor("embeds")
        .map_err(|e| read::wrong(input, "embeds", e.to_string()))?;
    let embeds = copied(input, "embeds", &embeds)?.f_to_kind(Kind::Float)?;
    let mask = match tensors.tensor("mask") {
        Ok(mask) => Some(copied(input, "mask", &mask)?.f_ne(0)?),
        Err(_) => None,
    };

    let (config, mut weights) = hub::load(dir, Kind::Float, Device::Cpu)?;
    let lora = match adapter {
        None => None,
        Some(adapter) => {
            let (lora, own) = lora::load(adapter, &config, Kind::Float, Device::Cpu)?;
            weights.extend(own);
            Some(lora)
        }
    };
    let pass = Pass {
        mask: mask.as_ref(),
        lora: lora.as_ref(),
        ..Pass::default()
    };
    let _guard = tch::no_grad_guard();
    let state = forward(&config, &weights, &embeds, &pass)?.f_contiguous()?;
    let (batch, tokens, width) = state.size3()?;
    write::tensors(out, &[("last_hidden_state".to_owned(), &state)])?;
    Ok([batch, tokens, width])
}

/// Writes a model with random f32 weights to `out`, which must not exist.
///
/// # Errors
/// `out` exists or cannot be written, or libtorch failed.
pub fn initialise(config: &BackboneConfig, seed: u64, out: &Path) -> Result<(), TrainError> {
    let weights = hub::random(config, seed, Kind::Float, Device::Cpu)?;
    whole(out, |part| hub::save(part, config, &weights))
}

/// Writes a model with a merged adapter, f32, to `out`, which must not exist.
///
/// # Errors
/// The model or the adapter cannot be read, the two do not match, or `out`
/// exists or cannot be written.
pub fn merge(dir: &Path, adapter: &Path, out: &Path) -> Result<BackboneConfig, TrainError> {
    let (config, mut weights) = hub::load(dir, Kind::Float, Device::Cpu)?;
    let (lora, own) = lora::load(adapter, &config, Kind::Float, Device::Cpu)?;
    weights.extend(own);
    let merged = lora::merge(&config, &lora, &weights)?;
    whole(out, |part| hub::save(part, &config, &merged))?;
    Ok(config)
}

/// Writes a new adapter without effect, in PEFT's format, to `out`, which
/// must not exist. Returns its number of weights.
///
/// # Errors
/// The configuration cannot be read, `lora` does not fit it, or `out` exists
/// or cannot be written.
pub fn fresh_adapter(
    dir: &Path,
    lora: &LoraConfig,
    seed: u64,
    out: &Path,
) -> Result<u64, TrainError> {
    let config = BackboneConfig::from_dir(dir)?;
    lora.layers(&config, "adapter", "")?;
    let weights = lora::random(&config, lora, seed as i64, Kind::Float, Device::Cpu)?;
    let base = dir.to_string_lossy();
    whole(out, |part| {
        lora::save(part, &config, lora, &weights, Some(&base))
    })?;
    Ok(weights.iter().map(|(_, t)| t.numel() as u64).sum())
}

/// Fills a temporary directory next to `out` and renames it to `out`.
fn whole(out: &Path, fill: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<(), TrainError> {
    let dir = AtomicDir::create(out).map_err(|e| write::failed(out, e))?;
    fill(dir.temporary())?;
    Ok(dir.commit().map_err(|e| write::failed(out, e))?)
}

/// A tensor of an input file.
fn copied(file: &Path, name: &str, view: &TensorView<'_>) -> Result<Tensor, TrainError> {
    let kind = match view.dtype() {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        other => {
            let reason = format!("{other:?}, expected numbers or BOOL");
            let error: BackboneError = read::wrong(file, name, reason);
            return Err(error.into());
        }
    };
    let shape: Vec<i64> = view.shape().iter().map(|n| *n as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}

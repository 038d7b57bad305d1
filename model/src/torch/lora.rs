//! Adapters: their weights, merging, and PEFT's directories.

use std::fs;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::backbone::Weights;
use super::hub::read::{self, Source};
use super::hub::{aliases, write};
use crate::backbone::{
    ADAPTER_CONFIG_FILE, BackboneConfig, BackboneError, CONFIG_MAX, Linear, LoraConfig, Module,
};

use crate::files::read_regular;
pub use crate::policy_files::ADAPTER_FILE;
use crate::tensors::file_size_max;

/// PEFT's prefix of module names.
const PREFIX: &str = "base_model.model.";

/// Weights of new adapters: A uniform in ±1/√in and B zero, hence without
/// effect. The same seed gives the same weights on the same kind of device; the
/// state of libtorch's generator changes.
///
/// # Errors
/// As [`LoraConfig::specs`], or libtorch failed.
pub fn random(
    config: &BackboneConfig,
    lora: &LoraConfig,
    seed: i64,
    kind: Kind,
    device: Device,
) -> Result<Weights, TrainError> {
    tch::manual_seed(seed);
    let tensors = lora.specs(config)?.into_iter().map(|(name, shape)| {
        let shape = [shape[0] as i64, shape[1] as i64];
        if name.ends_with("lora_B.weight") {
            return Ok((name, Tensor::f_zeros(shape, (kind, device))?));
        }
        let bound = 1.0 / (shape[1] as f64).sqrt();
        let a = Tensor::f_rand(shape, (Kind::Float, device))?
            .f_mul_scalar(2.0 * bound)?
            .f_sub_scalar(bound)?;
        Ok((name, a.f_to_kind(kind)?))
    });
    tensors.collect()
}

/// Merges the adapters into the base: returns the weights of an equivalent
/// model without adapters. `weights` contains both and is unchanged.
///
/// # Errors
/// A tensor is missing or has the wrong shape, or libtorch failed.
pub fn merge(
    config: &BackboneConfig,
    lora: &LoraConfig,
    weights: &Weights,
) -> Result<Weights, TrainError> {
    shift(config, lora, weights, weights, 1.0)
}

/// Reverts [`merge`], up to rounding.
///
/// # Errors
/// As [`merge`].
pub fn unmerge(
    config: &BackboneConfig,
    lora: &LoraConfig,
    merged: &Weights,
    adapter: &Weights,
) -> Result<Weights, TrainError> {
    shift(config, lora, merged, adapter, -1.0)
}

/// Writes a directory for [`load`] and `peft`. `base` is the path or name of
/// the adapter's model.
///
/// # Errors
/// A tensor is missing, or a file cannot be written.
pub fn save(
    dir: &Path,
    config: &BackboneConfig,
    lora: &LoraConfig,
    adapter: &Weights,
    base: Option<&str>,
) -> Result<(), TrainError> {
    let tensors = lora
        .specs(config)?
        .into_iter()
        .map(|(name, _)| Ok((format!("{PREFIX}{name}"), adapter.get(&name)?)))
        .collect::<Result<Vec<_>, BackboneError>>()?;
    fs::create_dir_all(dir).map_err(|e| write::failed(dir, e))?;
    write::tensors(&dir.join(ADAPTER_FILE), &tensors)?;
    let text = lora.to_peft_json(config, base);
    write::text(&dir.join(ADAPTER_CONFIG_FILE), &text)?;
    Ok(())
}

/// Reads a PEFT directory for a backbone. It may contain only tensors
/// required by its configuration.
///
/// # Errors
/// A file is missing, cannot be read, or is malformed; the adapter does not
/// fit the backbone; it contains another tensor.
pub fn load(
    dir: &Path,
    config: &BackboneConfig,
    kind: Kind,
    device: Device,
) -> Result<(LoraConfig, Weights), TrainError> {
    let path = dir.join(ADAPTER_CONFIG_FILE);
    let text = read_regular(&path, CONFIG_MAX).map_err(|e| BackboneError::read(&path, e))?;
    let file = path.display().to_string();
    let path = dir.join(ADAPTER_FILE);
    if !path.is_file() && dir.join("adapter_model.bin").is_file() {
        let reason = format!(
            "only adapter_model.bin, a format that can run code; convert it to {ADAPTER_FILE}, \
             e.g. with save_pretrained of peft"
        );
        return Err(read::layout(dir, reason).into());
    }
    let names = |name: &str| -> Vec<String> {
        let of_module = aliases(config, name).into_iter();
        of_module.map(|n| format!("{PREFIX}{n}")).collect()
    };
    let mapped = read::open(&path)?;
    let stored = read::parse(&path, &mapped)?;
    let modules = modules(config, |name| stored.tensor(name).is_ok());
    let lora = LoraConfig::from_peft_json(&file, &text, config, &modules)?;
    lora.layers(config, &file, "")?;
    let specs = lora.specs(config)?;
    let (size, most) = (mapped.len() as u64, file_size_max(&specs));
    if size > most {
        let reason = format!("has {size} bytes, expected at most {most} for the adapted layers");
        return Err(read::layout(&path, reason).into());
    }
    let known: Vec<String> = specs.iter().flat_map(|(name, _)| names(name)).collect();
    for name in stored.names() {
        if !known.iter().any(|k| k == name) {
            let reason = format!("not required by {ADAPTER_CONFIG_FILE}");
            return Err(read::wrong(&path, name, reason).into());
        }
    }
    let weights = read::read(&Source::One(path), &specs, names, kind, device)?;
    Ok((lora, weights))
}

/// The linear layers, by their names in the model given to PEFT: of the
/// possible names, the one under which most adapters are stored.
fn modules(config: &BackboneConfig, stored: impl Fn(&str) -> bool) -> Vec<Module> {
    let layers: Vec<(String, Vec<String>)> = config
        .linears()
        .into_iter()
        .map(|linear| (linear.name.clone(), aliases(config, &linear.name)))
        .collect();
    let choices = layers.first().map_or(0, |(_, names)| names.len());
    let count = |choice: &usize| {
        let has = |name: &str| stored(&format!("{PREFIX}{name}.lora_A.weight"));
        layers
            .iter()
            .filter(|(_, names)| has(&names[*choice]))
            .count()
    };
    // On a tie the first: the bare model.
    let choice = (0..choices).rev().max_by_key(count).unwrap_or(0);
    let modules = layers.into_iter().map(|(bare, mut names)| Module {
        full: names.swap_remove(choice),
        bare,
    });
    modules.collect()
}

/// `base` without adapters, plus `times` times those of `adapter`.
fn shift(
    config: &BackboneConfig,
    lora: &LoraConfig,
    base: &Weights,
    adapter: &Weights,
    times: f64,
) -> Result<Weights, TrainError> {
    let _guard = tch::no_grad_guard();
    let mut shifted: Weights = base
        .iter()
        .filter(|(name, _)| !name.contains(".lora_"))
        .map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone()))
        .collect();
    for Linear {
        name, transposed, ..
    } in lora.layers(config, "lora", "")?
    {
        let a = adapter.get(&format!("{name}.lora_A.weight"))?;
        let b = adapter.get(&format!("{name}.lora_B.weight"))?;
        let scale = lora.scale(&name);
        let name = format!("{name}.weight");
        let weight = base.get(&name)?;
        // Computed in f32 for all types and rounded once.
        let float = |t: &Tensor| t.f_to_device(weight.device())?.f_to_kind(Kind::Float);
        let mut update = float(b)?.f_matmul(&float(a)?)?; // [out, in]
        if transposed {
            update = update.f_tr()?;
        }
        let update = update.f_mul_scalar(times * scale)?;
        let sum = float(weight)?.f_add(&update)?.f_to_kind(weight.kind())?;
        shifted.insert(name, sum);
    }
    Ok(shifted)
}

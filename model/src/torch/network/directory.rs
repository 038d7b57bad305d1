//! Reads and writes networks as policy directories.

use std::fs;
use std::path::{Path, PathBuf};

use tch::{Device, Kind};

use super::{Network, Options};
use crate::backbone::{BackboneError, LoraConfig};
use crate::base::base_hash;
use crate::policy_files::{ADAPTER_DIR, MODULES_FILE, by_path, read_tensors, replace};
use crate::tensors::BACKBONE;
use crate::torch::{TrainError, backbone, hub, lora};
use crate::{
    Adaptation, BaseConfig, CONFIG_FILE, Policy, PolicyConfig, PolicyError, Tensors, module_specs,
    specs,
};

impl Network {
    /// Initial network of a training: random weights, except for the base,
    /// which is read from its directory, and for `start`, an optional Hugging
    /// Face directory whose weights are trained further (with
    /// [`Adaptation::Full`]). A relative path of a base is relative to `dir`.
    ///
    /// # Errors
    /// The configuration is invalid, the base or `start` cannot be read, the
    /// base differs from the one configured, or libtorch failed.
    pub fn create(
        config: PolicyConfig,
        dir: &Path,
        start: Option<&Path>,
        seed: u64,
        options: Options,
    ) -> Result<Network, TrainError> {
        config.check()?;
        let base = base_weights(&config, dir, options)?;
        let mut tensors = Tensors::random(&config, seed)?;
        if let Some(start) = start {
            if config.adaptation != Adaptation::Full {
                let want = "full, to train a backbone further";
                return Err(PolicyError::config("adaptation", "lora", want).into());
            }
            let kind = Kind::Float;
            let weights = hub::load_weights(start, &config.backbone, kind, Device::Cpu)?;
            tensors = with_backbone(&config, &tensors, &weights)?;
        }
        Network::with(config, &tensors, base, options)
    }

    /// Reads a policy directory with any backbone, merged or not.
    ///
    /// # Errors
    /// A file cannot be read or is malformed, the adapter or the base differs
    /// from the one configured, or libtorch failed.
    pub fn load(dir: &Path, options: Options) -> Result<Network, TrainError> {
        let config = Policy::load_config(dir)?;
        let Some(expected) = config.adapter() else {
            let (config, tensors) = Policy::load_tensors(dir)?;
            return Network::with(config, &tensors, backbone::Weights::new(), options);
        };
        let (modules, _) = read_tensors(&dir.join(MODULES_FILE), &module_specs(&config), by_path)?;
        let path = dir.join(ADAPTER_DIR);
        let (lora, adapter) = lora::load(&path, &config.backbone, Kind::Float, Device::Cpu)?;
        let each = |lora: &LoraConfig| -> Result<Vec<_>, BackboneError> {
            let layers = lora.layers(&config.backbone, "adapter", "")?.into_iter();
            let of = |name: &str| (name.to_owned(), lora.rank(name), lora.scale(name));
            Ok(layers.map(|layer| of(&layer.name)).collect())
        };
        if each(&lora)? != each(expected)? {
            let got = format!("{expected:?}");
            let want = format!("the adapter of {}: {lora:?}", path.display());
            return Err(PolicyError::config("adaptation.lora", got, want).into());
        }
        let mut map = owned(&modules);
        for (name, tensor) in adapter.iter() {
            map.insert(format!("{BACKBONE}{name}"), numbers_of(tensor)?);
        }
        let tensors = Tensors::of(&crate::trained_specs(&config)?, map)?;
        let base = base_weights(&config, dir, options)?;
        Network::with(config, &tensors, base, options)
    }

    /// Writes a policy directory, which is created if necessary, with
    /// `config` instead of the network's own; the two may differ only in keys
    /// that do not affect weights. Each file is replaced atomically, the
    /// configuration last.
    ///
    /// # Errors
    /// The configuration is invalid, or a file cannot be written.
    pub fn save(&self, dir: &Path, config: &PolicyConfig) -> Result<(), TrainError> {
        let tensors = self.tensors()?;
        let Some(lora) = config.adapter() else {
            return Ok(Policy::save(dir, config, &tensors)?);
        };
        config.check()?;
        fs::create_dir_all(dir).map_err(|e| PolicyError::write(dir, e))?;
        let modules = module_specs(config);
        let part = tensors.part(&modules);
        replace(&dir.join(MODULES_FILE), &part.to_safetensors(&modules))?;
        let (_, adapter) = self.trained.view(Kind::Float)?;
        let base = config.base.as_ref().map(|base| base.path.to_string_lossy());
        lora::save(
            &dir.join(ADAPTER_DIR),
            &config.backbone,
            lora,
            &adapter,
            base.as_deref(),
        )?;
        replace(&dir.join(CONFIG_FILE), config.to_json().as_bytes())?;
        Ok(())
    }

    /// The policy with its adapter merged into its base, in f32: the policy
    /// that [`Policy::save`] writes and, with a GPT-2, the plain engine runs.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn merged(&self) -> Result<(PolicyConfig, Tensors), TrainError> {
        let tensors = self.tensors()?;
        let Some(lora) = self.config.adapter() else {
            return Ok((self.config.clone(), tensors));
        };
        let (_, mut weights) = self.trained.view(Kind::Float)?;
        for (name, tensor) in self.frozen.iter() {
            weights.insert(name, tensor.f_to_kind(Kind::Float)?);
        }
        let merged = lora::merge(&self.config.backbone, lora, &weights)?;
        let mut config = self.config.clone();
        config.base = None;
        let tensors = with_backbone(&config, &tensors, &merged)?;
        Ok((config, tensors))
    }
}

/// Writes a base for policies trained from scratch: random weights of a
/// family, as a Hugging Face directory. `path` is its path in a policy's
/// configuration.
///
/// # Errors
/// The directory cannot be written, or libtorch failed.
pub fn random_base(
    dir: &Path,
    path: &Path,
    config: &crate::backbone::BackboneConfig,
    seed: u64,
    options: Options,
) -> Result<BaseConfig, TrainError> {
    let weights = hub::random(config, seed, options.kind, options.device)?;
    hub::save(dir, config, &weights)?;
    Ok(crate::base_config(dir, path)?)
}

/// Weights of a policy's base; empty if it has none.
fn base_weights(
    config: &PolicyConfig,
    dir: &Path,
    options: Options,
) -> Result<backbone::Weights, TrainError> {
    let Some(base) = &config.base else {
        return Ok(backbone::Weights::new());
    };
    let path = relative_to(dir, &base.path);
    let hash = base_hash(&path)?;
    if hash != base.sha256 {
        let want = format!("{hash}, the hash of the weights in {}", path.display());
        return Err(PolicyError::config("base.sha256", &base.sha256, want).into());
    }
    hub::load_weights(&path, &config.backbone, options.kind, options.device)
}

/// `path` relative to `dir`, which need not exist yet, so the path is
/// resolved without the file system.
fn relative_to(dir: &Path, path: &Path) -> PathBuf {
    let (mut dir, mut path) = (dir.to_owned(), path);
    while let Ok(rest) = path.strip_prefix("..") {
        match dir.file_name() {
            Some(_) => drop(dir.pop()),
            None => dir.push(".."),
        }
        path = rest;
    }
    dir.join(path)
}

/// The tensors outside the backbone, and the others.
fn with_backbone(
    config: &PolicyConfig,
    tensors: &Tensors,
    weights: &backbone::Weights,
) -> Result<Tensors, TrainError> {
    let mut map = owned(&tensors.part(&module_specs(config)));
    for (name, tensor) in weights.iter() {
        map.insert(format!("{BACKBONE}{name}"), numbers_of(tensor)?);
    }
    Ok(Tensors::of(&specs(config), map)?)
}

fn owned(tensors: &Tensors) -> std::collections::BTreeMap<String, Vec<f32>> {
    let tensors = tensors.iter();
    tensors.map(|(n, v)| (n.to_owned(), v.to_vec())).collect()
}

fn numbers_of(tensor: &tch::Tensor) -> Result<Vec<f32>, TrainError> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?;
    let tensor = tensor.f_to_kind(Kind::Float)?.f_contiguous()?;
    Ok(Vec::<f32>::try_from(tensor.f_view([-1])?)?)
}

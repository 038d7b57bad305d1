//! `model.safetensors`: named f32 tensors, exactly those required by a
//! configuration.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::backbone::Initial;
use crate::splitmix::SplitMix64;
use crate::{PolicyConfig, PolicyError};

/// Prefix of a backbone's tensors.
pub(crate) const BACKBONE: &str = "backbone.";

/// Maximum header size, bytes. The largest backbone that a configuration can
/// describe needs about a tenth of this.
const HEADER_MAX: usize = 1 << 20;

/// A tensor's name and shape.
pub type Spec = (String, Vec<usize>);

/// The tensors of a policy, row-major, in the order of [`specs`].
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors(BTreeMap<String, Vec<f32>>);

/// All tensors required by `config` once an adapter is merged. Names and
/// layouts of the backbone are Hugging Face's with the prefix `backbone.`
/// (GPT-2's matrices are inputs × outputs, all others outputs × inputs).
pub fn specs(config: &PolicyConfig) -> Vec<Spec> {
    let mut specs = module_specs(config);
    let backbone = config.backbone.specs().into_iter();
    specs.extend(backbone.map(|(name, shape)| (format!("{BACKBONE}{name}"), shape)));
    specs
}

/// The tensors that training changes and a policy directory holds: all, or,
/// with a frozen base, the adapters and those outside the backbone. The latter
/// come first.
///
/// # Errors
/// The adapter does not fit the backbone.
pub fn trained_specs(config: &PolicyConfig) -> Result<Vec<Spec>, PolicyError> {
    let Some(lora) = config.adapter() else {
        return Ok(specs(config));
    };
    let mut specs = module_specs(config);
    let adapters = lora.specs(&config.backbone)?.into_iter();
    specs.extend(adapters.map(|(name, shape)| (format!("{BACKBONE}{name}"), shape)));
    Ok(specs)
}

/// The tensors outside the backbone: encoder, time, norm and head.
pub fn module_specs(config: &PolicyConfig) -> Vec<Spec> {
    let d = config.backbone.width();
    let mut specs = Vec::new();
    for (token, inputs) in [("return", 1), ("action", config.action_inputs())] {
        specs.push((format!("{token}.weight"), vec![d, inputs]));
        specs.push((format!("{token}.bias"), vec![d]));
    }
    specs.push(("time.weight".into(), vec![config.window, d]));
    for feature in &config.features {
        let mut add = |spec| specs.push(spec);
        feature.encoder.specs(feature.name.name(), d, &mut add);
    }
    let head = vec![config.head.outputs(), d];
    for (name, shape) in [("embed_norm", vec![d]), ("head", head)] {
        specs.push((format!("{name}.bias"), vec![shape[0]]));
        specs.push((format!("{name}.weight"), shape));
    }
    specs
}

impl Tensors {
    /// Checks a set of tensors against the configuration: all required, none
    /// missing, every shape correct, every value finite.
    ///
    /// # Errors
    /// The name of the first tensor that violates this, and how.
    pub fn new(
        config: &PolicyConfig,
        tensors: BTreeMap<String, Vec<f32>>,
    ) -> Result<Tensors, PolicyError> {
        Tensors::of(&trained_specs(config)?, tensors)
    }

    /// As above for any set of tensors.
    pub(crate) fn of(
        specs: &[Spec],
        mut tensors: BTreeMap<String, Vec<f32>>,
    ) -> Result<Tensors, PolicyError> {
        let mut known = BTreeMap::new();
        for (name, shape) in specs {
            let data = tensors
                .remove(name)
                .ok_or_else(|| wrong("tensors", name, "missing"))?;
            if data.len() != shape.iter().product::<usize>() {
                let reason = format!("{} values, expected the shape {shape:?}", data.len());
                return Err(wrong("tensors", name, reason));
            }
            check_finite("tensors", name, &data)?;
            known.insert(name.clone(), data);
        }
        match tensors.into_keys().next() {
            Some(name) => Err(wrong("tensors", &name, "not part of this policy")),
            None => Ok(Tensors(known)),
        }
    }

    /// Initial values of [`trained_specs`]: backbones as their family
    /// initialises them, adapters without effect, and larger values for the
    /// paths of features, since their fan-in is small.
    ///
    /// # Errors
    /// As [`trained_specs`].
    pub fn random(config: &PolicyConfig, seed: u64) -> Result<Tensors, PolicyError> {
        let mut random = SplitMix64::new(seed);
        let mut tensors = BTreeMap::new();
        for (name, shape) in trained_specs(config)? {
            let draw = initial(config, &name, &shape);
            let values = (0..shape.iter().product()).map(|_| match draw {
                Draw::Uniform(bound) => bound * (2.0 * random.uniform() - 1.0),
                Draw::Normal(deviation) => deviation * random.normal(),
                Draw::Constant(value) => value,
            });
            let values = values.collect();
            tensors.insert(name, values);
        }
        Ok(Tensors(tensors))
    }

    /// Reads a safetensors file with exactly these tensors. `file` is its
    /// name in errors.
    pub(crate) fn from_safetensors(
        specs: &[Spec],
        file: &str,
        bytes: &[u8],
    ) -> Result<Tensors, PolicyError> {
        let format = |reason: String| PolicyError::Format {
            file: file.to_owned(),
            reason,
        };
        let header = bytes
            .first_chunk::<8>()
            .map(|length| u64::from_le_bytes(*length))
            .ok_or_else(|| format("shorter than the length of a header".into()))?;
        if header > HEADER_MAX as u64 {
            return Err(format(format!(
                "header of {header} bytes, at most {HEADER_MAX}"
            )));
        }
        let parsed = SafeTensors::deserialize(bytes).map_err(|e| format(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, shape) in specs {
            let view = parsed
                .tensor(name)
                .map_err(|_| wrong(file, name, "missing"))?;
            if view.dtype() != Dtype::F32 {
                return Err(wrong(
                    file,
                    name,
                    format!("{:?}, expected F32", view.dtype()),
                ));
            }
            if view.shape() != shape {
                let reason = format!("shape {:?}, expected {shape:?}", view.shape());
                return Err(wrong(file, name, reason));
            }
            let data: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            check_finite(file, name, &data)?;
            tensors.insert(name.clone(), data);
        }
        match parsed
            .names()
            .into_iter()
            .find(|name| !tensors.contains_key(*name))
        {
            Some(name) => Err(wrong(file, name, "not part of this policy")),
            None => Ok(Tensors(tensors)),
        }
    }

    /// The bytes of a safetensors file; equal tensors give equal bytes.
    pub(crate) fn to_safetensors(&self, specs: &[Spec]) -> Vec<u8> {
        let bytes: Vec<(&str, &[usize], Vec<u8>)> = specs
            .iter()
            .map(|(name, shape)| {
                let values = self.values(name).iter();
                let data = values.flat_map(|v| v.to_le_bytes()).collect();
                (name.as_str(), shape.as_slice(), data)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), data)
                .expect("new and from_safetensors checked the shape");
            (*name, view)
        });
        safetensors::serialize(views, None).expect("names are distinct and shapes fit the data")
    }

    /// Checks that the tensors are those of `specs`.
    pub(crate) fn check(&self, specs: &[Spec]) -> Result<(), PolicyError> {
        Tensors::of(specs, self.0.clone()).map(drop)
    }

    /// Keeps only the tensors of `specs`.
    #[cfg(feature = "torch")]
    pub(crate) fn part(&self, specs: &[Spec]) -> Tensors {
        let of = |(name, _): &Spec| Some((name.clone(), self.0.get(name)?.clone()));
        Tensors(specs.iter().filter_map(of).collect())
    }

    /// Values of a tensor of the configuration against which these were
    /// checked.
    pub fn values(&self, name: &str) -> &[f32] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names and mutable values, by name.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut [f32])> {
        self.0
            .iter_mut()
            .map(|(name, values)| (name.as_str(), values.as_mut_slice()))
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.0
            .iter()
            .map(|(name, values)| (name.as_str(), values.as_slice()))
    }
}

/// Maximum size of a file with these tensors, bytes.
pub(crate) fn file_size_max(specs: &[Spec]) -> u64 {
    8 + HEADER_MAX as u64 + 4 * numbers(specs)
}

/// Number of values in the tensors.
pub fn numbers(specs: &[Spec]) -> u64 {
    let of = |(_, shape): &Spec| shape.iter().map(|&n| n as u64).product::<u64>();
    specs.iter().map(of).sum()
}

/// Initialisation of a tensor.
enum Draw {
    /// Uniform within plus and minus this value.
    Uniform(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Constant.
    Constant(f32),
}

fn initial(config: &PolicyConfig, name: &str, shape: &[usize]) -> Draw {
    let fan_in = shape[1..].iter().product::<usize>() as f32;
    if name.ends_with("lora_A.weight") {
        return Draw::Uniform(1.0 / fan_in.sqrt());
    }
    if name.ends_with("lora_B.weight") {
        return Draw::Constant(0.0);
    }
    if let Some(name) = name.strip_prefix(BACKBONE) {
        return match config.backbone.initial(name) {
            Initial::Zeros => Draw::Constant(0.0),
            Initial::Constant(value) => Draw::Constant(value as f32),
            Initial::Normal(deviation) => Draw::Normal(deviation as f32),
        };
    }
    match name {
        "embed_norm.weight" => Draw::Constant(1.0),
        _ if name.ends_with("hidden.bias") => Draw::Uniform(1.0),
        _ if name.ends_with("bias") => Draw::Constant(0.0),
        "return.weight" | "action.weight" => Draw::Uniform(1.0),
        _ if name.ends_with("project.weight") => Draw::Normal(1.0 / fan_in.sqrt()),
        _ if name.starts_with("encoder.") => Draw::Uniform(1.0 / fan_in.sqrt()),
        _ => Draw::Normal(0.02),
    }
}

pub(crate) fn wrong(file: &str, tensor: &str, reason: impl Into<String>) -> PolicyError {
    PolicyError::Tensor {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        reason: reason.into(),
    }
}

fn check_finite(file: &str, tensor: &str, data: &[f32]) -> Result<(), PolicyError> {
    match data.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(wrong(file, tensor, format!("value {at} is {}", data[at]))),
        None => Ok(()),
    }
}

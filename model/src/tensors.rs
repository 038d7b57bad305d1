//! `model.safetensors`: named f32 tensors, exactly those that a configuration
//! calls for.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::{ACTIONS, Adaptation, PolicyConfig, PolicyError};

/// Stands before the names of a backbone's tensors.
pub(crate) const BACKBONE: &str = "backbone.";

/// Longest acceptable header, bytes.  The largest backbone that a
/// configuration can describe needs about a tenth of this.
const HEADER_MAX: usize = 1 << 20;

/// A tensor's name and shape.
pub type Spec = (String, Vec<usize>);

/// The tensors of a policy, row-major, in the order of [`specs`].
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors(BTreeMap<String, Vec<f32>>);

/// Every tensor that `config` calls for once an adapter is merged.  Names and
/// layouts of the backbone are Hugging Face's, with `backbone.` before them
/// (GPT-2's matrices are inputs × outputs, all others outputs × inputs).
pub fn specs(config: &PolicyConfig) -> Vec<Spec> {
    let mut specs = module_specs(config);
    let backbone = config.backbone.specs().into_iter();
    specs.extend(backbone.map(|(name, shape)| (format!("{BACKBONE}{name}"), shape)));
    specs
}

/// The tensors that training changes: all, or those outside of the backbone
/// and the adapters.  Those outside of the backbone come first.
pub fn trained_specs(config: &PolicyConfig) -> Result<Vec<Spec>, PolicyError> {
    let Adaptation::Lora(lora) = &config.adaptation else {
        return Ok(specs(config));
    };
    let mut specs = module_specs(config);
    let adapters = lora.specs(&config.backbone)?.into_iter();
    specs.extend(adapters.map(|(name, shape)| (format!("{BACKBONE}{name}"), shape)));
    Ok(specs)
}

/// The tensors outside of the backbone: encoder, time, norm and head.
pub fn module_specs(config: &PolicyConfig) -> Vec<Spec> {
    let d = config.backbone.width();
    let mut specs = Vec::new();
    for scalar in ["return", "action"] {
        specs.push((format!("{scalar}.weight"), vec![d, 1]));
        specs.push((format!("{scalar}.bias"), vec![d]));
    }
    specs.push(("time.weight".into(), vec![config.window, d]));
    for feature in &config.features {
        let mut add = |spec| specs.push(spec);
        feature.encoder.specs(feature.name.name(), d, &mut add);
    }
    for (name, shape) in [("embed_norm", vec![d]), ("head", vec![ACTIONS, d])] {
        specs.push((format!("{name}.bias"), vec![shape[0]]));
        specs.push((format!("{name}.weight"), shape));
    }
    specs
}

impl Tensors {
    /// Checks a set of tensors against the configuration: each called for,
    /// none missing, every shape right, every value finite.
    pub fn new(
        config: &PolicyConfig,
        tensors: BTreeMap<String, Vec<f32>>,
    ) -> Result<Tensors, PolicyError> {
        Tensors::of(&specs(config), tensors)
    }

    /// The same for any set of tensors.
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
                let reason = format!("{} values, want the shape {shape:?}", data.len());
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

    /// GPT-2's initialisation: matrices N(0, 0.02²), the projections into the
    /// residual stream scaled down by √(2 layers), biases 0, norms 1.  Paths
    /// of scalars and series get more, since their fan-in is small.
    pub fn random(config: &PolicyConfig, seed: u64) -> Tensors {
        let mut random = Random::new(seed);
        let residual = 0.02 / (2.0 * config.backbone.layers() as f32).sqrt();
        let mut tensors = BTreeMap::new();
        for (name, shape) in specs(config) {
            let fan_in = shape[1..].iter().product::<usize>() as f32;
            let matrix = shape.len() > 1;
            let (paths, backbone) = (name.contains("encoder."), name.contains("backbone."));
            let scalar = (!backbone && matrix && fan_in == 1.0) || name.ends_with("hidden.bias");
            let first = name.contains(".hidden.") || name.contains(".conv");
            let values = (0..shape.iter().product()).map(|_| match () {
                () if scalar => 2.0 * random.uniform() - 1.0,
                () if paths && matrix && first => (2.0 * random.uniform() - 1.0) / fan_in.sqrt(),
                () if paths && matrix => random.normal() / fan_in.sqrt(),
                () if backbone && name.contains("c_proj") && matrix => random.normal() * residual,
                () if matrix => random.normal() * 0.02,
                () if name.contains("ln_") || name.contains("norm") => {
                    f32::from(u8::from(name.ends_with("weight")))
                }
                () => 0.0,
            });
            let values = values.collect();
            tensors.insert(name, values);
        }
        Tensors(tensors)
    }

    /// Reads a safetensors file.  `file` is its name in errors.
    pub fn from_safetensors(
        config: &PolicyConfig,
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
        for (name, shape) in specs(config) {
            let view = parsed
                .tensor(&name)
                .map_err(|_| wrong(file, &name, "missing"))?;
            if view.dtype() != Dtype::F32 {
                return Err(wrong(file, &name, format!("{:?}, want F32", view.dtype())));
            }
            if view.shape() != shape {
                return Err(wrong(
                    file,
                    &name,
                    format!("shape {:?}, want {shape:?}", view.shape()),
                ));
            }
            let data: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            check_finite(file, &name, &data)?;
            tensors.insert(name, data);
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

    /// The bytes of a safetensors file; the same for the same tensors.
    pub fn to_safetensors(&self, config: &PolicyConfig) -> Vec<u8> {
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = specs(config)
            .into_iter()
            .map(|(name, shape)| {
                let data = self.0[&name].iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, shape, data)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), data)
                .expect("new and from_safetensors checked the shape");
            (name.as_str(), view)
        });
        safetensors::serialize(views, None).expect("names are distinct and shapes fit the data")
    }

    /// Checks that these are the tensors of `config`.
    pub(crate) fn check(&self, config: &PolicyConfig) -> Result<(), PolicyError> {
        Tensors::new(config, self.0.clone()).map(drop)
    }

    /// The values of a tensor of the configuration these were checked against.
    pub fn values(&self, name: &str) -> &[f32] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.0
            .iter()
            .map(|(name, values)| (name.as_str(), values.as_slice()))
    }
}

/// Most bytes that a weights file for `config` can have.
pub(crate) fn file_size_max(config: &PolicyConfig) -> u64 {
    let values: usize = specs(config)
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    8 + HEADER_MAX as u64 + 4 * values as u64
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

/// SplitMix64: a few lines that give the same numbers everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// What [`Random::new`] needs to go on from here.
    #[cfg(feature = "torch")]
    pub(crate) fn state(&self) -> u64 {
        self.0
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}

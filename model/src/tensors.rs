//! `model.safetensors`: named f32 tensors, exactly those that a configuration
//! calls for.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::{ACTIONS, PolicyConfig, PolicyError};

/// Longest acceptable header, bytes.  The largest backbone that a
/// configuration can describe needs about a tenth of this.
const HEADER_MAX: usize = 1 << 20;

/// A tensor's name and shape.
pub type Spec = (String, Vec<usize>);

/// The tensors of a policy, row-major, in the order of [`specs`].
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors(BTreeMap<String, Vec<f32>>);

/// Every tensor that `config` calls for.  Names and layouts of the backbone
/// are those of Hugging Face's GPT-2 (matrices as inputs × outputs there, as
/// outputs × inputs elsewhere).
pub fn specs(config: &PolicyConfig) -> Vec<Spec> {
    let (d, m, e) = (
        config.backbone.width,
        config.backbone.mlp,
        config.encoder.width,
    );
    let mut specs = Vec::new();
    let mut add = |name: String, shape: &[usize]| specs.push((name, shape.to_vec()));
    for scalar in ["return", "action"] {
        add(format!("{scalar}.weight"), &[d, 1]);
        add(format!("{scalar}.bias"), &[d]);
    }
    add("time.weight".into(), &[config.window, d]);
    for feature in &config.features {
        let name = feature.name.name();
        add(format!("encoder.{name}.hidden.weight"), &[e, 1]);
        add(format!("encoder.{name}.hidden.bias"), &[e]);
        add(format!("encoder.{name}.project.weight"), &[d, e]);
        add(format!("encoder.{name}.project.bias"), &[d]);
    }
    for norm in ["embed_norm", "backbone.ln_f"] {
        add(format!("{norm}.weight"), &[d]);
        add(format!("{norm}.bias"), &[d]);
    }
    for layer in 0..config.backbone.layers {
        let block = format!("backbone.h.{layer}");
        for norm in ["ln_1", "ln_2"] {
            add(format!("{block}.{norm}.weight"), &[d]);
            add(format!("{block}.{norm}.bias"), &[d]);
        }
        for (name, inputs, outputs) in [
            ("attn.c_attn", d, 3 * d),
            ("attn.c_proj", d, d),
            ("mlp.c_fc", d, m),
            ("mlp.c_proj", m, d),
        ] {
            add(format!("{block}.{name}.weight"), &[inputs, outputs]);
            add(format!("{block}.{name}.bias"), &[outputs]);
        }
    }
    add("head.weight".into(), &[ACTIONS, d]);
    add("head.bias".into(), &[ACTIONS]);
    specs
}

impl Tensors {
    /// Checks a set of tensors against the configuration: each called for,
    /// none missing, every shape right, every value finite.
    pub fn new(
        config: &PolicyConfig,
        mut tensors: BTreeMap<String, Vec<f32>>,
    ) -> Result<Tensors, PolicyError> {
        let mut known = BTreeMap::new();
        for (name, shape) in specs(config) {
            let data = tensors
                .remove(&name)
                .ok_or_else(|| wrong("tensors", &name, "missing"))?;
            if data.len() != shape.iter().product::<usize>() {
                let reason = format!("{} values, want the shape {shape:?}", data.len());
                return Err(wrong("tensors", &name, reason));
            }
            check_finite("tensors", &name, &data)?;
            known.insert(name, data);
        }
        match tensors.into_keys().next() {
            Some(name) => Err(wrong("tensors", &name, "not part of this policy")),
            None => Ok(Tensors(known)),
        }
    }

    /// GPT-2's initialisation: matrices N(0, 0.02²), the projections into the
    /// residual stream scaled down by √(2 layers), biases 0, norms 1.  Scalar
    /// paths get uniform weights, since their fan-in is one.
    pub fn random(config: &PolicyConfig, seed: u64) -> Tensors {
        let mut random = Random::new(seed);
        let residual = 0.02 / (2.0 * config.backbone.layers as f32).sqrt();
        let mut tensors = BTreeMap::new();
        for (name, shape) in specs(config) {
            let scalar = shape.get(1) == Some(&1) || name.ends_with("hidden.bias");
            let matrix = shape.len() == 2;
            let values = (0..shape.iter().product()).map(|_| match () {
                () if scalar => 2.0 * random.uniform() - 1.0,
                () if name.contains("encoder.") && matrix => random.normal() * 0.25,
                () if name.starts_with("backbone") && name.contains("c_proj") && matrix => {
                    random.normal() * residual
                }
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

fn wrong(file: &str, tensor: &str, reason: impl Into<String>) -> PolicyError {
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

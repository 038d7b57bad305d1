//! A network's trained weights: one flat vector, and views of it by name.

use std::collections::{BTreeMap, HashMap};

use tch::{Device, Kind, Tensor};

use crate::tensors::BACKBONE;
use crate::torch::{TrainError, backbone};
use crate::{PolicyConfig, Tensors, module_specs, trained_specs};

/// The weights that training changes, so that the optimiser is a few
/// operations however many tensors there are.
pub(super) struct Trained {
    pub(super) flat: Tensor,         // [P], f32, requires grad
    shapes: Vec<(String, Vec<i64>)>, // as trained_specs() has them
    modules: usize,                  // of `shapes`: those outside of the backbone
}

/// The tensors outside of the backbone, by name, for one forward pass.
pub(super) struct View(HashMap<String, Tensor>);

impl Trained {
    pub(super) fn new(
        config: &PolicyConfig,
        tensors: &Tensors,
        device: Device,
    ) -> Result<Trained, TrainError> {
        let specs = trained_specs(config)?;
        let mut values: Vec<f32> = Vec::new();
        for (name, _) in &specs {
            values.extend(tensors.values(name));
        }
        let flat = Tensor::f_from_slice(&values)?
            .f_to_device(device)?
            .f_set_requires_grad(true)?;
        let long = |shape: Vec<usize>| shape.into_iter().map(|n| n as i64).collect();
        Ok(Trained {
            flat,
            shapes: specs.into_iter().map(|(n, s)| (n, long(s))).collect(),
            modules: module_specs(config).len(),
        })
    }

    /// A copy, in memory.
    pub(super) fn tensors(&self) -> Result<Tensors, TrainError> {
        let flat = self.flat.f_detach()?.f_to_device(Device::Cpu)?;
        let values = Vec::<f32>::try_from(flat)?;
        let mut rest = values.as_slice();
        let mut tensors = BTreeMap::new();
        for (name, shape) in &self.shapes {
            let (data, after) = rest.split_at(count(shape) as usize);
            tensors.insert(name.clone(), data.to_vec());
            rest = after;
        }
        Ok(Tensors::of(&self.specs(), tensors)?)
    }

    /// 1 for weights that decay, 0 for biases, norms, embeddings and what a
    /// single number is multiplied by.
    pub(super) fn decays(&self) -> Result<Tensor, TrainError> {
        let mut mask: Vec<f32> = Vec::new();
        for (name, shape) in &self.shapes {
            let table = name == "time.weight" || name.contains("wpe") || name.contains("embed_");
            let decays = shape.len() > 1 && count(&shape[1..]) > 1 && !table;
            mask.extend(std::iter::repeat_n(
                f32::from(u8::from(decays)),
                count(shape) as usize,
            ));
        }
        Ok(Tensor::f_from_slice(&mask)?.f_to_device(self.flat.device())?)
    }

    /// The weights by name: those of the backbone in the type `kind`.
    pub(super) fn view(&self, kind: Kind) -> Result<(View, backbone::Weights), TrainError> {
        let (modules, rest) = self.shapes.split_at(self.modules);
        if kind == Kind::Float {
            // One split: its gradient is one concatenation.
            let mut all = split(&self.flat, &self.shapes)?.into_iter();
            let own = all.by_ref().take(self.modules);
            let own = own.map(|(n, t)| (n.to_owned(), t)).collect();
            let inner = all.map(|(n, t)| (n.trim_start_matches(BACKBONE).to_owned(), t));
            return Ok((View(own), inner.collect()));
        }
        let first: i64 = modules.iter().map(|(_, shape)| count(shape)).sum();
        let all = self.flat.size1()?;
        let own = split(&self.flat.f_narrow(0, 0, first)?, modules)?;
        let mut backbone = backbone::Weights::new();
        if !rest.is_empty() {
            let part = self.flat.f_narrow(0, first, all - first)?;
            for (name, tensor) in split(&part.f_to_kind(kind)?, rest)? {
                backbone.insert(name.trim_start_matches(BACKBONE), tensor);
            }
        }
        let own = own.into_iter().map(|(n, t)| (n.to_owned(), t));
        Ok((View(own.collect()), backbone))
    }

    fn specs(&self) -> Vec<crate::Spec> {
        let short = |shape: &[i64]| shape.iter().map(|n| *n as usize).collect();
        let shapes = self.shapes.iter();
        shapes.map(|(n, s)| (n.clone(), short(s))).collect()
    }
}

impl View {
    /// A tensor that `module_specs` names.
    pub(super) fn get(&self, name: &str) -> Result<&Tensor, TrainError> {
        let missing = || tch::TchError::FileFormat(format!("no tensor {name}"));
        Ok(self.0.get(name).ok_or_else(missing)?)
    }

    /// The same numbers, apart from the flat vector's gradient.
    pub(super) fn detached(&self) -> Result<View, TrainError> {
        let tensors = self.0.iter().map(|(n, t)| Ok((n.clone(), t.f_detach()?)));
        Ok(View(tensors.collect::<Result<_, TrainError>>()?))
    }

    /// y = x Wᵀ + b
    pub(super) fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, TrainError> {
        let bias = self.get(&format!("{name}.bias"))?;
        Ok(x.f_linear(self.get(&format!("{name}.weight"))?, Some(bias))?)
    }
}

/// A flat vector as the tensors that it is made of.
fn split<'a>(
    flat: &Tensor,
    shapes: &'a [(String, Vec<i64>)],
) -> Result<Vec<(&'a str, Tensor)>, TrainError> {
    let sizes: Vec<i64> = shapes.iter().map(|(_, shape)| count(shape)).collect();
    let parts = flat.f_split_with_sizes(&sizes, 0)?;
    let parts = shapes.iter().zip(parts);
    parts
        .map(|((name, shape), part)| Ok((name.as_str(), part.f_view(shape.as_slice())?)))
        .collect()
}

fn count(shape: &[i64]) -> i64 {
    shape.iter().product()
}

//! Trained weights of a network: one flat vector and its tensors by name.

use std::collections::{BTreeMap, HashMap};

use tch::{Device, Kind, Tensor};

use crate::tensors::BACKBONE;
use crate::torch::{TrainError, backbone};
use crate::{PolicyConfig, Tensors, module_specs, trained_specs};

/// The trained weights: one vector to save, restore and optimise. Each of its
/// tensors has its own gradient, which the backward pass provides without a
/// copy.
pub(in crate::torch) struct Trained {
    flat: Tensor,                    // [P], f32
    leaves: Vec<Tensor>,             // views of it, where gradients end
    shapes: Vec<(String, Vec<i64>)>, // of the leaves, as trained_specs() has them
    modules: usize,                  // of `shapes`: those outside of the backbone
}

/// The tensors outside the backbone by name, for one forward pass.
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
        let long = |shape: Vec<usize>| shape.into_iter().map(|n| n as i64).collect();
        let shapes = specs.into_iter().map(|(n, s)| (n, long(s))).collect();
        let flat = Tensor::f_from_slice(&values)?.f_to_device(device)?;
        Trained::of(flat, shapes, module_specs(config).len())
    }

    /// Consecutive tensors of a vector, of which the first `modules` are
    /// outside the backbone.
    pub(in crate::torch) fn of(
        flat: Tensor,
        shapes: Vec<(String, Vec<i64>)>,
        modules: usize,
    ) -> Result<Trained, TrainError> {
        let mut trained = Trained {
            flat,
            leaves: Vec::new(),
            shapes,
            modules,
        };
        trained.forget_gradients()?;
        Ok(trained)
    }

    /// All weights, [P], f32; the tensors are views of it.
    pub(in crate::torch) fn flat(&self) -> Tensor {
        self.flat.shallow_clone()
    }

    /// A copy of all gradients, [P], f32, 0 where undefined.
    pub(in crate::torch) fn gradient(&self) -> Result<Tensor, TrainError> {
        Ok(Tensor::f_cat(&self.gradients()?, 0)?)
    }

    /// The gradient of each tensor as a vector, in the order of the weights;
    /// 0 where undefined.
    pub(in crate::torch) fn gradients(&self) -> Result<Vec<Tensor>, TrainError> {
        let gradients = self.leaves.iter().map(|leaf| {
            let gradient = leaf.f_grad()?;
            Ok(match gradient.defined() {
                true => gradient.f_reshape([-1])?,
                false => leaf.f_detach()?.f_zeros_like()?.f_view([-1])?,
            })
        });
        gradients.collect()
    }

    /// Clears the gradients: the next ones replace them, whereas zeros would
    /// require an addition.
    pub(in crate::torch) fn forget_gradients(&mut self) -> Result<(), TrainError> {
        let _guard = tch::no_grad_guard();
        let sizes: Vec<i64> = self.shapes.iter().map(|(_, shape)| count(shape)).collect();
        let parts = self.flat.f_split_with_sizes(&sizes, 0)?;
        let leaves = self.shapes.iter().zip(parts).map(|((_, shape), part)| {
            let part = part.f_view(shape.as_slice())?.f_detach()?;
            Ok(part.f_set_requires_grad(true)?)
        });
        self.leaves = leaves.collect::<Result<_, TrainError>>()?;
        Ok(())
    }

    /// A copy, in memory.
    pub(super) fn tensors(&self) -> Result<Tensors, TrainError> {
        let values = Vec::<f32>::try_from(self.flat.f_to_device(Device::Cpu)?)?;
        let mut rest = values.as_slice();
        let mut tensors = BTreeMap::new();
        for (name, shape) in &self.shapes {
            let (data, after) = rest.split_at(count(shape) as usize);
            tensors.insert(name.clone(), data.to_vec());
            rest = after;
        }
        Ok(Tensors::of(&self.specs(), tensors)?)
    }

    /// For each tensor, whether it decays, and its number of weights: all
    /// decay except biases, norms, embeddings and factors of single numbers.
    pub(in crate::torch) fn decays(&self) -> impl Iterator<Item = (bool, usize)> {
        self.shapes.iter().map(|(name, shape)| {
            let table = name == "time.weight" || name.contains("wpe") || name.contains("embed_");
            let decays = shape.len() > 1 && count(&shape[1..]) > 1 && !table;
            (decays, count(shape) as usize)
        })
    }

    /// The weights by name, with those of the backbone in the type `kind`.
    pub(super) fn view(&self, kind: Kind) -> Result<(View, backbone::Weights), TrainError> {
        let mut own = HashMap::new();
        let mut backbone = backbone::Weights::new();
        for (index, ((name, _), leaf)) in self.shapes.iter().zip(&self.leaves).enumerate() {
            if index < self.modules {
                own.insert(name.clone(), leaf.shallow_clone());
            } else {
                let name = name.trim_start_matches(BACKBONE);
                backbone.insert(name, leaf.f_to_kind(kind)?);
            }
        }
        Ok((View(own), backbone))
    }

    fn specs(&self) -> Vec<crate::Spec> {
        let short = |shape: &[i64]| shape.iter().map(|n| *n as usize).collect();
        let shapes = self.shapes.iter();
        shapes.map(|(n, s)| (n.clone(), short(s))).collect()
    }
}

#[cfg(test)]
impl Trained {
    /// Sets the gradients from one vector, as a backward pass would.
    pub(in crate::torch) fn backward(&self, gradient: &Tensor) {
        let mut first = 0;
        for leaf in &self.leaves {
            let length = leaf.numel() as i64;
            let part = gradient.narrow(0, first, length).view_as(leaf);
            (leaf * part).sum(Kind::Float).backward();
            first += length;
        }
    }
}

impl View {
    /// A tensor listed in `module_specs`.
    pub(super) fn get(&self, name: &str) -> Result<&Tensor, TrainError> {
        let missing = || tch::TchError::FileFormat(format!("no tensor {name}"));
        Ok(self.0.get(name).ok_or_else(missing)?)
    }

    /// The same values, detached.
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

fn count(shape: &[i64]) -> i64 {
    shape.iter().product()
}

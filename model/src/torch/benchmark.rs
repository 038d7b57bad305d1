//! A model for timing, with random weights and synthetic windows.

use std::collections::BTreeMap;

use tch::{Kind, Reduction, Tensor};

use super::backbone::Weights;
use super::network::{Batch, Network, Options};
use super::optimiser::AdamW;
use super::{TrainError, device, hub};
use crate::backbone::LoraConfig;
use crate::splitmix::SplitMix64;
use crate::{ACTIONS, Adaptation, BaseConfig, PolicyConfig, Tensors, specs, trained_specs};

/// A model, one window to decide on, and a training batch.
pub struct Measurement {
    network: Network,
    optimiser: AdamW,
    window: Batch,
    batch: Batch,
    options: Options,
}

/// Numbers of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Encoder, backbone, adapters and head.
    pub all: u64,
    /// The trained weights.
    pub trained: u64,
}

impl Measurement {
    /// Creates a model with random weights; `windows` is the batch size of a
    /// training step.
    ///
    /// # Errors
    /// The configuration is invalid, or libtorch failed, e.g. for lack of
    /// memory.
    pub fn new(
        config: PolicyConfig,
        options: Options,
        windows: usize,
        seed: u64,
    ) -> Result<Measurement, TrainError> {
        device::keep_memory();
        let base = match config.adapter() {
            None => Weights::new(),
            Some(_) => hub::random(&config.backbone, seed, options.kind, options.device)?,
        };
        let window = made_up(&config, 1, seed, options)?;
        let batch = made_up(&config, windows, seed ^ 1, options)?;
        let mut network = Network::with(config.clone(), &random(&config, seed)?, base, options)?;
        let optimiser = AdamW::new(network.trained())?;
        Ok(Measurement {
            network,
            optimiser,
            window,
            batch,
            options,
        })
    }

    /// One decision: a forward pass over one window, with its probabilities
    /// copied to the CPU.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn decide(&self) -> Result<[f32; ACTIONS], TrainError> {
        let probabilities = self.network.probabilities(&self.window)?;
        device::synchronise(self.options.device);
        Ok(probabilities.first().copied().unwrap_or_default())
    }

    /// One training step as in `Trainer`; returns the loss.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn step(&mut self) -> Result<f64, TrainError> {
        let logits = self.network.logits(&self.batch, true)?;
        let labels = self.network.labels(&self.batch)?.f_reshape([-1])?;
        let loss = logits.f_view([-1, ACTIONS as i64])?.f_cross_entropy_loss(
            &labels,
            None::<&Tensor>,
            Reduction::Mean,
            -100,
            0.0,
        )?;
        loss.f_backward()?;
        let value = loss.f_double_value(&[])?;
        self.optimiser
            .step(self.network.trained(), 1e-4, 1e-4, 0.25)?;
        device::synchronise(self.options.device);
        Ok(value)
    }

    /// Numbers of weights.
    ///
    /// # Errors
    /// As [`trained_specs`].
    pub fn parameters(&self) -> Result<Parameters, TrainError> {
        parameters(self.network.config())
    }
}

/// Puts adapters on a frozen base without a directory, which timing does not
/// need.
pub fn adapt(config: &mut PolicyConfig, lora: LoraConfig) {
    config.adaptation = Adaptation::Lora(lora);
    config.base = Some(BaseConfig {
        path: "made-up".into(),
        sha256: "0".repeat(64),
    });
}

/// Number of weights of a policy, with separate adapters counted.
///
/// # Errors
/// As [`trained_specs`].
pub fn parameters(config: &PolicyConfig) -> Result<Parameters, TrainError> {
    let count = |specs: &[crate::Spec]| -> u64 {
        let numbers = |shape: &[usize]| shape.iter().map(|&n| n as u64).product::<u64>();
        specs.iter().map(|(_, shape)| numbers(shape)).sum()
    };
    let trained = trained_specs(config)?;
    let adapters = trained.iter().filter(|(name, _)| name.contains(".lora_"));
    Ok(Parameters {
        all: count(&specs(config)) + count(&adapters.cloned().collect::<Vec<_>>()),
        trained: count(&trained),
    })
}

/// Lower bound of a model's memory, bytes: weights, gradients and moments of
/// the trained ones, and the activations of `windows` windows kept for the
/// backward pass.
///
/// # Errors
/// As [`trained_specs`].
pub fn least_bytes(config: &PolicyConfig, kind: Kind, windows: usize) -> Result<u64, TrainError> {
    let Parameters { all, trained } = parameters(config)?;
    let size = kind.elt_size_in_bytes() as u64;
    let frozen = all - trained;
    // About twenty activations of token width in each layer.
    let tokens = (windows * config.tokens()) as u64;
    let kept = 20 * tokens * (config.backbone.width() * config.backbone.layers()) as u64;
    Ok(size * (frozen + kept) + 4 * 5 * trained)
}

/// Trained weights, small enough to avoid overflow.
fn random(config: &PolicyConfig, seed: u64) -> Result<Tensors, TrainError> {
    let mut random = SplitMix64::new(seed);
    let mut tensors = BTreeMap::new();
    let specs = trained_specs(config)?;
    for (name, shape) in &specs {
        let values = (0..shape.iter().product()).map(|_| match shape.len() {
            1 if name.ends_with("weight") => 1.0,
            1 => 0.0,
            _ => random.normal() * 0.02,
        });
        tensors.insert(name.clone(), values.collect());
    }
    Ok(Tensors::of(&specs, tensors)?)
}

fn made_up(
    config: &PolicyConfig,
    windows: usize,
    seed: u64,
    options: Options,
) -> Result<Batch, TrainError> {
    let mut random = SplitMix64::new(seed);
    let records = windows * config.window;
    let inputs: usize = config.features.iter().map(|f| f.encoder.history()).sum();
    let returns: Vec<f32> = (0..records).map(|_| random.normal()).collect();
    let values: Vec<f32> = (0..records * inputs).map(|_| random.normal()).collect();
    let actions: Vec<i64> = (0..records)
        .map(|_| (random.next_u64() % ACTIONS as u64) as i64)
        .collect();
    Batch::of(windows, &returns, &values, &actions, options.device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Feature;

    #[test]
    fn frozen_base_trains_only_adapters() {
        let mut config = PolicyConfig::new("test", &Feature::PAPER7);
        config.window = 2;
        let full = parameters(&config).unwrap();
        assert_eq!(full.all, full.trained);
        let lora = LoraConfig {
            r: 4,
            ..LoraConfig::default()
        };
        adapt(&mut config, lora);
        let mut model = Measurement::new(config, Options::default(), 3, 1).unwrap();
        let adapted = model.parameters().unwrap();
        // Two blocks of width 48: A is [4, 48], B is [144, 4].
        assert_eq!(adapted.all - full.all, 2 * 4 * (48 + 144));
        assert!(adapted.trained < full.trained / 2, "{adapted:?}");
        let before = model.step().unwrap();
        for _ in 0..40 {
            model.step().unwrap();
        }
        assert!(model.step().unwrap() < before);
        let sum: f32 = model.decide().unwrap().iter().sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }
}

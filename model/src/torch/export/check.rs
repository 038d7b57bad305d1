//! Checks that an exported module computes the same as the policy.

use std::path::Path;

use tch::{CModule, Device, Kind, Tensor};

use crate::splitmix::SplitMix64;
use crate::torch::{Batch, Network, TrainError};
use crate::{ACTIONS, PolicyConfig};

/// Reloads a TorchScript file and compares its probabilities for synthetic
/// records with the network's, for several batch sizes. Returns the largest
/// difference.
///
/// # Errors
/// The file cannot be loaded, or libtorch failed.
pub fn difference(network: &Network, file: &Path) -> Result<f64, TrainError> {
    let module = CModule::load_on_device(file, network.device())?;
    let mut worst: f64 = 0.0;
    for windows in [1, 3, 5] {
        let made = Raw::made_up(network.config(), windows, windows as u64);
        let got = made.run(&module, network.config(), network.device())?;
        let want = network.probabilities(&made.batch(network.config(), network.device())?)?;
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            worst = worst.max(f64::from((got - want).abs()));
        }
    }
    Ok(worst)
}

/// Consecutive windows of unscaled records.
struct Raw {
    windows: usize,
    returns: Vec<f64>,
    features: Vec<f64>,
    actions: Vec<i64>,
}

impl Raw {
    /// Values of about the magnitude that the policy was fitted to.
    fn made_up(config: &PolicyConfig, windows: usize, seed: u64) -> Raw {
        let mut random = SplitMix64::new(seed);
        let mut raw = Raw {
            windows,
            returns: Vec::new(),
            features: Vec::new(),
            actions: Vec::new(),
        };
        for _ in 0..windows * config.window {
            raw.returns
                .push(config.returns.scaling.invert(random.normal()));
            for feature in &config.features {
                for _ in 0..feature.encoder.history() {
                    raw.features.push(feature.scaling.invert(random.normal()));
                }
            }
            raw.actions
                .push((random.next_u64() % ACTIONS as u64) as i64);
        }
        raw
    }

    /// The same windows, scaled by the policy's own code.
    fn batch(&self, config: &PolicyConfig, device: Device) -> Result<Batch, TrainError> {
        let scale = |scaling: &crate::Scaling, raw: f64| scaling.apply(raw);
        let returns: Vec<f32> = self
            .returns
            .iter()
            .map(|&raw| scale(&config.returns.scaling, raw))
            .collect();
        let of_record: Vec<_> = config
            .features
            .iter()
            .flat_map(|f| std::iter::repeat_n(f.scaling, f.encoder.history()))
            .collect();
        let features: Vec<f32> = self
            .features
            .iter()
            .zip(of_record.iter().cycle())
            .map(|(&raw, scaling)| scale(scaling, raw))
            .collect();
        Batch::of(self.windows, &returns, &features, &self.actions, device)
    }

    fn run(
        &self,
        module: &CModule,
        config: &PolicyConfig,
        device: Device,
    ) -> Result<Vec<[f32; ACTIONS]>, TrainError> {
        let (b, w) = (self.windows as i64, config.window as i64);
        let to = |tensor: Tensor, shape: &[i64]| -> Result<Tensor, TrainError> {
            Ok(tensor.f_view(shape)?.f_to_device(device)?)
        };
        let inputs = [
            to(Tensor::f_from_slice(&self.returns)?, &[b, w])?,
            to(Tensor::f_from_slice(&self.features)?, &[b, w, -1])?,
            to(Tensor::f_from_slice(&self.actions)?, &[b, w])?,
        ];
        let output = module.forward_ts(&inputs)?.f_to_device(Device::Cpu)?;
        let values = Vec::<f32>::try_from(output.f_to_kind(Kind::Float)?.f_reshape([-1])?)?;
        let rows = values.chunks_exact(ACTIONS);
        Ok(rows.map(|p| [p[0], p[1], p[2]]).collect())
    }
}

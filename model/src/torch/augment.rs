//! Data augmentation, which reduces overfitting to the pools.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::network::Batch;

/// Random changes of the training windows; none by default. Evaluations and
/// decisions in the loop are never changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Standard deviation of the noise on inputs, in scaled units, 0 or more.
    pub noise: f64,
    /// Share of the records that are masked from attention and from the loss,
    /// 0..1; the last of each window is never masked.
    pub step_dropout: f64,
    /// Share of the windows in which the return is replaced by the return
    /// requested in use, 0..=1: the actual return may contain information that
    /// is unavailable at the time of the decision.
    #[serde(default)]
    pub return_dropout: f64,
    /// Windows shorter than the policy's are placed anywhere in its time
    /// instead of at its start.
    pub shift: bool,
}

impl Augmentation {
    /// Augments a batch of windows for a policy with a window of `window`
    /// records and the scaled target return `target`, with libtorch's
    /// generator. Returns the records that remain, [B, w], bool; `None`: all of
    /// them.
    pub(super) fn apply(
        &self,
        batch: &mut Batch,
        window: usize,
        target: f32,
    ) -> Result<Option<Tensor>, TrainError> {
        let device = batch.actions.device();
        let (b, w) = batch.actions.size2()?;
        if self.noise > 0.0 {
            let noise = batch.inputs.f_randn_like()?.f_mul_scalar(self.noise)?;
            batch.inputs = batch.inputs.f_add(&noise)?;
        }
        if self.return_dropout > 0.0 {
            let asked = Tensor::f_rand([b, 1], (Kind::Float, device))?.f_lt(self.return_dropout)?;
            batch.returns = batch.returns.f_masked_fill(&asked, f64::from(target))?;
        }
        let room = window as i64 - w;
        if self.shift && room > 0 {
            let starts = Tensor::f_randint(room + 1, [b, 1], (Kind::Int64, device))?;
            batch.times = Some(places(w, device)?.f_add(&starts)?);
        }
        if self.step_dropout <= 0.0 {
            return Ok(None);
        }
        let kept = Tensor::f_rand([b, w], (Kind::Float, device))?.f_ge(self.step_dropout)?;
        let last = places(w, device)?.f_eq(w - 1)?; // [1, w]
        let kept = kept.f_logical_or(&last)?;
        batch.mask = Some(kept.shallow_clone());
        Ok(Some(kept))
    }
}

/// 0 … w - 1: [1, w].
fn places(w: i64, device: Device) -> Result<Tensor, TrainError> {
    Ok(Tensor::f_arange(w, (Kind::Int64, device))?.f_unsqueeze(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(b: usize, w: usize) -> Batch {
        let returns = vec![0.0; b * w];
        let inputs: Vec<f32> = (0..b * w * 3).map(|i| i as f32 / 100.0).collect();
        let actions = vec![1; b * w];
        Batch::of(b, &returns, &inputs, &actions, Device::Cpu).unwrap()
    }

    fn mean(x: &Tensor) -> f64 {
        x.mean(Kind::Float).double_value(&[])
    }

    #[test]
    fn default_augmentation_changes_no_tensor() {
        let mut changed = batch(4, 5);
        let kept = Augmentation::default()
            .apply(&mut changed, 20, 0.5)
            .unwrap();
        assert!(kept.is_none() && changed.mask.is_none() && changed.times.is_none());
        assert_eq!(changed.inputs, batch(4, 5).inputs);
    }

    #[test]
    fn noise_has_its_deviation_and_skips_returns_and_actions() {
        tch::manual_seed(1);
        let (before, mut changed) = (batch(100, 20), batch(100, 20));
        let augmentation = Augmentation {
            noise: 0.25,
            ..Augmentation::default()
        };
        augmentation.apply(&mut changed, 20, 0.5).unwrap();
        let noise = &changed.inputs - &before.inputs;
        assert!(mean(&noise).abs() < 0.02);
        assert!((mean(&noise.square()).sqrt() - 0.25).abs() < 0.02);
        assert_eq!(changed.returns, before.returns);
        assert_eq!(changed.actions, before.actions);
    }

    #[test]
    fn dropped_records_are_masked_and_the_last_one_is_not() {
        tch::manual_seed(2);
        let mut changed = batch(200, 10);
        let augmentation = Augmentation {
            step_dropout: 0.4,
            ..Augmentation::default()
        };
        let kept = augmentation.apply(&mut changed, 10, 0.5).unwrap().unwrap();
        assert_eq!(changed.mask.as_ref(), Some(&kept));
        assert_eq!(mean(&kept.select(1, 9).to_kind(Kind::Float)), 1.0);
        let share = mean(&kept.narrow(1, 0, 9).to_kind(Kind::Float));
        assert!((share - 0.6).abs() < 0.04, "{share}");
        assert_eq!(changed.inputs, batch(200, 10).inputs);
    }

    #[test]
    fn windows_get_the_target_return() {
        tch::manual_seed(4);
        let mut changed = batch(400, 5);
        let augmentation = Augmentation {
            return_dropout: 0.3,
            ..Augmentation::default()
        };
        augmentation.apply(&mut changed, 5, 0.5).unwrap();
        // The target or the actual return, throughout each window.
        let asked = changed.returns.eq(0.5).to_kind(Kind::Float);
        let each = asked.mean_dim(1, false, Kind::Float);
        assert_eq!(mean(&each.square()), mean(&each));
        assert!((mean(&each) - 0.3).abs() < 0.06, "{}", mean(&each));
        assert_eq!(mean(&changed.returns), 0.5 * mean(&each));
        assert_eq!(changed.inputs, batch(400, 5).inputs);
    }

    #[test]
    fn short_windows_are_shifted_within_the_policy_window() {
        tch::manual_seed(3);
        let mut changed = batch(300, 4);
        let augmentation = Augmentation {
            shift: true,
            ..Augmentation::default()
        };
        augmentation.apply(&mut changed, 7, 0.5).unwrap();
        let times = changed.times.unwrap();
        assert_eq!(times.size(), [300, 4]);
        let starts: Vec<i64> = Vec::try_from(times.select(1, 0)).unwrap();
        for start in 0..4 {
            assert!(starts.contains(&start), "{start}");
        }
        assert_eq!(times.max().int64_value(&[]), 6);
        let steps = times.narrow(1, 1, 3) - times.narrow(1, 0, 3);
        assert_eq!(
            (steps.min().int64_value(&[]), steps.max().int64_value(&[])),
            (1, 1)
        );

        let mut whole = batch(3, 7);
        augmentation.apply(&mut whole, 7, 0.5).unwrap();
        assert!(whole.times.is_none());
    }
}

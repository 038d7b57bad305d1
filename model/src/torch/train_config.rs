//! Options of a training, which a checkpoint stores for resumption.

use serde::{Deserialize, Serialize};

use super::augment::Augmentation;

/// Options of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of optimiser steps.
    pub steps: u64,
    /// Full-length windows per batch; batches of shorter windows have more
    /// windows and about as many records.
    pub batch: usize,
    /// Batches per step, with their gradients summed.
    #[serde(alias = "accumulate")]
    pub grad_accum_steps: usize,
    /// Highest learning rate, reached after the warm-up and followed by a
    /// cosine decay to a tenth.
    pub learning_rate: f64,
    /// Number of linear warm-up steps.
    pub warmup: u64,
    /// Weight decay of matrices.
    pub weight_decay: f64,
    /// Maximum norm of the gradient; larger gradients are scaled down.
    #[serde(alias = "clip")]
    pub max_grad_norm: f64,
    /// Exponent of an action's loss weight, 0..=1: the weight is the action's
    /// share to the power of minus this. 0 leaves probabilities calibrated; 1
    /// gives all actions equal weight.
    pub class_balance: f64,
    /// The same exponent for the frequency with which windows ending in the
    /// action are drawn.
    pub sample_balance: f64,
    /// Label smoothing, 0..1: the share of the loss distributed equally over
    /// all actions, which keeps probabilities away from 0 and 1.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Decay of the exponential moving average of the weights, 0..1, which is
    /// evaluated and saved instead of the last weights. 0: no average.
    #[serde(default, alias = "average")]
    pub ema_decay: f64,
    /// Weight of the probabilities' entropy when learning from costs of
    /// settings; it is subtracted from the cost. Without it, a network that
    /// becomes overconfident early stops learning.
    #[serde(default)]
    pub entropy: f64,
    /// Minimum length of a window; equal to the policy's window, or smaller
    /// for windows of random length.
    pub shortest: usize,
    /// Data augmentation.
    pub augmentation: Augmentation,
    /// Steps between evaluations and checkpoints.
    pub evaluate_every: u64,
    /// Windows per evaluation.
    pub evaluate_windows: usize,
    /// Number of evaluations without improvement after which training ends;
    /// 0: unlimited.
    pub patience: u64,
    /// Seed of initialisation, order, augmentation and dropout.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 4000,
            batch: 32,
            grad_accum_steps: 1,
            learning_rate: 1e-3,
            warmup: 200,
            weight_decay: 1e-4,
            max_grad_norm: 0.25,
            class_balance: 0.0,
            sample_balance: 0.0,
            label_smoothing: 0.0,
            ema_decay: 0.0,
            entropy: 0.0,
            shortest: usize::MAX,
            augmentation: Augmentation::default(),
            evaluate_every: 500,
            evaluate_windows: 1024,
            patience: 0,
            seed: 1,
        }
    }
}

impl TrainConfig {
    /// Learning rate of a step: linear warm-up, then a cosine decay to a
    /// tenth.
    pub(super) fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / self.warmup as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup).max(1);
        let done = (step - self.warmup) as f64 / rest as f64;
        self.learning_rate * (0.55 + 0.45 * (std::f64::consts::PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let config = TrainConfig {
            steps: 110,
            warmup: 10,
            learning_rate: 1.0,
            ..TrainConfig::default()
        };
        assert!((config.learning_rate(4) - 0.5).abs() < 1e-12);
        assert!((config.learning_rate(10) - 1.0).abs() < 1e-12);
        assert!((config.learning_rate(60) - 0.55).abs() < 1e-12);
        assert!((config.learning_rate(110) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn checkpoints_with_earlier_names_are_read() {
        let was = serde_json::to_string(&TrainConfig::default()).unwrap();
        let was = was
            .replace("grad_accum_steps", "accumulate")
            .replace("max_grad_norm", "clip")
            .replace("ema_decay", "average");
        assert!(was.contains("\"clip\""), "{was}");
        let read: TrainConfig = serde_json::from_str(&was).unwrap();
        assert_eq!(read, TrainConfig::default());
    }
}

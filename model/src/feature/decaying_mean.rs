//! Exponential means over time.

use serde::{Deserialize, Serialize};

/// A mean in which a value t seconds ago weighs e^(−t/τ). Intervals of any
/// length may be added. Weights are normalised, so the mean has no bias towards
/// zero before τ has passed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecayingMean {
    time_constant: f64,
    sum: f64,
    weight: f64,
}

impl DecayingMean {
    /// An empty mean with time constant τ in seconds.
    pub fn over(time_constant: f64) -> DecayingMean {
        DecayingMean {
            time_constant,
            sum: 0.0,
            weight: 0.0,
        }
    }

    /// Adds an interval of `dt` seconds in which the mean was `value`.
    pub fn add(&mut self, value: f64, dt: f64) {
        let decay = (-dt / self.time_constant).exp();
        self.sum = self.sum * decay + value * (1.0 - decay);
        self.weight = self.weight * decay + (1.0 - decay);
    }

    /// Whether its numbers are finite and `like` has the same time constant.
    pub fn is_like(&self, like: &DecayingMean) -> bool {
        self.time_constant == like.time_constant && self.sum.is_finite() && self.weight.is_finite()
    }

    /// The mean; `None` before the first interval.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::DecayingMean;

    #[test]
    fn decay_depends_only_on_elapsed_time() {
        let mut whole = DecayingMean::over(5.0);
        let mut parts = DecayingMean::over(5.0);
        assert_eq!(whole.value(), None);
        whole.add(1.0, 2.0);
        whole.add(0.0, 3.0);
        for _ in 0..20 {
            parts.add(1.0, 0.1);
        }
        for _ in 0..300 {
            parts.add(0.0, 0.01);
        }
        let (whole, parts) = (whole.value().unwrap(), parts.value().unwrap());
        assert!((whole - parts).abs() < 1e-12, "{whole} {parts}");
        let by_hand = (f64::exp(-0.6) - f64::exp(-1.0)) / (1.0 - f64::exp(-1.0));
        assert!((whole - by_hand).abs() < 1e-12, "{whole} {by_hand}");
    }

    #[test]
    fn first_interval_initialises_the_mean() {
        let mut mean = DecayingMean::over(15.0);
        mean.add(0.25, 0.016);
        assert!((mean.value().unwrap() - 0.25).abs() < 1e-12);
    }
}

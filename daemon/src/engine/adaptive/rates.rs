//! Variation of the link's rate.

use l4sllm_abi::Summary;
use l4sllm_model::DecayingMean;
use serde::{Deserialize, Serialize};

use super::config::AdaptiveConfig;

/// Moments of the drain rate's logarithm in windows of 24 ms of busy time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rates {
    mean: DecayingMean,
    variance: DecayingMean,
    /// Logarithm of the changes between summaries.
    change: DecayingMean,
    previous: Option<f64>,
}

/// Added to a change before taking its logarithm, so that zero changes are
/// defined. A mean of logarithms is close to the typical change even if a few
/// steps are large.
const NO_CHANGE: f64 = 0.01;

impl Rates {
    /// No summaries yet.
    pub(super) fn new(config: &AdaptiveConfig) -> Rates {
        Rates {
            mean: DecayingMean::over(config.rate_time),
            variance: DecayingMean::over(config.volatility_time),
            change: DecayingMean::over(config.change_time),
            previous: None,
        }
    }

    /// Whether the numbers are finite and `like` has the same constants.
    pub(super) fn is_like(&self, like: &Rates) -> bool {
        self.mean.is_like(&like.mean)
            && self.variance.is_like(&like.variance)
            && self.change.is_like(&like.change)
            && self.previous.is_none_or(f64::is_finite)
    }

    /// Adds the moments of a summary of `dt` seconds.
    pub(super) fn observe(&mut self, summary: &Summary, dt: f64) {
        let (windows, sum, squares) = summary.rate_moments();
        if windows == 0.0 {
            return;
        }
        let own = sum / windows;
        let mean = self.mean.value().unwrap_or(own);
        let variance = (squares - 2.0 * mean * sum) / windows + mean * mean;
        self.variance.add(variance.max(0.0), dt);
        self.mean.add(own, dt);
        if let Some(previous) = self.previous.replace(own) {
            self.change
                .add(((own - previous).abs() + NO_CHANGE).ln(), dt);
        }
    }

    /// Volatility σ: standard deviation of the drain rate's logarithm.
    pub(super) fn volatility(&self) -> f64 {
        self.variance.value().unwrap_or(0.0).sqrt()
    }

    /// Geometric mean of the changes between summaries.
    pub(super) fn typical_change(&self) -> f64 {
        self.change.value().map_or(0.0, |log| log.exp() - NO_CHANGE)
    }
}

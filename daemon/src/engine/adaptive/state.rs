//! State of the rule, from which another one continues to the bit.

use l4sllm_model::DecayingMean;
use serde::{Deserialize, Serialize};

use super::AdaptiveConfig;
use super::demand::Demand;
use super::rates::Rates;
use super::ripple::Ripple;

/// Time constant of the drain rate used for the minimum target, s.
const RATE_TIME: f64 = 1.0;

/// Everything in an [`Adaptive`](super::Adaptive) rule except its constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveState {
    pub(super) demand: Demand,
    /// Idle share; 0 without a flow that would fill the link.
    pub(super) idle: DecayingMean,
    pub(super) idle_long: DecayingMean,
    pub(super) signals: DecayingMean,
    /// Bytes forwarded and busy time per second; their ratio is the drain rate.
    pub(super) bytes: DecayingMean,
    pub(super) busy: DecayingMean,
    pub(super) rates: Rates,
    pub(super) ripple: Ripple,
    /// x: logarithm of the target in ms.
    pub(super) log_target: f64,
}

impl AdaptiveState {
    /// No observations, at the initial target.
    pub(super) fn new(config: &AdaptiveConfig) -> AdaptiveState {
        AdaptiveState {
            demand: Demand::new(config),
            idle: DecayingMean::over(config.idle_time),
            idle_long: DecayingMean::over(config.budget_time),
            signals: DecayingMean::over(config.budget_time),
            bytes: DecayingMean::over(RATE_TIME),
            busy: DecayingMean::over(RATE_TIME),
            rates: Rates::new(config),
            ripple: Ripple::new(config),
            log_target: config.initial_target.ln(),
        }
    }

    /// Whether the numbers are finite and `like` has the same constants.
    pub(super) fn is_like(&self, like: &AdaptiveState) -> bool {
        self.demand.is_like(&like.demand)
            && self.idle.is_like(&like.idle)
            && self.idle_long.is_like(&like.idle_long)
            && self.signals.is_like(&like.signals)
            && self.bytes.is_like(&like.bytes)
            && self.busy.is_like(&like.busy)
            && self.rates.is_like(&like.rates)
            && self.ripple.is_like(&like.ripple)
            && self.log_target.is_finite()
    }
}

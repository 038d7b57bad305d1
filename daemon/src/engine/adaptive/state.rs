//! State of the rule, from which another one continues to the bit.

use l4sllm_model::DecayingMean;
use serde::{Deserialize, Serialize};

use super::demand::Demand;
use super::rates::Rates;
use super::{Adaptive, RestoreError};

/// Everything in an [`Adaptive`] rule except its constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveState {
    demand: Demand,
    idle: DecayingMean,
    idle_long: DecayingMean,
    signals: DecayingMean,
    bytes: DecayingMean,
    busy: DecayingMean,
    rates: Rates,
    log_target: f64,
}

impl AdaptiveState {
    pub(super) fn of(rule: &Adaptive) -> AdaptiveState {
        AdaptiveState {
            demand: rule.demand.clone(),
            idle: rule.idle,
            idle_long: rule.idle_long,
            signals: rule.signals,
            bytes: rule.bytes,
            busy: rule.busy,
            rates: rule.rates.clone(),
            log_target: rule.log_target,
        }
    }

    /// Replaces the state of `rule`.
    ///
    /// # Errors
    /// The state belongs to other constants or is not finite.
    pub(super) fn put_into(&self, rule: &mut Adaptive) -> Result<(), RestoreError> {
        let sound = self.demand.is_like(&rule.demand)
            && self.idle.is_like(&rule.idle)
            && self.idle_long.is_like(&rule.idle_long)
            && self.signals.is_like(&rule.signals)
            && self.bytes.is_like(&rule.bytes)
            && self.busy.is_like(&rule.busy)
            && self.rates.is_like(&rule.rates)
            && self.log_target.is_finite();
        if !sound {
            return Err(RestoreError::Rule);
        }
        rule.demand = self.demand.clone();
        rule.idle = self.idle;
        rule.idle_long = self.idle_long;
        rule.signals = self.signals;
        rule.bytes = self.bytes;
        rule.busy = self.busy;
        rule.rates = self.rates.clone();
        rule.log_target = self.log_target;
        Ok(())
    }
}

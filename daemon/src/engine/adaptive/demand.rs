//! Detection of flows that would fill the link.

use l4sllm_abi::{Queue, Summary};
use l4sllm_model::{DecayingMean, LongLived, PERSISTENCE};
use serde::{Deserialize, Serialize};

use super::AdaptiveConfig;

/// Whether a flow would use the link's idle time.
///
/// A long-lived classic flow would. So would a long-lived L4S flow, unless L4S
/// traffic takes so little of the link that the flow is a paced stream.
///
/// Whether a flow is long-lived is known 4 s after it begins. On a link that was
/// silent, the first flow can be one that needs the whole link, and a signal in
/// its slow start costs it many round trips. So in the first 4 s after the start,
/// or after 4 s of silence, any traffic counts as such a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Demand {
    classic: LongLived,
    l4s: LongLived,
    /// Share of the link that L4S traffic takes.
    l4s_load: DecayingMean,
    filling_l4s_load: f64,
    /// Share of the time without such a flow.
    absence: DecayingMean,
    /// Time since the start or the end of a silence, s.
    observed: f64,
    /// Time without packets until now, s.
    silence: f64,
}

impl Demand {
    /// No flows yet.
    pub(super) fn new(config: &AdaptiveConfig) -> Demand {
        Demand {
            classic: LongLived::over(PERSISTENCE),
            l4s: LongLived::over(PERSISTENCE),
            l4s_load: DecayingMean::over(PERSISTENCE),
            filling_l4s_load: config.filling_l4s_load,
            absence: DecayingMean::over(config.relaxed_gain_time),
            observed: 0.0,
            silence: 0.0,
        }
    }

    /// Adds an interval of `dt` seconds with idle share `idle`.
    pub(super) fn observe(&mut self, summary: &Summary, idle: f64, dt: f64) {
        let bytes: u64 = summary.queue.iter().map(|q| q.forwarded_bytes).sum();
        self.silence = match bytes {
            0 => self.silence + dt,
            // A long interval ends with a packet after silence.
            _ => idle * dt,
        };
        self.observed = match self.silence < PERSISTENCE {
            true => self.observed + dt,
            false => 0.0,
        };
        self.classic.add(summary.queue(Queue::Classic).flows, dt);
        self.l4s.add(summary.queue(Queue::L4s).flows, dt);
        let load = summary.l4s_share().unwrap_or(0.0) * (1.0 - idle);
        self.l4s_load.add(load, dt);
        self.absence.add(f64::from(u8::from(!self.fills())), dt);
    }

    /// Whether the numbers are finite and `like` has the same constants.
    pub(super) fn is_like(&self, like: &Demand) -> bool {
        self.filling_l4s_load == like.filling_l4s_load
            && self.l4s_load.is_like(&like.l4s_load)
            && self.absence.is_like(&like.absence)
            && self.observed.is_finite()
            && self.silence.is_finite()
    }

    /// Whether a flow would fill the link.
    pub(super) fn fills(&self) -> bool {
        let l4s_load = self.l4s_load.value().unwrap_or(0.0);
        self.observed < PERSISTENCE
            || self.classic.any()
            || (self.l4s.any() && l4s_load > self.filling_l4s_load)
    }

    /// Mean share of the time without such a flow.
    pub(super) fn absence(&self) -> f64 {
        self.absence.value().unwrap_or(0.0)
    }
}

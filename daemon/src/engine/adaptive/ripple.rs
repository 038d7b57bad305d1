//! Ripple of the queue delay.

use l4sllm_abi::{Queue, Summary};
use l4sllm_model::DecayingMean;
use serde::{Deserialize, Serialize};

use super::config::AdaptiveConfig;

/// Mean change of the queue delay between two updates of p', relative to the
/// change that random arrivals cause.
///
/// A link that sends in bursts moves the delay up while it is off and down while it
/// is on. The windows in which the queue measures the drain rate are longer
/// than most bursts, so regular bursts hardly show there.
///
/// Senders that are not paced, such as DCTCP, also move the classic delay: the link
/// serves their bursts in the L4S queue first. The L4S delay separates the two:
/// with a link that is off for some time it is as long, on average, as the classic
/// delay's changes, and with bursts of senders at most 0.4 of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ripple {
    relative: DecayingMean,
}

impl Ripple {
    /// No summaries yet.
    pub(super) fn new(config: &AdaptiveConfig) -> Ripple {
        Ripple {
            relative: DecayingMean::over(config.change_time),
        }
    }

    /// Whether the number is finite and `like` has the same constant.
    pub(super) fn is_like(&self, like: &Ripple) -> bool {
        self.relative.is_like(&like.relative)
    }

    /// Adds a summary of `dt` seconds on a link on which a packet takes
    /// `packet_time_ms`.
    ///
    /// β turns a change of the delay into one of p', so the sum of |Δp'| over β is
    /// that of the delay's changes. In a period, a busy link serves
    /// n = tupdate / packet time packets; the number of random arrivals
    /// deviates by √n, and the delay by √n packet times.
    pub(super) fn observe(&mut self, summary: &Summary, packet_time_ms: f64, dt: f64) {
        let (updates, beta_hz) = (summary.updates as f64, f64::from(summary.beta_uhz) / 1e6);
        if updates == 0.0 || beta_hz == 0.0 || packet_time_ms == 0.0 {
            return;
        }
        let change_ms = 1e3 * summary.p_variation() / beta_hz / updates;
        let change_ms = match summary.queue(Queue::L4s).mean_sojourn_ns() {
            Some(delay_ns) => change_ms.min(2.0 * delay_ns / 1e6),
            None => change_ms,
        };
        let random_ms = (packet_time_ms * summary.tupdate_ns as f64 / 1e6).sqrt();
        self.relative.add(change_ms / random_ms, dt);
    }

    /// Mean of the relative changes; 0 without summaries.
    pub(super) fn value(&self) -> f64 {
        self.relative.value().unwrap_or(0.0)
    }
}

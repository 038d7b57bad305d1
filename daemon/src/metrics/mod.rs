//! Accounts for every message, decision and override.

mod counters;
pub mod endpoint;
mod latency;
pub mod openmetrics;
pub mod page;

use hdrhistogram::Histogram;
use l4sllm_abi::Refusal;

pub use counters::{Counters, Kind, Row};
pub use latency::{Latency, Quantiles};

/// The outcome of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The device accepted it, and it is in effect.
    Accepted,
    /// The device refused it.
    Refused(Refusal),
    /// It did not reach the device, or no answer came.
    Failed,
}

/// Counters since the start, and the latency of decisions.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Counters.
    pub counters: Counters,
    /// Decision latency, ns: from when the record that completes the interval
    /// is written (and so readable) until the override takes effect.
    pub latency_ns: Histogram<u64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            counters: Counters::default(),
            latency_ns: latency::histogram(3),
        }
    }
}

impl Metrics {
    pub(crate) fn outcome(&mut self, outcome: Outcome, latency_ns: u64) {
        self.counters.outcome(outcome);
        if outcome == Outcome::Accepted {
            self.latency_ns.saturating_record(latency_ns);
        }
    }
}

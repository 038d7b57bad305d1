//! Results of a run.
//!
//! The emulator produces one [`Run`] per repetition: rows and counters, without
//! statistics. [`summarise`] computes the numbers, [`ResultDir`] stores it on
//! disk so that a killed run loses no finished repetition, and reports are
//! drawn only from disk. RESULTS.md documents every key and column.

mod columns;
mod diagnosis;
mod dir;
mod error;
mod facts;
mod files;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod histogram;
mod host;
mod layout;
mod rows;
mod series;
mod statistics;
mod stored;
mod summary;
mod warnings;
mod writer;

pub use dir::ResultDir;
pub use error::ResultError;
pub(crate) use facts::usual_baselines;
pub use facts::{ArmFacts, Facts, Floor, LabFacts, MachinesFacts, PolicyFacts, StudentFacts};
pub use files::write_atomically;
pub use histogram::Histogram;
pub use rows::{DecisionRow, FlowRow, PacketRow, STEER, SetPointRow};
pub use series::{Bin, Series, bins};
pub use statistics::{Distributions, Recorder, Samples, jain, pool, quantile, summarise};
pub use stored::Stored;
pub use summary::{
    Arm, Completions, DecisionLatency, Delay, FlowSummary, Overrides, Packets, QueueDelay, Records,
    Refusals, Repetition, Statistics, Summary,
};
pub use warnings::{BOTTLENECK_NOT_SLOWEST, FLOW_NEVER_STARTED, QUEUE_NEVER_BUILT, Warning};
pub use writer::{Rows, RunWriter};

use serde::{Deserialize, Serialize};

/// One repetition of one arm, as emulated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Run {
    /// Everything that is not a row.
    pub meta: RunMeta,
    /// One row per departure or drop at the bottleneck, in time order.
    pub packets: Vec<PacketRow>,
    /// One row per flow and sample, in time order.
    pub flows: Vec<FlowRow>,
    /// One row per decision of the controller, in time order.
    pub decisions: Vec<DecisionRow>,
    /// One row per sample with changed set-points, in time order; none if
    /// nothing controls the queue.
    pub set_points: Vec<SetPointRow>,
}

/// Data of a repetition in addition to its rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunMeta {
    /// Seed of this repetition.
    pub seed: u64,
    /// Start of the measured time, ns; earlier rows are warm-up.
    pub start_ns: u64,
    /// End of the measured time, ns, exclusive.
    pub end_ns: u64,
    /// Capacity of the bottleneck over time, the first step at or before
    /// `start_ns`, in time order.
    pub capacity: Vec<RateStep>,
    /// The flows; a row's `flow` is an index into this list.
    pub flows: Vec<FlowMeta>,
    /// Packets at the bottleneck over the whole run, warm-up included.
    pub packets: Packets,
    /// Records over the whole run.
    pub records: Records,
    /// Overrides over the whole run.
    pub overrides: Overrides,
    /// Decisions of overrides that a limit refused.
    pub refusals: Refusals,
    /// Virtual time, s.
    pub virtual_s: f64,
    /// Real time, s.
    pub wall_s: f64,
}

/// The measured time, and the bottleneck's capacity in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Start, ns; earlier rows are warm-up.
    pub start_ns: u64,
    /// End, ns, exclusive.
    pub end_ns: u64,
    /// Capacity over time, the first step at or before `start_ns`.
    pub capacity: Vec<RateStep>,
}

impl RunMeta {
    /// The measured time.
    pub fn window(&self) -> Window {
        Window {
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            capacity: self.capacity.clone(),
        }
    }
}

/// The bottleneck's rate from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateStep {
    /// When it takes effect, ns.
    pub from_ns: u64,
    /// Bits per second.
    pub bits_per_s: u64,
}

/// Congestion control of the [`FlowMeta`] to which packets of unknown flows belong.
pub const NO_FLOW: &str = "unknown";

/// One flow of a repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowMeta {
    /// Name in the scenario, with a number if there are several.
    pub name: String,
    /// Congestion control, as the scenario spells it, or [`NO_FLOW`].
    pub cc: String,
    /// Queue that it uses: 0 classic, 1 L4S (`L4S_QUEUE_*`).
    pub queue: u8,
    /// When it began to send, ns.
    pub start_ns: u64,
    /// When it ended, ns; at the latest the run's end.
    pub end_ns: u64,
    /// Payload bytes that reached the receiver for the first time between
    /// `RunMeta::start_ns` and `end_ns`.
    pub goodput_bytes: u64,
    /// Retransmitted segments, over the whole run.
    pub retransmits: u64,
    /// Whether it counts in Jain's index: long-lived and responsive.
    pub fair: bool,
    /// Its transfers; none if they do not end, or if the receiver cannot know
    /// their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfers: Option<Transfers>,
}

/// Transfers of a flow, or of the short flows that it represents, that began in
/// the measured time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transfers {
    /// Durations of finished transfers, from the start to the arrival of the
    /// last byte, ns.
    pub finished_ns: Vec<u64>,
    /// Number of unfinished transfers at the end of the run.
    pub unfinished: u64,
}

impl Transfers {
    /// Adds a transfer, with its duration in ns if finished.
    pub fn add(&mut self, took_ns: Option<u64>) {
        match took_ns {
            Some(took_ns) => self.finished_ns.push(took_ns),
            None => self.unfinished += 1,
        }
    }
}

#[cfg(test)]
mod tests;

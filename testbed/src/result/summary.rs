//! `summary.json`, as it is on disk. RESULTS.md documents every key.

use l4sllm_model::Outcome;
use serde::{Deserialize, Serialize};

use super::facts::PolicyFacts;
use super::warnings::Warning;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of l4sllm that ran it.
    pub version: String,
    /// Seed that every repetition's seed is derived from.
    pub seed: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// The policy of the first arm that has one; each arm names its own.
    pub policy: Option<PolicyFacts>,
    /// Whether every repetition of every arm is here.
    pub complete: bool,
    /// Repetitions that each arm has when complete.
    pub repetitions: u32,
    /// Why the result, or a part of it, shows less than it seems to.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The arms that have at least one finished repetition, as ordered in the scenario.
    pub arms: Vec<Arm>,
}

/// One arm of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Name: `dualpi2`, `l4sllm-10`.
    pub name: String,
    /// Queue discipline: `dualpi2`, `fifo`, `pie`, `codel`, `fq-codel`.
    pub aqm: String,
    /// Packets between two decisions of a policy on records.
    pub interval: Option<u32>,
    /// The policy that decided.
    pub policy: Option<PolicyFacts>,
    /// Over the rows of all finished repetitions together.
    pub pooled: Statistics,
    /// Each finished repetition, in order.
    pub repetitions: Vec<Repetition>,
}

/// One repetition of an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// From 0.
    pub repetition: u32,
    /// Its seed.
    pub seed: u64,
    /// Its numbers.
    #[serde(flatten)]
    pub statistics: Statistics,
}

/// The numbers of one repetition, or of all of an arm together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Bits sent over what the bottleneck could have sent, in the time measured.
    pub utilisation: f64,
    /// Sojourn times of forwarded packets, ms.
    pub queue_delay_ms: QueueDelay,
    /// Each flow.
    pub flows: Vec<FlowSummary>,
    /// Jain's index over the goodputs of long-lived responsive flows; none
    /// when there are fewer than two.
    pub jain: Option<f64>,
    /// Packets at the bottleneck.
    pub packets: Packets,
    /// CE marks set at the bottleneck, packets, in the time measured.
    pub marks: u64,
    /// Packets dropped at the bottleneck in the time measured.
    pub drops: u64,
    /// Dropped packets of all that left the queue in the time measured, 0 to
    /// 1; none where no packet left, and in results of older versions.
    #[serde(default)]
    pub drop_share: Option<f64>,
    /// Records that the queue wrote.
    pub records: Records,
    /// Overrides that the queue was sent.
    pub overrides: Overrides,
    /// Decisions that a limit refused, by limit.
    pub refusals: Refusals,
    /// How long the controller took, us.
    pub decision_latency_us: DecisionLatency,
    /// Virtual time, s.
    pub virtual_s: f64,
    /// Real time, s.
    pub wall_s: f64,
}

impl Statistics {
    /// The numbers that runs are compared by.
    pub fn outcome(&self) -> Outcome {
        let delay = &self.queue_delay_ms;
        Outcome {
            utilisation: self.utilisation,
            classic_mean_ms: delay.classic.mean,
            classic_p50_ms: delay.classic.p50,
            classic_p99_ms: delay.classic.p99,
            l4s_mean_ms: delay.l4s.mean,
            l4s_p99_ms: delay.l4s.p99,
            jain: self.jain,
            drop_share: self.drop_share,
        }
    }
}

/// Delays of each queue and of both.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QueueDelay {
    /// Classic queue.
    pub classic: Delay,
    /// L4S queue.
    pub l4s: Delay,
    /// Every packet.
    pub all: Delay,
}

/// A distribution of delays, ms; none where no packet passed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Delay {
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Standard deviation of the population.
    pub stddev: Option<f64>,
}

/// One flow's share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowSummary {
    /// Name in the scenario.
    pub name: String,
    /// Congestion control.
    pub cc: String,
    /// `classic` or `l4s`.
    pub queue: String,
    /// Payload delivered over the time that it ran while measured, Mbit/s.
    pub goodput_mbps: f64,
    /// CE marks set on it at the bottleneck, packets.
    pub marks: u64,
    /// Packets of it dropped at the bottleneck.
    pub drops: u64,
    /// Segments that it sent again.
    pub retransmits: u64,
    /// How long its transfers took; none where it has none that end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completions: Option<Completions>,
}

/// Completion times of transfers that began in the time measured: short flows,
/// flows with a limit, chunks that an application offered.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Completions {
    /// Transfers that have arrived.
    pub finished: u64,
    /// Transfers that had not at the end; the times leave them out.
    pub unfinished: u64,
    /// Arithmetic mean, from the start to the last byte's arrival, ms; like
    /// the others none where nothing has arrived.
    pub mean_ms: Option<f64>,
    /// Median, ms.
    pub p50_ms: Option<f64>,
    /// 95th percentile, ms.
    pub p95_ms: Option<f64>,
    /// 99th percentile, ms.
    pub p99_ms: Option<f64>,
}

/// packets in = forwarded + dropped + queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Packets {
    /// Arrived.
    #[serde(rename = "in")]
    pub arrived: u64,
    /// Sent on.
    pub forwarded: u64,
    /// Dropped, for any reason.
    pub dropped: u64,
    /// Left in the queue at the end.
    pub queued: u64,
}

/// records written = read + lost + waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Records {
    /// Written by the queue.
    pub written: u64,
    /// Read by the controller.
    pub read: u64,
    /// Overwritten before they were read.
    pub lost: u64,
    /// Unread at the end.
    pub waiting: u64,
}

/// overrides received = applied + expired + refused + replaced + waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Overrides {
    /// Accepted by the device.
    pub received: u64,
    /// Changed or confirmed a decision, or came into force.
    pub applied: u64,
    /// Ran out of time unused.
    pub expired: u64,
    /// Kept off by a limit.
    pub refused: u64,
    /// Gave way to a newer one unused.
    pub replaced: u64,
    /// Not yet used at the end.
    pub waiting: u64,
}

/// Decisions where a limit kept an override from acting, by limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refusals {
    /// It would have marked a Not-ECT packet.
    pub not_ect: u64,
    /// The share of override drops was used up.
    pub drop_share: u64,
    /// The queue delay was above the ceiling.
    pub ceiling: u64,
    /// DualPI2 was in overload.
    pub overload: u64,
    /// It would have dropped the last packet that waited. (Results of before
    /// that rule have none.)
    #[serde(default)]
    pub last_packet: u64,
    /// The device turned the request away (stale, malformed).
    pub invalid: u64,
}

/// From the record that completes an interval being readable to the override
/// being in force, us; none where nothing was decided.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DecisionLatency {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

//! Contents of `summary.json`. RESULTS.md documents every key.

use l4sllm_abi::Reason;
use l4sllm_abi::raw::l4s_stats;
use l4sllm_model::Outcome;
use serde::{Deserialize, Serialize};

use super::facts::PolicyFacts;
use super::warnings::Warning;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of l4sllm that ran it.
    pub version: String,
    /// Seed from which the seed of every repetition is derived.
    pub seed: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// The policy of the first arm that has one; each arm names its own.
    pub policy: Option<PolicyFacts>,
    /// Whether every repetition of every arm is present.
    pub complete: bool,
    /// Repetitions that each arm has when complete.
    pub repetitions: u32,
    /// Reasons why the result, or a part of it, may be meaningless.
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
    /// Bits sent divided by the bottleneck's capacity, in the measured time.
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
    /// CE marks set at the bottleneck, packets, in the measured time.
    pub marks: u64,
    /// Packets dropped at the bottleneck in the measured time.
    pub drops: u64,
    /// Share of dropped packets among all that left the queue in the measured
    /// time, 0 to 1; none if no packet left, and in results of older versions.
    #[serde(default)]
    pub drop_share: Option<f64>,
    /// Records that the queue wrote.
    pub records: Records,
    /// Overrides sent to the queue.
    pub overrides: Overrides,
    /// Decisions that a limit refused, by limit.
    pub refusals: Refusals,
    /// Decision latency, us.
    pub decision_latency_us: DecisionLatency,
    /// Virtual time, s.
    pub virtual_s: f64,
    /// Real time, s.
    pub wall_s: f64,
}

impl Statistics {
    /// The quantities used to compare runs.
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

/// A distribution of delays, ms; none if no packet passed.
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
    /// Payload delivered, divided by its running time within the measured time,
    /// Mbit/s.
    pub goodput_mbps: f64,
    /// CE marks set on it at the bottleneck, packets.
    pub marks: u64,
    /// Packets of it dropped at the bottleneck.
    pub drops: u64,
    /// Segments that it retransmitted.
    pub retransmits: u64,
    /// Completion times of its transfers; none if they do not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completions: Option<Completions>,
}

/// Completion times of transfers that began in the measured time: short flows,
/// flows with a limit, chunks of an application.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Completions {
    /// Finished transfers.
    pub finished: u64,
    /// Unfinished transfers at the end, which are excluded from the times.
    pub unfinished: u64,
    /// Arithmetic mean, from the start to the last byte's arrival, ms; like the
    /// others, none if no transfer finished.
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
    /// Forwarded.
    pub forwarded: u64,
    /// Dropped, for any reason.
    pub dropped: u64,
    /// Queued at the end.
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
    /// Changed or confirmed a decision, or took effect.
    pub applied: u64,
    /// Expired unused.
    pub expired: u64,
    /// Blocked by a limit.
    pub refused: u64,
    /// Replaced by a newer one before use.
    pub replaced: u64,
    /// Not yet used at the end.
    pub waiting: u64,
}

impl From<&l4s_stats> for Overrides {
    fn from(stats: &l4s_stats) -> Overrides {
        Overrides {
            received: stats.overrides_received,
            applied: stats.overrides_applied,
            expired: stats.overrides_expired,
            refused: stats.overrides_refused,
            replaced: stats.overrides_replaced,
            waiting: stats.overrides_waiting,
        }
    }
}

/// Decisions in which a limit blocked an override, by limit.
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
    /// It would have dropped the last packet in the queue. (Absent in results
    /// from before that rule.)
    #[serde(default)]
    pub last_packet: u64,
    /// The share of additional marks was used up. (Absent in results from before that
    /// limit.)
    #[serde(default)]
    pub mark_share: u64,
    /// The device refused the request (stale, malformed).
    pub invalid: u64,
}

impl From<&l4s_stats> for Refusals {
    fn from(stats: &l4s_stats) -> Refusals {
        let by = |reason: Reason| stats.refused[usize::from(reason.code())];
        Refusals {
            not_ect: by(Reason::NotEct),
            drop_share: by(Reason::DropShare),
            ceiling: by(Reason::Ceiling),
            overload: by(Reason::Overload),
            last_packet: by(Reason::LastPacket),
            mark_share: by(Reason::MarkShare),
            invalid: stats.refused_invalid,
        }
    }
}

/// From when the record that completes an interval is readable until the
/// override takes effect, us; none without decisions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DecisionLatency {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

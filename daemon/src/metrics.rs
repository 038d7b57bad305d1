//! Accounts for every message, decision and override.

use hdrhistogram::Histogram;
use l4sllm_abi::Refusal;

use crate::engine::Decision;

/// What became of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The device took it: it is in force.
    Accepted,
    /// The device refused it.
    Refused(Refusal),
    /// It did not reach the device, or no answer came.
    Failed,
}

/// Counters since the start, and the latency of decisions.
///
/// Always true, and checked by [`Metrics::imbalance`]:
/// - `messages = records + losses + events`
/// - `due + unscheduled = decisions + skipped`
/// - `decisions = action_decisions + steer_decisions = overrides + stale`
/// - `overrides = accepted + refused + failed + outstanding`
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Messages of the stream.
    pub messages: u64,
    /// Decisions of the queue among them.
    pub records: u64,
    /// Loss messages among them.
    pub losses: u64,
    /// Events among them.
    pub events: u64,
    /// Watchdog events among these.
    pub watchdog_events: u64,
    /// Messages that the device says were lost.
    pub lost: u64,
    /// Holes in the sequence that no loss message announced.
    pub gaps: u64,
    /// Reads that did not hold whole, valid messages.
    pub torn_reads: u64,
    /// Bytes of these that were dropped.
    pub torn_bytes: u64,
    /// Windows started anew after a loss, a gap or a torn read.
    pub resets: u64,
    /// Scheduler instances that are decided for; not those that were silent
    /// for a minute.
    pub instances: u64,
    /// Records of instances beyond the configured number.
    pub unrouted: u64,
    /// Intervals that were completed.
    pub due: u64,
    /// Decisions at other times, by scripts.
    pub unscheduled: u64,
    /// Intervals on which the engine did not decide.
    pub skipped: u64,
    /// Decisions by action: enqueue, drop, mark.
    pub actions: [u64; 3],
    /// Decisions that shift set-points.
    pub steers: u64,
    /// Overrides made of decisions.
    pub overrides: u64,
    /// Decisions whose override would have expired already.
    pub stale: u64,
    /// Overrides that the device took.
    pub accepted: u64,
    /// Overrides that the device refused, by [`Refusal`] in the order of
    /// [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Overrides that did not reach the device.
    pub failed: u64,
    /// Overrides whose outcome is not known yet.
    pub outstanding: u64,
    /// Decision latency, ns: from the record that completes the interval
    /// being written (and so readable) to the override being in force.
    pub latency_ns: Histogram<u64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            messages: 0,
            records: 0,
            losses: 0,
            events: 0,
            watchdog_events: 0,
            lost: 0,
            gaps: 0,
            torn_reads: 0,
            torn_bytes: 0,
            resets: 0,
            instances: 0,
            unrouted: 0,
            due: 0,
            unscheduled: 0,
            skipped: 0,
            actions: [0; 3],
            steers: 0,
            overrides: 0,
            stale: 0,
            accepted: 0,
            refused: [0; Refusal::ALL.len()],
            failed: 0,
            outstanding: 0,
            latency_ns: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)
                .expect("bounds in order, 3 of at most 5 digits"),
        }
    }
}

impl Metrics {
    /// Decisions of all kinds.
    pub fn decisions(&self) -> u64 {
        self.actions.iter().sum::<u64>() + self.steers
    }

    /// Overrides that the device refused for one reason.
    pub fn refused_by(&self, refusal: Refusal) -> u64 {
        // Codes count from 1 without a gap.
        self.refused[refusal.code() as usize - 1]
    }

    /// Overrides that the device refused, for whatever reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// The first identity that does not hold, with its two sides; `None` when
    /// all hold.
    pub fn imbalance(&self) -> Option<(&'static str, u64, u64)> {
        let answered = self.accepted + self.refused_total() + self.failed;
        [
            (
                "messages",
                self.messages,
                self.records + self.losses + self.events,
            ),
            (
                "due + unscheduled",
                self.due + self.unscheduled,
                self.decisions() + self.skipped,
            ),
            ("decisions", self.decisions(), self.overrides + self.stale),
            ("overrides", self.overrides, answered + self.outstanding),
        ]
        .into_iter()
        .find(|(_, left, right)| left != right)
    }

    pub(crate) fn decided(&mut self, decision: &Decision) {
        match decision {
            Decision::Action { action, .. } => self.actions[action.index()] += 1,
            Decision::Steer(_) => self.steers += 1,
        }
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome, latency_ns: u64) {
        match outcome {
            Outcome::Accepted => {
                self.accepted += 1;
                self.latency_ns.saturating_record(latency_ns);
            }
            Outcome::Refused(refusal) => {
                // Codes count from 1 without a gap.
                self.refused[refusal.code() as usize - 1] += 1;
            }
            Outcome::Failed => self.failed += 1,
        }
    }
}

/// Longer latencies count as this: the override has expired long since.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

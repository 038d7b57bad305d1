//! The table of counters with names and meanings. The struct, the status
//! output, the metrics text and the manual's list are derived from it.

use l4sllm_abi::{Action, Refusal};
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::engine::Decision;

/// The kind of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the daemon runs.
    Counter,
    /// A current number.
    Gauge,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name in the status object and, with a prefix, in the metrics text.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its meaning.
    pub help: &'static str,
    value: fn(&Counters) -> u64,
}

impl Row {
    /// Its value in `counters`.
    pub fn of(&self, counters: &Counters) -> u64 {
        (self.value)(counters)
    }
}

macro_rules! counters {
    ($($name:ident: $kind:ident, $help:literal;)+) => {
        /// Counters since the start. Fields are never removed.
        ///
        /// Always true, and checked by [`Counters::imbalance`]:
        /// - `messages = records + summaries + losses + events`
        /// - `due + unscheduled = decisions + skipped + awaited`
        /// - `decisions` is the sum of the decided, and `overrides + stale`
        /// - `refused` is the sum of the refusals by reason
        /// - `overrides = accepted + refused + failed + outstanding`
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: u64,)+
        }

        impl Counters {
            /// All counters, in the order in which they are printed.
            pub const TABLE: &'static [Row] = &[
                $(Row {
                    name: stringify!($name),
                    kind: Kind::$kind,
                    help: $help,
                    value: |counters| counters.$name,
                },)+
            ];
        }
    };
}

counters! {
    messages: Counter, "Messages of the stream.";
    records: Counter, "Decisions of the queue among the messages.";
    context: Counter, "Configurations, states and totals among the messages.";
    summaries: Counter, "Summaries among the messages.";
    losses: Counter, "Loss messages among the messages.";
    events: Counter, "Events among the messages.";
    watchdog_events: Counter, "Watchdog events among the events.";
    lost: Counter, "Messages that the device reports as lost.";
    gaps: Counter, "Gaps in the sequence that no loss message announced.";
    torn_reads: Counter, "Reads that did not return whole, valid messages.";
    torn_bytes: Counter, "Bytes of torn reads that were dropped.";
    resets: Counter, "Windows restarted after a loss, a gap or a torn read.";
    instances: Gauge, "Scheduler instances with a window; silent ones are removed within two \
    minutes.";
    unrouted: Counter, "Records and summaries of instances beyond the configured number.";
    due: Counter, "Intervals that were completed.";
    unscheduled: Counter, "Decisions of scripts, fallbacks, or a server after its fallback, at other times.";
    skipped: Counter, "Intervals that ended without a decision.";
    skipped_behind: Counter, "Skipped intervals that were too old, because the daemon had fallen behind.";
    records_behind: Counter, "Records of the intervals that were skipped for being too old.";
    awaited: Gauge, "Intervals whose decision is awaited from a server.";
    decisions: Counter, "Decisions.";
    decided_enqueue: Counter, "Decisions to enqueue.";
    decided_drop: Counter, "Decisions to drop.";
    decided_mark: Counter, "Decisions to mark.";
    decided_steer: Counter, "Decisions that shift set-points.";
    overrides: Counter, "Overrides made from decisions.";
    stale: Counter, "Decisions whose override had already expired when ready.";
    accepted: Counter, "Overrides that the device accepted.";
    refused: Counter, "Overrides that the device refused.";
    refused_permission: Counter, "Overrides refused: not the controller, or not privileged.";
    refused_not_found: Counter, "Overrides refused: no such instance.";
    refused_busy: Counter, "Overrides refused: busy.";
    refused_invalid: Counter, "Overrides refused: invalid.";
    refused_protocol: Counter, "Overrides refused: incompatible interface version.";
    refused_beyond_limits: Counter, "Overrides refused: beyond the device's limits.";
    refused_unsupported: Counter, "Overrides refused: unknown to the device.";
    refused_no_memory: Counter, "Overrides refused: the device is short of memory.";
    failed: Counter, "Overrides that did not reach the device.";
    outstanding: Gauge, "Overrides with an unknown outcome so far.";
}

impl Counters {
    /// Overrides that the device refused for one reason.
    pub fn refused_by(&self, refusal: Refusal) -> u64 {
        let mut copy = *self;
        *copy.refusals_mut(refusal)
    }

    /// Returns the first violated identity, with its two sides.
    pub fn imbalance(&self) -> Option<(&'static str, u64, u64)> {
        let decided =
            self.decided_enqueue + self.decided_drop + self.decided_mark + self.decided_steer;
        let refused = Refusal::ALL.iter().map(|r| self.refused_by(*r)).sum();
        let answered = self.accepted + self.refused + self.failed;
        [
            (
                "messages",
                self.messages,
                self.records + self.context + self.summaries + self.losses + self.events,
            ),
            (
                "due + unscheduled",
                self.due + self.unscheduled,
                self.decisions + self.skipped + self.awaited,
            ),
            ("decided", self.decisions, decided),
            ("decisions", self.decisions, self.overrides + self.stale),
            ("refused", self.refused, refused),
            ("overrides", self.overrides, answered + self.outstanding),
        ]
        .into_iter()
        .find(|(_, left, right)| left != right)
    }

    pub(crate) fn decided(&mut self, decision: &Decision) {
        self.decisions += 1;
        *match decision {
            Decision::Action { action, .. } => match action {
                Action::Enqueue => &mut self.decided_enqueue,
                Action::Drop => &mut self.decided_drop,
                Action::Mark => &mut self.decided_mark,
            },
            Decision::Steer(_) | Decision::SetPoints(_) => &mut self.decided_steer,
        } += 1;
    }

    pub(super) fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Refused(refusal) => {
                self.refused += 1;
                *self.refusals_mut(refusal) += 1;
            }
            Outcome::Failed => self.failed += 1,
        }
    }

    fn refusals_mut(&mut self, refusal: Refusal) -> &mut u64 {
        match refusal {
            Refusal::Permission => &mut self.refused_permission,
            Refusal::NotFound => &mut self.refused_not_found,
            Refusal::Busy => &mut self.refused_busy,
            Refusal::Invalid => &mut self.refused_invalid,
            Refusal::Protocol => &mut self.refused_protocol,
            Refusal::BeyondLimits => &mut self.refused_beyond_limits,
            Refusal::Unsupported => &mut self.refused_unsupported,
            Refusal::NoMemory => &mut self.refused_no_memory,
        }
    }
}

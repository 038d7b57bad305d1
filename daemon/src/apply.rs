//! Makes overrides of decisions and follows them to their outcome.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};

use l4sllm_abi::{Mode, Override, Record};

use crate::engine::Decision;
use crate::metrics::{Counters, Metrics, Outcome};

/// How an action becomes an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrideMode {
    /// For the next packet.
    Once,
    /// For the next so many packets.
    Hold(NonZeroU32),
}

/// Whose packets an action is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of the queue that the newest record is of.
    Same,
    /// Those of both queues.
    Any,
}

/// Overrides whose outcome is awaited; more means that the caller does not
/// report outcomes, and the oldest is counted as failed.
const MAX_OUTSTANDING: usize = 4096;

pub(crate) struct Apply {
    mode: OverrideMode,
    scope: Scope,
    ttl_ns: u64,
    next_id: NonZeroU64,
    /// Number and record time of overrides whose outcome is not known.
    outstanding: VecDeque<(NonZeroU64, u64)>,
}

impl Apply {
    pub(crate) fn new(mode: OverrideMode, scope: Scope, ttl_ns: u64) -> Apply {
        Apply {
            mode,
            scope,
            ttl_ns,
            next_id: NonZeroU64::MIN,
            outstanding: VecDeque::new(),
        }
    }

    pub(crate) fn reconfigure(&mut self, mode: OverrideMode, scope: Scope, ttl_ns: u64) {
        self.mode = mode;
        self.scope = scope;
        self.ttl_ns = ttl_ns;
    }

    /// End of an override that is based on a record of this time, ns.
    pub(crate) fn expires_ns(&self, record_ns: u64) -> u64 {
        record_ns.saturating_add(self.ttl_ns)
    }

    /// The override that a decision on `record` asks for; `None` when it
    /// would have expired already.
    pub(crate) fn order(
        &mut self,
        decision: &Decision,
        record: &Record,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Option<Override> {
        let expires_ns = self.expires_ns(record.time_ns());
        if expires_ns <= now_ns {
            counters.stale += 1;
            return None;
        }
        let queue = match self.scope {
            Scope::Same => Some(record.queue()),
            Scope::Any => None,
        };
        let mode = match (*decision, self.mode) {
            (Decision::Action { action, .. }, OverrideMode::Once) => Mode::Once { action, queue },
            (Decision::Action { action, .. }, OverrideMode::Hold(packets)) => Mode::Hold {
                action,
                queue,
                packets,
            },
            (Decision::Steer(steer), _) => Mode::Steer(steer),
        };
        let id = self.next_id;
        // Past 2^64 - 1 the numbers start again at 1; 0 means "no override".
        self.next_id = id.checked_add(1).unwrap_or(NonZeroU64::MIN);
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.outstanding.pop_front();
            counters.failed += 1;
        }
        self.outstanding.push_back((id, record.time_ns()));
        counters.overrides += 1;
        counters.outstanding = self.outstanding.len() as u64;
        Some(Override::on(record, id, expires_ns, mode))
    }

    pub(crate) fn outcome(
        &mut self,
        id: NonZeroU64,
        outcome: Outcome,
        now_ns: u64,
        metrics: &mut Metrics,
    ) -> Option<u64> {
        // One that is unknown was counted as failed, or is known already.
        let at = self
            .outstanding
            .iter()
            .position(|(known, _)| *known == id)?;
        let (_, record_ns) = self.outstanding.remove(at)?;
        metrics.counters.outstanding = self.outstanding.len() as u64;
        let latency = now_ns.saturating_sub(record_ns);
        metrics.outcome(outcome, latency);
        Some(latency)
    }

    /// No outcome will come for what is outstanding.
    pub(crate) fn abandon(&mut self, counters: &mut Counters) {
        counters.failed += self.outstanding.len() as u64;
        counters.outstanding = 0;
        self.outstanding.clear();
    }
}

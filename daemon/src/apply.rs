//! Turns decisions into overrides and tracks their outcome.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};

use l4sllm_abi::{
    Factor, Factors, Limits, Mode, Override, Params, Queue, Record, Steer, Summary, raw,
};

use crate::batch::Scheduler;
use crate::engine::{Decision, SetPoints};
use crate::metrics::{Counters, Metrics, Outcome};

/// How an action becomes an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrideMode {
    /// Applies to the next packet.
    Once,
    /// Applies to this number of packets.
    Hold(NonZeroU32),
}

/// The packets that an action applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Packets of the newest record's queue; of both queues if the decision is
    /// based on a summary.
    Same,
    /// Packets of both queues.
    Any,
}

/// Maximum number of overrides with pending outcomes. If there are more, the
/// caller does not report outcomes, and the oldest is counted as failed.
const MAX_OUTSTANDING: usize = 4096;

/// The record or summary on which a decision is based.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Basis {
    scheduler: Scheduler,
    /// Position in its stream.
    seq: u64,
    time_ns: u64,
    /// The queue of a record.
    queue: Option<Queue>,
}

impl Basis {
    pub(crate) fn scheduler(&self) -> Scheduler {
        self.scheduler
    }

    pub(crate) fn time_ns(&self) -> u64 {
        self.time_ns
    }

    pub(crate) fn record(record: &Record) -> Basis {
        Basis {
            scheduler: Scheduler::of(record),
            seq: record.seq(),
            time_ns: record.time_ns(),
            queue: Some(record.queue()),
        }
    }

    pub(crate) fn summary(summary: &Summary) -> Basis {
        Basis {
            scheduler: Scheduler::of_summary(summary),
            seq: summary.seq(),
            time_ns: summary.end_ns(),
            queue: None,
        }
    }
}

pub(crate) struct Apply {
    mode: OverrideMode,
    scope: Scope,
    ttl_ns: u64,
    next_id: NonZeroU64,
    /// The parameters that set-points are shifted from, and the limits.
    base: (Params, Limits),
    /// Number and record time of overrides with pending outcomes.
    outstanding: VecDeque<(NonZeroU64, u64)>,
}

impl Apply {
    pub(crate) fn new(mode: OverrideMode, scope: Scope, ttl_ns: u64) -> Apply {
        Apply {
            mode,
            scope,
            ttl_ns,
            next_id: NonZeroU64::MIN,
            base: (Params::default(), Limits::default()),
            outstanding: VecDeque::new(),
        }
    }

    pub(crate) fn reconfigure(&mut self, mode: OverrideMode, scope: Scope, ttl_ns: u64) {
        self.mode = mode;
        self.scope = scope;
        self.ttl_ns = ttl_ns;
    }

    pub(crate) fn set_base(&mut self, params: Params, limits: Limits) {
        self.base = (params, limits);
    }

    /// The number of the next override, and the parameters and limits that
    /// set-points are shifted from.
    pub(crate) fn state(&self) -> (NonZeroU64, &Params, &Limits) {
        (self.next_id, &self.base.0, &self.base.1)
    }

    /// Continues the numbers of overrides.
    pub(crate) fn set_next_id(&mut self, id: NonZeroU64) {
        self.next_id = id;
    }

    /// Expiry of an override based on a record with this time, ns.
    pub(crate) fn expires_ns(&self, record_ns: u64) -> u64 {
        record_ns.saturating_add(self.ttl_ns)
    }

    /// Makes the override for a decision; `None` if it would have expired
    /// already.
    pub(crate) fn order(
        &mut self,
        decision: &Decision,
        basis: &Basis,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Option<Override> {
        let expires_ns = self.expires_ns(basis.time_ns);
        if expires_ns <= now_ns {
            counters.stale += 1;
            return None;
        }
        let queue = match self.scope {
            Scope::Same => basis.queue,
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
            (Decision::SetPoints(points), _) => {
                let (params, limits) = &self.base;
                Mode::Steer(steer(&points, params, limits))
            }
        };
        let id = self.next_id;
        // Past 2^64 - 1 the numbers start again at 1; 0 means "no override".
        self.next_id = id.checked_add(1).unwrap_or(NonZeroU64::MIN);
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.outstanding.pop_front();
            counters.failed += 1;
        }
        self.outstanding.push_back((id, basis.time_ns));
        counters.overrides += 1;
        counters.outstanding = self.outstanding.len() as u64;
        Some(Override {
            sched: basis.scheduler.sched,
            instance: basis.scheduler.instance,
            id,
            based_on: basis.seq,
            expires_ns,
            mode,
        })
    }

    pub(crate) fn outcome(
        &mut self,
        id: NonZeroU64,
        outcome: Outcome,
        now_ns: u64,
        metrics: &mut Metrics,
    ) -> Option<u64> {
        // An override that is not found was counted as failed, or its outcome
        // is already known.
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

    /// Discards pending overrides; their outcomes will not be reported.
    pub(crate) fn abandon(&mut self, counters: &mut Counters) {
        counters.failed += self.outstanding.len() as u64;
        counters.outstanding = 0;
        self.outstanding.clear();
    }
}

/// The factors from `params` to `points`, as far as `limits` allow.
fn steer(points: &SetPoints, params: &Params, limits: &Limits) -> Steer {
    let factors = (limits.factor_min, limits.factor_max);
    let gains = (limits.gain_min, limits.gain_max);
    let (ns, uhz) = (1e9, 1e6);
    let alpha = factor(points.alpha_hz * uhz, f64::from(params.alpha_uhz), gains);
    let beta = factor(points.beta_hz * uhz, f64::from(params.beta_uhz), gains);
    Steer::new(Factors {
        target: factor(points.target_s * ns, params.target_ns as f64, factors),
        threshold: None,
        coupling: factor(
            points.coupling * 256.0,
            f64::from(params.coupling_q8),
            factors,
        ),
        alpha,
        beta,
        tupdate: factor(points.tupdate_s * ns, params.tupdate_ns as f64, factors),
    })
    .expect("the device's target is not 0")
}

/// `wanted / base` within `least` and `most`, Q16; `None` if the base is 0, so
/// that no factor makes a difference.
fn factor(wanted: f64, base: f64, (least, most): (u32, u32)) -> Option<Factor> {
    let q16 = (wanted / base * f64::from(raw::L4S_FACTOR_ONE)).round();
    let within = q16
        .is_finite()
        .then(|| (q16 as u64).clamp(least.into(), most.into()));
    // Limits are u32, so values within them are too.
    within
        .and_then(|q16| NonZeroU32::new(q16 as u32))
        .map(Factor::from)
}

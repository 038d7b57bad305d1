//! Reports of the daemon on its status socket and at its end.

use l4sllm_abi::VERSIONS;
use l4sllm_model::IdleBudget;
use tracing::{error, info};

use super::Daemon;
use super::board::Board;
use super::engines::chosen;
use crate::clock::now_ns;
use crate::control::Choice;
use crate::recorder::Recording;
use crate::status::{ControlStatus, InForce, Question, Status};

impl Daemon {
    pub(super) fn answer(&self, board: &Board, question: Question) {
        // The client may have disconnected.
        let _ = question.send(self.status(board));
    }

    fn status(&self, board: &Board) -> Status {
        let deciding_ns = board.deciding_ns().unwrap_or(0);
        // Copied, so that the worker does not wait while it is summarised.
        let mut live = board.live().clone();
        let now = now_ns();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            state: live.state,
            abi: VERSIONS,
            device: live.device,
            engine: live.engine,
            interval: live.interval,
            period_ms: live.period_ms,
            ttl_ms: live.ttl_ms,
            idle_budget: live.idle_budget.map(IdleBudget::share),
            reloads: self.reloads.clone(),
            counters: live.counters,
            latency_us: live.latency.lifetime(),
            latency_minute_us: live.latency.last_minute(now),
            decision_us: live.decision.lifetime(),
            decision_minute_us: live.decision.last_minute(now),
            deciding_s: deciding_ns as f64 / 1e9,
            in_force: live.steered.and_then(|order| InForce::of(&order, now)),
            recorder: self.recording.as_ref().map(Recording::status),
            control: self.control(),
            remote: live.remote.map(|counters| counters.read()),
        }
    }

    fn control(&self) -> Option<ControlStatus> {
        let socket = self.config.control.as_ref()?.socket.clone();
        let is_available = |choice: &Choice| chosen(*choice, &self.config).is_some();
        Some(ControlStatus {
            socket,
            selected: self.choice,
            available: Choice::ALL.into_iter().filter(is_available).collect(),
        })
    }

    /// The last log line.
    pub(super) fn summarise(&self, board: &Board, why: &str) {
        let (counters, latency) = {
            let live = board.live();
            (live.counters, live.latency.lifetime())
        };
        if let Some((what, left, right)) = counters.imbalance() {
            error!(what, left, right, "counters do not add up");
        }
        info!(
            why,
            records = counters.records,
            lost = counters.lost,
            torn_reads = counters.torn_reads,
            decisions = counters.decisions,
            skipped = counters.skipped,
            overrides = counters.overrides,
            accepted = counters.accepted,
            refused = counters.refused,
            latency_p50_us = latency.p50,
            latency_p99_us = latency.p99,
            "stopped"
        );
    }
}

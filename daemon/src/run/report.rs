//! What the daemon says about itself: on its status socket and at its end.

use l4sllm_abi::VERSIONS;
use tracing::{error, info};

use super::Daemon;
use crate::status::{Counters, Quantiles, Question, Status};

impl Daemon {
    pub(super) fn answer(&self, question: Question) {
        // Who no longer waits for the answer does not need it.
        let _ = question.send(self.status());
    }

    fn status(&self) -> Status {
        let metrics = self.pipeline.metrics();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            state: self.state,
            abi: VERSIONS,
            device: self.device.clone(),
            engine: self.engines.status().clone(),
            interval: self.in_force.interval.get(),
            reloads: self.reloads.clone(),
            counters: Counters::from(metrics),
            latency_us: Quantiles::of_ns(&metrics.latency_ns),
            decision_us: Quantiles::of_ns(&self.decision_ns),
        }
    }

    /// The last log line.
    pub(super) fn summarise(&self, why: &str) {
        let metrics = self.pipeline.metrics();
        if let Some((what, left, right)) = metrics.imbalance() {
            error!(what, left, right, "counters do not add up");
        }
        let latency = Quantiles::of_ns(&metrics.latency_ns);
        info!(
            why,
            records = metrics.records,
            lost = metrics.lost,
            torn_reads = metrics.torn_reads,
            decisions = metrics.decisions(),
            overrides = metrics.overrides,
            accepted = metrics.accepted,
            refused = metrics.refused_total(),
            latency_p50_us = latency.p50,
            latency_p99_us = latency.p99,
            "stopped"
        );
    }
}

//! Samples of a run's flows and of its queue's set-points.

use crate::result::{FlowMeta, FlowRow, SetPointRow};
use crate::router::Router;

use super::Simulation;

impl Simulation {
    pub(super) fn sample(&mut self, now_ns: u64) {
        for flow in &self.flows {
            if flow.plan.lasting && flow.is_live() {
                let stats = flow.stats();
                self.rows.flows.push(FlowRow {
                    time_ns: now_ns,
                    flow: flow.plan.reported,
                    cwnd_bytes: stats.sender.cwnd_bytes,
                    srtt_ns: stats.sender.srtt_ns,
                    delivered_bytes: stats.receiver.delivered_bytes,
                });
            }
        }
        self.sample_set_points(now_ns);
    }

    /// Adds a row for the set-points of a controlled queue if they changed.
    pub(super) fn sample_set_points(&mut self, now_ns: u64) {
        let router = self.bottleneck.router().filter(|_| self.controlled);
        let Some(now) = router.map(Router::set_points) else {
            return;
        };
        if self.set_points.replace(now) != Some(now) {
            self.rows.set_points.push(SetPointRow {
                time_ns: now_ns,
                target_ns: now.target_ns,
                tupdate_ns: now.tupdate_ns,
                alpha_uhz: now.alpha_uhz,
                beta_uhz: now.beta_uhz,
                coupling_q8: now.coupling_q8,
            });
        }
    }

    pub(super) fn reported_flows(&self) -> Vec<FlowMeta> {
        let delivered = self.reported_flows_with(|stats| stats.delivered);
        let retransmits = self.reported_flows_with(|stats| stats.retransmits);
        let mut reported = self.plan.reported.clone();
        for (at, meta) in reported.iter_mut().enumerate() {
            meta.goodput_bytes = delivered[at] - self.delivered_before[at];
            meta.retransmits = retransmits[at];
        }
        for flow in &self.flows {
            if let Some(transfers) = &mut reported[flow.plan.reported as usize].transfers {
                flow.add_transfers(&(self.warmup_ns..self.duration_ns), transfers);
            }
        }
        for flow in self.flows.iter().filter(|flow| flow.plan.lasting) {
            if let Some(finished_ns) = flow.stats().sender.finished_ns {
                let meta = &mut reported[flow.plan.reported as usize];
                meta.end_ns = meta.end_ns.min(finished_ns);
            }
        }
        reported
    }

    /// Sums a counter over the flows that are reported together.
    pub(super) fn reported_flows_with(&self, counter: impl Fn(Counters) -> u64) -> Vec<u64> {
        let mut sums = vec![0; self.plan.reported.len()];
        for flow in &self.flows {
            let stats = flow.stats();
            sums[flow.plan.reported as usize] += counter(Counters {
                delivered: stats.receiver.delivered_bytes,
                retransmits: stats.sender.retransmits,
            });
        }
        sums
    }
}

/// Counters that are summed over flows.
pub(super) struct Counters {
    pub delivered: u64,
    pub retransmits: u64,
}

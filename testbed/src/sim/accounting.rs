//! Checks at the end of a repetition that every packet, record and override is
//! accounted for.

use crate::control::Controller;
use crate::net::{Bottleneck, Flow};
use crate::result::{Overrides, Packets, Records, Refusals};
use l4sllm_abi::Stats;
use l4sllm_abi::raw::l4s_stats;

use super::SimError;

/// Numbers of segments by location, counted as they move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub data: Way,
    pub feedback: Way,
    /// Data on access links.
    pub on_access: u64,
    /// Data being transmitted by the bottleneck or behind it.
    pub on_wire: u64,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub sent: u64,
    pub delivered: u64,
    pub lost: u64,
}

impl Way {
    fn under_way(&self) -> u64 {
        self.sent
            .wrapping_sub(self.delivered)
            .wrapping_sub(self.lost)
    }
}

/// Counters for the result, after all checks.
pub(super) fn check(
    now_ns: u64,
    traffic: &Traffic,
    bottleneck: &Bottleneck,
    on_links: u64,
    flows: &[Flow],
    controller: Option<&mut Controller>,
) -> Result<(Packets, Records, Overrides, Refusals), SimError> {
    let checker = Checker { now_ns };
    let counts = bottleneck.counts();
    let packets = Packets {
        arrived: counts.arrived,
        forwarded: counts.forwarded,
        dropped: counts.dropped,
        queued: bottleneck.backlog().packets,
    };
    checker.equal(
        "packets in = forwarded + dropped + queued",
        packets.arrived,
        packets.forwarded + packets.dropped + packets.queued,
    )?;
    checker.equal(
        "data sent = delivered + lost + on links + queued",
        traffic.data.sent,
        traffic.data.delivered
            + traffic.data.lost
            + traffic.on_access
            + packets.queued
            + traffic.on_wire,
    )?;
    checker.equal(
        "segments in transit = sent - delivered - lost",
        on_links,
        traffic
            .data
            .under_way()
            .wrapping_add(traffic.feedback.under_way()),
    )?;
    checker.equal(
        "segments in transit = sum over flows",
        on_links,
        flows.iter().map(|flow| u64::from(flow.under_way)).sum(),
    )?;
    checker.equal(
        "data sent = sum over senders",
        traffic.data.sent,
        flows
            .iter()
            .map(|flow| flow.stats().sender.sent_packets)
            .sum(),
    )?;
    let Some(router) = bottleneck.router() else {
        return Ok((
            packets,
            Records::default(),
            Overrides::default(),
            Refusals::default(),
        ));
    };
    let stats = match controller {
        Some(controller) => {
            let stats = controller.handle().stats(now_ns)?;
            checker.check_controller(controller, &stats)?;
            *stats
        }
        None => router.stats(),
    };
    checker.check_router(&packets, &stats)?;
    let records = Records {
        written: stats.records_written,
        read: stats.records_read,
        lost: stats.records_lost,
        waiting: stats.records_waiting,
    };
    let (overrides, refusals) = (Overrides::from(&stats), Refusals::from(&stats));
    Ok((packets, records, overrides, refusals))
}

struct Checker {
    now_ns: u64,
}

impl Checker {
    fn equal(&self, what: &'static str, left: u64, right: u64) -> Result<(), SimError> {
        if left == right {
            Ok(())
        } else {
            Err(SimError::Accounting {
                now_ns: self.now_ns,
                what,
                left,
                right,
            })
        }
    }

    /// Checks the queue's own counters and compares them with the bottleneck's.
    fn check_router(&self, packets: &Packets, stats: &l4s_stats) -> Result<(), SimError> {
        let checked = Stats::try_from(*stats).map_err(crate::router::RouterError::from)?;
        if let Some((what, left, right)) = checked.imbalance() {
            self.equal(what, left, right)?;
        }
        self.equal(
            "router's packets_in = arrived",
            stats.packets_in,
            packets.arrived,
        )?;
        self.equal(
            "router's forwarded = transmitted",
            stats.forwarded,
            packets.forwarded,
        )?;
        self.equal(
            "router's dropped = drops handed over",
            stats.dropped,
            packets.dropped,
        )?;
        self.equal("router's queued = backlog", stats.queued, packets.queued)
    }

    /// Compares what the controller read with the device's counters.
    fn check_controller(&self, controller: &Controller, stats: &Stats) -> Result<(), SimError> {
        let (read, lost) = controller.read_and_lost();
        self.equal("records read = messages seen", stats.records_read, read)?;
        self.equal("records lost = losses reported", stats.records_lost, lost)?;
        let Some(metrics) = controller.pipeline().map(|pipeline| pipeline.metrics()) else {
            return Ok(());
        };
        if let Some((what, left, right)) = metrics.counters.imbalance() {
            self.equal(what, left, right)?;
        }
        self.equal(
            "pipeline's messages",
            metrics.counters.messages - metrics.counters.losses,
            controller.messages(),
        )
    }
}

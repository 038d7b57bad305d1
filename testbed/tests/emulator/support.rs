//! Scenarios made in code and run to completion.

use l4sllm_testbed::result::{PacketRow, Run, Statistics, summarise};
use l4sllm_testbed::scenario::{Arm, FlowGroup, Scenario};
use l4sllm_testbed::sim::Simulation;
use l4sllm_testbed::transport::Cc;

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000_000_000;
pub const MBIT: u64 = 1_000_000;

pub const CLASSIC: u8 = 0;
pub const L4S: u8 = 1;

/// A scenario of `seconds`, with the first third excluded from statistics.
pub fn scenario(rate_bps: u64, rtt_ns: u64, seconds: u64, flows: Vec<FlowGroup>) -> Scenario {
    Scenario {
        duration_ns: seconds * S,
        warmup_ns: seconds * S / 3,
        flows,
        ..Scenario::new("test", rate_bps, rtt_ns)
    }
}

pub fn flow(cc: Cc) -> FlowGroup {
    FlowGroup::new(cc.name(), cc)
}

/// Unresponsive datagrams.
pub fn udp(name: &str, rate_bps: u64) -> FlowGroup {
    FlowGroup {
        rate_bps: Some(rate_bps),
        ..FlowGroup::new(name, Cc::Udp)
    }
}

/// Runs one repetition: with its accounting checked.
pub fn run(scenario: &Scenario, arm: &Arm) -> Run {
    Simulation::new(scenario, arm, 0, None)
        .unwrap()
        .finish()
        .unwrap()
}

pub fn statistics(run: &Run) -> Statistics {
    summarise(0, run).statistics
}

/// Quantile of the queue delay of forwarded packets, ms.
pub fn delay_ms(run: &Run, queue: u8, from_ns: u64, to_ns: u64, q: f64) -> f64 {
    let forwarded = |row: &&PacketRow| {
        row.queue == queue && row.action != 1 && (from_ns..to_ns).contains(&row.time_ns)
    };
    let mut delays: Vec<u64> = run
        .packets
        .iter()
        .filter(forwarded)
        .map(|row| row.sojourn_ns)
        .collect();
    delays.sort_unstable();
    delays[((delays.len() - 1) as f64 * q) as usize] as f64 / 1e6
}

pub fn goodput(statistics: &Statistics, name: &str) -> f64 {
    statistics
        .flows
        .iter()
        .find(|flow| flow.name == name)
        .unwrap()
        .goodput_mbps
}

//! Detects meaningless runs.

use super::NO_FLOW;
use super::statistics::{Distributions, Totals};
use super::warnings::{FLOW_NEVER_STARTED, QUEUE_NEVER_BUILT, Warning};

/// Size in bits of the packet whose transmission time a queue must exceed.
const PACKET_BITS: u64 = 1500 * 8;
/// Maximum number of flows named in a text.
const NAMED: usize = 3;

/// Observations from the repetitions of an arm.
pub(super) fn of_arm(
    cell: &str,
    arm: &str,
    repetitions: &[&Totals],
    distributions: &Distributions,
) -> Vec<Warning> {
    let warning = |code: &str, text| Warning {
        code: code.to_owned(),
        text,
        cell: cell.to_owned(),
        arm: Some(arm.to_owned()),
    };
    let mut warnings = Vec::new();
    let least_bps = repetitions.iter().map(|totals| totals.least_bps).min();
    let packet_ns = (PACKET_BITS * 1_000_000_000).checked_div(least_bps.unwrap_or(0));
    let waited_ns = distributions
        .sojourn_ns
        .iter()
        .filter_map(|ns| ns.most())
        .max();
    if let (Some(packet_ns), Some(waited_ns)) = (packet_ns, waited_ns) {
        if waited_ns <= packet_ns {
            let text = format!(
                "the queue never built: no packet waited longer than {:.3} ms, the transmission \
                 of one, so the queue discipline had nothing to do",
                packet_ns as f64 / 1e6
            );
            warnings.push(warning(QUEUE_NEVER_BUILT, text));
        }
    }
    let silent = silent_flows(repetitions);
    if !silent.is_empty() {
        let names = silent.iter().take(NAMED).copied().collect::<Vec<_>>();
        let more = match silent.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let text = format!("never started: {}{more} sent nothing", names.join(", "));
        warnings.push(warning(FLOW_NEVER_STARTED, text));
    }
    warnings
}

/// Flows that sent nothing in any repetition, in order. Packets at the bottleneck may
/// be of unknown flows, so the payload counts too.
fn silent_flows<'a>(repetitions: &[&'a Totals]) -> Vec<&'a str> {
    let Some((first, _)) = repetitions.split_first() else {
        return Vec::new();
    };
    let flows = first.flows.iter().enumerate();
    let silent = flows.filter(|(index, flow)| {
        let own = repetitions.iter();
        let mut own = own.filter_map(|totals| totals.flows.get(*index));
        flow.cc != NO_FLOW && own.all(|flow| flow.count.packets == 0 && flow.goodput_bits == 0.0)
    });
    silent.map(|(_, flow)| flow.name.as_str()).collect()
}

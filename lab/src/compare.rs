//! The emulator against the lab: the same scenarios in both.

use std::ops::RangeInclusive;

use l4sllm_abi::Params;
use l4sllm_testbed::result::{Statistics, Summary};
use l4sllm_testbed::scenario::{Arm, FlowGroup, Scenario};
use l4sllm_testbed::transport::Cc;
use serde::Serialize;

/// Ratios of the lab to the emulator that count as agreement.
pub const AGREEMENT: RangeInclusive<f64> = 0.75..=1.33;

/// Delays below this are not compared, ms: the host's timing is a part of them.
const LEAST_MS: f64 = 0.5;

/// A scenario of the grid: a flow with `cc` next to one with CUBIC, on plain
/// DualPI2.
pub fn cell(cc: Cc, bits_per_s: u64, rtt_ns: u64) -> Scenario {
    let (megabits, ms) = (bits_per_s as f64 / 1e6, rtt_ns as f64 / 1e6);
    let name = format!("{cc}-{megabits}M-{ms}ms");
    let mut scenario = Scenario::new(&name, bits_per_s, rtt_ns);
    scenario.description = format!("{cc} next to CUBIC, {megabits} Mbit/s, {ms} ms");
    let flow = |name: &str, cc| {
        let mut flow = FlowGroup::new(name, cc);
        // Linux has HyStart in CUBIC's slow start, and reduces rates proportionally.
        flow.hystart = matches!(cc, Cc::Cubic);
        flow.prr = matches!(cc, Cc::Cubic | Cc::NewReno);
        flow
    };
    let first = match cc {
        Cc::Cubic => flow("cubic-a", cc),
        cc => flow(cc.name(), cc),
    };
    scenario.flows = vec![first, flow("cubic", Cc::Cubic)];
    scenario.arms = vec![Arm::dualpi2("dualpi2", Params::default())];
    scenario
}

/// A quantity in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The scenario.
    pub cell: String,
    /// The arm.
    pub arm: String,
    /// The compared quantity, with its unit.
    pub quantity: String,
    /// In the emulator.
    pub emulator: f64,
    /// In the lab.
    pub lab: f64,
    /// Lab relative to emulator; `None` if neither is large enough to be compared.
    pub ratio: Option<f64>,
}

impl Compared {
    /// Whether the ratio is outside [`AGREEMENT`].
    pub fn disagrees(&self) -> bool {
        self.ratio.is_some_and(|ratio| !AGREEMENT.contains(&ratio))
    }
}

/// All quantities of a scenario, for the arms that both summaries have.
pub fn compare(emulator: &Summary, lab: &Summary) -> Vec<Compared> {
    let mut rows = Vec::new();
    for emulated in &emulator.arms {
        let Some(real) = lab.arms.iter().find(|arm| arm.name == emulated.name) else {
            continue;
        };
        let real = quantities(&real.pooled);
        for (quantity, value) in quantities(&emulated.pooled) {
            let Some((_, lab_value)) = real.iter().find(|(name, _)| *name == quantity) else {
                continue;
            };
            rows.push(Compared {
                cell: emulator.scenario.clone(),
                arm: emulated.name.clone(),
                ratio: ratio(&quantity, value, *lab_value),
                quantity,
                emulator: value,
                lab: *lab_value,
            });
        }
    }
    rows
}

/// Delays of both queues, utilisation, and each long-lived flow's share of the
/// goodput, each with its name and unit.
pub fn quantities(statistics: &Statistics) -> Vec<(String, f64)> {
    let mut list = vec![("utilisation".to_owned(), statistics.utilisation)];
    let delays = &statistics.queue_delay_ms;
    for (queue, delay) in [("classic", &delays.classic), ("l4s", &delays.l4s)] {
        for (name, value) in [("mean", delay.mean), ("p50", delay.p50), ("p99", delay.p99)] {
            list.extend(value.map(|ms| (format!("{queue} {name}, ms"), ms)));
        }
    }
    // The lab has ping in addition, which transfers nothing.
    let flows = statistics
        .flows
        .iter()
        .filter(|flow| flow.goodput_mbps > 0.0);
    let total: f64 = flows.clone().map(|flow| flow.goodput_mbps).sum();
    list.extend(flows.map(|flow| (format!("share of {}", flow.name), flow.goodput_mbps / total)));
    list
}

/// Lab over emulator; none if both are delays that the host's timing dominates.
fn ratio(quantity: &str, emulator: f64, lab: f64) -> Option<f64> {
    let is_small = quantity.ends_with(", ms") && emulator < LEAST_MS && lab < LEAST_MS;
    (!is_small && emulator > 0.0).then(|| lab / emulator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::result::{Arm as ArmSummary, Delay, FlowSummary, QueueDelay};

    fn summary(p50: f64, l4s_p50: f64, goodputs: &[(&str, f64)]) -> Summary {
        let flow = |(name, goodput_mbps): &(&str, f64)| FlowSummary {
            name: (*name).to_owned(),
            cc: "cubic".to_owned(),
            queue: "classic".to_owned(),
            goodput_mbps: *goodput_mbps,
            marks: 0,
            drops: 0,
            retransmits: 0,
            completions: None,
        };
        let delay = |p50| Delay {
            p50: Some(p50),
            ..Delay::default()
        };
        let pooled = Statistics {
            utilisation: 0.9,
            queue_delay_ms: QueueDelay {
                classic: delay(p50),
                l4s: delay(l4s_p50),
                ..QueueDelay::default()
            },
            flows: goodputs.iter().map(flow).collect(),
            ..Statistics::default()
        };
        Summary {
            version: String::new(),
            seed: 1,
            scenario: "cell".to_owned(),
            policy: None,
            complete: true,
            repetitions: 1,
            warnings: Vec::new(),
            arms: vec![ArmSummary {
                name: "dualpi2".to_owned(),
                aqm: "dualpi2".to_owned(),
                interval: None,
                policy: None,
                pooled,
                repetitions: Vec::new(),
            }],
        }
    }

    #[test]
    fn rows_outside_the_agreement_are_flagged() {
        let emulator = summary(15.0, 0.2, &[("a", 5.0), ("b", 5.0)]);
        let lab = summary(22.5, 0.4, &[("a", 8.0), ("b", 2.0), ("ping", 0.0)]);
        let rows = compare(&emulator, &lab);
        let flagged: Vec<(&str, bool)> = rows
            .iter()
            .map(|row| (row.quantity.as_str(), row.disagrees()))
            .collect();
        let expected = [
            ("utilisation", false),
            ("classic p50, ms", true),
            // Both are below the host's precision.
            ("l4s p50, ms", false),
            ("share of a", true),
            ("share of b", true),
        ];
        assert_eq!(flagged, expected);
        assert_eq!(rows[1].ratio, Some(1.5));
    }

    #[test]
    fn a_cell_has_the_control_next_to_cubic() {
        let scenario = cell(Cc::NewReno, 20_000_000, 40_000_000);
        assert_eq!(scenario.name, "newreno-20M-40ms");
        let names: Vec<&str> = scenario
            .flows
            .iter()
            .map(|flow| flow.name.as_str())
            .collect();
        assert_eq!(names, ["newreno", "cubic"]);
        assert_eq!(scenario.rtt_ns, 40_000_000);
        assert_eq!(cell(Cc::Cubic, 4_000_000, 10_000_000).flows.len(), 2);
    }
}

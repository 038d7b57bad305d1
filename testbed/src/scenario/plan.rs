//! From groups of flows to flows: names, start times and sizes, all drawn
//! before the run, so that every arm of a repetition sees the same traffic.

use l4sllm_abi::Queue;

use super::{Arrivals, FlowGroup, Scenario, SizeDistribution};
use crate::aqm::classify;
use crate::result::FlowMeta;
use crate::sim::Random;
use crate::transport::FlowConfig;

/// The traffic of one repetition.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Every flow; a flow's number is its index.
    pub flows: Vec<FlowPlan>,
    /// What results tell apart. Short flows of a group are one.
    pub reported: Vec<FlowMeta>,
}

/// One flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowPlan {
    /// What its ends are made from.
    pub config: FlowConfig,
    /// Index into [`Plan::reported`].
    pub reported: u32,
    /// Whether it is reported alone: short flows are not.
    pub lasting: bool,
    /// Index of its client.
    pub client: usize,
    /// When it starts, ns.
    pub start_ns: u64,
    /// When it stops sending, ns.
    pub stop_ns: Option<u64>,
    /// Propagation from the bottleneck to the receiver, ns.
    pub forward_ns: u64,
    /// Propagation from the receiver to the sender, ns.
    pub return_ns: u64,
}

impl Plan {
    /// Draws the traffic of the repetition with this seed.
    pub fn draw(scenario: &Scenario, seed: u64) -> Plan {
        let mut plan = Plan {
            flows: Vec::new(),
            reported: Vec::new(),
        };
        for group in &scenario.flows {
            // A stream per group: adding a group does not move the others.
            let mut random = Random::stream(seed, &format!("flow/{}", group.name));
            match &group.arrivals {
                None => plan.add_lasting(scenario, group, &mut random),
                Some(arrivals) => plan.add_short(scenario, group, arrivals, &mut random),
            }
        }
        plan
    }

    fn add_lasting(&mut self, scenario: &Scenario, group: &FlowGroup, random: &mut Random) {
        for at in 0..group.count {
            for parallel in 0..group.parallel {
                let start_ns = group.start_ns
                    + u64::from(at) * group.stagger_ns
                    + random.below(scenario.start_jitter_ns + 1);
                let name = match (group.count, group.parallel) {
                    (1, 1) => group.name.clone(),
                    (_, 1) => format!("{}-{}", group.name, at + 1),
                    (1, _) => format!("{}-{}", group.name, parallel + 1),
                    (_, _) => format!("{}-{}.{}", group.name, at + 1, parallel + 1),
                };
                self.report(scenario, group, name, start_ns, group.is_lasting());
                self.add(scenario, group, start_ns, group.bytes, true);
            }
        }
    }

    fn add_short(
        &mut self,
        scenario: &Scenario,
        group: &FlowGroup,
        arrivals: &Arrivals,
        random: &mut Random,
    ) {
        self.report(scenario, group, group.name.clone(), group.start_ns, false);
        let end_ns = end(scenario, group, group.start_ns);
        let mut at = group.start_ns as f64;
        loop {
            at += random.exponential(1e9 / arrivals.per_s);
            if at >= end_ns as f64 {
                break;
            }
            let bytes = arrivals.size.draw(random);
            self.add(scenario, group, at as u64, Some(bytes), false);
        }
    }

    fn report(
        &mut self,
        scenario: &Scenario,
        group: &FlowGroup,
        name: String,
        start_ns: u64,
        fair: bool,
    ) {
        let config = config(scenario, group, 0, None);
        self.reported.push(FlowMeta {
            name,
            cc: group.cc.name().to_owned(),
            queue: match classify(config.ecn_codepoint()) {
                Queue::Classic => 0,
                Queue::L4s => 1,
            },
            start_ns,
            end_ns: end(scenario, group, start_ns),
            goodput_bytes: 0,
            retransmits: 0,
            fair,
        });
    }

    fn add(
        &mut self,
        scenario: &Scenario,
        group: &FlowGroup,
        start_ns: u64,
        bytes: Option<u64>,
        lasting: bool,
    ) {
        let number = u32::try_from(self.flows.len()).unwrap_or(u32::MAX);
        let access_ns = scenario.clients[group.client].delay_ns;
        // The access link takes its delay in both directions; the rest of the
        // round trip lies beyond the bottleneck, half of it each way.
        let beyond_ns = rtt_ns(scenario, group).saturating_sub(2 * access_ns);
        self.flows.push(FlowPlan {
            config: config(scenario, group, number, bytes),
            reported: self.reported.len() as u32 - 1,
            lasting,
            client: group.client,
            start_ns,
            stop_ns: group.duration_ns.map(|duration| start_ns + duration),
            forward_ns: beyond_ns / 2,
            return_ns: beyond_ns - beyond_ns / 2 + access_ns,
        });
    }
}

impl SizeDistribution {
    /// Draws a size, at least 1 byte.
    fn draw(&self, random: &mut Random) -> u64 {
        match *self {
            SizeDistribution::Fixed(bytes) => bytes,
            SizeDistribution::Exponential(mean) => random.exponential(mean as f64).max(1.0) as u64,
            SizeDistribution::Pareto { shape, least, most } => {
                // The inverse of the bounded Pareto distribution function.
                let (least, most) = (least as f64, most as f64);
                let cut = 1.0 - (least / most).powf(shape);
                (least / (1.0 - random.unit() * cut).powf(1.0 / shape)).min(most) as u64
            }
        }
    }
}

fn rtt_ns(scenario: &Scenario, group: &FlowGroup) -> u64 {
    group.rtt_ns.unwrap_or(scenario.rtt_ns)
}

fn config(scenario: &Scenario, group: &FlowGroup, number: u32, bytes: Option<u64>) -> FlowConfig {
    FlowConfig {
        // The handshake is not sent: what it would have measured on idle links.
        handshake_rtt_ns: Some(rtt_ns(scenario, group)),
        ecn: group.ecn,
        codepoint: group.codepoint,
        bytes,
        rate_bps: group.rate_bps,
        packet_bytes: group.packet_bytes,
        hystart: group.hystart,
        ..FlowConfig::new(number, group.cc)
    }
}

fn end(scenario: &Scenario, group: &FlowGroup, start_ns: u64) -> u64 {
    let stop = group
        .duration_ns
        .map_or(u64::MAX, |duration| start_ns + duration);
    stop.min(scenario.duration_ns)
}

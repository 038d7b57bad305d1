//! Expands groups of flows into flows: names, start times and sizes, all drawn
//! before the run, so that every arm of a repetition has the same traffic.

use l4sllm_abi::Queue;

use super::{Arrivals, FlowGroup, Identity, Scenario, SizeDistribution};
use crate::aqm::classify;
use crate::result::{FlowMeta, Transfers};
use crate::sim::{Random, derive_seed};
use crate::transport::{Chunks, FlowConfig, MSS};

/// The traffic of one repetition.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Every flow; a flow's number is its index.
    pub flows: Vec<FlowPlan>,
    /// Flows as distinguished in results. Short flows of a group are one.
    pub reported: Vec<FlowMeta>,
}

/// One flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowPlan {
    /// Configuration of its ends.
    pub config: FlowConfig,
    /// Index into [`Plan::reported`].
    pub reported: u32,
    /// Whether it is reported separately: short flows are not.
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
    /// Its identity at the bottleneck.
    pub identity: Identity,
    /// Number of the first flow of its group.
    pub group_first: u32,
}

impl FlowPlan {
    /// The number that identifies the flow's packets at the bottleneck at `now_ns`.
    pub fn seen_as(&self, now_ns: u64) -> u32 {
        let number = self.config.flow;
        match self.identity {
            Identity::Own => number,
            Identity::Tunnel => self.group_first,
            // Spread over all numbers, because the bottleneck hashes them.
            Identity::PortHop(every_ns) => {
                let hops = (now_ns / every_ns) as u32;
                (1 + hops).wrapping_mul(0x9e37_79b1) ^ number
            }
        }
    }
}

impl Plan {
    /// Draws the traffic of the repetition with this seed.
    pub fn draw(scenario: &Scenario, seed: u64) -> Plan {
        let mut plan = Plan {
            flows: Vec::new(),
            reported: Vec::new(),
        };
        for group in &scenario.flows {
            // A random stream per group, so that adding a group does not change the
            // others.
            let mut drawing = Drawing {
                scenario,
                group,
                random: Random::stream(seed, &format!("flow/{}", group.name)),
                rtts: Random::stream(seed, &format!("rtt/{}", group.name)),
                seed: derive_seed(seed, &format!("cc/{}", group.name), 0),
                first: plan.flows.len() as u32,
                plan: &mut plan,
            };
            match &group.arrivals {
                None => drawing.add_lasting(),
                Some(arrivals) => drawing.add_short(arrivals),
            }
        }
        plan
    }
}

/// A group whose flows are being drawn.
struct Drawing<'a> {
    scenario: &'a Scenario,
    group: &'a FlowGroup,
    /// Starts and sizes.
    random: Random,
    /// Random stream of round-trip times: varying them does not change starts.
    rtts: Random,
    /// Seed of the senders' choices.
    seed: u64,
    /// Number of the group's first flow.
    first: u32,
    plan: &'a mut Plan,
}

impl Drawing<'_> {
    fn add_lasting(&mut self) {
        let group = self.group;
        for at in 0..group.count {
            for parallel in 0..group.parallel {
                let start_ns = group.start_ns
                    + u64::from(at) * group.stagger_ns
                    + self.random.below(self.scenario.start_jitter_ns + 1);
                let name = match (group.count, group.parallel) {
                    (1, 1) => group.name.clone(),
                    (_, 1) => format!("{}-{}", group.name, at + 1),
                    (1, _) => format!("{}-{}", group.name, parallel + 1),
                    (_, _) => format!("{}-{}.{}", group.name, at + 1, parallel + 1),
                };
                self.report(name, start_ns, group.is_lasting());
                self.add(start_ns, group.bytes, true);
            }
        }
    }

    fn add_short(&mut self, arrivals: &Arrivals) {
        let group = self.group;
        self.report(group.name.clone(), group.start_ns, false);
        let end_ns = self.end(group.start_ns);
        let mut at = group.start_ns as f64;
        loop {
            at += self.random.exponential(1e9 / arrivals.per_s);
            if at >= end_ns as f64 {
                break;
            }
            let bytes = arrivals.size.draw(&mut self.random);
            self.add(at as u64, Some(bytes), false);
        }
    }

    fn report(&mut self, name: String, start_ns: u64, fair: bool) {
        let config = self.config(0, None, 0);
        let end_ns = self.end(start_ns);
        self.plan.reported.push(FlowMeta {
            name,
            cc: self.group.cc.name().to_owned(),
            queue: match classify(config.ecn_codepoint()) {
                Queue::Classic => 0,
                Queue::L4s => 1,
            },
            start_ns,
            end_ns,
            goodput_bytes: 0,
            retransmits: 0,
            fair,
            transfers: self.group.has_transfers().then(Transfers::default),
        });
    }

    fn add(&mut self, start_ns: u64, bytes: Option<u64>, lasting: bool) {
        let number = u32::try_from(self.plan.flows.len()).unwrap_or(u32::MAX);
        let group = self.group;
        let rtt_ns = self.draw_rtt_ns();
        let access_ns = self.scenario.clients[group.client].delay_ns;
        // The access link contributes its delay in both directions; the
        // remaining round-trip time is beyond the bottleneck, half in each
        // direction.
        let beyond_ns = rtt_ns.saturating_sub(2 * access_ns);
        let flow = FlowPlan {
            config: self.config(number, bytes, rtt_ns),
            reported: self.plan.reported.len() as u32 - 1,
            lasting,
            client: group.client,
            start_ns,
            stop_ns: group.duration_ns.map(|duration| start_ns + duration),
            forward_ns: beyond_ns / 2,
            return_ns: beyond_ns - beyond_ns / 2 + access_ns,
            identity: group.identity,
            group_first: self.first,
        };
        self.plan.flows.push(flow);
    }

    /// The round-trip time of one flow without queueing.
    fn draw_rtt_ns(&mut self) -> u64 {
        let rtt_ns = self.group.rtt_ns.unwrap_or(self.scenario.rtt_ns);
        let jitter = self.scenario.rtt_jitter;
        if jitter == 0.0 {
            return rtt_ns;
        }
        let factor = 1.0 + jitter * (2.0 * self.rtts.unit() - 1.0);
        ((rtt_ns as f64 * factor).round() as u64).max(1)
    }

    fn config(&self, number: u32, bytes: Option<u64>, rtt_ns: u64) -> FlowConfig {
        let group = self.group;
        FlowConfig {
            // The handshake is not emulated: this is what it would measure on idle
            // links.
            handshake_rtt_ns: Some(rtt_ns),
            ecn: group.ecn,
            codepoint: group.codepoint,
            bytes,
            chunks: group.chunks.map(|chunks| Chunks {
                // All segments of a stream except the last are full-size.
                bytes: match group.is_stream() {
                    true => chunks.bytes.next_multiple_of(u64::from(MSS)),
                    false => chunks.bytes,
                },
                ..chunks
            }),
            rate_bps: group.rate_bps,
            packet_bytes: group.packet_bytes,
            hystart: group.hystart,
            prr: group.prr,
            seed: derive_seed(self.seed, "flow", number.saturating_sub(self.first).into()),
            ..FlowConfig::new(number, group.cc)
        }
    }

    fn end(&self, start_ns: u64) -> u64 {
        let stop = self.group.duration_ns;
        let stop = stop.map_or(u64::MAX, |duration| start_ns + duration);
        stop.min(self.scenario.duration_ns)
    }
}

impl SizeDistribution {
    /// Mean size, bytes.
    pub(super) fn mean(&self) -> f64 {
        match *self {
            SizeDistribution::Fixed(mean) | SizeDistribution::Exponential(mean) => mean as f64,
            SizeDistribution::Pareto { shape, least, most } => {
                let (least, most) = (least as f64, most as f64);
                let cut = 1.0 - (least / most).powf(shape);
                let tail = 1.0 - (least / most).powf(shape - 1.0);
                least * shape / (shape - 1.0) * tail / cut
            }
        }
    }

    /// Draws a size, at least 1 byte.
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
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

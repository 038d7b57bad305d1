//! From rows to numbers.
//!
//! Quantiles are exact order statistics (nearest rank: the smallest value
//! that at least a share q of the values do not exceed), not estimates from a
//! histogram. Pooled numbers come from the rows of all repetitions together,
//! never from a mean of quantiles.

use super::series::{bits_within, capacity_bits};
use super::summary::{
    DecisionLatency, Delay, FlowSummary, Overrides, Packets, QueueDelay, Records, Refusals,
    Repetition, Statistics,
};
use super::{PacketRow, Run, RunMeta};

/// The numbers of one repetition.
pub fn summarise(repetition: u32, run: &Run) -> Repetition {
    Samples::of(run).repetition(repetition, run.meta.seed)
}

/// What pooling needs of a repetition: far less than its rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Sojourn times of forwarded packets, ns, sorted: classic, L4S.
    pub sojourn_ns: [Vec<u64>; 2],
    /// Decision latencies, ns, sorted.
    pub latency_ns: Vec<u64>,
    /// Bits sent in the time measured.
    pub sent_bits: f64,
    /// Bits that could have been sent.
    pub capacity_bits: f64,
    flows: Vec<FlowSample>,
    marks: u64,
    drops: u64,
    packets: Packets,
    records: Records,
    overrides: Overrides,
    refusals: Refusals,
    virtual_s: f64,
    wall_s: f64,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct FlowSample {
    name: String,
    cc: String,
    queue: u8,
    fair: bool,
    goodput_bits: f64,
    active_s: f64,
    marks: u64,
    drops: u64,
    retransmits: u64,
}

impl Samples {
    /// Takes from `run` what lies in the time measured.
    pub fn of(run: &Run) -> Samples {
        let meta = &run.meta;
        let mut samples = Samples {
            capacity_bits: capacity_bits(&meta.capacity, meta.start_ns, meta.end_ns),
            flows: meta
                .flows
                .iter()
                .map(|flow| FlowSample::new(flow, meta))
                .collect(),
            packets: meta.packets,
            records: meta.records,
            overrides: meta.overrides,
            refusals: meta.refusals,
            virtual_s: meta.virtual_s,
            wall_s: meta.wall_s,
            ..Samples::default()
        };
        for row in &run.packets {
            samples.add(row, meta);
        }
        let measured = meta.start_ns..meta.end_ns;
        let decided = run
            .decisions
            .iter()
            .filter(|row| measured.contains(&row.time_ns));
        samples.latency_ns = decided.map(|row| row.latency_ns).collect();
        samples.latency_ns.sort_unstable();
        for queue in &mut samples.sojourn_ns {
            queue.sort_unstable();
        }
        samples
    }

    /// The numbers of this repetition alone.
    pub fn repetition(&self, repetition: u32, seed: u64) -> Repetition {
        Repetition {
            repetition,
            seed,
            statistics: pool(&[self]),
        }
    }

    fn add(&mut self, row: &PacketRow, meta: &RunMeta) {
        if row.forwarded() {
            // A packet that left before the time measured may still be on the link in it.
            self.sent_bits += bits_within(row, &meta.capacity, meta.start_ns, meta.end_ns);
        }
        if row.time_ns < meta.start_ns || row.time_ns >= meta.end_ns {
            return;
        }
        if row.forwarded() {
            self.sojourn_ns[usize::from(row.queue.min(1))].push(row.sojourn_ns);
        }
        let (marks, drops) = (u64::from(row.marked()), u64::from(row.dropped()));
        self.marks += marks;
        self.drops += drops;
        if let Some(flow) = self.flows.get_mut(row.flow as usize) {
            flow.marks += marks;
            flow.drops += drops;
        }
    }
}

impl FlowSample {
    fn new(flow: &super::FlowMeta, meta: &RunMeta) -> FlowSample {
        let from = flow.start_ns.max(meta.start_ns);
        let until = flow.end_ns.min(meta.end_ns);
        FlowSample {
            name: flow.name.clone(),
            cc: flow.cc.clone(),
            queue: flow.queue,
            fair: flow.fair,
            goodput_bits: flow.goodput_bytes as f64 * 8.0,
            active_s: until.saturating_sub(from) as f64 / 1e9,
            retransmits: flow.retransmits,
            ..FlowSample::default()
        }
    }

    fn goodput_mbps(&self) -> f64 {
        if self.active_s > 0.0 {
            self.goodput_bits / self.active_s / 1e6
        } else {
            0.0
        }
    }
}

/// The numbers of several repetitions together; of one, its own.
///
/// Counters are sums. Utilisation is bits over capacity of all. A flow's
/// goodput is over the time that it ran in all. Jain's index takes each flow
/// of each repetition as one sample, so that a flow that loses once and wins
/// once does not pass for fair.
pub fn pool(repetitions: &[&Samples]) -> Statistics {
    let mut total = Statistics::default();
    let mut flows: Vec<FlowSample> = Vec::new();
    let mut goodputs = Vec::new();
    let (mut sent, mut capacity) = (0.0, 0.0);
    let mut forwarded = 0;
    for samples in repetitions {
        sent += samples.sent_bits;
        capacity += samples.capacity_bits;
        total.marks += samples.marks;
        total.drops += samples.drops;
        forwarded += samples.sojourn_ns.iter().map(Vec::len).sum::<usize>() as u64;
        total.virtual_s += samples.virtual_s;
        total.wall_s += samples.wall_s;
        add_counters(&mut total, samples);
        let fair = samples
            .flows
            .iter()
            .filter(|flow| flow.fair && flow.active_s > 0.0);
        goodputs.extend(fair.map(FlowSample::goodput_mbps));
        add_flows(&mut flows, &samples.flows);
    }
    if capacity > 0.0 {
        total.utilisation = sent / capacity;
    }
    let left = forwarded + total.drops;
    total.drop_share = (left > 0).then(|| total.drops as f64 / left as f64);
    total.jain = jain(&goodputs);
    total.flows = flows.iter().map(flow_summary).collect();
    total.queue_delay_ms = queue_delay(repetitions);
    let latencies = merged(
        repetitions
            .iter()
            .map(|samples| samples.latency_ns.as_slice()),
    );
    total.decision_latency_us = DecisionLatency {
        p50: quantile(&latencies, 0.5).map(|ns| ns as f64 / 1e3),
        p99: quantile(&latencies, 0.99).map(|ns| ns as f64 / 1e3),
    };
    total
}

/// The smallest value of `sorted` that at least a share `q` of its values do
/// not exceed; none of nothing. `q` is taken into 0..=1.
pub fn quantile(sorted: &[u64], q: f64) -> Option<u64> {
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Jain's fairness index, (sum x)^2 / (n sum x^2): 1 when all are equal, 1/n
/// when one has all. None for fewer than two values or when all are zero.
pub fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    (values.len() >= 2 && squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

fn add_counters(total: &mut Statistics, samples: &Samples) {
    let (into, from) = (&mut total.packets, &samples.packets);
    into.arrived += from.arrived;
    into.forwarded += from.forwarded;
    into.dropped += from.dropped;
    into.queued += from.queued;
    let (into, from) = (&mut total.records, &samples.records);
    into.written += from.written;
    into.read += from.read;
    into.lost += from.lost;
    into.waiting += from.waiting;
    let (into, from) = (&mut total.overrides, &samples.overrides);
    into.received += from.received;
    into.applied += from.applied;
    into.expired += from.expired;
    into.refused += from.refused;
    into.replaced += from.replaced;
    into.waiting += from.waiting;
    let (into, from) = (&mut total.refusals, &samples.refusals);
    into.not_ect += from.not_ect;
    into.drop_share += from.drop_share;
    into.ceiling += from.ceiling;
    into.overload += from.overload;
    into.last_packet += from.last_packet;
    into.invalid += from.invalid;
}

/// Flows are the same in every repetition but for those that arrive at random:
/// they are matched by name.
fn add_flows(total: &mut Vec<FlowSample>, flows: &[FlowSample]) {
    for (index, flow) in flows.iter().enumerate() {
        let same = |known: &FlowSample| known.name == flow.name;
        let known = match total.get(index) {
            Some(known) if same(known) => Some(index),
            _ => total.iter().position(same),
        };
        let Some(known) = known.map(|index| &mut total[index]) else {
            total.push(flow.clone());
            continue;
        };
        known.goodput_bits += flow.goodput_bits;
        known.active_s += flow.active_s;
        known.marks += flow.marks;
        known.drops += flow.drops;
        known.retransmits += flow.retransmits;
    }
}

fn flow_summary(flow: &FlowSample) -> FlowSummary {
    FlowSummary {
        name: flow.name.clone(),
        cc: flow.cc.clone(),
        queue: if flow.queue == 0 { "classic" } else { "l4s" }.to_owned(),
        goodput_mbps: flow.goodput_mbps(),
        marks: flow.marks,
        drops: flow.drops,
        retransmits: flow.retransmits,
    }
}

fn queue_delay(repetitions: &[&Samples]) -> QueueDelay {
    let queue = |index: usize| {
        merged(
            repetitions
                .iter()
                .map(move |samples| samples.sojourn_ns[index].as_slice()),
        )
    };
    let (classic, l4s) = (queue(0), queue(1));
    let all = merged([classic.as_slice(), l4s.as_slice()].into_iter());
    QueueDelay {
        classic: delay(&classic),
        l4s: delay(&l4s),
        all: delay(&all),
    }
}

fn delay(sorted_ns: &[u64]) -> Delay {
    if sorted_ns.is_empty() {
        return Delay::default();
    }
    let ms = |ns: f64| ns / 1e6;
    let count = sorted_ns.len() as f64;
    // Two passes: the textbook's one-pass variance cancels for long delays.
    let mean = sorted_ns.iter().map(|&ns| ns as f64).sum::<f64>() / count;
    let variance = sorted_ns
        .iter()
        .map(|&ns| (ns as f64 - mean).powi(2))
        .sum::<f64>()
        / count;
    let at = |q| quantile(sorted_ns, q).map(|value| ms(value as f64));
    Delay {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        mean: Some(ms(mean)),
        stddev: Some(ms(variance.sqrt())),
    }
}

fn merged<'a>(parts: impl Iterator<Item = &'a [u64]>) -> Vec<u64> {
    let mut all: Vec<u64> = parts.flatten().copied().collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests;

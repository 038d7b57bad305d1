//! Computes statistics from rows.
//!
//! Rows are processed as they arrive and not stored: quantiles are those of a
//! [`Histogram`], within 1/8192 of the exact order statistic (nearest rank: the
//! smallest value that at least a share q of the values do not exceed). Pooled
//! numbers come from the rows of all repetitions together, never from a mean of
//! quantiles.

use std::collections::HashMap;

use super::histogram::Histogram;
use super::series::{bits_within, capacity_bits};
use super::summary::{
    Completions, DecisionLatency, Delay, FlowSummary, Overrides, Packets, QueueDelay, Records,
    Refusals, Repetition, Statistics,
};
use super::{DecisionRow, PacketRow, Run, RunMeta, Transfers, Window};

/// The numbers of one repetition.
pub fn summarise(repetition: u32, run: &Run) -> Repetition {
    Samples::of(run).repetition(repetition, run.meta.seed)
}

/// Processes the rows of a repetition as they arrive; its memory does not grow
/// with their number.
#[derive(Debug)]
pub struct Recorder {
    window: Window,
    distributions: Distributions,
    sent_bits: f64,
    /// Goodput of all flows, and of each.
    count: FlowCount,
    flows: Vec<FlowCount>,
}

/// Data of a repetition for pooling, much smaller than its rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Delays and latencies.
    pub distributions: Distributions,
    pub(super) totals: Totals,
}

/// Distributions of a repetition, or of several together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distributions {
    /// Sojourn times of forwarded packets, ns: classic, L4S.
    pub sojourn_ns: [Histogram; 2],
    /// Decision latencies, ns.
    pub latency_ns: Histogram,
}

/// Sums and counters of a repetition.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Totals {
    sent_bits: f64,
    capacity_bits: f64,
    /// Lowest nonzero rate in the measured time, bits per second.
    pub least_bps: u64,
    count: FlowCount,
    pub flows: Vec<FlowSample>,
    packets: Packets,
    records: Records,
    overrides: Overrides,
    refusals: Refusals,
    virtual_s: f64,
    wall_s: f64,
}

/// Packets at the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct FlowCount {
    /// In the whole run.
    pub packets: u64,
    /// Packets forwarded or dropped in the measured time, and the marked and
    /// dropped ones among them.
    left: u64,
    marks: u64,
    drops: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct FlowSample {
    pub name: String,
    pub(super) cc: String,
    queue: u8,
    fair: bool,
    pub goodput_bits: f64,
    pub active_s: f64,
    retransmits: u64,
    pub count: FlowCount,
    transfers: Option<Transfers>,
}

impl Recorder {
    /// Measures a number of flows in `window`.
    pub fn new(window: Window, flows: usize) -> Recorder {
        Recorder {
            window,
            distributions: Distributions::default(),
            sent_bits: 0.0,
            count: FlowCount::default(),
            flows: vec![FlowCount::default(); flows],
        }
    }

    /// Adds packets, in time order.
    pub fn packets(&mut self, rows: &[PacketRow]) {
        for row in rows {
            self.packet(row);
        }
    }

    /// Adds decisions.
    pub fn decisions(&mut self, rows: &[DecisionRow]) {
        let measured = self.window.start_ns..self.window.end_ns;
        for row in rows.iter().filter(|row| measured.contains(&row.time_ns)) {
            self.distributions.latency_ns.add(row.latency_ns);
        }
    }

    /// Finishes with the data that is not in rows.
    pub fn finish(self, meta: &RunMeta) -> Samples {
        let Window {
            start_ns,
            end_ns,
            capacity,
        } = &self.window;
        let mut flows: Vec<FlowSample> = meta
            .flows
            .iter()
            .map(|flow| FlowSample::new(flow, meta))
            .collect();
        for (flow, count) in flows.iter_mut().zip(&self.flows) {
            flow.count = *count;
        }
        let rates = capacity.iter().map(|step| step.bits_per_s);
        Samples {
            totals: Totals {
                sent_bits: self.sent_bits,
                capacity_bits: capacity_bits(capacity, *start_ns, *end_ns),
                least_bps: rates.filter(|rate| *rate > 0).min().unwrap_or(0),
                count: self.count,
                flows,
                packets: meta.packets,
                records: meta.records,
                overrides: meta.overrides,
                refusals: meta.refusals,
                virtual_s: meta.virtual_s,
                wall_s: meta.wall_s,
            },
            distributions: self.distributions,
        }
    }

    fn packet(&mut self, row: &PacketRow) {
        let Window {
            start_ns,
            end_ns,
            capacity,
        } = &self.window;
        if row.forwarded() {
            // A packet that left before the measured time may still be on the
            // link.
            self.sent_bits += bits_within(row, capacity, *start_ns, *end_ns);
        }
        let measured = (*start_ns..*end_ns).contains(&row.time_ns);
        self.count.add(row, measured);
        if let Some(flow) = self.flows.get_mut(row.flow as usize) {
            flow.add(row, measured);
        }
        if measured && row.forwarded() {
            self.distributions.sojourn_ns[usize::from(row.queue.min(1))].add(row.sojourn_ns);
        }
    }
}

impl FlowCount {
    fn add(&mut self, row: &PacketRow, measured: bool) {
        self.packets += 1;
        if measured {
            self.left += 1;
            self.marks += u64::from(row.marked());
            self.drops += u64::from(row.dropped());
        }
    }
}

impl Samples {
    /// Adds the part of `run` in the measured time.
    pub fn of(run: &Run) -> Samples {
        let mut recorder = Recorder::new(run.meta.window(), run.meta.flows.len());
        recorder.packets(&run.packets);
        recorder.decisions(&run.decisions);
        recorder.finish(&run.meta)
    }

    /// Statistics of this repetition.
    pub fn repetition(&self, repetition: u32, seed: u64) -> Repetition {
        Repetition {
            repetition,
            seed,
            statistics: pool(&[self]),
        }
    }
}

impl Distributions {
    /// Adds another repetition.
    pub fn merge(&mut self, other: &Distributions) {
        for (own, new) in self.sojourn_ns.iter_mut().zip(&other.sojourn_ns) {
            own.merge(new);
        }
        self.latency_ns.merge(&other.latency_ns);
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
            transfers: flow.transfers.clone(),
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

/// Statistics of one or several repetitions together.
pub fn pool(repetitions: &[&Samples]) -> Statistics {
    let mut distributions = Distributions::default();
    for samples in repetitions {
        distributions.merge(&samples.distributions);
    }
    let totals: Vec<&Totals> = repetitions.iter().map(|samples| &samples.totals).collect();
    pool_totals(&totals, &distributions)
}

/// Statistics of several repetitions with merged distributions.
///
/// Counters are sums. Utilisation is total bits divided by total capacity. A
/// flow's goodput is over its total running time. Jain's index treats each flow
/// of each repetition as one sample, so that a flow that loses once and wins
/// once does not count as fair.
pub(super) fn pool_totals(repetitions: &[&Totals], distributions: &Distributions) -> Statistics {
    let mut total = Statistics::default();
    let mut flows = FlowSums::default();
    let mut goodputs = Vec::new();
    let (mut sent, mut capacity, mut left) = (0.0, 0.0, 0);
    for samples in repetitions {
        sent += samples.sent_bits;
        capacity += samples.capacity_bits;
        total.marks += samples.count.marks;
        total.drops += samples.count.drops;
        left += samples.count.left;
        total.virtual_s += samples.virtual_s;
        total.wall_s += samples.wall_s;
        add_counters(&mut total, samples);
        let fair = samples
            .flows
            .iter()
            .filter(|flow| flow.fair && flow.active_s > 0.0);
        goodputs.extend(fair.map(FlowSample::goodput_mbps));
        flows.add(&samples.flows);
    }
    if capacity > 0.0 {
        total.utilisation = sent / capacity;
    }
    total.drop_share = (left > 0).then(|| total.drops as f64 / left as f64);
    total.jain = jain(&goodputs);
    total.flows = flows.sums.iter().map(flow_summary).collect();
    total.queue_delay_ms = queue_delay(&distributions.sojourn_ns);
    let us = |q| {
        distributions
            .latency_ns
            .quantile(q)
            .map(|ns| ns as f64 / 1e3)
    };
    total.decision_latency_us = DecisionLatency {
        p50: us(0.5),
        p99: us(0.99),
    };
    total
}

/// The smallest value of `sorted` that at least a share `q` of its values do
/// not exceed; none without values. `q` is clamped to 0..=1.
pub fn quantile(sorted: &[u64], q: f64) -> Option<u64> {
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Jain's fairness index, (sum x)^2 / (n sum x^2): 1 when all are equal, 1/n
/// when one has all. None for fewer than two values or if all are zero.
pub fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    (values.len() >= 2 && squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

fn add_counters(total: &mut Statistics, samples: &Totals) {
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
    into.mark_share += from.mark_share;
    into.invalid += from.invalid;
}

/// Flows of several repetitions, in the order of their first appearance.
#[derive(Default)]
struct FlowSums {
    sums: Vec<FlowSample>,
    by_name: HashMap<String, usize>,
}

impl FlowSums {
    /// Adds the flows of a repetition. They are the same in every repetition,
    /// and in the same order, except for changed scenarios; they are matched by
    /// name.
    fn add(&mut self, flows: &[FlowSample]) {
        for (index, flow) in flows.iter().enumerate() {
            let same = |at: &usize| self.sums.get(*at).is_some_and(|sum| sum.name == flow.name);
            let known = Some(index).filter(same);
            let known = known.or_else(|| self.by_name.get(&flow.name).copied());
            let Some(sum) = known.map(|index| &mut self.sums[index]) else {
                self.by_name.insert(flow.name.clone(), self.sums.len());
                self.sums.push(flow.clone());
                continue;
            };
            sum.goodput_bits += flow.goodput_bits;
            sum.active_s += flow.active_s;
            sum.retransmits += flow.retransmits;
            sum.count.packets += flow.count.packets;
            sum.count.left += flow.count.left;
            sum.count.marks += flow.count.marks;
            sum.count.drops += flow.count.drops;
            if let Some(new) = &flow.transfers {
                let sum = sum.transfers.get_or_insert_default();
                sum.finished_ns.extend(&new.finished_ns);
                sum.unfinished += new.unfinished;
            }
        }
    }
}

fn flow_summary(flow: &FlowSample) -> FlowSummary {
    FlowSummary {
        name: flow.name.clone(),
        cc: flow.cc.clone(),
        queue: if flow.queue == 0 { "classic" } else { "l4s" }.to_owned(),
        goodput_mbps: flow.goodput_mbps(),
        marks: flow.count.marks,
        drops: flow.count.drops,
        retransmits: flow.retransmits,
        completions: flow.transfers.as_ref().map(completions),
    }
}

fn completions(transfers: &Transfers) -> Completions {
    let mut took_ns = transfers.finished_ns.clone();
    took_ns.sort_unstable();
    let sum: f64 = took_ns.iter().map(|ns| *ns as f64).sum();
    let ms = |q| quantile(&took_ns, q).map(|ns| ns as f64 / 1e6);
    Completions {
        finished: took_ns.len() as u64,
        unfinished: transfers.unfinished,
        mean_ms: (!took_ns.is_empty()).then(|| sum / took_ns.len() as f64 / 1e6),
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        p99_ms: ms(0.99),
    }
}

fn queue_delay(sojourn_ns: &[Histogram; 2]) -> QueueDelay {
    let [classic, l4s] = sojourn_ns;
    let mut all = classic.clone();
    all.merge(l4s);
    QueueDelay {
        classic: delay(classic),
        l4s: delay(l4s),
        all: delay(&all),
    }
}

fn delay(ns: &Histogram) -> Delay {
    let at = |q| ns.quantile(q).map(|value| value as f64 / 1e6);
    Delay {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        mean: ns.mean().map(|ns| ns / 1e6),
        stddev: ns.stddev().map(|ns| ns / 1e6),
    }
}

#[cfg(test)]
mod tests;

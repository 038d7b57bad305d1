//! Data for figures, read once from the rows of a result.

use super::compare::Comparison;
use super::conclusion::list;
use super::flow_lines::{FlowLine, FlowLines};
use l4sllm_testbed::result::{Bin, Facts, FlowRow, Histogram, PacketRow, Recorder};
use l4sllm_testbed::result::{
    ResultError, RunMeta, Series, SetPointRow, Stored, Summary, Warning, Window,
};

/// Width of the bins of the utilisation distribution, ns.
pub(super) const UTILISATION_NS: u64 = 100_000_000;
/// Approximate maximum number of points of a line over time.
const POINTS: u64 = 240;

/// A result as shown in the report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Data {
    pub facts: Facts,
    pub summary: Summary,
    /// In the order of `summary.arms`.
    pub arms: Vec<ArmData>,
    /// Width of a bin of `ArmData::series`, ns.
    pub series_ns: u64,
    /// Warm-up time, which is not measured, s.
    pub warmup_s: f64,
    /// Duration of a repetition, s.
    pub end_s: f64,
    /// Number of repetitions of each arm in a complete run.
    pub planned: Vec<(String, u32)>,
    /// Names of overlaid results; empty for a single result.
    pub sources: Vec<String>,
    /// Facts of each overlaid result.
    pub results: Vec<Facts>,
}

/// One arm's samples and series.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ArmData {
    /// Name, without the name of its result.
    pub base: String,
    /// Index into `Data::sources`; 0 for a single result.
    pub source: usize,
    /// Sojourn times of all repetitions, ns: classic, L4S.
    pub sojourn_ns: [Histogram; 2],
    /// Utilisation of each 100 ms of all repetitions, percent, ascending.
    pub utilisation_percent: Vec<f64>,
    /// The first finished repetition over time.
    pub series: Vec<Point>,
    /// Names of the flows included in Jain's index.
    pub fair: Vec<String>,
    /// Set-points of the first finished repetition over time; empty if nothing
    /// steers them.
    pub set_points: Vec<SetPoint>,
    /// Some senders of each queue in the first finished repetition, over time.
    pub flows: Vec<FlowLine>,
    /// Number of sampled senders.
    pub flow_count: usize,
    /// Completion times of transfers in all repetitions, ms, ascending, by flow
    /// name.
    pub completions: Vec<(String, Vec<f64>)>,
}

/// Effective set-points at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SetPoint {
    /// Since the start of the run, s.
    pub time_s: f64,
    /// Target delay, ms.
    pub target_ms: f64,
    /// Integral gain, Hz.
    pub alpha_hz: f64,
    /// Proportional gain, Hz.
    pub beta_hz: f64,
    /// Coupling factor k.
    pub coupling: f64,
}

/// One bin of a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// Middle of the bin, s since the start of the run.
    pub time_s: f64,
    /// Utilisation in the bin.
    pub utilisation: f64,
    /// Sending rate in the bin, Mbit/s: classic, L4S.
    pub sent_mbps: [f64; 2],
    /// Link rate in the bin, Mbit/s.
    pub capacity_mbps: f64,
    /// Median and 99th percentile of the queue delay, ms: classic, L4S; none if
    /// no packet left the queue.
    pub delay_ms: [Option<(f64, f64)>; 2],
}

/// Passes a repetition's counters, packets and samples of its senders in
/// sequence.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&RunMeta, &[PacketRow], &[FlowRow]);

impl Data {
    pub(super) fn load(stored: &Stored) -> Result<Data, ResultError> {
        let mut data = Data::from_runs(
            stored.facts.clone(),
            stored.summary.clone(),
            |arm, repetition, visit| {
                let meta = stored.meta(arm, repetition)?;
                visit(&meta, &[], &[]);
                stored.for_each_packets(arm, repetition, |rows| visit(&meta, rows, &[]))?;
                stored.for_each_flows(arm, repetition, |rows| visit(&meta, &[], rows))
            },
        )?;
        for (arm, own) in data.summary.arms.iter().zip(&mut data.arms) {
            if let Some(first) = arm.repetitions.first() {
                let rows = stored.set_points(&arm.name, first.repetition)?;
                let end_ns = stored.meta(&arm.name, first.repetition)?.end_ns;
                own.set_points = set_points(&rows, end_ns, data.series_ns);
            }
        }
        Ok(data)
    }

    /// `run` passes the rows of a repetition listed in the summary.
    pub(super) fn from_runs(
        facts: Facts,
        summary: Summary,
        mut run: impl FnMut(&str, u32, Visit<'_>) -> Result<(), ResultError>,
    ) -> Result<Data, ResultError> {
        let planned = facts.arms.iter();
        let planned = planned.map(|arm| (arm.name.clone(), facts.repetitions));
        let mut data = Data {
            planned: planned.collect(),
            facts,
            summary,
            arms: Vec::new(),
            series_ns: UTILISATION_NS,
            warmup_s: 0.0,
            end_s: 0.0,
            sources: Vec::new(),
            results: Vec::new(),
        };
        for arm in &data.summary.arms {
            let mut own = ArmData {
                base: arm.name.clone(),
                ..ArmData::default()
            };
            for (index, repetition) in arm.repetitions.iter().enumerate() {
                let mut parts: Option<Parts> = None;
                run(
                    &arm.name,
                    repetition.repetition,
                    &mut |meta, packets, flows| {
                        let parts = parts.get_or_insert_with(|| Parts::new(meta, index == 0));
                        parts.add(packets, flows);
                    },
                )?;
                let Some(parts) = parts else { continue };
                if index == 0 {
                    data.series_ns = parts.series_ns;
                    data.warmup_s = parts.meta.start_ns as f64 / 1e9;
                    data.end_s = parts.meta.end_ns as f64 / 1e9;
                    own.fair.clone_from(&parts.fair);
                }
                own.add(parts, index == 0);
            }
            own.utilisation_percent.sort_by(f64::total_cmp);
            for (_, took_ms) in &mut own.completions {
                took_ms.sort_by(f64::total_cmp);
            }
            data.arms.push(own);
        }
        Ok(data)
    }

    /// The comparisons between arms.
    pub(super) fn comparison(&self) -> Comparison<'_> {
        match self.sources.is_empty() {
            true => Comparison::of(&self.facts, &self.summary),
            false => super::overlay::comparison(self),
        }
    }

    /// Number of repetitions on disk, and in a complete run.
    pub(super) fn progress(&self) -> (usize, usize) {
        let finished = self
            .summary
            .arms
            .iter()
            .map(|arm| arm.repetitions.len())
            .sum();
        let planned = self.planned.iter();
        (finished, planned.map(|(_, count)| *count as usize).sum())
    }
}

impl Data {
    /// Warnings of the result, each as a sentence on its arm or on all.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.summary.warnings.iter();
        let sentence = |of: &Warning| match &of.arm {
            Some(arm) => format!("{arm}: {}", of.text),
            None => of.text.clone(),
        };
        warnings.map(sentence).collect()
    }

    /// Whether there is a warning about this arm.
    pub(super) fn is_doubtful(&self, arm: &str) -> bool {
        let mut warnings = self.summary.warnings.iter();
        warnings.any(|of| of.arm.as_ref().is_none_or(|name| name == arm))
    }
}

/// An arm with missing repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub arm: String,
    /// Missing repetitions, from 0, in order.
    pub repetitions: Vec<u32>,
    /// Whether all repetitions are missing.
    pub all: bool,
}

impl Data {
    /// The parts missing from an interrupted run.
    pub(super) fn missing(&self) -> Vec<Missing> {
        let missing = self.planned.iter().map(|(name, count)| {
            let run = self.summary.arms.iter().find(|arm| arm.name == *name);
            let done = run.map_or(&[][..], |arm| &arm.repetitions);
            let absent = |number: &u32| done.iter().all(|of| of.repetition != *number);
            Missing {
                arm: name.clone(),
                repetitions: (0..*count).filter(absent).collect(),
                all: done.is_empty(),
            }
        });
        missing.filter(|of| !of.repetitions.is_empty()).collect()
    }
}

impl std::fmt::Display for Missing {
    /// Formats as "fifo: all", "dualpi2: repetitions 3, 4 and 7 to 9".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.all {
            return write!(f, "{}: all", self.arm);
        }
        let follows = |a: &u32, b: &u32| *b == a + 1;
        let runs: Vec<String> = self
            .repetitions
            .chunk_by(follows)
            .flat_map(|run| match run {
                [first, .., last] if run.len() > 2 => vec![format!("{first} to {last}")],
                few => few.iter().map(u32::to_string).collect(),
            })
            .collect();
        let word = if self.repetitions.len() == 1 {
            "repetition"
        } else {
            "repetitions"
        };
        write!(f, "{}: {word} {}", self.arm, list(&runs))
    }
}

/// Collects data for figures from the rows of one repetition.
struct Parts {
    recorder: Recorder,
    meta: RunMeta,
    utilisation: Series,
    /// Series over the whole run; only for the repetition drawn over time.
    over_time: Option<(Series, FlowLines)>,
    series_ns: u64,
    fair: Vec<String>,
}

impl Parts {
    fn new(meta: &RunMeta, over_time: bool) -> Parts {
        let series_ns = series_width(meta.end_ns);
        let fair = meta.flows.iter().filter(|flow| flow.fair);
        let whole = Window {
            start_ns: 0,
            ..meta.window()
        };
        Parts {
            recorder: Recorder::new(meta.window(), meta.flows.len()),
            utilisation: Series::of_utilisation(meta.window(), UTILISATION_NS),
            over_time: over_time.then(|| {
                (
                    Series::new(whole, series_ns),
                    FlowLines::new(meta, series_ns),
                )
            }),
            series_ns,
            fair: fair.map(|flow| flow.name.clone()).collect(),
            meta: meta.clone(),
        }
    }

    fn add(&mut self, packets: &[PacketRow], flows: &[FlowRow]) {
        self.recorder.packets(packets);
        self.utilisation.add(packets);
        if let Some((series, lines)) = &mut self.over_time {
            series.add(packets);
            lines.add(flows);
        }
    }
}

impl ArmData {
    fn add(&mut self, parts: Parts, first: bool) {
        let samples = parts.recorder.finish(&parts.meta);
        let new = &samples.distributions.sojourn_ns;
        for (own, new) in self.sojourn_ns.iter_mut().zip(new) {
            own.merge(new);
        }
        let bins = parts.utilisation.finish();
        self.utilisation_percent
            .extend(bins.iter().map(|bin| bin.utilisation * 100.0));
        if let (true, Some((series, lines))) = (first, parts.over_time) {
            let width_s = parts.series_ns as f64 / 1e9;
            let bins = series.finish().into_iter();
            self.series = bins.map(|bin| point(bin, width_s)).collect();
            (self.flows, self.flow_count) = lines.finish();
        }
        for flow in parts.meta.flows {
            let Some(transfers) = flow.transfers else {
                continue;
            };
            let took_ms = transfers.finished_ns.iter().map(|ns| *ns as f64 / 1e6);
            match (self.completions.iter_mut()).find(|(name, _)| *name == flow.name) {
                Some((_, own)) => own.extend(took_ms),
                None => self.completions.push((flow.name, took_ms.collect())),
            }
        }
    }
}

fn point(bin: Bin, width_s: f64) -> Point {
    let delay = |ns: &Histogram| {
        let at = |q| ns.quantile(q).map(|ns| ns as f64 / 1e6);
        Some((at(0.5)?, at(0.99)?))
    };
    let mbps = |bits: f64| bits / width_s / 1e6;
    Point {
        time_s: bin.time_s,
        utilisation: bin.utilisation,
        sent_mbps: bin.sent_bits.map(mbps),
        capacity_mbps: mbps(bin.capacity_bits),
        delay_ms: [delay(&bin.sojourn_ns[0]), delay(&bin.sojourn_ns[1])],
    }
}

/// Set-points at the beginning of each bin of a run; none if they never change.
fn set_points(rows: &[SetPointRow], end_ns: u64, width_ns: u64) -> Vec<SetPoint> {
    if rows.len() < 2 {
        return Vec::new();
    }
    let times = (0..end_ns).step_by(width_ns.max(1) as usize);
    let at = |time_ns: u64| {
        let after = rows.partition_point(|row| row.time_ns <= time_ns);
        let row = rows[..after].last()?;
        Some(SetPoint {
            time_s: time_ns as f64 / 1e9,
            target_ms: row.target_ns as f64 / 1e6,
            alpha_hz: f64::from(row.alpha_uhz) / 1e6,
            beta_hz: f64::from(row.beta_uhz) / 1e6,
            coupling: f64::from(row.coupling_q8) / 256.0,
        })
    };
    times.filter_map(at).collect()
}

/// A round width that gives about [`POINTS`] bins, but at least 100 ms.
fn series_width(duration_ns: u64) -> u64 {
    let wanted = duration_ns / POINTS;
    let mut width = UTILISATION_NS;
    for factor in [2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000] {
        if width * 3 / 2 >= wanted {
            break;
        }
        width = UTILISATION_NS * factor;
    }
    width
}

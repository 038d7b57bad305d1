//! What figures need of a result, read from its rows once.

use super::conclusion::list;
use l4sllm_testbed::result::{Bin, Facts, Histogram, PacketRow, Recorder};
use l4sllm_testbed::result::{
    ResultError, RunMeta, Series, SetPointRow, Stored, Summary, Warning, Window,
};

/// Bins whose utilisation is a sample of its distribution, ns.
pub(super) const UTILISATION_NS: u64 = 100_000_000;
/// Points of a line over time, at most about.
const POINTS: u64 = 240;

/// A result as the report shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Data {
    pub facts: Facts,
    pub summary: Summary,
    /// In the order of `summary.arms`.
    pub arms: Vec<ArmData>,
    /// Width of a bin of `ArmData::series`, ns.
    pub series_ns: u64,
}

/// One arm's samples and series.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ArmData {
    /// Sojourn times of all repetitions, ns: classic, L4S.
    pub sojourn_ns: [Histogram; 2],
    /// Utilisation of each 100 ms of all repetitions, percent, ascending.
    pub utilisation_percent: Vec<f64>,
    /// The first finished repetition over time.
    pub series: Vec<Point>,
    /// Names of the flows that count in Jain's index.
    pub fair: Vec<String>,
    /// Set-points of the first finished repetition over time; empty unless
    /// something steers them.
    pub set_points: Vec<SetPoint>,
}

/// Set-points in force at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SetPoint {
    /// Since the start of the time measured, s.
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
    /// Middle, s.
    pub time_s: f64,
    /// Utilisation in it.
    pub utilisation: f64,
    /// Median and 99th percentile of the queue delay, ms: classic, L4S; none
    /// where no packet of the queue left.
    pub delay_ms: [Option<(f64, f64)>; 2],
}

/// Shows a repetition's counters and its packets, part by part.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&RunMeta, &[PacketRow]);

impl Data {
    pub(super) fn load(stored: &Stored) -> Result<Data, ResultError> {
        let mut data = Data::from_runs(
            stored.facts.clone(),
            stored.summary.clone(),
            |arm, repetition, visit| {
                let meta = stored.meta(arm, repetition)?;
                visit(&meta, &[]);
                stored.for_each_packets(arm, repetition, |rows| visit(&meta, rows))
            },
        )?;
        for (arm, own) in data.summary.arms.iter().zip(&mut data.arms) {
            if let Some(first) = arm.repetitions.first() {
                let rows = stored.set_points(&arm.name, first.repetition)?;
                let window = stored.meta(&arm.name, first.repetition)?.window();
                own.set_points = set_points(&rows, &window, data.series_ns);
            }
        }
        Ok(data)
    }

    /// `run` shows the rows of a repetition that the summary lists.
    pub(super) fn from_runs(
        facts: Facts,
        summary: Summary,
        mut run: impl FnMut(&str, u32, Visit<'_>) -> Result<(), ResultError>,
    ) -> Result<Data, ResultError> {
        let mut arms = Vec::new();
        let mut series_ns = UTILISATION_NS;
        for arm in &summary.arms {
            let mut data = ArmData::default();
            for (index, repetition) in arm.repetitions.iter().enumerate() {
                let mut parts: Option<Parts> = None;
                run(&arm.name, repetition.repetition, &mut |meta, rows| {
                    parts.get_or_insert_with(|| Parts::new(meta)).add(rows);
                })?;
                let Some(parts) = parts else { continue };
                if index == 0 {
                    series_ns = parts.series_ns;
                    data.fair.clone_from(&parts.fair);
                }
                data.add(parts, index == 0);
            }
            data.utilisation_percent.sort_by(f64::total_cmp);
            arms.push(data);
        }
        Ok(Data {
            facts,
            summary,
            arms,
            series_ns,
        })
    }

    /// Repetitions on disk, and those of a complete run.
    pub(super) fn progress(&self) -> (usize, usize) {
        let finished = self
            .summary
            .arms
            .iter()
            .map(|arm| arm.repetitions.len())
            .sum();
        (
            finished,
            self.facts.arms.len() * self.facts.repetitions as usize,
        )
    }
}

impl Data {
    /// What is wrong with the result, each as a sentence on its arm or on all.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.summary.warnings.iter();
        let sentence = |of: &Warning| match &of.arm {
            Some(arm) => format!("{arm}: {}", of.text),
            None => of.text.clone(),
        };
        warnings.map(sentence).collect()
    }

    /// Whether something is wrong with what this arm shows.
    pub(super) fn is_doubtful(&self, arm: &str) -> bool {
        let mut warnings = self.summary.warnings.iter();
        warnings.any(|of| of.arm.as_ref().is_none_or(|name| name == arm))
    }
}

/// An arm that has not run, or not in all repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub arm: String,
    /// From 0, in order.
    pub repetitions: Vec<u32>,
    /// Whether nothing of the arm has run.
    pub all: bool,
}

impl Data {
    /// What an interrupted run has left out.
    pub(super) fn missing(&self) -> Vec<Missing> {
        let missing = self.facts.arms.iter().map(|planned| {
            let run = self
                .summary
                .arms
                .iter()
                .find(|arm| arm.name == planned.name);
            let done = run.map_or(&[][..], |arm| &arm.repetitions);
            let absent = |number: &u32| done.iter().all(|of| of.repetition != *number);
            Missing {
                arm: planned.name.clone(),
                repetitions: (0..self.facts.repetitions).filter(absent).collect(),
                all: done.is_empty(),
            }
        });
        missing.filter(|of| !of.repetitions.is_empty()).collect()
    }
}

impl std::fmt::Display for Missing {
    /// "fifo: all", "dualpi2: repetitions 3, 4 and 7 to 9".
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

/// What figures need of one repetition, taken from its rows as they come.
struct Parts {
    recorder: Recorder,
    meta: RunMeta,
    utilisation: Series,
    series: Series,
    series_ns: u64,
    fair: Vec<String>,
}

impl Parts {
    fn new(meta: &RunMeta) -> Parts {
        let series_ns = series_width(meta.end_ns.saturating_sub(meta.start_ns));
        let fair = meta.flows.iter().filter(|flow| flow.fair);
        Parts {
            recorder: Recorder::new(meta.window(), meta.flows.len()),
            utilisation: Series::of_utilisation(meta.window(), UTILISATION_NS),
            series: Series::new(meta.window(), series_ns),
            series_ns,
            fair: fair.map(|flow| flow.name.clone()).collect(),
            meta: meta.clone(),
        }
    }

    fn add(&mut self, rows: &[PacketRow]) {
        self.recorder.packets(rows);
        self.utilisation.add(rows);
        self.series.add(rows);
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
        if first {
            self.series = parts.series.finish().into_iter().map(point).collect();
        }
    }
}

fn point(bin: Bin) -> Point {
    let delay = |ns: &Histogram| {
        let at = |q| ns.quantile(q).map(|ns| ns as f64 / 1e6);
        Some((at(0.5)?, at(0.99)?))
    };
    Point {
        time_s: bin.time_s,
        utilisation: bin.utilisation,
        delay_ms: [delay(&bin.sojourn_ns[0]), delay(&bin.sojourn_ns[1])],
    }
}

/// Set-points at the begin of each bin of the time measured. Of a queue whose
/// set-points never change, none.
fn set_points(rows: &[SetPointRow], window: &Window, width_ns: u64) -> Vec<SetPoint> {
    if rows.len() < 2 {
        return Vec::new();
    }
    let times = (window.start_ns..window.end_ns).step_by(width_ns.max(1) as usize);
    let at = |time_ns: u64| {
        let after = rows.partition_point(|row| row.time_ns <= time_ns);
        let row = rows[..after].last()?;
        Some(SetPoint {
            time_s: (time_ns - window.start_ns) as f64 / 1e9,
            target_ms: row.target_ns as f64 / 1e6,
            alpha_hz: f64::from(row.alpha_uhz) / 1e6,
            beta_hz: f64::from(row.beta_uhz) / 1e6,
            coupling: f64::from(row.coupling_q8) / 256.0,
        })
    };
    times.filter_map(at).collect()
}

/// A round width that gives about [`POINTS`] bins, but never less than 100 ms.
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

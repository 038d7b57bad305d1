//! Comparison with published measurements.
//!
//! `scenarios/published/figures.toml` lists published measurements, each number
//! with its source and the scenario of the same directory that repeats it.

mod parse;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use l4sllm_abi::Queue;
use serde::Serialize;

use crate::experiment::measure;
use crate::result::{Samples, Statistics, pool};
use crate::scenario::{Scenario, ScenarioError};
use crate::sim::SimError;
use crate::workers;

/// Range of ratios of the emulator's number to the published one that need no
/// explanation.
pub const NEAR: std::ops::RangeInclusive<f64> = 0.7..=1.4;

/// Published measurements of several setups.
#[derive(Debug, Clone)]
pub struct Published {
    /// Sources of the numbers.
    pub sources: Vec<Source>,
    /// Setups.
    pub cases: Vec<Case>,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// Name used by figures.
    pub name: String,
    /// Authors and title.
    pub title: String,
    /// Address, with the revision.
    pub at: String,
}

/// One measured setup.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name.
    pub name: String,
    /// The setup; its first arm is run.
    pub scenario: Scenario,
    /// The measurements.
    pub figures: Vec<Figure>,
}

/// One published number.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The quantity.
    pub measure: Measure,
    /// The published value.
    pub theirs: f64,
    /// Name of the source.
    pub source: String,
    /// Place in the source.
    pub place: String,
    /// Reason for a difference, if any.
    pub why: Option<String>,
}

/// The quantity that a number measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// Mean rate of a group's flows relative to another group's.
    RateRatio {
        /// Name of the group of flows.
        of: String,
        /// Name of the other group.
        to: String,
    },
    /// A group's share of all delivered data.
    Share {
        /// Name of the group of flows.
        of: String,
    },
    /// Total throughput of a group's flows, Mbit/s.
    Rate {
        /// Name of the group of flows.
        of: String,
    },
    /// Mean queue delay, ms.
    DelayMean(Queue),
    /// Its 99th percentile, ms.
    DelayP99(Queue),
    /// Utilisation of the link, 0 to 1.
    Utilisation,
}

/// A published number and the emulator's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the case.
    pub case: String,
    /// The quantity, with its unit.
    pub measure: String,
    /// The published value.
    pub theirs: f64,
    /// The emulator's value; none if nothing was delivered.
    pub ours: Option<f64>,
    /// Ratio of the emulator's value to the published one.
    pub ratio: Option<f64>,
    /// Whether the ratio is within [`NEAR`].
    pub near: bool,
    /// Name of the source.
    pub source: String,
    /// Place in the source.
    pub place: String,
    /// Reason for the difference; none within [`NEAR`], or if unknown.
    pub why: Option<String>,
}

impl Published {
    /// Reads `figures.toml` of a directory and the scenarios named in it.
    ///
    /// # Errors
    /// [`ScenarioError`], with file, line and key.
    pub fn load(dir: &Path) -> Result<Published, ScenarioError> {
        parse::load(dir)
    }

    /// Runs the cases on `threads` threads (0: one per core) and compares, in
    /// order; none if cancelled.
    ///
    /// # Errors
    /// The emulator failed.
    pub fn compare(
        &self,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Option<Vec<Comparison>>, SimError> {
        let jobs: Vec<(usize, u32)> = (self.cases.iter().enumerate())
            .flat_map(|(case, c)| (0..c.scenario.repetitions).map(move |n| (case, n)))
            .collect();
        let done: Mutex<Vec<(usize, u32, Samples)>> = Mutex::default();
        workers::run(threads, &jobs, |(case, number)| -> Result<_, SimError> {
            let scenario = &self.cases[*case].scenario;
            let measured = measure(scenario, &scenario.arms[0], *number, None, cancel)?;
            let Some(samples) = measured else {
                return Ok(false);
            };
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((*case, *number, samples));
            Ok(true)
        })?;
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(case, number, _)| (*case, *number));
        let cases = self.cases.iter().enumerate().flat_map(|(at, case)| {
            let own = done.iter().filter(|(of, _, _)| *of == at);
            let samples: Vec<&Samples> = own.map(|(_, _, samples)| samples).collect();
            case.compare(&pool(&samples))
        });
        Ok(Some(cases.collect()))
    }
}

impl Case {
    /// Compares one number.
    fn compare(&self, ours: &Statistics) -> Vec<Comparison> {
        let figures = self.figures.iter().map(|figure| {
            let ours = figure.measure.of(ours);
            let ratio = ours.map(|ours| ours / figure.theirs);
            let near = ratio.is_some_and(|ratio| NEAR.contains(&ratio));
            Comparison {
                case: self.name.clone(),
                measure: figure.measure.to_string(),
                theirs: figure.theirs,
                ours,
                ratio,
                near,
                source: figure.source.clone(),
                place: figure.place.clone(),
                why: figure.why.clone().filter(|_| !near),
            }
        });
        figures.collect()
    }
}

impl Measure {
    /// Its value in `statistics`.
    pub fn of(&self, statistics: &Statistics) -> Option<f64> {
        let rates = |group: &str| -> Vec<f64> {
            let flows = statistics.flows.iter();
            let numbered = format!("{group}-");
            flows
                .filter(|flow| flow.name == group || flow.name.starts_with(&numbered))
                .map(|flow| flow.goodput_mbps)
                .collect()
        };
        let mean = |rates: Vec<f64>| rates.iter().sum::<f64>() / rates.len() as f64;
        let delay = |queue: &Queue| match queue {
            Queue::Classic => statistics.queue_delay_ms.classic,
            Queue::L4s => statistics.queue_delay_ms.l4s,
        };
        let value = match self {
            Measure::RateRatio { of, to } => mean(rates(of)) / mean(rates(to)),
            Measure::Share { of } => {
                let all: f64 = statistics.flows.iter().map(|flow| flow.goodput_mbps).sum();
                rates(of).iter().sum::<f64>() / all
            }
            Measure::Rate { of } => rates(of).iter().sum(),
            Measure::DelayMean(queue) => delay(queue).mean?,
            Measure::DelayP99(queue) => delay(queue).p99?,
            Measure::Utilisation => statistics.utilisation,
        };
        value.is_finite().then_some(value)
    }
}

impl std::fmt::Display for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |queue: &Queue| match queue {
            Queue::Classic => "classic",
            Queue::L4s => "L4S",
        };
        match self {
            Measure::RateRatio { of, to } => write!(f, "rate of {of} / {to}"),
            Measure::Share { of } => write!(f, "share of {of}"),
            Measure::Rate { of } => write!(f, "rate of {of}, Mbit/s"),
            Measure::DelayMean(queue) => write!(f, "{} delay, mean, ms", name(queue)),
            Measure::DelayP99(queue) => write!(f, "{} delay, p99, ms", name(queue)),
            Measure::Utilisation => write!(f, "utilisation"),
        }
    }
}

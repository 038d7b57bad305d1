//! Reports on trainings in the loop (`l4sllm train --online`): the result of
//! each lesson, from `metrics.jsonl`.

mod figures;
mod page;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::page::slug;
use super::rows::{Rows, Tables};
use super::{PAGE, Report, ReportError, save_figures, write};
use crate::verdict::Interval;
use l4sllm_model::files::read_regular;
use l4sllm_testbed::result::ResultError;

/// File name of the lines.
const METRICS_FILE: &str = "metrics.jsonl";

/// Maximum file size, bytes.
const MOST: u64 = 64 << 20;

/// A line of the metrics: a lesson. Unlisted keys are not shown; older programs
/// did not write all keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Lesson {
    /// `imitation`, `round-1`, `improvement-1`.
    stage: String,
    /// Optimiser steps of this and earlier lessons.
    steps: u64,
    /// Mean cost of the lesson's last steps.
    training_cost: f64,
    /// Cost in the evaluation; the fields up to `conditions` are from it, too.
    cost: f64,
    /// Classic delay relative to the adaptive rule's, geometric mean.
    delay_over_adaptive: f64,
    /// Share of utilisation lost relative to the better of plain and tuned.
    mean_loss: f64,
    adaptive_mean_loss: f64,
    /// Conditions that lost at most the budget.
    kept: usize,
    adaptive_kept: usize,
    conditions: usize,
    /// Whether it was the best one so far.
    best: bool,
    /// Time since the start, s.
    seconds: f64,
    /// Cost of each condition of the evaluation.
    #[serde(default, skip_serializing)]
    costs: Vec<f64>,
    #[serde(default)]
    settings: Option<Settings>,
    #[serde(default)]
    own_runs: OwnRuns,
    /// Step of the lesson, and the mean cost of the steps up to it.
    #[serde(default, skip_serializing)]
    losses: Vec<(u64, f64)>,
}

/// Percentiles of the settings in the evaluation's runs: 5, 25, 50, 75, 95.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Settings {
    target_ms: [f64; 5],
    /// Factor on RFC 9332's.
    gain: [f64; 5],
}

/// Results of the policy's runs before a lesson.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct OwnRuns {
    /// Before a round: mean excess cost of the chosen settings over the best.
    regret: Option<f64>,
    /// Share of periods in which the setting was near the best.
    agreement: Option<f64>,
    /// Before an improvement: cost of each condition.
    #[serde(default, skip_serializing)]
    costs: Vec<f64>,
    /// Cost of each condition with the best offset.
    #[serde(default, skip_serializing)]
    best_offset_costs: Vec<f64>,
}

/// A training in the loop, read from disk.
struct Training {
    name: String,
    lessons: Vec<Lesson>,
    /// Number of invalid lines.
    bad_lines: usize,
}

/// Whether [`render_online`] can report on a directory.
pub fn is_online(dir: &Path) -> bool {
    let bytes = read_regular(&dir.join(METRICS_FILE), MOST).unwrap_or_default();
    let first = bytes.split(|byte| *byte == b'\n').next();
    first.is_some_and(|line| serde_json::from_slice::<Lesson>(line).is_ok())
}

/// Draws a training in the loop: figures and a page in `out`.
///
/// # Errors
/// Metrics without a lesson; a directory that cannot be written.
pub fn render_online(dir: &Path, out: &Path) -> Result<Report, ReportError> {
    let training = Training::load(dir)?;
    let figures = figures::figures(&training.lessons);
    let drawn = save_figures(figures, &slug(&training.name), out)?;
    let page = out.join(PAGE);
    let html = page::html(&training, dir, &drawn);
    write(&page, html.as_bytes(), out)?;
    Ok(Report {
        page,
        text: page::text(&training),
        tables: training.tables(),
    })
}

/// The table of the training in `dir`: a row for each lesson.
pub(super) fn tables_of(dir: &Path) -> Result<Tables, ReportError> {
    Ok(Training::load(dir)?.tables())
}

impl Training {
    fn load(dir: &Path) -> Result<Training, ReportError> {
        let path = dir.join(METRICS_FILE);
        let bytes = read_regular(&path, MOST).map_err(ResultError::io("read", &path));
        let bytes = bytes.map_err(|source| ReportError::Result {
            path: dir.to_owned(),
            source,
        })?;
        let (mut lessons, mut bad_lines) = (Vec::new(), 0);
        let lines = bytes.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(lesson) => lessons.push(lesson),
                Err(_) => bad_lines += 1,
            }
        }
        if lessons.is_empty() {
            return Err(ReportError::NoSteps { path });
        }
        let whole = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let name = whole.file_name().map(|name| name.to_string_lossy());
        Ok(Training {
            name: name.map_or_else(|| dir.display().to_string(), |name| name.into_owned()),
            lessons,
            bad_lines,
        })
    }

    /// A row for each lesson, with only the means of costs over conditions and
    /// steps.
    fn tables(&self) -> Tables {
        let mut rows = Rows::default();
        for lesson in &self.lessons {
            rows.push([("training", self.name.as_str().into())], lesson);
        }
        vec![("lessons", rows)]
    }

    /// The lesson of `best/`.
    fn best(&self) -> &Lesson {
        let better = |a: &&Lesson, b: &&Lesson| a.cost.total_cmp(&b.cost);
        let first = &self.lessons[0];
        self.lessons.iter().min_by(better).unwrap_or(first)
    }
}

impl Lesson {
    /// Mean cost of the evaluation, with its interval over conditions.
    fn judged(&self) -> Interval {
        Interval::of(&self.costs).unwrap_or(Interval {
            mean: self.cost,
            half_width: None,
        })
    }

    /// Excess cost over another lesson, over their common conditions.
    fn more_than(&self, other: &Lesson) -> Option<Interval> {
        let both = self.costs.iter().zip(&other.costs);
        let same = self.costs.len() == other.costs.len();
        let differences: Vec<f64> = both.map(|(own, other)| own - other).collect();
        Interval::of(&differences).filter(|_| same)
    }
}

#[cfg(test)]
mod tests;

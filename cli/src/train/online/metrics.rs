//! `metrics.jsonl`: a line after each lesson.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use l4sllm_model::files::replace;
use l4sllm_model::text::shown;
use l4sllm_model::torch::online::{Learned, Multipliers};
use serde::{Deserialize, Serialize};

use super::judge::{Settings, Verdict};

/// The lines. There are few, so the file is replaced each time.
pub struct Metrics {
    path: PathBuf,
    lines: Vec<Line>,
    started: Instant,
    earlier_s: f64,
}

/// Settings of a policy in its own runs, compared with the best fixed setting of
/// each condition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Mean excess cost over the best setting.
    pub regret: f64,
    /// Share of periods in which target and gain are within a grid step of it.
    pub agreement: f64,
}

impl Agreement {
    /// Averages over periods of (excess cost, whether the setting is near the best).
    pub fn of(periods: &[(f64, bool)]) -> Agreement {
        let count = periods.len().max(1) as f64;
        Agreement {
            regret: periods.iter().map(|of| of.0).sum::<f64>() / count,
            agreement: periods.iter().filter(|of| of.1).count() as f64 / count,
        }
    }
}

/// Cost of a policy's own runs before an improvement, by condition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Improved {
    /// Costs of the policy.
    pub costs: Vec<f64>,
    /// Costs with the best offset.
    pub best_offset_costs: Vec<f64>,
}

impl Improved {
    /// Adds a condition: the policy's cost and those with offsets.
    pub fn add(&mut self, own: f64, offsets: &[f64]) {
        self.costs.push(own);
        self.best_offset_costs
            .push(offsets.iter().copied().fold(own, f64::min));
    }
}

/// Results of the policy's own runs before a lesson.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OwnRuns {
    /// Before a round.
    #[serde(flatten)]
    pub agreement: Option<Agreement>,
    /// Before an improvement.
    #[serde(flatten)]
    pub improved: Option<Improved>,
}

/// Costs of optimiser steps, averaged over equal parts of a lesson.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    each: u64,
    sum: f64,
    count: u64,
    means: Vec<(u64, f64)>,
}

/// Parts of a lesson.
const MEANS: u64 = 50;

impl Losses {
    /// For a lesson of `steps` steps.
    pub fn of(steps: u64) -> Losses {
        Losses {
            each: steps.div_ceil(MEANS).max(1),
            ..Losses::default()
        }
    }

    /// Adds the cost of a step; steps count from 1.
    pub fn add(&mut self, step: u64, cost: f64) {
        (self.sum, self.count) = (self.sum + cost, self.count + 1);
        if step % self.each == 0 {
            self.means.push((step, self.sum / self.count as f64));
            (self.sum, self.count) = (0.0, 0);
        }
    }
}

/// Results of a lesson.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    stage: String,
    /// Optimiser steps of all lessons.
    steps: u64,
    /// Loss of the lesson, at its end.
    training_cost: f64,
    /// Cost in the evaluation; the following fields are from it, too.
    cost: f64,
    /// Delay ratio, geometric mean over conditions.
    delay_over_adaptive: f64,
    /// Lost share of the utilisation of the better of plain and tuned.
    mean_loss: f64,
    adaptive_mean_loss: f64,
    /// Conditions in which at most the budget was lost.
    kept: usize,
    adaptive_kept: usize,
    conditions: usize,
    /// Whether it is the best one so far.
    best: bool,
    /// Cost of each condition of the evaluation.
    #[serde(default)]
    costs: Vec<f64>,
    /// Settings applied in the evaluation's runs.
    #[serde(default)]
    settings: Settings,
    /// Results of the policy's runs before the lesson.
    #[serde(default)]
    own_runs: OwnRuns,
    /// Multipliers of the families' constraints in the lesson.
    #[serde(default)]
    multipliers: Multipliers,
    /// Step of the lesson, and the mean cost since the previous entry.
    #[serde(default)]
    losses: Vec<(u64, f64)>,
    /// Time since the start, including all parts of a resumed run.
    seconds: f64,
}

/// A finished lesson.
pub struct Lesson<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    pub learned: &'a Learned,
    pub own_runs: OwnRuns,
    pub multipliers: Multipliers,
    pub losses: Losses,
}

impl Metrics {
    /// Keeps the lines of the evaluated lessons.
    pub fn open(out: &Path, judged: usize) -> anyhow::Result<Metrics> {
        let path = out.join("metrics.jsonl");
        let mut lines = Vec::new();
        if judged > 0 {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", shown(&path)))?;
            for (number, line) in text.lines().take(judged).enumerate() {
                let line = serde_json::from_str(line);
                lines.push(line.with_context(|| format!("{}:{}", shown(&path), number + 1))?);
            }
        }
        Ok(Metrics {
            earlier_s: lines.last().map_or(0.0, |line: &Line| line.seconds),
            path,
            lines,
            started: Instant::now(),
        })
    }

    /// Multipliers of an evaluated lesson.
    pub fn multipliers(&self, lesson: usize) -> Option<Multipliers> {
        self.lines.get(lesson).map(|line| line.multipliers.clone())
    }

    /// Adds a line; returns it as text for the terminal.
    pub fn add(
        &mut self,
        lesson: Lesson<'_>,
        verdict: &Verdict,
        best: bool,
    ) -> anyhow::Result<String> {
        let Lesson { stage, learned, .. } = lesson;
        self.lines.push(Line {
            stage: stage.to_owned(),
            steps: learned.steps,
            training_cost: learned.cost,
            cost: verdict.cost,
            delay_over_adaptive: verdict.delay,
            mean_loss: verdict.loss,
            adaptive_mean_loss: verdict.adaptive_loss,
            kept: verdict.kept,
            adaptive_kept: verdict.adaptive_kept,
            conditions: verdict.conditions,
            best,
            costs: verdict.costs.clone(),
            settings: verdict.settings,
            own_runs: lesson.own_runs,
            multipliers: lesson.multipliers,
            losses: lesson.losses.means,
            seconds: self.earlier_s + self.started.elapsed().as_secs_f64(),
        });
        let mut text = String::new();
        for line in &self.lines {
            text += &serde_json::to_string(line)?;
            text.push('\n');
        }
        replace(&self.path, text.as_bytes())
            .with_context(|| format!("cannot write {}", shown(&self.path)))?;
        Ok(format!(
            "{stage}: cost {:.4}, delay {:.3} x adaptive's, utilisation lost {:.2} % (adaptive \
             {:.2} %), within the budget in {} of {} (adaptive {}){}",
            verdict.cost,
            verdict.delay,
            100.0 * verdict.loss,
            100.0 * verdict.adaptive_loss,
            verdict.kept,
            verdict.conditions,
            verdict.adaptive_kept,
            if best { "; best" } else { "" }
        ))
    }
}

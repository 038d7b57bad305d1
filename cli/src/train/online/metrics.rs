//! `metrics.jsonl`: a line after each lesson.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use l4sllm_model::files::replace;
use l4sllm_model::text::shown;
use l4sllm_model::torch::online::Learned;
use serde::{Deserialize, Serialize};

use super::judge::Verdict;

/// The lines. There are few, so the file is replaced each time.
pub struct Metrics {
    path: PathBuf,
    lines: Vec<Line>,
    started: Instant,
    earlier_s: f64,
}

/// Results of a lesson.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    stage: String,
    /// Optimiser steps of all lessons.
    steps: u64,
    /// Loss of the lesson, at its end.
    training_cost: f64,
    /// Cost in the evaluation, like the following fields.
    cost: f64,
    /// Delay ratio, geometric mean over conditions.
    delay_over_adaptive: f64,
    /// Lost share of the utilisation of the better of plain and tuned.
    mean_loss: f64,
    adaptive_mean_loss: f64,
    /// Conditions in which no more than the budget was lost.
    kept: usize,
    adaptive_kept: usize,
    conditions: usize,
    /// Whether it is the best one so far.
    best: bool,
    /// Time since the start, including all parts of a resumed run.
    seconds: f64,
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

    /// Adds a line; returns it as text for the terminal.
    pub fn add(
        &mut self,
        stage: &str,
        learned: &Learned,
        verdict: &Verdict,
        best: bool,
    ) -> anyhow::Result<String> {
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

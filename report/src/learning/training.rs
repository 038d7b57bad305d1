//! A training run on disk: a line for each step, and its costs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::JSON_MAX;
use super::model_costs::{COSTS_FILE, Costs};
use crate::ReportError;
use l4sllm_model::files::{open_regular, read_regular};
use l4sllm_testbed::result::ResultError;

/// File name of the metrics.
pub(super) const METRICS_FILE: &str = "metrics.jsonl";

/// Data of a training run for the page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Training {
    pub name: String,
    /// Steps in order, each once.
    pub steps: Vec<Step>,
    pub costs: Option<Costs>,
    /// Number of lines that could not be parsed, such as an incomplete line of
    /// a killed run.
    pub bad_lines: usize,
}

/// A line of the metrics. Unlisted keys are not drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub step: u64,
    /// Passes over the training rows; continued by a resumed run.
    pub epoch: Option<f64>,
    pub loss: f64,
    /// Accuracy on the step's own windows, 0..=1.
    pub accuracy: Option<f64>,
    /// Share of the most frequent action in the training rows.
    pub majority_share: Option<f64>,
    pub tokens_per_s: Option<f64>,
    pub evaluation: Option<Evaluation>,
}

/// Evaluation on held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    pub loss: f64,
    pub accuracy: f64,
    pub majority_share: f64,
    pub balanced_accuracy: f64,
    pub macro_f1: f64,
}

impl Training {
    pub(super) fn load(dir: &Path) -> Result<Training, ReportError> {
        let failed = |source| ReportError::Result {
            path: dir.to_owned(),
            source,
        };
        let path = dir.join(METRICS_FILE);
        let file = open_regular(&path).map_err(ResultError::io("open", &path));
        let (steps, bad_lines) = read(BufReader::new(file.map_err(failed)?))
            .map_err(|e| failed(ResultError::io("read", &path)(e)))?;
        if steps.is_empty() {
            return Err(ReportError::NoSteps { path });
        }
        let path = dir.join(COSTS_FILE);
        let costs: Option<Costs> = match read_regular(&path, JSON_MAX) {
            Ok(bytes) => Some(
                serde_json::from_slice(&bytes).map_err(|e| failed(ResultError::json(&path)(e)))?,
            ),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed(ResultError::io("read", &path)(e))),
        };
        let of_dir = || {
            let whole = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
            whole.file_name().map_or_else(
                || dir.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            )
        };
        Ok(Training {
            name: of_dir(),
            steps,
            costs,
            bad_lines,
        })
    }

    /// Steps followed by an evaluation.
    pub(super) fn evaluations(&self) -> impl Iterator<Item = (&Step, &Evaluation)> {
        self.steps
            .iter()
            .filter_map(|step| Some((step, step.evaluation.as_ref()?)))
    }

    /// The evaluation with the lowest loss, for which `best/` was saved.
    pub(crate) fn best(&self) -> Option<(&Step, &Evaluation)> {
        self.evaluations()
            .min_by(|a, b| a.1.loss.total_cmp(&b.1.loss))
    }

    pub(crate) fn last(&self) -> Option<&Step> {
        self.steps.last()
    }
}

/// A killed and resumed run repeats steps; the last occurrence of each is the
/// one it continued from.
fn read(lines: impl BufRead) -> std::io::Result<(Vec<Step>, usize)> {
    let (mut steps, mut bad) = (BTreeMap::new(), 0);
    for line in lines.split(b'\n') {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<Step>(&line) {
            Ok(step) => {
                steps.insert(step.step, step);
            }
            Err(_) => bad += 1,
        }
    }
    Ok((steps.into_values().collect(), bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_training_has_each_step_once_and_a_torn_line_is_counted() {
        let text = "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"loss\":1.5}\n{\"step\":3,\"lo\n\
                    {\"step\":2,\"loss\":1.25,\"accuracy\":0.5,\"other\":[1]}\n";
        let (steps, bad) = read(text.as_bytes()).unwrap();
        assert_eq!(steps.iter().map(|s| s.step).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((steps[1].loss, steps[1].accuracy), (1.25, Some(0.5)));
        assert_eq!(bad, 1);
    }
}

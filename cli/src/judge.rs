//! Agreement of a policy's decisions with a pool's.

use std::ops::Range;

use anyhow::Context;
use l4sllm_abi::Queue;
use l4sllm_model::pool::{Dataset, Episode};
use l4sllm_model::{Calibration, Chooser, Confusion, Policy, Reliability, Scores, Step};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Windows per batch: enough for libtorch, and little memory.
const BATCH: usize = 256;

/// Results of the decisions on some rows.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    #[serde(flatten)]
    pub scores: Scores,
    pub calibration: Reliability,
}

impl Verdict {
    /// As JSON, with the values of each action under its name.
    pub fn named(&self) -> Value {
        let mut value = json!(self);
        for name in ["recall", "precision", "f1", "share", "confusion"] {
            let mut own = by_action(value[name].take());
            if name == "confusion" {
                for predicted in own.values_mut() {
                    *predicted = by_action(predicted.take()).into();
                }
            }
            value[name] = own.into();
        }
        value
    }
}

fn by_action(mut of_each: Value) -> Map<String, Value> {
    let names = ["enqueue", "drop", "mark"].into_iter().enumerate();
    names
        .map(|(code, name)| (name.to_owned(), of_each[code].take()))
        .collect()
}

/// Runs a policy at rows of pools.
pub struct Judge<'a> {
    pub policy: &'a Policy,
    pub data: &'a Dataset,
    pub episodes: &'a [Episode],
    /// The scaled return-to-go; none: the actual one.
    pub target: Option<f32>,
}

impl Judge<'_> {
    /// Evaluates at most `most` of the rows of `ranges` accepted by `take`,
    /// spread evenly; the result is empty without any. A decision uses the preceding
    /// records of the same episode, whatever part of a split they are in.
    pub fn judge(
        &self,
        ranges: &[Range<usize>],
        most: usize,
        take: impl Fn(usize) -> bool,
    ) -> anyhow::Result<Option<Verdict>> {
        let config = self.policy.config();
        let rows: Vec<usize> = ranges
            .iter()
            .cloned()
            .flatten()
            .filter(|row| take(*row))
            .collect();
        let count = rows.len().min(most);
        let mut confusion = Confusion::default();
        let mut calibration = Calibration::default();
        let spread: Vec<usize> = (0..count).map(|i| rows[i * rows.len() / count]).collect();
        for rows in spread.chunks(BATCH) {
            let windows = rows.iter().map(|row| self.window(*row));
            let windows = windows.collect::<anyhow::Result<Vec<_>>>()?;
            for (row, probabilities) in rows.iter().zip(self.policy.decide_all(&windows)?) {
                // Rows may be far apart, so no state is carried between them.
                let mut chooser = Chooser::new(config.decision_rule, *row as u64 + 1);
                let action = chooser.choose(Queue::Classic, &probabilities);
                let actual = usize::from(self.data.action(*row));
                confusion.add(actual, action as usize);
                calibration.add(&probabilities, actual);
            }
        }
        Ok(calibration.reliability().map(|calibration| Verdict {
            scores: confusion.scores(),
            calibration,
        }))
    }

    /// The records of the row's episode that end with the row.
    fn window(&self, row: usize) -> anyhow::Result<Vec<Step>> {
        let episode = self.episodes.partition_point(|e| e.rows.end <= row);
        let episode = self.episodes.get(episode).context("a row of no episode")?;
        let first = (row + 1).saturating_sub(self.policy.config().window);
        let window = first.max(episode.rows.start)..row + 1;
        Ok(self.data.steps(window, self.target))
    }
}

//! Confusion matrix of actions.

use serde::Serialize;

use crate::ACTIONS;

/// Counts of (actual, predicted) actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confusion([[u64; ACTIONS]; ACTIONS]);

/// Scores of a [`Confusion`]. Accuracy means little without the majority-class
/// baseline. For an action that does not occur or is never predicted, undefined
/// values (0 / 0) are null.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Number of decisions.
    pub decisions: u64,
    /// Accuracy.
    pub accuracy: f64,
    /// Share of the most frequent action.
    pub majority_share: f64,
    /// Mean recall of the actions that occur.
    pub balanced_accuracy: f64,
    /// Mean F1 of the actions that occur.
    pub macro_f1: f64,
    /// Per action: recall.
    pub recall: [Option<f64>; ACTIONS],
    /// Per action: precision.
    pub precision: [Option<f64>; ACTIONS],
    /// Per action: harmonic mean of recall and precision.
    pub f1: [Option<f64>; ACTIONS],
    /// Per action: share of it.
    pub share: [f64; ACTIONS],
    /// Counts, a row per actual action, a column per predicted one.
    pub confusion: [[u64; ACTIONS]; ACTIONS],
}

impl Confusion {
    /// Counts one decision; both are codes of actions.
    pub fn add(&mut self, actual: usize, predicted: usize) {
        self.0[actual][predicted] += 1;
    }

    /// Adds counts in the layout of [`Scores::confusion`].
    pub fn merge(&mut self, counts: &[[u64; ACTIONS]; ACTIONS]) {
        let counts = counts.iter().flatten();
        for (mine, count) in self.0.iter_mut().flatten().zip(counts) {
            *mine += count;
        }
    }

    /// The summary.
    pub fn scores(&self) -> Scores {
        let of = |count: u64, all: u64| count as f64 / (all.max(1)) as f64;
        let actual: [u64; ACTIONS] = std::array::from_fn(|a| self.0[a].iter().sum());
        let predicted: [u64; ACTIONS] =
            std::array::from_fn(|p| self.0.iter().map(|row| row[p]).sum());
        let right: [u64; ACTIONS] = std::array::from_fn(|a| self.0[a][a]);
        let all = actual.iter().sum();
        let share_of = |counts: [u64; ACTIONS]| -> [Option<f64>; ACTIONS] {
            std::array::from_fn(|a| (counts[a] > 0).then(|| of(right[a], counts[a])))
        };
        let recall = share_of(actual);
        let f1: [Option<f64>; ACTIONS] = std::array::from_fn(|a| {
            (actual[a] > 0).then(|| of(2 * right[a], actual[a] + predicted[a]))
        });
        let present = recall.iter().flatten().count().max(1) as f64;
        Scores {
            decisions: all,
            accuracy: of(right.iter().sum(), all),
            majority_share: of(actual.into_iter().max().unwrap_or(0), all),
            balanced_accuracy: recall.iter().flatten().sum::<f64>() / present,
            macro_f1: f1.iter().flatten().sum::<f64>() / present,
            recall,
            precision: share_of(predicted),
            f1,
            share: actual.map(|count| of(count, all)),
            confusion: self.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_prediction_scores_the_majority() {
        let mut confusion = Confusion::default();
        for i in 0..100 {
            confusion.add(if i < 80 { 0 } else { 2 }, 0);
        }
        let scores = confusion.scores();
        assert_eq!((scores.accuracy, scores.majority_share), (0.8, 0.8));
        assert_eq!(scores.balanced_accuracy, 0.5);
        assert_eq!(scores.recall, [Some(1.0), None, Some(0.0)]);
        assert_eq!(scores.precision, [Some(0.8), None, None]);
        assert_eq!(scores.f1, [Some(160.0 / 180.0), None, Some(0.0)]);
        assert!((scores.macro_f1 - (160.0 / 180.0) / 2.0).abs() < 1e-12);
        assert_eq!(scores.confusion, [[80, 0, 0], [0, 0, 0], [20, 0, 0]]);
        confusion.merge(&[[0, 1, 0], [2, 3, 0], [0, 0, 4]]);
        let merged = [[80, 1, 0], [2, 3, 0], [20, 0, 4]];
        assert_eq!(confusion.scores().confusion, merged);
    }
}

//! Stored numbers of a cell.

use l4sllm_model::Outcome;
use serde::{Deserialize, Serialize};

use crate::published::Figure;
use crate::result::Statistics;

/// The numbers of a cell: a few hundred bytes, for any duration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measures {
    /// Utilisation, delays, fairness and drops.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Short flows and chunks of all groups; none without any.
    pub completions: Option<Completions>,
    /// Overrides that changed or confirmed a decision, or took effect.
    pub overrides_applied: u64,
    /// The emulator's value of each published figure, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Option<f64>>,
}

/// Completion times of transfers: short flows and chunks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Completions {
    /// Transfers that finished.
    pub finished: u64,
    /// Transfers unfinished at the end of the run.
    pub unfinished: u64,
    /// Mean completion time, ms.
    pub mean_ms: f64,
    /// Maximum of the groups' 99th percentiles, ms.
    pub p99_ms: f64,
}

impl Completions {
    /// Aggregated over all groups with transfers; none if nothing finished.
    fn of(statistics: &Statistics) -> Option<Completions> {
        let groups = || statistics.flows.iter().filter_map(|flow| flow.completions);
        let finished: u64 = groups().map(|of| of.finished).sum();
        let times = groups().filter_map(|of| Some(of.mean_ms? * of.finished as f64));
        let longest = groups().filter_map(|of| of.p99_ms);
        (finished > 0).then(|| Completions {
            finished,
            unfinished: groups().map(|of| of.unfinished).sum(),
            mean_ms: times.sum::<f64>() / finished as f64,
            p99_ms: longest.fold(0.0, f64::max),
        })
    }
}

impl Measures {
    /// Extracts them from a repetition's statistics.
    pub(super) fn of(statistics: &Statistics, figures: &[Figure]) -> Measures {
        Measures {
            outcome: statistics.outcome(),
            completions: Completions::of(statistics),
            overrides_applied: statistics.overrides.applied,
            figures: figures.iter().map(|f| f.measure.of(statistics)).collect(),
        }
    }

    /// sqrt(mean · p99) of the classic queue, ms: penalises both a long queue
    /// with a short tail and the reverse.
    pub fn classic_delay_ms(&self) -> Option<f64> {
        Some((self.outcome.classic_mean_ms? * self.outcome.classic_p99_ms?).sqrt())
    }
}

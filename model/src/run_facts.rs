//! Facts about a run of a queue: the deciding rule and the metrics by which
//! runs are compared.

use serde::{Deserialize, Serialize};

/// Metrics of a run; delays are sojourn times of forwarded packets, `None`
/// without packets.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Bits sent divided by the capacity of the bottleneck.
    pub utilisation: f64,
    /// Classic queue: mean, ms.
    pub classic_mean_ms: Option<f64>,
    /// Classic queue: median, ms.
    pub classic_p50_ms: Option<f64>,
    /// Classic queue: 99th percentile, ms.
    pub classic_p99_ms: Option<f64>,
    /// L4S queue: mean, ms.
    pub l4s_mean_ms: Option<f64>,
    /// L4S queue: 99th percentile, ms.
    pub l4s_p99_ms: Option<f64>,
    /// Jain's index over the goodputs of lasting flows; `None` with fewer than
    /// two.
    pub jain: Option<f64>,
    /// Share of dropped packets among all that left the queue, 0 to 1.
    #[serde(default)]
    pub drop_share: Option<f64>,
}

impl Outcome {
    /// Mean of each value over repeated runs; `None` if any run has none.
    pub fn mean(runs: &[Outcome]) -> Outcome {
        let count = runs.len() as f64;
        let of = |value: fn(&Outcome) -> Option<f64>| {
            let sum: Option<f64> = runs.iter().map(value).sum();
            sum.map(|sum| sum / count)
        };
        Outcome {
            utilisation: runs.iter().map(|run| run.utilisation).sum::<f64>() / count,
            classic_mean_ms: of(|o| o.classic_mean_ms),
            classic_p50_ms: of(|o| o.classic_p50_ms),
            classic_p99_ms: of(|o| o.classic_p99_ms),
            l4s_mean_ms: of(|o| o.l4s_mean_ms),
            l4s_p99_ms: of(|o| o.l4s_p99_ms),
            jain: of(|o| o.jain),
            drop_share: of(|o| o.drop_share),
        }
    }
}

/// A rule that decides in the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleFacts {
    /// Name of the rule.
    pub name: String,
    /// Name of its constants.
    pub preset: String,
    /// Time between two decisions, ns.
    pub period_ns: u64,
    /// Idle budget as a share of link time; `None`: that of the constants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_budget: Option<f64>,
}

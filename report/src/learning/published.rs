//! What Satish, Pokhrel, Kua and Walid published of their models
//! ([`crate::PAPER`]), to compare one's own runs with.
//!
//! The numbers are those that their figures are drawn from (repository
//! MPTCP-FreeBSD/Graphs-Viz-L4S-LLM, `Other Graphs/main.py`): on a GPU that is
//! not named there, Llama-2-7B and OPT-1.3B with adapters of rank 128, GPT-2
//! and T5 with all their weights trained.

use super::model_costs::Costs;

/// One model of theirs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Published {
    /// The model, as its backbone is named here.
    pub name: &'static str,
    pub trainable_parameters: u64,
    /// Memory of the GPU, GB.
    pub memory_gb: f64,
    /// Mean of a decision, ms.
    pub decision_ms: f64,
    /// The whole training of 80 epochs, h.
    pub training_h: f64,
}

/// All of them, the largest first.
pub(super) const PUBLISHED: [Published; 4] = [
    Published {
        name: "llama-2-7b",
        trainable_parameters: 67_108_864,
        memory_gb: 23.919,
        decision_ms: 39.1,
        training_h: 14.41,
    },
    Published {
        name: "opt-1.3b",
        trainable_parameters: 25_165_824,
        memory_gb: 7.005,
        decision_ms: 39.5,
        training_h: 0.2990,
    },
    Published {
        name: "gpt2",
        trainable_parameters: 125_000_000,
        memory_gb: 3.569,
        decision_ms: 41.4,
        training_h: 0.1796,
    },
    Published {
        name: "t5-base",
        trainable_parameters: 220_000_000,
        memory_gb: 2.321,
        decision_ms: 41.1,
        training_h: 0.3226,
    },
];

/// Time of a decision that they name, ms: Llama-2-7B's.
pub(super) const PUBLISHED_DECISION_MS: f64 = 39.0;

/// What was published of a model that was measured here.
pub(super) fn published(costs: &Costs) -> Option<&'static Published> {
    PUBLISHED.iter().find(|of| of.name == costs.name)
}

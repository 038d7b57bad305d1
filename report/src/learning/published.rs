//! Numbers published by Satish, Pokhrel, Kua and Walid about their models
//! ([`crate::PAPER`]), for comparison.
//!
//! The numbers are those from which their figures are drawn (repository
//! MPTCP-FreeBSD/Graphs-Viz-L4S-LLM, `Other Graphs/main.py`): on an unnamed
//! GPU, Llama-2-7B and OPT-1.3B with adapters of rank 128, GPT-2 and T5 with
//! all their weights trained.

use super::model_costs::Costs;

/// One of their models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Published {
    /// The model, by the name of its backbone here.
    pub name: &'static str,
    pub trainable_parameters: u64,
    /// GPU memory, GB.
    pub memory_gb: f64,
    /// Mean time of a decision, ms.
    pub decision_ms: f64,
    /// The whole training of 80 epochs, h.
    pub training_h: f64,
}

/// All models, the largest first.
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

/// The decision time that they state, ms: Llama-2-7B's.
pub(super) const PUBLISHED_DECISION_MS: f64 = 39.0;

/// The published numbers of a model measured here.
pub(super) fn published(costs: &Costs) -> Option<&'static Published> {
    PUBLISHED.iter().find(|of| of.name == costs.name)
}

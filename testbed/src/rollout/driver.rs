//! Drivers of the queue in a roll-out.

use std::fmt;
use std::sync::Arc;

use l4sllm_abi::Params;
use l4sllm_model::{IdleBudget, Policy, SET_POINTS};

/// The driver of the queue in a roll-out. Its text form is part of a run's
/// identity.
#[derive(Clone)]
pub enum Driver {
    /// Fixed parameters.
    Fixed(Params),
    /// The adaptive rule with its own constants.
    Adaptive,
    /// A policy on summaries.
    Policy {
        /// The policy.
        actor: Actor,
        /// Its idle budget.
        budget: IdleBudget,
        /// Added to its outputs in every decision: constant exploration over
        /// the whole run, so that the run shows its cost.
        offset: [f32; SET_POINTS],
    },
}

/// A policy, or the hash of one whose runs are finished.
#[derive(Clone)]
pub struct Actor {
    hash: String,
    policy: Option<Arc<Policy>>,
}

impl Actor {
    /// A policy whose runs are finished, known only by its hash: see
    /// [`Policy::hash`].
    pub fn finished(hash: &str) -> Actor {
        Actor {
            hash: hash.to_owned(),
            policy: None,
        }
    }

    /// See [`Policy::hash`].
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }
}

impl From<Arc<Policy>> for Actor {
    fn from(policy: Arc<Policy>) -> Actor {
        Actor {
            hash: policy.hash().to_owned(),
            policy: Some(policy),
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Driver::Fixed(params) => write!(f, "{params:?}"),
            Driver::Adaptive => write!(f, "adaptive"),
            Driver::Policy {
                actor,
                budget,
                offset,
            } => write!(
                f,
                "policy {}, budget {budget}, offset {offset:?}",
                actor.hash
            ),
        }
    }
}

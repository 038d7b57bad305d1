//! Engines: they make decisions from records or summaries.

pub mod adaptive;
mod fallback;
mod fixed;
mod policy;
#[cfg(feature = "remote")]
mod remote;
mod scripted;
mod state;

pub use adaptive::{Adaptive, AdaptiveConfig, AdaptiveState, Preset};
pub use fallback::Fallback;
pub use fixed::{Fixed, Profile};
pub use policy::PolicyEngine;
#[cfg(feature = "remote")]
pub use remote::RemoteEngine;
pub use scripted::{Scripted, Step};
pub use state::{EngineState, PolicyState, RestoreError, ScriptState};

use l4sllm_abi::{Action, Record, Steer, Summary};
use l4sllm_model::IdleBudget;
pub use l4sllm_model::SetPoints;

/// Input streams of engines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Input {
    /// Records.
    #[default]
    Records,
    /// Summaries.
    Summaries,
    /// Both: decisions are due on records, and the fallback may decide on
    /// summaries between them.
    Both,
}

/// The decision maker of one scheduler instance.
pub trait Engine: Send {
    /// Observes the instance's next record. Returns `Some` for the record that
    /// completes an interval, counted since the last reset.
    fn observe(&mut self, record: &Record) -> Option<Decision>;

    /// Observes the instance's next record without deciding, even if it
    /// completes an interval. At least `ahead` records, not 0, follow before
    /// the next decision, so an engine may skip work that the decision does not
    /// need.
    fn skip(&mut self, record: &Record, ahead: u32) {
        let _ = ahead;
        let _ = self.observe(record);
    }

    /// Observes the summary of the instance's next period, and may decide.
    /// Engines for records never do.
    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        let _ = summary;
        None
    }

    /// Sets the share of the link's time that may be idle, starting with the
    /// next decision; `None`: the engine's own budget. Other engines ignore it.
    fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        let _ = budget;
    }

    /// Takes a decision that became ready after the record or summary that it is
    /// based on: the last one for which [`Engine::is_waiting`] was true. Engines that
    /// decide immediately have none.
    fn ready(&mut self) -> Option<Decision> {
        None
    }

    /// Whether the decision on the last interval may still become ready.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Whether its last decision failed, with no answer or a non-finite one.
    fn has_failed(&self) -> bool {
        false
    }

    /// The state from which an engine of the same kind and configuration
    /// continues to the bit; empty if the engine cannot tell.
    fn save(&self) -> EngineState {
        EngineState::default()
    }

    /// Continues from a saved state. The idle budget is set separately.
    ///
    /// # Errors
    /// The state is that of another engine; this one must be discarded.
    fn restore(&mut self, state: &EngineState) -> Result<(), RestoreError> {
        let _ = state;
        Err(RestoreError::Missing)
    }

    /// Resets its state, because records were lost.
    fn reset(&mut self);
}

/// The decision of an engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// One of the three actions.
    Action {
        /// The action.
        action: Action,
        /// Probabilities of enqueue, drop and mark.
        probabilities: [f32; 3],
    },
    /// Set-points shifted by factors.
    Steer(Steer),
    /// Absolute set-points. Their ratios to the device's parameters are sent,
    /// within its limits.
    SetPoints(SetPoints),
}

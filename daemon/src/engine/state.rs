//! State of an engine, from which another one continues to the bit.

use l4sllm_model::{ChooserState, SessionState, StateError};
use serde::{Deserialize, Serialize};

use super::adaptive::AdaptiveState;

/// State of an engine: see [`super::Engine::save`]. Parts that the engine does
/// not have are `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineState {
    /// The adaptive rule, or the one behind a policy.
    pub rule: Option<AdaptiveState>,
    /// A policy.
    pub policy: Option<PolicyState>,
    /// A script.
    pub script: Option<ScriptState>,
}

/// State of a [`super::PolicyEngine`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyState {
    pub(super) session: SessionState,
    pub(super) chooser: ChooserState,
    pub(super) failed: bool,
}

/// State of a [`super::Scripted`] engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptState {
    pub(super) origin_ns: Option<u64>,
    pub(super) steps_left: u64,
}

/// A state that an engine cannot continue from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is the state of another kind of engine.
    #[error("the recorded state is that of another kind of engine")]
    Missing,
    /// It belongs to another preset of the adaptive rule.
    #[error("the recorded state of the adaptive rule belongs to other constants or is damaged")]
    Rule,
    /// It belongs to another policy.
    #[error(transparent)]
    Policy(#[from] StateError),
}

//! State of a session, from which another one continues to the bit.

use l4sllm_abi::{Summary, bytes, raw};
use serde::{Deserialize, Serialize};

use crate::set_points::SET_POINTS;
use crate::{DecayingMean, LongLived};

/// State of a [`crate::Session`]: see [`crate::Session::save`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    pub(crate) stream: StreamState,
    pub(crate) windows: WindowsState,
    pub(crate) action: [f32; SET_POINTS],
    pub(crate) periods: Option<PeriodsState>,
}

/// State of a stream of records or periods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) seen: u64,
    pub(crate) values: Vec<f32>,
    pub(crate) inputs: Vec<f32>,
    pub(crate) target: f32,
}

/// The records or periods that open windows may contain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WindowsState {
    /// Tokens without time, from which contexts are computed again.
    Plain(Vec<f32>),
    /// Scaled inputs, actions and returns, for libtorch or a network elsewhere.
    Torch {
        inputs: Vec<f32>,
        actions: Vec<f32>,
        returns: Vec<f32>,
    },
}

/// State of [`crate::Periods`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeriodsState {
    /// Bytes of the merged summaries of the incomplete period.
    pub(crate) pending: Option<Vec<u8>>,
    pub(crate) long_lived: [LongLived; 2],
    pub(crate) idle_share: DecayingMean,
    pub(crate) classic_signals_per_s: DecayingMean,
}

/// A state that a session cannot continue from.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A part has another shape: the state belongs to another policy.
    #[error("the state of {0} has another shape than this policy's")]
    Shape(&'static str),
    /// The policy ran on another engine.
    #[error("the state is that of a policy on another engine")]
    Engine,
    /// A summary in it is not valid.
    #[error("the state's merged summary: {0}")]
    Summary(#[from] l4sllm_abi::AbiError),
    /// A number in it is not finite.
    #[error("the state of {0} is not finite")]
    NotFinite(&'static str),
}

/// Reads a summary back from [`Summary::to_bytes`].
///
/// # Errors
/// Wrong length, or a value out of range.
pub fn summary_from(state: &[u8]) -> Result<Summary, StateError> {
    Ok(Summary::try_from(bytes::from_bytes::<raw::l4s_summary>(
        state,
    )?)?)
}

/// Copies saved values over those of the same number.
pub(crate) fn copy(what: &'static str, from: &[f32], to: &mut [f32]) -> Result<(), StateError> {
    if from.len() != to.len() {
        return Err(StateError::Shape(what));
    }
    to.copy_from_slice(from);
    Ok(())
}

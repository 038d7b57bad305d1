//! Errors of a run.

use thiserror::Error;

use crate::router::RouterError;

/// Error of a run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SimError {
    /// Error of the router or its device.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// Something is not accounted for. The numbers of such a run are invalid.
    #[error("accounting at {now_ns} ns: {what}: {left} is not {right}")]
    Accounting {
        /// Virtual time, ns.
        now_ns: u64,
        /// The violated identity.
        what: &'static str,
        /// Its left side.
        left: u64,
        /// Its right side.
        right: u64,
    },
    /// The arm's queue has no device.
    #[error("{aqm} has no device: only dualpi2 does")]
    NoDevice {
        /// The discipline.
        aqm: &'static str,
    },
    /// Records were requested after the first decisions.
    #[error("records must be requested before the first event")]
    Started,
    /// The arm has a policy, but no engine was given for it.
    #[error("arm {arm}: its policy has not been loaded")]
    NoEngine {
        /// The arm.
        arm: String,
    },
}

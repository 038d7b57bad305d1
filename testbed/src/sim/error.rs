//! Why a run failed.

use thiserror::Error;

use crate::router::RouterError;

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SimError {
    /// The router or its device.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// Something is not accounted for. The numbers of such a run mean nothing.
    #[error("accounting at {now_ns} ns: {what}: {left} is not {right}")]
    Accounting {
        /// When, ns.
        now_ns: u64,
        /// The identity that does not hold.
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
    /// Records were asked for when there had been decisions already.
    #[error("records have to be asked for before the first event")]
    Started,
    /// The arm has a policy and no engine was given for it.
    #[error("arm {arm}: its policy has not been loaded")]
    NoEngine {
        /// The arm.
        arm: String,
    },
}

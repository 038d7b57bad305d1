//! Why an experiment failed.

use std::path::PathBuf;

use l4sllm_model::PolicyError;
use thiserror::Error;

use crate::result::ResultError;
use crate::sim::SimError;

/// Why an experiment failed.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// A policy cannot be used.
    #[error("arm {arm}: cannot load the policy in {}", path.display())]
    Policy {
        /// The first arm that names it.
        arm: String,
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: Box<PolicyError>,
    },
    /// A repetition failed.
    #[error("arm {arm}, repetition {repetition}")]
    Run {
        /// The arm.
        arm: String,
        /// From 0.
        repetition: u32,
        /// Why.
        source: SimError,
    },
    /// The result directory.
    #[error(transparent)]
    Result(#[from] ResultError),
}

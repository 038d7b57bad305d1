//! Errors of experiments.

use std::path::PathBuf;

use l4sllm_model::PolicyError;
use thiserror::Error;

use crate::result::ResultError;
use crate::sim::SimError;

/// An error of an experiment.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// A policy cannot be used.
    #[error("arm {arm}: cannot load the policy in {}", path.display())]
    Policy {
        /// The first arm that names it.
        arm: String,
        /// Its directory.
        path: PathBuf,
        /// The cause.
        source: Box<PolicyError>,
    },
    /// A repetition failed.
    #[error("arm {arm}, repetition {repetition}")]
    Run {
        /// The arm.
        arm: String,
        /// From 0.
        repetition: u32,
        /// The cause.
        source: SimError,
    },
    /// The result directory.
    #[error(transparent)]
    Result(#[from] ResultError),
}

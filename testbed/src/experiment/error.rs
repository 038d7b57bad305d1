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
    /// The capture cannot be written.
    #[error("cannot write the capture")]
    Capture(#[source] std::io::Error),
    /// A capture has the packets of one repetition.
    #[error(
        "a capture needs exactly one repetition to run, but {runs} are missing in the result; {}",
        match runs {
            0 => "choose another directory, or pass --force to repeat it",
            _ => "select one arm and one repetition",
        }
    )]
    CaptureRuns {
        /// Repetitions to run.
        runs: usize,
    },
    /// The result directory.
    #[error(transparent)]
    Result(#[from] ResultError),
}

//! Roll-outs for training in the loop: runs of a condition with the features of a policy
//! on summaries in each period.
//!
//! ```text
//! suite, training part ─▶ conditions ─▶ jobs ─▶ roll-outs ─▶ store
//!                                       × driver             runs.jsonl: outcomes
//!                                                            STAGE.periods: observations
//! ```
//!
//! An [`InteractiveRun`] is such a run whose decisions the caller makes, period by period.
//!
//! Runs of one condition and repetition have the same random draws for every driver, so
//! that they can be compared in pairs.

mod condition;
mod distil;
mod driver;
mod interactive;
mod observer;
mod runner;
mod store;

#[cfg(test)]
mod tests;

pub use condition::{Selection, TrainingCondition, conditions, training_conditions};
pub use distil::{LabelJob, LabelledRun, Steers, Teacher, label};
pub use driver::{Actor, Driver};
pub use interactive::{InteractiveRun, Observation};
pub use observer::{FEATURES, Period, Rollout};
pub use runner::{Job, Runner};
pub use store::{RUNS_FILE, RunStore};

use thiserror::Error;

use crate::json_lines::JsonLinesError;
use crate::sim::SimError;

/// Errors of making or storing roll-outs.
#[derive(Debug, Error)]
pub enum RolloutError {
    /// A run could not be emulated.
    #[error("{condition}, {driver}")]
    Run {
        /// The condition.
        condition: String,
        /// The driver.
        driver: String,
        /// The cause.
        source: SimError,
    },
    /// A run was finished earlier, but the store does not have it.
    #[error(
        "{condition}: the finished run under {driver} is missing, and its policy has been \
         trained further"
    )]
    Missing {
        /// The condition.
        condition: String,
        /// The driver.
        driver: String,
    },
    /// The file of the outcomes.
    #[error(transparent)]
    Outcomes(#[from] JsonLinesError),
    /// An error in a file of periods, or in the program file, whose digest identifies
    /// runs.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// The operation.
        operation: &'static str,
        /// The path.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
}

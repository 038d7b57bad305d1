//! Roll-outs for training in the loop: runs of a condition with what a policy
//! on summaries sees in each period.
//!
//! ```text
//! suite, training part ─▶ conditions ─▶ jobs ─▶ roll-outs ─▶ store
//!                                       × driver             runs.jsonl: outcomes
//!                                                            STAGE.periods: what was seen
//! ```
//!
//! Runs of one condition and repetition have the same random draws whatever
//! drives them, so that they are compared in pairs.

mod condition;
mod driver;
mod observer;
mod runner;
mod store;

#[cfg(test)]
mod tests;

pub use condition::{Selection, TrainingCondition, training_conditions};
pub use driver::{Actor, Driver};
pub use observer::{FEATURES, Period, Rollout};
pub use runner::{Job, Runner};
pub use store::{RUNS_FILE, RunStore};

use thiserror::Error;

use crate::json_lines::JsonLinesError;
use crate::sim::SimError;

/// Why roll-outs cannot be made or kept.
#[derive(Debug, Error)]
pub enum RolloutError {
    /// A run could not be emulated.
    #[error("{condition}, {driver}")]
    Run {
        /// The condition.
        condition: String,
        /// What drove it.
        driver: String,
        /// Why.
        source: SimError,
    },
    /// A run was finished before, but the store does not have it.
    #[error(
        "{condition}: the finished run under {driver} is missing, and its policy was trained on \
         since"
    )]
    Missing {
        /// The condition.
        condition: String,
        /// What drove it.
        driver: String,
    },
    /// The file of the outcomes.
    #[error(transparent)]
    Outcomes(#[from] JsonLinesError),
    /// A file of periods, or the program, which runs are known by.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Of what.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
}

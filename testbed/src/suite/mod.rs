//! The suite: families of conditions on which every arm is evaluated with a
//! protocol that controls for noise.
//!
//! ```text
//! suite.toml ─▶ families ─▶ conditions ─▶ cells ─▶ cells.jsonl ─▶ outcome
//!               curricula,   drawn          condition × repetition × arm
//!               published
//! ```
//!
//! A *cell* is one repetition of one arm in one condition. Repetitions differ
//! in their seeds and in round-trip times (±3 %); all arms of a repetition have
//! the same draws, so that they can be compared in pairs. One more arm,
//! [`TUNED_AGAIN`], is the reference with different draws: its difference from
//! the reference is noise. The report crate evaluates the cells.

mod arms;
mod family;
mod measures;
mod parse;
mod run;
mod store;

#[cfg(test)]
mod tests;

pub use arms::{
    ADAPTIVE, ADAPTIVE_WEIGHTS, AtBudget, Contestant, PLAIN, POLICY, STUDENT, TUNED, TUNED_AGAIN,
    TUNED_WEIGHTS, contestants, oracle_grid,
};
pub use family::{Condition, Family};
pub use measures::{Completions, Measures};
pub use run::{Options, Progress, run};
pub use store::{CELLS_FILE, StoreError};

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::experiment::ExperimentError;
use crate::scenario::ScenarioError;
use crate::scenario::curriculum::Part;
use crate::sim::SimError;

/// Families in order, and their protocols.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Description, one sentence.
    pub description: String,
    /// The protocol of the complete suite.
    pub protocol: Protocol,
    /// The protocol of a reduced one.
    pub quick: Protocol,
    /// Families, in the order of tables.
    pub families: Vec<Family>,
}

/// The amount of each family to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Maximum number of conditions of each family; none for all.
    pub conditions: Option<u32>,
    /// Repetitions of each arm in each condition.
    pub repetitions: u32,
    /// Measured virtual time, ns.
    pub measured_ns: u64,
    /// Share of each family's warm-up to use, percent.
    pub warmup_percent: u32,
}

/// Results of all cells, in the order of the suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether every cell is finished.
    pub complete: bool,
    /// Finished cells in the directory from other conditions, arms or programs.
    pub unused: usize,
    /// The families run.
    pub families: Vec<FamilyOutcome>,
}

/// The cells of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyOutcome {
    /// Name.
    pub name: String,
    /// Description, one sentence.
    pub description: String,
    /// Ranges of rates (the first of each condition) and round-trip times that
    /// were run.
    pub drawn: String,
    /// Sources of the published numbers.
    pub sources: Vec<crate::published::Source>,
    /// Conditions, in order.
    pub conditions: Vec<ConditionOutcome>,
}

/// The cells of a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionOutcome {
    /// Name: `stationary-00003`, or that of a published case.
    pub name: String,
    /// The network and its traffic in a few words.
    pub facts: String,
    /// Published numbers for it.
    pub figures: Vec<crate::published::Figure>,
    /// The arms, in order.
    pub arms: Vec<ArmOutcome>,
}

/// The cells of an arm in a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmOutcome {
    /// Name of the arm.
    pub name: String,
    /// The arm and the idle budget it ran with, if not its own.
    pub budget: Option<AtBudget>,
    /// Results by repetition, from 0; none for unfinished cells. Repetitions
    /// with the same number form pairs.
    pub repetitions: Vec<Option<Measures>>,
}

/// An error of reading or running a suite.
#[derive(Debug, Error)]
pub enum SuiteError {
    /// An error in one of its files.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Unknown family.
    #[error("unknown family `{name}`; expected one of {known}")]
    Family {
        /// The requested name.
        name: String,
        /// The existing families.
        known: String,
    },
    /// A policy cannot be loaded.
    #[error(transparent)]
    Policy(#[from] ExperimentError),
    /// A cell could not be emulated.
    #[error("{cell}")]
    Cell {
        /// Condition, arm and repetition.
        cell: String,
        /// The cause.
        source: SimError,
    },
    /// An error of the finished cells.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Suite {
    /// Reads `suite.toml` in `dir` and its families, with conditions of `part`
    /// drawn with `seed`.
    ///
    /// # Errors
    /// [`ScenarioError`], with file, line and key.
    pub fn load(dir: &Path, part: Part, seed: u64) -> Result<Suite, ScenarioError> {
        parse::load(dir, part, seed)
    }

    /// Keeps the named families, in the suite's order; all if none are named.
    ///
    /// # Errors
    /// [`SuiteError::Family`] for an unknown name.
    pub fn select(&mut self, names: &[String]) -> Result<(), SuiteError> {
        let known: Vec<&str> = self.families.iter().map(|f| f.name.as_str()).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(SuiteError::Family {
                name: name.clone(),
                known: known.join(", "),
            });
        }
        if !names.is_empty() {
            self.families.retain(|family| names.contains(&family.name));
        }
        Ok(())
    }
}

impl ConditionOutcome {
    /// The arm `name`.
    pub fn arm(&self, name: &str) -> Option<&ArmOutcome> {
        self.arms.iter().find(|arm| arm.name == name)
    }
}

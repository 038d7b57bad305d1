//! The suite: families of conditions on which every arm is judged, by one
//! protocol that leaves little to luck.
//!
//! ```text
//! suite.toml ─▶ families ─▶ conditions ─▶ cells ─▶ cells.jsonl ─▶ outcome
//!               curricula,   drawn          condition × repetition × arm
//!               published
//! ```
//!
//! A *cell* is one repetition of one arm in one condition. Repetitions differ
//! in their seeds and in round-trip times (±3 %); all arms of a repetition see
//! the same draws, so that they are compared in pairs. One more arm,
//! [`TUNED_AGAIN`], is the reference with draws of its own: its difference from
//! the reference is noise. The report crate judges the cells.

mod arms;
mod family;
mod measures;
mod parse;
mod run;
mod store;

#[cfg(test)]
mod tests;

pub use arms::{
    ADAPTIVE, ADAPTIVE_WEIGHTS, Contestant, PLAIN, POLICY, TUNED, TUNED_AGAIN, TUNED_WEIGHTS,
    contestants, oracle_grid,
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

/// Families in order, and how they are run.
#[derive(Debug, Clone)]
pub struct Suite {
    /// One sentence on what it is.
    pub description: String,
    /// The protocol of a whole suite.
    pub protocol: Protocol,
    /// The protocol of a reduced one.
    pub quick: Protocol,
    /// Families, in the order of tables.
    pub families: Vec<Family>,
}

/// How much of each family is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Conditions of each family at the most; none: all that the family has.
    pub conditions: Option<u32>,
    /// Repetitions of each arm in each condition.
    pub repetitions: u32,
    /// Virtual time that is measured, ns.
    pub measured_ns: u64,
    /// Share of each family's warm-up that comes before it, percent.
    pub warmup_percent: u32,
}

/// What all cells say, in the order of the suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether every cell is here.
    pub complete: bool,
    /// Finished cells in the directory that are of other conditions, arms or
    /// programs.
    pub unused: usize,
    /// The families that were run.
    pub families: Vec<FamilyOutcome>,
}

/// The cells of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyOutcome {
    /// Name.
    pub name: String,
    /// One sentence on what it is.
    pub description: String,
    /// Rates (the first of each condition) and round-trip times of what was
    /// run.
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
    /// What others measured in it.
    pub figures: Vec<crate::published::Figure>,
    /// The arms, in order.
    pub arms: Vec<ArmOutcome>,
}

/// The cells of an arm in a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmOutcome {
    /// Name of the arm.
    pub name: String,
    /// By repetition, from 0; none where the cell is not finished. Repetitions
    /// of the same number are pairs.
    pub repetitions: Vec<Option<Measures>>,
}

/// Why a suite cannot be read or run.
#[derive(Debug, Error)]
pub enum SuiteError {
    /// One of its files.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// There is no family of this name.
    #[error("there is no family `{name}`; there are {known}")]
    Family {
        /// The name that was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A policy.
    #[error(transparent)]
    Policy(#[from] ExperimentError),
    /// A cell could not be emulated.
    #[error("{cell}")]
    Cell {
        /// Condition, arm and repetition.
        cell: String,
        /// Why.
        source: SimError,
    },
    /// The finished cells.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Suite {
    /// Reads `suite.toml` in `dir` and the families that it names, of which
    /// conditions of `part` are drawn with `seed`.
    ///
    /// # Errors
    /// [`ScenarioError`], with file, line and key.
    pub fn load(dir: &Path, part: Part, seed: u64) -> Result<Suite, ScenarioError> {
        parse::load(dir, part, seed)
    }

    /// Keeps the families named, in the suite's order; all if none is named.
    ///
    /// # Errors
    /// [`SuiteError::Family`] for a name that is not there.
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
    /// The arm called `name`.
    pub fn arm(&self, name: &str) -> Option<&ArmOutcome> {
        self.arms.iter().find(|arm| arm.name == name)
    }
}

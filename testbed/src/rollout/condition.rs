//! Training conditions.

use std::path::Path;

use crate::scenario::Scenario;
use crate::scenario::curriculum::Part;
use crate::sim::derive_seed;
use crate::suite::{Condition, Family, Protocol, Suite, SuiteError};

/// A condition of a suite's family.
#[derive(Debug, Clone)]
pub struct TrainingCondition {
    /// Its family's name.
    pub family: String,
    /// The condition; its name ends with its purpose.
    pub condition: Condition,
}

/// Selection of conditions from a suite's families.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection<'a> {
    /// Families; empty for all with a training part.
    pub families: &'a [String],
    /// Number of conditions of each family.
    pub per_family: usize,
    /// Maximum mean rate of the link, bit/s, because faster links take long to
    /// emulate.
    pub most_bps: Option<f64>,
    /// Measured virtual time of runs, ns.
    pub measured_ns: u64,
}

/// Draws conditions from the training part of the suite in `dir`, with a seed
/// derived from `seed`, the `purpose` and its `number`. Published setups are
/// reserved for evaluation and excluded.
///
/// # Errors
/// An error in a file of the suite, with line and key, or an unknown family.
pub fn training_conditions(
    dir: &Path,
    selection: &Selection<'_>,
    seed: u64,
    purpose: &str,
    number: u64,
) -> Result<Vec<TrainingCondition>, SuiteError> {
    conditions(dir, Part::Training, selection, seed, purpose, number)
}

/// As [`training_conditions`], from either part of the suite.
///
/// # Errors
/// As [`training_conditions`].
pub fn conditions(
    dir: &Path,
    part: Part,
    selection: &Selection<'_>,
    seed: u64,
    purpose: &str,
    number: u64,
) -> Result<Vec<TrainingCondition>, SuiteError> {
    let mut suite = Suite::load(dir, part, derive_seed(seed, purpose, number))?;
    suite.select(selection.families)?;
    let mut conditions = Vec::new();
    let drawn = |family: &Family| family.part == Some(part);
    for family in suite.families.into_iter().filter(drawn) {
        let slow = |of: &Condition| {
            let protocol = selection.protocol();
            let most = selection.most_bps.unwrap_or(f64::INFINITY);
            of.mean_rate_bps(&protocol) <= most
        };
        let own = family.conditions.into_iter().filter(slow);
        conditions.extend(own.take(selection.per_family).map(|mut condition| {
            condition.scenario.name += &format!("@{purpose}-{number}");
            TrainingCondition {
                family: family.name.clone(),
                condition,
            }
        }));
    }
    Ok(conditions)
}

impl Selection<'_> {
    /// The suite's protocol for the conditions.
    fn protocol(&self) -> Protocol {
        protocol(self.measured_ns)
    }
}

impl TrainingCondition {
    /// Repetition `number`, with `measured_ns` of measured time after the
    /// warm-up of its family.
    pub fn repetition(&self, measured_ns: u64, number: u32) -> Scenario {
        self.condition.repetition(&protocol(measured_ns), 0, number)
    }

    /// Approximate cost of emulating a repetition.
    pub(super) fn weight(&self, measured_ns: u64) -> u64 {
        self.condition.weight(&protocol(measured_ns))
    }
}

fn protocol(measured_ns: u64) -> Protocol {
    Protocol {
        conditions: None,
        repetitions: 1,
        measured_ns,
        warmup_percent: 100,
    }
}

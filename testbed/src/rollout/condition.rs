//! The conditions to train on.

use std::path::Path;

use crate::scenario::Scenario;
use crate::scenario::curriculum::Part;
use crate::sim::derive_seed;
use crate::suite::{Condition, Family, Protocol, Suite, SuiteError};

/// A condition to train on.
#[derive(Debug, Clone)]
pub struct TrainingCondition {
    /// Its family's name.
    pub family: String,
    /// The condition; its name ends with what it is drawn for.
    pub condition: Condition,
}

/// Which conditions of a suite's families.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection<'a> {
    /// Families; empty: all that have a training part.
    pub families: &'a [String],
    /// Conditions of each.
    pub per_family: usize,
    /// Greatest mean rate of the link, bit/s: the emulation of faster ones
    /// takes long.
    pub most_bps: Option<f64>,
    /// Virtual time that runs measure, ns.
    pub measured_ns: u64,
}

/// Draws conditions from the training part of the suite in `dir`, with a seed
/// derived from `seed`, the `purpose` and its `number`. Published setups are
/// only judged on, and are left out.
///
/// # Errors
/// A file of the suite, with line and key, or a family that it does not have.
pub fn training_conditions(
    dir: &Path,
    selection: &Selection<'_>,
    seed: u64,
    purpose: &str,
    number: u64,
) -> Result<Vec<TrainingCondition>, SuiteError> {
    let mut suite = Suite::load(dir, Part::Training, derive_seed(seed, purpose, number))?;
    suite.select(selection.families)?;
    let mut conditions = Vec::new();
    let trained = |family: &Family| family.part == Some(Part::Training);
    for family in suite.families.into_iter().filter(trained) {
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
    /// How the conditions are run.
    fn protocol(&self) -> Protocol {
        protocol(self.measured_ns)
    }
}

impl TrainingCondition {
    /// Repetition `number`, of which `measured_ns` are measured after the
    /// warm-up of its family.
    pub fn repetition(&self, measured_ns: u64, number: u32) -> Scenario {
        self.condition.repetition(&protocol(measured_ns), 0, number)
    }

    /// What the emulation of a repetition costs, about.
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

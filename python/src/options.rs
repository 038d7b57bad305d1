//! Options of environments, from the JSON that `l4sllm/env.py` writes.

use std::path::PathBuf;

use l4sllm_model::strict_toml::TomlError;
use l4sllm_model::{IdleBudget, PolicyError};
use l4sllm_testbed::scenario::ScenarioError;
use l4sllm_testbed::scenario::curriculum::Part;
use l4sllm_testbed::sim::SimError;
use l4sllm_testbed::suite::SuiteError;
use serde::Deserialize;
use thiserror::Error;

/// Longest measured time of an episode, s.
const LONGEST_S: f64 = 86_400.0;

/// Options of an environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// A scenario file; none: conditions of the suite.
    pub scenario: Option<PathBuf>,
    /// Directory of suite.toml.
    pub suite: PathBuf,
    /// Families; empty for all.
    pub families: Vec<String>,
    /// Name of a fixed condition.
    pub condition: Option<String>,
    /// Seed with which fixed conditions are drawn.
    pub suite_seed: u64,
    /// `training` or `test`.
    pub part: String,
    /// Maximum mean rate of a condition's link, Mbit/s.
    pub max_rate: f64,
    /// Policy directory whose configuration defines the spaces.
    pub policy: PathBuf,
    /// Measured time of an episode after the warm-up, s; of a scenario, the whole time.
    pub duration: Option<f64>,
    /// Time between two decisions, s.
    pub interval: Option<f64>,
    /// Idle budget.
    pub idle_budget: Budget,
    /// Cost of each budget lost beyond the margin.
    pub caution: f64,
    /// Share of the budget that may be lost without cost.
    pub margin: f64,
    /// Threads that step several emulators; 0: one per core.
    pub threads: usize,
}

/// The idle budget of episodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Budget {
    /// The policy's default.
    Default(()),
    /// A share of time.
    Share(f64),
    /// `random`: drawn for each episode, uniform in its logarithm.
    Drawn(String),
}

/// An error of options or emulation.
#[derive(Debug, Error)]
pub enum EnvironmentError {
    /// A value out of range.
    #[error("{name} {got}: expected {want}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// Its value.
        got: String,
        /// The accepted values.
        want: String,
    },
    /// A scenario file.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A suite.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// A policy's configuration.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The emulation.
    #[error("{scenario}")]
    Run {
        /// The condition.
        scenario: String,
        /// The cause.
        source: SimError,
    },
}

impl From<TomlError> for EnvironmentError {
    fn from(error: TomlError) -> EnvironmentError {
        EnvironmentError::Scenario(error.into())
    }
}

/// An error about an option.
pub fn wrong(name: &'static str, got: impl ToString, want: impl ToString) -> EnvironmentError {
    EnvironmentError::Option {
        name,
        got: got.to_string(),
        want: want.to_string(),
    }
}

impl Options {
    /// Checks the ranges that need no files.
    ///
    /// # Errors
    /// The first option out of range.
    pub fn check(&self) -> Result<(), EnvironmentError> {
        let above_zero = |name, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(wrong(name, value, "a number above 0")),
        };
        above_zero("max_rate", self.max_rate)?;
        if let Some(duration) = self.duration {
            above_zero("duration", duration)?;
            if duration > LONGEST_S {
                return Err(wrong("duration", duration, "at most 86400 s"));
            }
        }
        if let Some(interval) = self.interval.filter(|s| !(0.05..=5.0).contains(s)) {
            return Err(wrong("interval", interval, "0.05 to 5 s"));
        }
        if !(self.caution.is_finite() && self.caution >= 0.0) {
            return Err(wrong("caution", self.caution, "a number of at least 0"));
        }
        if !(0.0..=1.0).contains(&self.margin) {
            return Err(wrong("margin", self.margin, "0 to 1"));
        }
        if self.scenario.is_some() && (self.condition.is_some() || !self.families.is_empty()) {
            let want = "no families or condition, which are of the suite";
            return Err(wrong("scenario", "given", want));
        }
        self.part()?;
        self.budget(|| 0.0).map(drop)
    }

    /// The part of the suite.
    ///
    /// # Errors
    /// Another name.
    pub fn part(&self) -> Result<Part, EnvironmentError> {
        match self.part.as_str() {
            "training" => Ok(Part::Training),
            "test" => Ok(Part::Test),
            other => Err(wrong("part", other, "training or test")),
        }
    }

    /// The idle budget of an episode; none: the policy's. `draw` returns a number from
    /// 0 to 1.
    ///
    /// # Errors
    /// It is out of range.
    pub fn budget(
        &self,
        draw: impl FnOnce() -> f64,
    ) -> Result<Option<IdleBudget>, EnvironmentError> {
        let (least, most) = (*IdleBudget::SHARES.start(), *IdleBudget::SHARES.end());
        let want = format!("{least} to {most}, \"random\" or None");
        match &self.idle_budget {
            Budget::Default(()) => Ok(None),
            Budget::Drawn(word) if word == "random" => {
                let share = least * (most / least).powf(draw());
                Ok(IdleBudget::new(share.clamp(least, most)))
            }
            Budget::Drawn(word) => Err(wrong("idle_budget", word, want)),
            Budget::Share(share) => match IdleBudget::new(*share) {
                Some(budget) => Ok(Some(budget)),
                None => Err(wrong("idle_budget", share, want)),
            },
        }
    }
}

//! The policies of a scenario, each loaded once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use l4sllm_model::{EngineKind, EngineOptions, Policy};
use l4sllmd::engine::PolicyEngine;

use super::ExperimentError;
use crate::control::EngineFactory;
use crate::result::{Facts, PolicyFacts};
use crate::scenario::{Arm, Control, Scenario};
use crate::sim::derive_seed;

/// Policies by directory.
#[derive(Default)]
pub struct Policies {
    loaded: BTreeMap<PathBuf, Arc<Policy>>,
}

impl Policies {
    /// Loads what the arms name, each into the engine that it needs or that is
    /// asked for.
    ///
    /// # Errors
    /// [`ExperimentError::Policy`] for the first that does not load.
    pub fn load(scenario: &Scenario, engine: &EngineOptions) -> Result<Policies, ExperimentError> {
        let mut policies = Policies::default();
        for arm in &scenario.arms {
            let Some(dir) = arm.control.as_ref().and_then(Control::policy) else {
                continue;
            };
            if !policies.loaded.contains_key(dir) {
                let policy = Policy::load_with(dir, engine).map_err(|source| {
                    let (arm, path) = (arm.name.clone(), dir.to_owned());
                    ExperimentError::Policy {
                        arm,
                        path,
                        source: Box::new(source),
                    }
                })?;
                policies.loaded.insert(dir.to_owned(), policy);
            }
        }
        Ok(policies)
    }

    /// The decision makers of `arm` in the repetition with this seed; none for
    /// an arm without a policy. The adaptive rule needs none.
    pub fn engine(&self, arm: &Arm, seed: u64) -> Option<EngineFactory> {
        let control = arm.control.as_ref()?;
        let policy = Arc::clone(self.loaded.get(control.policy()?)?);
        let (interval, seed) = (control.interval, derive_seed(seed, "policy", 0));
        Some(Arc::new(move |_scheduler| {
            Box::new(PolicyEngine::new(Arc::clone(&policy), interval, seed))
        }))
    }

    /// The scenario's facts, policies included.
    pub fn facts(&self, scenario: &Scenario) -> Facts {
        let mut facts = scenario.facts();
        for (arm, facts) in scenario.arms.iter().zip(&mut facts.arms) {
            let control = arm.control.as_ref();
            facts.policy = control.and_then(|control| {
                let dir = control.policy()?;
                let name = dir.file_name()?.to_string_lossy().into_owned();
                let policy = self.loaded.get(dir)?;
                let runs_on = policy.runs_on();
                Some(PolicyFacts {
                    name,
                    sha256: policy.hash().to_owned(),
                    runs_on: (runs_on.engine != EngineKind::Plain).then(|| runs_on.clone()),
                })
            });
        }
        facts
    }
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.loaded.keys()).finish()
    }
}

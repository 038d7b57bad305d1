//! The policies of a scenario, each loaded once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use l4sllm_model::{EngineKind, EngineOptions, IdleBudget, Policy, PolicyConfig, PolicyError};
use l4sllmd::engine::{Adaptive, Fallback, PolicyEngine, Preset};

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
    /// Loads the policies named by the arms, each into the engine that it needs
    /// or that is requested.
    ///
    /// # Errors
    /// [`ExperimentError::Policy`] for the first policy that cannot be loaded.
    pub fn load(scenario: &Scenario, engine: &EngineOptions) -> Result<Policies, ExperimentError> {
        let mut policies = Policies::default();
        for arm in &scenario.arms {
            let Some(control) = &arm.control else {
                continue;
            };
            let Some(dir) = control.policy() else {
                continue;
            };
            let failed = |source| ExperimentError::Policy {
                arm: arm.name.clone(),
                path: dir.to_owned(),
                source: Box::new(source),
            };
            if !policies.loaded.contains_key(dir) {
                let policy = Policy::load_with(dir, engine).map_err(failed)?;
                policies.loaded.insert(dir.to_owned(), policy);
            }
            check_budget(control, policies.loaded[dir].config()).map_err(failed)?;
        }
        Ok(policies)
    }

    /// The engines of `arm` in the repetition with this seed; none for an arm
    /// without a policy. The adaptive rule needs none.
    pub fn engine(&self, arm: &Arm, seed: u64) -> Option<EngineFactory> {
        let control = arm.control.as_ref()?;
        let policy = Arc::clone(self.loaded.get(control.policy()?)?);
        let (interval, seed) = (control.interval, derive_seed(seed, "policy", 0));
        let period_ns = policy.config().period_ns();
        let engine = move || PolicyEngine::new(Arc::clone(&policy), interval, seed);
        Some(match period_ns {
            None => EngineFactory::on_records(move |_scheduler| Box::new(engine())),
            // As in the daemon with its default fallback.
            Some(_) => EngineFactory::on_summaries(period_ns, move |_scheduler| {
                let rule = Adaptive::new(Preset::default().config());
                Box::new(Fallback::new(Box::new(engine()), rule))
            }),
        })
    }

    /// The scenario's facts, policies included.
    pub fn facts(&self, scenario: &Scenario) -> Facts {
        let mut facts = scenario.facts();
        for (arm, facts) in scenario.arms.iter().zip(&mut facts.arms) {
            let control = arm.control.as_ref();
            facts.policy = control.and_then(|control| self.facts_of(control));
            let dir = control.and_then(Control::policy);
            facts.policy_dir = dir.and_then(|dir| scenario.place(dir));
            if facts
                .policy
                .as_ref()
                .is_some_and(|of| of.period_ns.is_some())
            {
                facts.interval = None;
            }
        }
        facts
    }

    fn facts_of(&self, control: &Control) -> Option<PolicyFacts> {
        let dir = control.policy()?;
        let name = dir.file_name()?.to_string_lossy().into_owned();
        let policy = self.loaded.get(dir)?;
        let runs_on = policy.runs_on();
        let budget = control.idle_budget.or(policy.config().idle_budget());
        Some(PolicyFacts {
            name,
            sha256: policy.hash().to_owned(),
            runs_on: (runs_on.engine != EngineKind::Plain).then(|| runs_on.clone()),
            period_ns: policy.config().period_ns(),
            idle_budget: budget.map(IdleBudget::share),
        })
    }
}

/// Refuses a budget for a policy that does not use one.
fn check_budget(control: &Control, policy: &PolicyConfig) -> Result<(), PolicyError> {
    match (control.idle_budget, policy.is_on_summaries()) {
        (Some(_), false) => Err(PolicyError::Unsupported {
            policy: policy.name.clone(),
            what: "its input is records, and it has no idle budget".to_owned(),
            remedy: "leave out idle_budget".to_owned(),
        }),
        _ => Ok(()),
    }
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.loaded.keys()).finish()
    }
}

//! An engine that runs a trained policy.

use std::num::NonZeroU32;
use std::sync::Arc;

use l4sllm_abi::{Queue, Record, Summary};
use l4sllm_model::{
    ACTIONS, Chooser, HeadKind, IdleBudget, Outputs, Policy, PolicyConfig, Session,
};

use super::state::PolicyState;
use super::{Decision, Engine, EngineState, RestoreError};

/// A policy's session over one scheduler instance.
pub struct PolicyEngine {
    session: Session,
    chooser: Chooser,
    /// Whether the last decision failed; the first failure is logged as an
    /// error, further ones at debug level.
    failed: bool,
}

impl PolicyEngine {
    /// Decides after every `interval` records or, for a policy on summaries,
    /// after each of its periods. `seed` is used by policies that draw their
    /// actions at random.
    pub fn new(policy: Arc<Policy>, interval: NonZeroU32, seed: u64) -> PolicyEngine {
        let rule = policy.config().decision_rule;
        PolicyEngine {
            session: Session::new(policy, interval.get() as usize),
            chooser: Chooser::new(rule, seed),
            failed: false,
        }
    }

    fn log_failure(&mut self, error: &dyn std::fmt::Display) {
        if self.failed {
            tracing::debug!(%error, "no decision");
        } else {
            tracing::error!(%error, "no decision; further ones are logged at level debug");
        }
        self.failed = true;
    }
}

/// The decision for a record's queue from finite outputs.
pub(super) fn on_record(
    config: &PolicyConfig,
    chooser: &mut Chooser,
    queue: Queue,
    probabilities: [f32; ACTIONS],
) -> Option<Decision> {
    if let HeadKind::Steer(_) = config.head.kind {
        return config.steer(&probabilities).map(Decision::Steer);
    }
    let action = chooser.choose(queue, &probabilities);
    Some(Decision::Action {
        action,
        probabilities,
    })
}

/// The decision on a summary from finite outputs; `None` if the head chooses no
/// set-points.
pub(super) fn on_summary(config: &PolicyConfig, outputs: &Outputs) -> Option<Decision> {
    match &config.head.kind {
        HeadKind::SetPoints(head) => Some(Decision::SetPoints(head.set_points(outputs))),
        HeadKind::Action | HeadKind::Steer(_) => None,
    }
}

impl Engine for PolicyEngine {
    fn observe(&mut self, record: &Record) -> Option<Decision> {
        let probabilities = match self.session.observe(record) {
            Ok(probabilities) => probabilities?,
            Err(error) => {
                self.log_failure(&error);
                return None;
            }
        };
        // Weights and scaling are finite, but activations may still overflow.
        // If an engine has no answer, DualPI2 decides.
        if !probabilities.iter().all(|p| p.is_finite()) {
            self.log_failure(&format_args!("the policy's output is {probabilities:?}"));
            return None;
        }
        self.failed = false;
        let config = self.session.policy().config();
        on_record(config, &mut self.chooser, record.queue(), probabilities)
    }

    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        let outputs = match self.session.observe_summary(summary) {
            Ok(outputs) => outputs?,
            Err(error) => {
                self.log_failure(&error);
                return None;
            }
        };
        if !outputs.iter().all(|output| output.is_finite()) {
            self.log_failure(&format_args!("the policy's output is {outputs:?}"));
            return None;
        }
        let decision = on_summary(self.session.policy().config(), &outputs)?;
        self.failed = false;
        Some(decision)
    }

    fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.session.set_idle_budget(budget);
    }

    fn skip(&mut self, record: &Record, ahead: u32) {
        self.session.skip(record, ahead);
    }

    fn has_failed(&self) -> bool {
        self.failed
    }

    fn save(&self) -> EngineState {
        EngineState {
            policy: Some(PolicyState {
                session: self.session.save(),
                chooser: self.chooser.save(),
                failed: self.failed,
            }),
            ..EngineState::default()
        }
    }

    fn restore(&mut self, state: &EngineState) -> Result<(), RestoreError> {
        let policy = state.policy.as_ref().ok_or(RestoreError::Missing)?;
        self.session.restore(&policy.session)?;
        self.chooser.restore(&policy.chooser);
        self.failed = policy.failed;
        Ok(())
    }

    fn reset(&mut self) {
        self.session.reset();
        self.chooser.reset();
    }
}

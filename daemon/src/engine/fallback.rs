//! The adaptive rule as a fallback for a failing policy.

use l4sllm_abi::{Record, Summary};
use l4sllm_model::IdleBudget;

use super::{Adaptive, Decision, Engine, EngineState, RestoreError};

/// A policy's engine, and the adaptive rule that decides while the policy has
/// no answer or a non-finite one.
pub struct Fallback {
    engine: Box<dyn Engine>,
    /// Receives every summary, so that its state is current when it is needed.
    rule: Adaptive,
}

impl Fallback {
    /// Decides with `engine` and, after a failure, with `rule` until the engine
    /// decides again.
    pub fn new(engine: Box<dyn Engine>, rule: Adaptive) -> Fallback {
        Fallback { engine, rule }
    }
}

impl Engine for Fallback {
    fn observe(&mut self, record: &Record) -> Option<Decision> {
        self.engine.observe(record)
    }

    fn skip(&mut self, record: &Record, ahead: u32) {
        self.engine.skip(record, ahead);
    }

    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        let decision = self.engine.observe_summary(summary);
        let rule = self.rule.observe_summary(summary);
        decision.or_else(|| rule.filter(|_| self.engine.has_failed()))
    }

    fn ready(&mut self) -> Option<Decision> {
        self.engine.ready()
    }

    fn is_waiting(&self) -> bool {
        self.engine.is_waiting()
    }

    fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.engine.set_idle_budget(budget);
        self.rule.set_idle_budget(budget);
    }

    fn save(&self) -> EngineState {
        EngineState {
            rule: self.rule.save().rule,
            ..self.engine.save()
        }
    }

    fn restore(&mut self, state: &EngineState) -> Result<(), RestoreError> {
        self.engine.restore(state)?;
        self.rule.restore(state)
    }

    fn reset(&mut self) {
        self.engine.reset();
        self.rule.reset();
    }
}

//! The adaptive rule in place of a policy that fails.

use l4sllm_abi::{Record, Summary};
use l4sllm_model::IdleBudget;

use super::{Adaptive, Decision, Engine};

/// A policy's engine, and the adaptive rule that decides while the policy has
/// no answer, or one that is not finite.
pub struct Fallback {
    engine: Box<dyn Engine>,
    /// Sees every summary, so that it knows the link when it is needed.
    rule: Adaptive,
}

impl Fallback {
    /// Decides by `engine`, and by `rule` after a failure until the engine
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

    fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.engine.set_idle_budget(budget);
        self.rule.set_idle_budget(budget);
    }

    fn reset(&mut self) {
        self.engine.reset();
        self.rule.reset();
    }
}

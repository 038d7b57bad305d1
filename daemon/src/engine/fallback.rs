//! The adaptive rule in place of a policy that fails, or on bursty links.

use l4sllm_abi::{Record, Summary};
use l4sllm_model::IdleBudget;

use super::{Adaptive, Decision, Engine, EngineState, RestoreError};

/// A policy's engine, and the adaptive rule that decides while the policy has
/// no answer or a non-finite one.
///
/// The rule also replaces set-points that a policy chooses on a link with regular
/// bursts. It recognises them by the change of the delay between updates of p';
/// the summaries of a policy hardly show them, and a short target costs such a
/// link much of its rate.
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

    fn leaves_to_rule(&self, decision: &Decision) -> bool {
        matches!(decision, Decision::SetPoints(_)) && self.rule.is_bursty()
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
        match decision {
            Some(decision) if !self.leaves_to_rule(&decision) => Some(decision),
            Some(_) => rule,
            None => rule.filter(|_| self.engine.has_failed()),
        }
    }

    fn ready(&mut self) -> Option<Decision> {
        let decision = self.engine.ready()?;
        match self.leaves_to_rule(&decision) {
            true => Some(Decision::SetPoints(self.rule.set_points())),
            false => Some(decision),
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use l4sllm_abi::{header, raw};

    use super::*;
    use crate::engine::{AdaptiveConfig, SetPoints};

    const OWN: SetPoints = SetPoints {
        target_s: 0.002,
        ..SetPoints::RFC9332
    };

    /// Decides on each summary, at once or later.
    struct Own {
        later: bool,
    }

    impl Engine for Own {
        fn observe(&mut self, _record: &Record) -> Option<Decision> {
            None
        }

        fn observe_summary(&mut self, _summary: &Summary) -> Option<Decision> {
            (!self.later).then_some(Decision::SetPoints(OWN))
        }

        fn ready(&mut self) -> Option<Decision> {
            self.later.then_some(Decision::SetPoints(OWN))
        }

        fn reset(&mut self) {}
    }

    /// The `number`th tenth of a second of a long-lived flow at 40 Mbit/s, in which
    /// the delay changes by `change_ms` every 4 ms.
    fn summary(number: u64, change_ms: f64) -> Summary {
        let end_ns = (number + 1) * 100_000_000;
        let beta_hz = 3.2;
        let variation = 25.0 * change_ms / 1e3 * beta_hz;
        let mut s = raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, 0, end_ns),
            begin_ns: end_ns - 100_000_000,
            target_ns: 1,
            tupdate_ns: 4_000_000,
            beta_uhz: (beta_hz * 1e6) as u32,
            updates: 25,
            p_variation: (variation * f64::from(raw::L4S_PROB_ONE)) as u64,
            ..Default::default()
        };
        s.queue[0].forwarded_bytes = 500_000;
        s.queue[0].flows[0] = 1;
        Summary::try_from(s).unwrap()
    }

    #[test]
    fn the_rule_decides_on_a_bursty_link() {
        for later in [false, true] {
            let rule = Adaptive::new(AdaptiveConfig::default());
            let mut fallback = Fallback::new(Box::new(Own { later }), rule);
            let mut run = |seconds: u64, change_ms: f64| {
                let mut last = None;
                for number in 0..10 * seconds {
                    let decision = fallback.observe_summary(&summary(number, change_ms));
                    last = decision.or_else(|| fallback.ready());
                }
                last.unwrap()
            };
            assert_eq!(run(10, 0.5), Decision::SetPoints(OWN));
            // A link that is off for 8 ms at a time.
            let Decision::SetPoints(points) = run(10, 8.0) else {
                panic!("later: {later}");
            };
            assert!((points.target_s - 0.017).abs() < 1e-9, "{points:?}");
            assert_eq!(run(20, 0.5), Decision::SetPoints(OWN));
        }
    }
}

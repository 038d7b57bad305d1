//! One roll-out: a run with its periods recorded as they end.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use l4sllm_abi::{Params, Record, Summary};
use l4sllm_model::{
    self as model, HeadKind, Outcome, Periods, SET_POINTS, Session, SummaryFeature,
};
use l4sllmd::engine::{Adaptive, Decision, Engine, Preset};

use super::Driver;
use super::interactive::Caller;
use crate::control::EngineFactory;
use crate::experiment::measure;
use crate::scenario::{Arm, Control, Scenario};
use crate::sim::SimError;

/// Features of a summary.
pub const FEATURES: usize = SummaryFeature::ALL.len();

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Every period, in order, from the start of the run.
    pub periods: Vec<Period>,
    /// The measured part.
    pub outcome: Outcome,
}

/// Observations of a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Period {
    /// Raw values in the order of [`SummaryFeature::ALL`]; NaN where the period
    /// has none.
    pub features: [f32; FEATURES],
    /// The policy's outputs with the offset; 0 where no policy decides.
    pub outputs: [f32; SET_POINTS],
}

/// Runs `scenario` once with decisions every `period_ns`; none if cancelled.
///
/// # Errors
/// The accounting of the emulation does not hold.
pub(super) fn rollout(
    scenario: &Scenario,
    driver: &Driver,
    period_ns: u64,
    cancel: &AtomicBool,
) -> Result<Option<Rollout>, SimError> {
    let params = match driver {
        Driver::Fixed(params) => *params,
        Driver::Adaptive | Driver::Policy { .. } => Params::default(),
    };
    let arm = arm(params, period_ns);
    let log = Arc::new(Mutex::new(Vec::new()));
    let engine = {
        let (driver, log) = (driver.clone(), Arc::clone(&log));
        EngineFactory::on_summaries(Some(period_ns), move |_scheduler| {
            let decider = Decider::new(&driver);
            Box::new(Observer::new(decider, period_ns, Arc::clone(&log)))
        })
    };
    let samples = measure(scenario, &arm, 0, Some(engine), cancel)?;
    let periods = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(samples.map(|samples| Rollout {
        periods,
        outcome: samples.repetition(0, scenario.seed).statistics.outcome(),
    }))
}

/// The queue with these parameters, controlled every `period_ns`.
pub(super) fn arm(params: Params, period_ns: u64) -> Arm {
    Arm {
        control: Some(Control {
            period_ns,
            ttl_ns: Control::adaptive(Preset::default())
                .ttl_ns
                .max(2 * period_ns),
            ..Control::adaptive(Preset::default())
        }),
        ..Arm::dualpi2("rollout", params)
    }
}

/// Records each period, and passes it to the deciding engine.
pub(super) struct Observer {
    decider: Decider,
    periods: Periods,
    log: Arc<Mutex<Vec<Period>>>,
}

pub(super) enum Decider {
    None,
    Adaptive(Box<Adaptive>),
    Policy(Box<Actor>),
    /// Decides later: see [`Engine::ready`].
    Caller(Box<Caller>),
}

/// A policy with exploration.
pub(super) struct Actor {
    session: Session,
    offset: [f32; SET_POINTS],
    /// Decides on bursty links, as in [`Fallback`](l4sllmd::engine::Fallback).
    rule: Adaptive,
}

impl Decider {
    fn new(driver: &Driver) -> Decider {
        match driver {
            Driver::Fixed(_) => Decider::None,
            Driver::Adaptive => {
                let rule = Adaptive::new(Preset::default().config());
                Decider::Adaptive(Box::new(rule))
            }
            Driver::Policy {
                actor,
                budget,
                offset,
            } => match actor.policy() {
                Some(policy) => {
                    let mut session = Session::new(Arc::clone(policy), 1);
                    session.set_idle_budget(Some(*budget));
                    let mut rule = Adaptive::new(Preset::default().config());
                    rule.set_idle_budget(Some(*budget));
                    Decider::Policy(Box::new(Actor {
                        session,
                        offset: *offset,
                        rule,
                    }))
                }
                None => Decider::None,
            },
        }
    }

    /// The decision, and the outputs that it was made from.
    fn decide(&mut self, period: &model::Period) -> (Option<Decision>, [f32; SET_POINTS]) {
        match self {
            Decider::None => (None, [0.0; SET_POINTS]),
            Decider::Caller(caller) => {
                caller.observe(period);
                (None, [0.0; SET_POINTS])
            }
            Decider::Adaptive(rule) => (rule.observe_summary(period), [0.0; SET_POINTS]),
            Decider::Policy(actor) => actor.decide(period),
        }
    }
}

impl Actor {
    fn decide(&mut self, period: &Summary) -> (Option<Decision>, [f32; SET_POINTS]) {
        let rule = self.rule.observe_summary(period);
        // The plain engine cannot fail; with libtorch, an error means no decision,
        // as in the daemon.
        let outputs = self.session.observe_summary(period).ok().flatten();
        let config = self.session.policy().config();
        let (Some(mut outputs), HeadKind::SetPoints(head)) = (outputs, &config.head.kind) else {
            return (None, [0.0; SET_POINTS]);
        };
        let mut own = [0.0; SET_POINTS];
        for ((output, offset), own) in outputs.iter_mut().zip(self.offset).zip(&mut own) {
            *output += offset;
            *own = *output;
        }
        let decision = match self.rule.is_bursty() {
            true => rule,
            false => Some(Decision::SetPoints(head.set_points(&outputs))),
        };
        (decision, own)
    }
}

impl Observer {
    pub(super) fn new(decider: Decider, period_ns: u64, log: Arc<Mutex<Vec<Period>>>) -> Observer {
        Observer {
            decider,
            periods: Periods::of(period_ns),
            log,
        }
    }
}

impl Engine for Observer {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        None
    }

    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        let period = self.periods.add(summary)?;
        let (decision, outputs) = self.decider.decide(&period);
        if let Decider::Caller(_) = &self.decider {
            return None; // the caller keeps what it needs
        }
        let mut features = [f32::NAN; FEATURES];
        for (feature, to) in SummaryFeature::ALL.iter().zip(&mut features) {
            if let Some(value) = feature.value(&period) {
                *to = value as f32;
            }
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(Period { features, outputs });
        decision
    }

    fn ready(&mut self) -> Option<Decision> {
        match &mut self.decider {
            Decider::Caller(caller) => caller.ready(),
            _ => None,
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(&self.decider, Decider::Caller(caller) if caller.is_waiting())
    }

    fn reset(&mut self) {
        self.periods.reset();
        match &mut self.decider {
            Decider::Policy(actor) => actor.session.reset(),
            Decider::Caller(caller) => caller.reset(),
            Decider::None | Decider::Adaptive(_) => {}
        }
    }
}

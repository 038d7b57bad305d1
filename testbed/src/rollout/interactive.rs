//! A roll-out that stops after every period for a decision of the caller, such as a
//! learner in another language.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use l4sllm_abi::{Params, Summary};
use l4sllm_model::{
    HeadKind, IdleBudget, OUTPUTS_MAX, Outcome, Period, PolicyConfig, SET_POINTS, SetPointHead,
    Window, WindowSession,
};
use l4sllmd::engine::{Adaptive, Decision, Engine, Preset};

use super::observer::{self, Decider, Observer};
use crate::control::EngineFactory;
use crate::result::Recorder;
use crate::scenario::Scenario;
use crate::sim::{SimError, Simulation};

/// Most events between two removals of rows: memory does not grow with the length of a
/// period.
const EVENTS: usize = 1 << 16;

/// A run whose decisions its caller makes.
///
/// ```text
/// advance ─▶ Observation ─▶ decide(outputs) ─▶ advance ─▶ … ─▶ None ─▶ finish ─▶ Outcome
/// ```
///
/// With the outputs of a policy, it is the run of [`super::Driver::Policy`] to the bit.
pub struct InteractiveRun {
    simulation: Simulation,
    recorder: Recorder,
    desk: Arc<Desk>,
    head: SetPointHead,
    seed: u64,
}

/// A period, as the input of the caller's decision.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The input of the policy's network.
    pub window: Window,
    /// The period.
    pub period: Period,
    /// Whether the adaptive rule decides after this period in place of the caller,
    /// because the link is bursty.
    pub bursty: bool,
}

/// Passes periods from the engine to the caller, and outputs back.
pub(super) struct Desk {
    /// Whether the engine waits for outputs; read after every event.
    waiting: AtomicBool,
    papers: Mutex<Papers>,
}

#[derive(Default)]
struct Papers {
    observed: Option<Observation>,
    outputs: Option<[f32; SET_POINTS]>,
}

/// The engine's side of a [`Desk`].
pub(super) struct Caller {
    desk: Arc<Desk>,
    session: WindowSession,
    head: SetPointHead,
    /// Decides on bursty links, as in [`Fallback`](l4sllmd::engine::Fallback).
    rule: Adaptive,
    /// The rule's decision after the last period.
    ruled: Option<Decision>,
}

impl InteractiveRun {
    /// Creates the run of `scenario`, before its first event, for the inputs and outputs
    /// of a policy with this configuration and idle budget.
    ///
    /// # Errors
    /// [`SimError::NoEngine`] for a policy on records; the router refuses the parameters.
    pub fn new(
        scenario: &Scenario,
        config: &Arc<PolicyConfig>,
        budget: IdleBudget,
    ) -> Result<InteractiveRun, SimError> {
        let arm = "interactive".to_owned();
        let (HeadKind::SetPoints(head), Some(period_ns)) = (config.head.kind, config.period_ns())
        else {
            return Err(SimError::NoEngine { arm });
        };
        let desk = Arc::new(Desk {
            waiting: AtomicBool::new(false),
            papers: Mutex::default(),
        });
        let engine = {
            let (config, desk) = (Arc::clone(config), Arc::clone(&desk));
            EngineFactory::on_summaries(Some(period_ns), move |_scheduler| {
                let caller = Caller::new(Arc::clone(&config), head, budget, Arc::clone(&desk));
                let decider = Decider::Caller(Box::new(caller));
                Box::new(Observer::new(decider, period_ns, Arc::default()))
            })
        };
        let arm = observer::arm(Params::default(), period_ns);
        let simulation = Simulation::new(scenario, &arm, 0, Some(engine))?;
        Ok(InteractiveRun {
            recorder: Recorder::new(simulation.window(), simulation.reported()),
            simulation,
            desk,
            head,
            seed: scenario.seed,
        })
    }

    /// Runs to the end of the next period; `None` if the run ends before.
    ///
    /// # Errors
    /// The router failed.
    pub fn advance(&mut self) -> Result<Option<Observation>, SimError> {
        let end_ns = self.simulation.duration();
        let waiting = &self.desk.waiting;
        waiting.store(false, Ordering::Relaxed);
        loop {
            let ended = self.simulation.run_until_set(end_ns, EVENTS, waiting)?;
            let rows = self.simulation.take_rows();
            self.recorder.packets(&rows.packets);
            self.recorder.decisions(&rows.decisions);
            let observed = self.desk.papers().observed.take();
            if observed.is_some() || ended {
                return Ok(observed);
            }
        }
    }

    /// Decides on the last period: the set-points are those of the policy's head for
    /// these outputs, and take effect after the decision latency. Without a call, the
    /// last override remains until it expires.
    ///
    /// # Errors
    /// The router failed.
    pub fn decide(&mut self, outputs: [f32; SET_POINTS]) -> Result<(), SimError> {
        self.desk.papers().outputs = Some(outputs);
        self.simulation.take_ready()
    }

    /// The virtual time, ns.
    pub fn now_ns(&self) -> u64 {
        self.simulation.now()
    }

    /// The virtual time of the end, ns.
    pub fn duration_ns(&self) -> u64 {
        self.simulation.duration()
    }

    /// The head that maps outputs to set-points.
    pub fn head(&self) -> &SetPointHead {
        &self.head
    }

    /// Number of events so far.
    pub fn events(&self) -> u64 {
        self.simulation.events()
    }

    /// Runs to the end without further decisions, and returns the measured part.
    ///
    /// # Errors
    /// The accounting of the emulation does not hold.
    pub fn finish(mut self) -> Result<Outcome, SimError> {
        while self.advance()?.is_some() {}
        let run = self.simulation.finish()?;
        self.recorder.packets(&run.packets);
        self.recorder.decisions(&run.decisions);
        let samples = self.recorder.finish(&run.meta);
        Ok(samples.repetition(0, self.seed).statistics.outcome())
    }
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    fn new(
        config: Arc<PolicyConfig>,
        head: SetPointHead,
        budget: IdleBudget,
        desk: Arc<Desk>,
    ) -> Caller {
        let mut session = WindowSession::new(config, 1);
        session.set_idle_budget(Some(budget));
        let mut rule = Adaptive::new(Preset::default().config());
        rule.set_idle_budget(Some(budget));
        Caller {
            desk,
            session,
            head,
            rule,
            ruled: None,
        }
    }

    /// Shows a period to the caller.
    pub(super) fn observe(&mut self, period: &Period) {
        let summary: &Summary = period;
        self.ruled = self.rule.observe_summary(summary);
        let Some(window) = self.session.observe_summary(summary) else {
            return;
        };
        *self.desk.papers() = Papers {
            observed: Some(Observation {
                window,
                period: period.clone(),
                bursty: self.rule.is_bursty(),
            }),
            outputs: None,
        };
        self.desk.waiting.store(true, Ordering::Relaxed);
    }

    /// The caller's decision, if there is one.
    pub(super) fn ready(&mut self) -> Option<Decision> {
        let outputs = self.desk.papers().outputs.take()?;
        self.desk.waiting.store(false, Ordering::Relaxed);
        if self.rule.is_bursty() {
            return self.ruled;
        }
        let mut all = [0.0; OUTPUTS_MAX];
        all[..SET_POINTS].copy_from_slice(&outputs);
        Some(Decision::SetPoints(self.head.set_points(&all)))
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.desk.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn reset(&mut self) {
        self.session.reset();
    }
}

impl std::fmt::Debug for InteractiveRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InteractiveRun")
            .field("simulation", &self.simulation)
            .finish_non_exhaustive()
    }
}

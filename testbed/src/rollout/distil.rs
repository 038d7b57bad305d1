//! Runs whose states are labelled by a teacher, for the distillation of a student.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use l4sllm_abi::{Params, Record, Summary};
use l4sllm_model::student::{Lesson, OUTPUTS, SCALES, STATES, StudentState};
use l4sllm_model::{IdleBudget, Outcome, Policy, SetPoints};
use l4sllmd::engine::{Adaptive, Decision, Engine, Fallback, PolicyEngine, Preset};

use super::TrainingCondition;
use crate::control::EngineFactory;
use crate::experiment::measure;
use crate::scenario::{Arm, ArmStudent, Control};
use crate::sim::{SimError, derive_seed};
use crate::workers;

/// The policy that a student imitates.
#[derive(Clone)]
pub enum Teacher {
    /// The adaptive rule, with decisions every so many ns.
    Adaptive(u64),
    /// A policy on summaries, with the rule as its fallback, as in the daemon.
    Policy(Arc<Policy>),
}

/// What steers the queue in a run.
#[derive(Clone)]
pub enum Steers {
    /// Nothing: fixed parameters.
    Fixed(Params),
    /// The teacher.
    Teacher,
    /// A student in the queue.
    Student(Box<ArmStudent>),
}

/// A run with its labelled states.
#[derive(Debug, Clone)]
pub struct LabelledRun {
    /// Each period, in order.
    pub lessons: Vec<Lesson>,
    /// The measured part.
    pub outcome: Outcome,
}

impl Teacher {
    /// Time between two decisions, ns.
    pub fn period_ns(&self) -> u64 {
        match self {
            Teacher::Adaptive(period_ns) => *period_ns,
            Teacher::Policy(policy) => policy.config().period_ns().unwrap_or(0),
        }
    }

    fn engine(&self, budget: IdleBudget, seed: u64) -> Box<dyn Engine> {
        let rule = || Adaptive::new(Preset::default().config());
        let mut engine: Box<dyn Engine> = match self {
            Teacher::Adaptive(_) => Box::new(rule()),
            Teacher::Policy(policy) => {
                let seed = derive_seed(seed, "policy", 0);
                let own = PolicyEngine::new(Arc::clone(policy), NonZeroU32::MIN, seed);
                Box::new(Fallback::new(Box::new(own), rule()))
            }
        };
        engine.set_idle_budget(Some(budget));
        engine
    }
}

/// A run to make and label.
pub struct LabelJob {
    /// The condition.
    pub condition: TrainingCondition,
    /// Draws of the condition, from 0.
    pub repetition: u32,
    /// What steers.
    pub steers: Steers,
    /// Idle budget of the teacher and of the student.
    pub budget: IdleBudget,
}

/// Makes runs with `measured_ns` of measured time on `threads` threads (0: one per
/// core) and labels each period's state with the teacher's decision; none if cancelled.
/// `progress` is called with the number of finished runs, from any thread.
///
/// # Errors
/// The accounting of an emulation does not hold.
pub fn label(
    teacher: &Teacher,
    measured_ns: u64,
    jobs: &[LabelJob],
    threads: usize,
    cancel: &AtomicBool,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Option<Vec<LabelledRun>>, SimError> {
    let made: Vec<OnceLock<LabelledRun>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let done = AtomicUsize::new(0);
    // The longest first, to balance the threads at the end.
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(jobs[*at].condition.weight(measured_ns)));
    workers::run(threads, &order, |at| -> Result<bool, SimError> {
        let run = labelled(teacher, measured_ns, &jobs[*at], cancel)?;
        let finished = run.is_some();
        if let Some(run) = run {
            // Each is set once.
            let _ = made[*at].set(run);
            progress(1 + done.fetch_add(1, Ordering::Relaxed));
        }
        Ok(finished)
    })?;
    Ok(made.into_iter().map(OnceLock::into_inner).collect())
}

/// Makes one run; none if cancelled.
fn labelled(
    teacher: &Teacher,
    measured_ns: u64,
    job: &LabelJob,
    cancel: &AtomicBool,
) -> Result<Option<LabelledRun>, SimError> {
    let scenario = job.condition.repetition(measured_ns, job.repetition);
    let (steers, budget, period_ns) = (&job.steers, job.budget, teacher.period_ns());
    let params = match steers {
        Steers::Fixed(params) => *params,
        Steers::Teacher | Steers::Student(_) => Params::default(),
    };
    let control = Control::adaptive(Preset::default());
    let arm = Arm {
        control: Some(Control {
            period_ns,
            ttl_ns: control.ttl_ns.max(2 * period_ns),
            ..control
        }),
        student: match steers {
            Steers::Student(student) => Some(student.with_budget(budget)),
            Steers::Fixed(_) | Steers::Teacher => None,
        },
        ..Arm::dualpi2("distil", params)
    };
    let log = Arc::new(Mutex::new(Vec::new()));
    let engine = {
        let (teacher, log) = (teacher.clone(), Arc::clone(&log));
        let decides = matches!(steers, Steers::Teacher);
        let seed = scenario.seed;
        EngineFactory::on_summaries(Some(period_ns), move |_scheduler| {
            Box::new(Labeller {
                teacher: teacher.engine(budget, seed),
                state: StudentState::default(),
                period_ns,
                budget,
                decides,
                log: Arc::clone(&log),
            })
        })
    };
    let samples = measure(&scenario, &arm, 0, Some(engine), cancel)?;
    let lessons = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(samples.map(|samples| LabelledRun {
        lessons,
        outcome: samples.repetition(0, scenario.seed).statistics.outcome(),
    }))
}

/// Asks the teacher in each period, and records state and answer.
struct Labeller {
    teacher: Box<dyn Engine>,
    state: StudentState,
    period_ns: u64,
    budget: IdleBudget,
    /// Whether the teacher's decisions are applied.
    decides: bool,
    log: Arc<Mutex<Vec<Lesson>>>,
}

impl Engine for Labeller {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        None
    }

    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        let millionths = (self.budget.share() * 1e6).round() as u32;
        let ends = self.state.add(summary, self.period_ns, millionths);
        let decision = self.teacher.observe_summary(summary);
        if let (true, Some(Decision::SetPoints(points))) = (ends, &decision) {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(Lesson {
                state: states(&self.state),
                set_points: logarithms(points),
            });
        }
        decision.filter(|_| self.decides)
    }

    fn reset(&mut self) {
        self.teacher.reset();
        self.state = StudentState::default();
    }
}

/// All signals at all scales.
fn states(state: &StudentState) -> [f32; STATES] {
    std::array::from_fn(|place| {
        let signal = state.signal((place / SCALES) as u8, (place % SCALES) as u8);
        signal as f32 / 65_536.0
    })
}

/// The set-points as a student's outputs.
fn logarithms(points: &SetPoints) -> [f32; OUTPUTS] {
    let log = |value: f64| value.max(1.0).log2() as f32;
    [
        log(points.target_s * 1e9),
        log(points.alpha_hz * 1e6),
        log(points.beta_hz * 1e6),
        log(points.coupling * 256.0),
    ]
}

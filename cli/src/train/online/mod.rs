//! `l4sllm train --online`: trains a policy on summaries in the loop.
//!
//! ```text
//! imitation    runs at 28 fixed settings ─▶ surfaces; their states and the rule's ─▶ lesson
//! round        the policy's runs in the same conditions ─▶ its states join the lesson
//! improvement  the policy's runs in new conditions, and with offsets ─▶ surfaces around
//!              its actions, and its states ─▶ lesson
//! ```
//!
//! After each lesson the policy is evaluated on conditions with a separate seed. Runs are
//! kept in `runs/` for resumed training.

mod args;
mod bar;
mod judge;
mod lessons;
mod metrics;
mod runs;
mod setup;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use l4sllm_model::torch::online::{
    Emphasis, Grid, LearnConfig, Lesson, Multipliers, OnlineTrainer, Standing,
};
use l4sllm_model::torch::set_threads;
use l4sllm_testbed::rollout::{Actor, RunStore};
use l4sllm_testbed::sim::derive_seed;

use super::{TrainArgs, clear, ready};
use crate::output::outln;
pub use args::{OnlineArgs, defaults};
use bar::Bar;
use judge::Judge;
use lessons::{Imitation, Lessons};
use metrics::{Losses, Metrics, OwnRuns};
use runs::Runs;

/// Number of improvements whose runs are in a lesson, including the newest.
const REPLAYED: usize = 3;

/// A lesson of the training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Imitation,
    /// From 1.
    Round(usize),
    /// From 1.
    Improvement(usize),
}

impl Stage {
    /// Name in files.
    fn name(self) -> String {
        match self {
            Stage::Imitation => "imitation".to_owned(),
            Stage::Round(number) => format!("round-{number}"),
            Stage::Improvement(number) => format!("improvement-{number}"),
        }
    }

    /// All lessons, in order.
    fn all(args: &OnlineArgs) -> Vec<Stage> {
        let rounds = (1..=args.rounds).map(Stage::Round);
        let improvements = (1..=args.iterations).map(Stage::Improvement);
        std::iter::once(Stage::Imitation)
            .chain(rounds)
            .chain(improvements)
            .collect()
    }
}

/// Trains; if `cancel` is set, saves `last/` and ends.
pub fn run(args: &TrainArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    args.check()?;
    args.online.check()?;
    let device = args.machine.open()?;
    set_threads(args.machine.threads);
    let last = ready(args)?;
    let mut policy = setup::policy(args)?;
    let facts = setup::facts(args);
    if args.resume {
        OnlineTrainer::check_options(&args.out, &facts)?;
    }
    runs::check(args)?;
    // Done only when a new run can start.
    if args.restart {
        clear(&args.out)?;
    }
    let store = RunStore::open(&args.out.join("runs"))?;
    let runs = Runs::new(args, &store, cancel, policy.period_ns())?;
    let lessons = Lessons::new(args, &runs)?;
    let interrupted = || outln!("interrupted: --resume continues");
    let Some(imitation) = lessons.imitation_runs()? else {
        return interrupted();
    };
    imitation.fit(&mut policy, &runs)?;
    let network = setup::network(args, policy, device, last.as_deref())?;
    let trainer = OnlineTrainer::new(&args.out, network, &facts, args.resume)?;
    let mut training = Training {
        args,
        judge: Judge::new(args, &runs)?,
        metrics: Metrics::open(&args.out, trainer.judged())?,
        trainer,
        lessons,
        runs: &runs,
        cancel,
    };
    match training.run(&imitation)? {
        true => outln!("{}", args.out.join("best").display()),
        false => interrupted(),
    }
}

/// A training run in progress.
struct Training<'a> {
    args: &'a TrainArgs,
    trainer: OnlineTrainer,
    lessons: Lessons<'a>,
    judge: Judge<'a>,
    metrics: Metrics,
    runs: &'a Runs<'a>,
    cancel: &'a AtomicBool,
}

impl Training<'_> {
    /// Learns all lessons; false if interrupted.
    fn run(&mut self, imitation: &Imitation) -> anyhow::Result<bool> {
        let config = self.trainer.policy()?.config().clone();
        let mut material = Material {
            imitated: Lesson::new(Grid::of_settings()),
            improvements: Vec::new(),
        };
        for (number, stage) in Stage::all(&self.args.online).into_iter().enumerate() {
            if !self.is_needed(number, stage) {
                continue;
            }
            let mut own_runs = OwnRuns::default();
            let mut multipliers = Multipliers::default();
            match stage {
                Stage::Imitation => material.imitated = imitation.lesson(&config, self.runs)?,
                Stage::Round(round) => {
                    let actor = self.actor(number)?;
                    match self.lessons.round(round, imitation, &config, actor)? {
                        Some(of) => {
                            own_runs.agreement = Some(of.agreement);
                            material.imitated.visits.extend(of.visits);
                            (multipliers, material.imitated.emphasis) =
                                self.emphasis(number, &of.standings);
                        }
                        None => return Ok(false),
                    }
                }
                Stage::Improvement(improvement) => {
                    let actor = self.actor(number)?;
                    match self.lessons.improvement(improvement, &config, actor)? {
                        Some(mut of) => {
                            own_runs.improved = Some(of.improved);
                            (multipliers, of.lesson.emphasis) =
                                self.emphasis(number, &of.standings);
                            material.improvements.push(of.lesson);
                        }
                        None => return Ok(false),
                    }
                }
            }
            if number < self.trainer.judged() {
                continue;
            }
            let losses = match number < self.trainer.learned().len() {
                // Learned by a run that was killed before the evaluation.
                true => Losses::default(),
                false => match self.learn(number, stage, &material.lesson(stage))? {
                    Some(losses) => losses,
                    None => return Ok(false),
                },
            };
            let lesson = metrics::Lesson {
                stage: &stage.name(),
                learned: &self.trainer.learned()[number].clone(),
                own_runs,
                multipliers,
                losses,
            };
            if !self.judge(lesson)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a lesson must be learned or evaluated, or its runs are needed for a later
    /// lesson.
    fn is_needed(&self, number: usize, stage: Stage) -> bool {
        let (online, judged) = (&self.args.online, self.trainer.judged());
        match stage {
            _ if judged > online.rounds + online.iterations => false,
            Stage::Imitation | Stage::Round(_) => judged <= online.rounds,
            Stage::Improvement(_) => number + REPLAYED > judged,
        }
    }

    /// The policy used in a lesson's runs.
    fn actor(&self, number: usize) -> anyhow::Result<Actor> {
        let before = &self.trainer.learned()[number - 1].policy;
        let now = self.trainer.policy()?;
        Ok(match now.hash() == before {
            true => Actor::from(now),
            // Its runs were finished before training continued.
            false => Actor::finished(before),
        })
    }

    /// Learns a lesson and returns the costs of its steps; none if interrupted.
    fn learn(
        &mut self,
        number: usize,
        stage: Stage,
        lesson: &Lesson,
    ) -> anyhow::Result<Option<Losses>> {
        let config = learning(self.args, number, stage);
        let bar = Bar::new(&stage.name(), "steps", config.steps)?;
        let cancel = self.cancel;
        let mut losses = Losses::of(config.steps);
        let cost = self.trainer.learn(lesson, &config, |step, cost| {
            losses.add(step, cost);
            bar.show(step, &format!("cost {cost:.4}"));
            !cancel.load(Ordering::Relaxed)
        })?;
        bar.finish();
        Ok(cost.map(|_| losses))
    }

    /// The multipliers of a lesson's constraints and the emphasis of its conditions,
    /// from the policy's runs before it.
    fn emphasis(
        &self,
        number: usize,
        standings: &[Option<Standing>],
    ) -> (Multipliers, Vec<Emphasis>) {
        let online = &self.args.online;
        let multipliers = match self.metrics.multipliers(number) {
            // The lesson was evaluated before, and a later one needs its runs.
            Some(known) => known,
            None => {
                // Lesson 0, the imitation, has no emphasis.
                let before = self.metrics.multipliers(number - 1).unwrap_or_default();
                before.ascend(standings.iter().flatten(), online.dual_step)
            }
        };
        let emphasis = multipliers.emphasis(standings, online.cvar_level, online.cvar_weight);
        (multipliers, emphasis)
    }

    /// Evaluates the policy; false if interrupted.
    fn judge(&mut self, lesson: metrics::Lesson<'_>) -> anyhow::Result<bool> {
        let policy = self.trainer.policy()?;
        let Some(verdict) = self.judge.of(lesson.stage, policy)? else {
            return Ok(false);
        };
        let best = self.trainer.judge(verdict.cost)?;
        let line = self.metrics.add(lesson, &verdict, best)?;
        // A closed output does not end the training.
        let _ = outln!("{line}");
        Ok(true)
    }
}

/// Data for the lessons.
struct Material {
    /// Fixed settings and rounds.
    imitated: Lesson,
    improvements: Vec<Lesson>,
}

impl Material {
    /// The data of a stage: all rounds so far, or the newest improvements.
    fn lesson(&self, stage: Stage) -> Cow<'_, Lesson> {
        match stage {
            Stage::Imitation | Stage::Round(_) => Cow::Borrowed(&self.imitated),
            Stage::Improvement(_) => {
                let first = self.improvements.len().saturating_sub(REPLAYED);
                Cow::Owned(lessons::joined(&self.improvements[first..]))
            }
        }
    }
}

/// Learning options of a lesson.
fn learning(args: &TrainArgs, number: usize, stage: Stage) -> LearnConfig {
    let base = setup::learning(args);
    let seed = derive_seed(args.optimiser.seed, "lesson", number as u64);
    let online = &args.online;
    match stage {
        Stage::Imitation | Stage::Round(1) => LearnConfig { seed, ..base },
        Stage::Round(_) => LearnConfig {
            learning_rate: base.learning_rate / 2.0,
            seed,
            ..base
        },
        Stage::Improvement(_) => LearnConfig {
            steps: online.improve_steps,
            learning_rate: online.improve_learning_rate,
            ema_decay: online.improve_ema_decay,
            proximity: online.proximity,
            seed,
            ..base
        },
    }
}

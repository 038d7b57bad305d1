//! `l4sllm policy distil`: a student of a policy, trained in closed loop.
//!
//! ```text
//! round 0    the teacher steers ─────────▶ labelled states ─┐
//! round r    student r − 1 steers, the                      ├▶ student r ─▶ evaluation
//!            teacher labels ─────────────▶ labelled states ─┘
//! ```
//!
//! Each student is trained from random weights on the states of all rounds, so that an
//! interrupted distillation continues to the same result.

mod args;
mod judge;
mod store;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use l4sllm_abi::{Params, raw};
use l4sllm_model::files::Claim;
use l4sllm_model::student::{
    Lesson, OUTPUTS, SCALES, STATES, Student, StudentUnit, TrainConfig, Trainee,
};
use l4sllm_model::{HeadKind, IdleBudget, Policy, SplitMix64};
use l4sllm_testbed::rollout::{
    LabelJob, LabelledRun, Selection, Steers, Teacher, TrainingCondition, label,
    training_conditions,
};
use l4sllm_testbed::scenario::ArmStudent;
use l4sllm_testbed::sim::derive_seed;

use crate::cancel;
use crate::output::{Done, ensure_usage, outln, progress_bar};
use crate::shipped::{self, Kind};
pub use args::DistilArgs;
use judge::{Runs, Verdict};
use store::Store;

/// Period of the adaptive rule as a teacher, ns.
const RULE_PERIOD_NS: u64 = 250_000_000;
/// Target from which the rule's controller has the longer period, and both periods, ns.
const RULE_SLOW_FROM_NS: f64 = 14e6;
const SHORT_TUPDATE_NS: u64 = 4_000_000;
const LONG_TUPDATE_NS: u64 = 16_000_000;
/// States by which the inputs are ranked.
const RANKED: usize = 4096;

/// Runs the command.
pub fn run(args: &DistilArgs) -> anyhow::Result<Done> {
    args.check()?;
    let cancel = cancel::flag()?;
    let teacher = teacher(&args.from)?;
    let identity = args.identity(&teacher.identity);
    let conditions = Conditions::new(args)?;
    conditions.draw("evaluation", 0, args.eval_conditions)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let _claim = Claim::of(&args.out)?;
    let distillation = Distillation {
        args,
        store: Store::open(&args.out, &identity)?,
        teacher: &teacher,
        conditions,
        cancel,
    };
    match distillation.run()? {
        Some((best, verdict)) => {
            let path = distillation.store.finish(&best)?;
            outln!("{}", verdict.line("best"))?;
            outln!("{}", path.display())?;
        }
        None => outln!("interrupted: the same command continues")?,
    }
    Ok(Done::of(cancel))
}

/// The policy to imitate.
struct Origin {
    teacher: Teacher,
    /// Settings of its students; inputs and weights are placeholders.
    like: Student,
    /// Name and digest.
    identity: String,
}

fn teacher(from: &Path) -> anyhow::Result<Origin> {
    let rule = l4sllmd::engine::AdaptiveConfig::balanced();
    if from == Path::new("adaptive") {
        let most = rule.max_target * 1e6;
        let like = placeholder(
            "adaptive",
            [0; 32],
            RULE_PERIOD_NS,
            IdleBudget::new(rule.idle_budget).context("the rule's idle budget")?,
            [(1e6, most), (2e3, 3.2e6), (0.6e6, 64e6), (256.0, 768.0)],
        );
        return Ok(Origin {
            teacher: Teacher::Adaptive(RULE_PERIOD_NS),
            like: Student {
                slow_tupdate_ns: LONG_TUPDATE_NS,
                slow_from: q16(RULE_SLOW_FROM_NS),
                ..like
            },
            identity: format!("adaptive {rule:?}"),
        });
    }
    let dir = shipped::find(Kind::Policy, from)?;
    let policy = Policy::load(&dir)?;
    let config = policy.config();
    let HeadKind::SetPoints(head) = &config.head.kind else {
        ensure_usage!(
            false,
            "--from {}: the policy decides on records; a student imitates one that sets \
             set-points from summaries",
            from.display()
        );
        unreachable!("refused above");
    };
    let period_ns = config.period_ns().context("the policy's period")?;
    let units = [1e6, 1e6, 1e6, 256.0];
    let mut ranges = [(0.0, 0.0); OUTPUTS];
    for (range, ((_, of), unit)) in ranges.iter_mut().zip(head.ranges().iter().zip(units)) {
        *range = (of.min * unit, of.max * unit);
    }
    // On bursty links the rule decides, with its own range.
    ranges[0].1 = ranges[0].1.max(rule.max_target * 1e6);
    let like = placeholder(
        &config.name,
        digest(policy.hash()),
        period_ns,
        config.idle_budget().context("the policy's idle budget")?,
        ranges,
    );
    Ok(Origin {
        like,
        identity: format!("{} {}", config.name, policy.hash()),
        teacher: Teacher::Policy(policy),
    })
}

/// A student without weights. Ranges are in ns, 1e-6 Hz and Q8.
fn placeholder(
    name: &str,
    teacher: [u8; 32],
    period_ns: u64,
    budget: IdleBudget,
    ranges: [(f64, f64); OUTPUTS],
) -> Student {
    Student {
        name: name.chars().take(31).collect(),
        teacher,
        period_ns,
        idle_budget: (budget.share() * 1e6).round() as u32,
        tupdate_ns: SHORT_TUPDATE_NS,
        slow_tupdate_ns: SHORT_TUPDATE_NS,
        slow_from: raw::L4S_STUDENT_OUT_MAX as i32,
        bounds: ranges.map(|(min, max)| (q16(min), q16(max))),
        inputs: Vec::new(),
        units: [
            Vec::new(),
            Vec::new(),
            vec![StudentUnit::default(); OUTPUTS],
        ],
        weights: [Vec::new(), Vec::new(), Vec::new()],
    }
}

/// The base-2 logarithm, Q16.
fn q16(value: f64) -> i32 {
    (value.log2() * 65_536.0).round() as i32
}

/// The bytes of a digest in hex.
fn digest(hex: &str) -> [u8; 32] {
    let byte = |at: usize| {
        let pair = hex.get(2 * at..2 * at + 2);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    std::array::from_fn(|at| byte(at).unwrap_or(0))
}

/// Conditions of the suite's training part.
struct Conditions<'a> {
    args: &'a DistilArgs,
    suite: std::path::PathBuf,
}

impl<'a> Conditions<'a> {
    fn new(args: &'a DistilArgs) -> anyhow::Result<Conditions<'a>> {
        Ok(Conditions {
            args,
            suite: match &args.suite {
                Some(dir) => dir.clone(),
                None => shipped::dir("scenarios/suite")?,
            },
        })
    }

    fn draw(
        &self,
        purpose: &str,
        number: u64,
        per_family: usize,
    ) -> anyhow::Result<Vec<TrainingCondition>> {
        let selection = Selection {
            families: &self.args.families,
            per_family,
            most_bps: Some(self.args.max_rate * 1e6),
            measured_ns: self.args.duration,
        };
        let seed = self.args.seed;
        let drawn = training_conditions(&self.suite, &selection, seed, purpose, number)
            .context("the suite's families")?;
        ensure!(
            !drawn.is_empty(),
            "none of the suite's training conditions has a link of at most {} Mbit/s (--max-rate)",
            self.args.max_rate
        );
        Ok(drawn)
    }
}

/// A distillation in progress.
struct Distillation<'a> {
    args: &'a DistilArgs,
    store: Store,
    teacher: &'a Origin,
    conditions: Conditions<'a>,
    cancel: &'a AtomicBool,
}

impl Distillation<'_> {
    /// All rounds; the best student, or none if interrupted.
    fn run(&self) -> anyhow::Result<Option<(Student, Verdict)>> {
        let mut lessons = Vec::new();
        let mut best: Option<(Student, Verdict)> = None;
        let mut last: Option<Student> = None;
        let mut baselines = None;
        for round in 0..=self.args.rounds {
            let Some(own) = self.round(round, last.as_ref())? else {
                return Ok(None);
            };
            lessons.extend(own);
            let student = match self.store.student(round)? {
                Some(student) => student,
                None => {
                    let Some(student) = self.learn(round, &lessons)? else {
                        return Ok(None);
                    };
                    self.store.add_student(round, &student)?;
                    student
                }
            };
            let verdict = match self.store.verdict(round)? {
                Some(verdict) => verdict,
                None => {
                    let Some(verdict) = self.judge(round, &student, &mut baselines)? else {
                        return Ok(None);
                    };
                    self.store.add_verdict(round, &verdict)?;
                    outln!("{}", verdict.line(&format!("round {round}")))?;
                    verdict
                }
            };
            if best
                .as_ref()
                .is_none_or(|(_, of)| verdict.score() > of.score())
            {
                best = Some((student.clone(), verdict));
            }
            last = Some(student);
        }
        Ok(best)
    }

    /// The labelled states of a round; none if interrupted.
    fn round(&self, round: u32, last: Option<&Student>) -> anyhow::Result<Option<Vec<Lesson>>> {
        if let Some(known) = self.store.lessons(round)? {
            return Ok(Some(known));
        }
        let steers = match last {
            None => Steers::Teacher,
            Some(student) => Steers::Student(Box::new(arm(student)?)),
        };
        let conditions = self
            .conditions
            .draw("round", u64::from(round), self.args.conditions)?;
        let mut random = SplitMix64::new(derive_seed(self.args.seed, "budgets", u64::from(round)));
        let jobs: Vec<LabelJob> = conditions
            .into_iter()
            .map(|condition| LabelJob {
                condition,
                repetition: 0,
                steers: steers.clone(),
                budget: self.random_budget(&mut random),
            })
            .collect();
        let Some(runs) = self.label(&format!("round {round}"), &jobs)? else {
            return Ok(None);
        };
        let lessons: Vec<Lesson> = runs.into_iter().flat_map(|run| run.lessons).collect();
        ensure!(!lessons.is_empty(), "the teacher decided in no run");
        self.store.add_lessons(round, &lessons)?;
        Ok(Some(lessons))
    }

    /// The default idle budget in half of the runs; the others cover its range evenly in
    /// logarithms.
    fn random_budget(&self, random: &mut SplitMix64) -> IdleBudget {
        let default = self.budget();
        let unit = |x: u64| (x >> 11) as f64 / (1u64 << 53) as f64;
        let (other, at) = (unit(random.next_u64()) < 0.5, unit(random.next_u64()));
        let (least, most) = (*IdleBudget::SHARES.start(), *IdleBudget::SHARES.end());
        match other {
            true => IdleBudget::new(least * (most / least).powf(at)).unwrap_or(default),
            false => default,
        }
    }

    /// The student's default idle budget.
    fn budget(&self) -> IdleBudget {
        let own = IdleBudget::from_millionths(self.teacher.like.idle_budget);
        let own = own.unwrap_or_else(|| unreachable!("the teacher's budget is in range"));
        self.args.idle_budget.unwrap_or(own)
    }

    fn label(&self, name: &str, jobs: &[LabelJob]) -> anyhow::Result<Option<Vec<LabelledRun>>> {
        let bar = progress_bar(jobs.len() as u64);
        bar.set_message(name.to_owned());
        let runs = label(
            &self.teacher.teacher,
            self.args.duration,
            jobs,
            self.args.threads,
            self.cancel,
            &|done| bar.set_position(done as u64),
        )?;
        bar.finish_and_clear();
        Ok(runs)
    }

    /// Trains a student on the states of all rounds so far; none if interrupted. A first
    /// network with all inputs selects those with the most influence.
    fn learn(&self, round: u32, lessons: &[Lesson]) -> anyhow::Result<Option<Student>> {
        let seed = derive_seed(self.args.seed, "student", u64::from(round));
        let hidden = [self.args.hidden[0], self.args.hidden[1]];
        let all: Vec<usize> = (0..STATES).filter(|place| is_input(*place)).collect();
        let last = round == self.args.rounds;
        let train = |trainee: &mut Trainee, steps: u64| {
            let config = TrainConfig {
                steps,
                batch: self.args.batch,
                learning_rate: self.args.learning_rate,
                caution: self.args.caution,
                seed,
                threads: threads(self.args.threads),
            };
            let bar = progress_bar(steps);
            bar.set_message(format!("student {round}"));
            let loss = trainee.train(lessons, &config, |step| {
                bar.set_position(step);
                !self.cancel.load(Ordering::Relaxed)
            });
            bar.finish_and_clear();
            loss
        };
        let mut inputs = all.clone();
        if self.args.inputs < all.len() {
            let mut broad = Trainee::new(lessons, &all, hidden, seed);
            if train(&mut broad, self.args.steps / 3).is_none() {
                return Ok(None);
            }
            let every = lessons.len().div_ceil(RANKED);
            let some: Vec<Lesson> = lessons.iter().step_by(every).copied().collect();
            inputs = broad.ranked_inputs(&some);
            inputs.truncate(self.args.inputs);
            inputs.sort_unstable();
        }
        let mut trainee = Trainee::new(lessons, &inputs, hidden, seed);
        let steps = self.args.steps * if last { 3 } else { 1 };
        if train(&mut trainee, steps).is_none() {
            return Ok(None);
        }
        let like = Student {
            name: self
                .args
                .name
                .clone()
                .unwrap_or_else(|| self.teacher.like.name.clone()),
            idle_budget: (self.budget().share() * 1e6).round() as u32,
            ..self.teacher.like.clone()
        };
        Ok(Some(trainee.student(&like)?))
    }

    /// Evaluates a student with its default idle budget; none if interrupted.
    fn judge(
        &self,
        round: u32,
        student: &Student,
        baselines: &mut Option<Vec<LabelledRun>>,
    ) -> anyhow::Result<Option<Verdict>> {
        let conditions = self
            .conditions
            .draw("evaluation", 0, self.args.eval_conditions)?;
        let job = |condition: &TrainingCondition, steers: Steers| LabelJob {
            condition: condition.clone(),
            repetition: 0,
            steers,
            budget: self.budget(),
        };
        if baselines.is_none() {
            let fixed = [Params::default(), Params::tuned()].map(Steers::Fixed);
            let jobs: Vec<LabelJob> = conditions
                .iter()
                .flat_map(|of| {
                    let steers = fixed.iter().cloned().chain([Steers::Teacher]);
                    steers.map(|steers| job(of, steers)).collect::<Vec<_>>()
                })
                .collect();
            *baselines = self.label("evaluation of the teacher", &jobs)?;
        }
        let Some(baselines) = baselines else {
            return Ok(None);
        };
        let steers = Steers::Student(Box::new(arm(student)?));
        let jobs: Vec<LabelJob> = conditions
            .iter()
            .map(|of| job(of, steers.clone()))
            .collect();
        let Some(own) = self.label(&format!("evaluation of student {round}"), &jobs)? else {
            return Ok(None);
        };
        let runs: Vec<Runs> = baselines
            .chunks_exact(3)
            .zip(&own)
            .map(|(of, own)| Runs {
                plain: of[0].outcome,
                tuned: of[1].outcome,
                teacher: of[2].outcome,
                student: own.outcome,
            })
            .collect();
        let verdict = Verdict::of(&runs);
        verdict
            .map(Some)
            .context("no condition of the evaluation has classic traffic")
    }
}

/// Whether a signal at a scale is an input: means of constants and of the age say
/// nothing more.
fn is_input(place: usize) -> bool {
    let (signal, scale) = ((place / SCALES) as u32, place % SCALES);
    scale == 0 || ![raw::L4S_SIGNAL_BUDGET, raw::L4S_SIGNAL_AGE].contains(&signal)
}

fn arm(student: &Student) -> anyhow::Result<ArmStudent> {
    ArmStudent::new(student.clone()).context("the student is out of range")
}

fn threads(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        threads => threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_one_input_each() {
        let inputs = (0..STATES).filter(|place| is_input(*place)).count();
        assert_eq!(inputs, STATES - 6);
    }

    #[test]
    fn the_rule_and_a_policy_on_summaries_are_teachers() {
        let rule = teacher(Path::new("adaptive"))
            .ok()
            .map(|of| of.like.idle_budget);
        assert_eq!(rule, Some(4000));
        let policy = teacher(Path::new("context")).ok();
        let like = policy.map(|of| of.like);
        assert_eq!(like.as_ref().map(|of| of.period_ns), Some(250_000_000));
        assert!(like.is_some_and(|of| of.teacher != [0; 32]));
        assert!(teacher(Path::new("default")).is_err());
    }
}

//! The runs of a training in the loop.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use l4sllm_abi::Params;
use l4sllm_model::torch::online::Judged;
use l4sllm_model::{Outcome, SetPoints};
use l4sllm_testbed::rollout::{
    Driver, Job, Period, RunStore, Runner, Selection, TrainingCondition, training_conditions,
};

use super::{Bar, TrainArgs};
use crate::shipped;

/// Makes runs, and reuses existing ones.
pub struct Runs<'a> {
    args: &'a TrainArgs,
    suite: PathBuf,
    store: &'a RunStore,
    runner: Runner<'a>,
    cancel: &'a AtomicBool,
}

/// Plain, tuned and adaptive in one condition.
#[derive(Debug, Clone, Copy)]
pub struct Baselines {
    plain: Outcome,
    tuned: Outcome,
    /// Index of the adaptive rule among the baselines.
    pub adaptive: Option<Judged>,
}

/// Number of baselines, which are the first runs of a condition.
pub const BASELINES: usize = 3;

/// Reports errors of later steps before anything is written.
pub fn check(args: &TrainArgs) -> anyhow::Result<()> {
    conditions(args, &suite(args)?, "imitation", 0, 1).map(|_| ())
}

/// The directory of the families.
fn suite(args: &TrainArgs) -> anyhow::Result<PathBuf> {
    match &args.online.suite {
        Some(dir) => Ok(dir.clone()),
        None => shipped::dir("scenarios/suite"),
    }
}

/// Conditions of each family for a purpose.
fn conditions(
    args: &TrainArgs,
    suite: &Path,
    purpose: &str,
    number: u64,
    per_family: usize,
) -> anyhow::Result<Vec<TrainingCondition>> {
    let online = &args.online;
    let selection = Selection {
        families: &online.families,
        per_family,
        most_bps: Some(online.max_rate * 1e6),
        measured_ns: online.duration_ns,
    };
    let seed = args.optimiser.seed;
    let conditions = training_conditions(suite, &selection, seed, purpose, number)
        .context("the suite's families")?;
    ensure!(
        !conditions.is_empty(),
        "none of the suite's training conditions has a link of at most {} Mbit/s (--max-rate)",
        online.max_rate
    );
    Ok(conditions)
}

impl<'a> Runs<'a> {
    /// Creates a runner for a policy with this period.
    pub fn new(
        args: &'a TrainArgs,
        store: &'a RunStore,
        cancel: &'a AtomicBool,
        period_ns: Option<u64>,
    ) -> anyhow::Result<Runs<'a>> {
        let online = &args.online;
        let period_ns = period_ns.context("the policy is not on summaries")?;
        Ok(Runs {
            suite: suite(args)?,
            runner: Runner::new(store, period_ns, online.duration_ns, online.workers)?,
            args,
            store,
            cancel,
        })
    }

    /// Conditions of each family for a purpose.
    pub fn conditions(
        &self,
        purpose: &str,
        number: u64,
        per_family: usize,
    ) -> anyhow::Result<Vec<TrainingCondition>> {
        conditions(self.args, &self.suite, purpose, number, per_family)
    }

    /// Makes the missing runs of a stage; returns their identities, or none if
    /// interrupted.
    pub fn make(&self, stage: &str, jobs: &[Job<'_>]) -> anyhow::Result<Option<Vec<String>>> {
        let bar = Bar::new(stage, "runs", jobs.len() as u64)?;
        let progress = |done: usize, _| bar.show(done as u64, "");
        let made = self.runner.run(stage, jobs, self.cancel, &progress);
        bar.finish();
        Ok(made?)
    }

    /// The outcome of a finished run.
    pub fn outcome(&self, run: &str) -> anyhow::Result<Outcome> {
        self.store
            .outcome(run)
            .context("a run that was made is gone")
    }

    /// The observations of a finished run.
    pub fn periods(&self, run: &str) -> anyhow::Result<Vec<Period>> {
        Ok(self.store.periods(run)?)
    }

    /// The baselines of a condition, from their runs.
    pub fn baselines(&self, runs: &[String]) -> anyhow::Result<Baselines> {
        let [plain, tuned, adaptive] = runs else {
            anyhow::bail!("a condition has {BASELINES} baselines, not {}", runs.len());
        };
        let (plain, tuned) = (self.outcome(plain)?, self.outcome(tuned)?);
        let adaptive = Judged::of(&self.outcome(adaptive)?, &plain, &tuned);
        Ok(Baselines {
            plain,
            tuned,
            adaptive,
        })
    }

    /// A run compared with the baselines of its condition.
    pub fn judged(&self, run: &str, baselines: &Baselines) -> anyhow::Result<Option<Judged>> {
        let outcome = self.outcome(run)?;
        Ok(Judged::of(&outcome, &baselines.plain, &baselines.tuned))
    }
}

/// The runs of the baselines in a condition.
pub fn baseline_jobs(condition: &TrainingCondition, keep: bool) -> [Job<'_>; BASELINES] {
    let drivers = [
        Driver::Fixed(Params::default()),
        Driver::Fixed(Params::tuned()),
        Driver::Adaptive,
    ];
    drivers.map(|driver| job(condition, driver, keep))
}

/// A run of a condition.
pub fn job(condition: &TrainingCondition, driver: Driver, keep: bool) -> Job<'_> {
    Job {
        condition,
        repetition: 0,
        driver,
        keep,
    }
}

/// Parameters of DualPI2 with these set-points.
pub fn params(points: &SetPoints) -> Params {
    Params {
        target_ns: (points.target_s * 1e9).round() as u64,
        tupdate_ns: (points.tupdate_s * 1e9).round() as u64,
        alpha_uhz: (points.alpha_hz * 1e6).round() as u32,
        beta_uhz: (points.beta_hz * 1e6).round() as u32,
        coupling_q8: (points.coupling * 256.0).round() as u32,
        ..Params::default()
    }
}

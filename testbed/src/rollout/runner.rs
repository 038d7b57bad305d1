//! Runs missing roll-outs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::observer::rollout;
use super::store::Line;
use super::{Driver, RolloutError, RunStore, TrainingCondition};
use crate::program;
use crate::workers;

/// A run to make.
pub struct Job<'a> {
    /// The condition.
    pub condition: &'a TrainingCondition,
    /// Draws of the condition, from 0.
    pub repetition: u32,
    /// The driver of the queue.
    pub driver: Driver,
    /// Whether to store the features of its periods.
    pub keep: bool,
}

/// Makes roll-outs with common settings.
pub struct Runner<'a> {
    store: &'a RunStore,
    /// Time between two decisions, ns.
    period_ns: u64,
    /// Measured virtual time, ns.
    measured_ns: u64,
    /// Threads; 0: one per core.
    threads: usize,
    /// SHA-256 of the program.
    program: String,
}

impl<'a> Runner<'a> {
    /// A runner into `store`, with decisions every `period_ns`, that measures
    /// `measured_ns` after each condition's warm-up, on `threads` threads (0: one
    /// per core).
    ///
    /// # Errors
    /// The running program, whose digest identifies its runs, cannot be read.
    pub fn new(
        store: &'a RunStore,
        period_ns: u64,
        measured_ns: u64,
        threads: usize,
    ) -> Result<Runner<'a>, RolloutError> {
        let program = program::digest().map_err(|source| RolloutError::Io {
            operation: "read",
            path: "the running program".to_owned(),
            source,
        })?;
        Ok(Runner {
            store,
            period_ns,
            measured_ns,
            threads,
            program,
        })
    }

    /// Makes the runs that are missing in the store, under the name of a `stage`;
    /// returns the identity of each in the store, in order. None if cancelled;
    /// finished runs are kept. `progress` is called with the numbers of finished
    /// and of all runs, from any thread.
    ///
    /// # Errors
    /// A run with violated accounting, a missing run that can no longer be made,
    /// or a file that cannot be written.
    pub fn run(
        &self,
        stage: &str,
        jobs: &[Job<'_>],
        cancel: &AtomicBool,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Option<Vec<String>>, RolloutError> {
        let identities: Vec<String> = jobs.iter().map(|job| self.identity(job)).collect();
        let mut open: Vec<usize> = (0..jobs.len())
            .filter(|at| !self.store.has(&identities[*at], jobs[*at].keep))
            .collect();
        // The longest first, to balance the threads at the end.
        open.sort_by_key(|at| std::cmp::Reverse(jobs[*at].condition.weight(self.measured_ns)));
        let done = AtomicUsize::new(jobs.len() - open.len());
        progress(done.load(Ordering::Relaxed), jobs.len());
        workers::run(self.threads, &open, |at| -> Result<_, RolloutError> {
            let finished = !cancel.load(Ordering::Relaxed)
                && self.finish(stage, &jobs[*at], &identities[*at], cancel)?;
            if finished {
                progress(1 + done.fetch_add(1, Ordering::Relaxed), jobs.len());
            }
            Ok(finished)
        })?;
        let finished = done.into_inner() == jobs.len();
        Ok(finished.then_some(identities))
    }

    /// Makes one run; false if cancelled.
    fn finish(
        &self,
        stage: &str,
        job: &Job<'_>,
        identity: &str,
        cancel: &AtomicBool,
    ) -> Result<bool, RolloutError> {
        let condition = &job.condition.condition.scenario.name;
        if let Driver::Policy { actor, .. } = &job.driver {
            actor.policy().ok_or_else(|| RolloutError::Missing {
                condition: condition.clone(),
                driver: job.driver.to_string(),
            })?;
        }
        let scenario = job.condition.repetition(self.measured_ns, job.repetition);
        let run = rollout(&scenario, &job.driver, self.period_ns, cancel);
        let run = run.map_err(|source| RolloutError::Run {
            condition: condition.clone(),
            driver: job.driver.to_string(),
            source,
        })?;
        let Some(run) = run else {
            return Ok(false);
        };
        let line = Line {
            identity: identity.to_owned(),
            stage: stage.to_owned(),
            condition: condition.clone(),
            family: job.condition.family.clone(),
            driver: job.driver.to_string(),
            repetition: job.repetition,
            outcome: run.outcome,
            periods: None,
        };
        self.store.add(line, &run, job.keep)?;
        Ok(true)
    }

    /// Everything that determines a run.
    fn identity(&self, job: &Job<'_>) -> String {
        let scenario = job.condition.repetition(self.measured_ns, job.repetition);
        let text = format!(
            "{}\n{}\n{}\n{scenario:?}",
            self.program, self.period_ns, job.driver
        );
        program::digest_of(&text)
    }
}

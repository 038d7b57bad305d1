//! Runs all arms and repetitions of a scenario into a result directory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use l4sllm_model::EngineOptions;
use l4sllm_testbed::experiment::Policies;
use l4sllm_testbed::result::{Facts, LabFacts, ResultDir, Summary};
use l4sllm_testbed::scenario::{Arm, Plan, Scenario};

use crate::host::Host;
use crate::repetition::{Job, Precision};
use crate::{LabError, clean, senders};

/// A lab and what runs in it.
pub struct Lab<'a> {
    /// The network, its traffic and the arms.
    pub scenario: &'a Scenario,
    /// This host.
    pub host: &'a Host,
    /// The program `l4sllmd`, for arms with a controller.
    pub daemon: Option<PathBuf>,
    /// The program `l4sllm`, for UDP Prague.
    pub program: PathBuf,
    /// Replace another result in the directory.
    pub force: bool,
    /// Set to stop: finished repetitions are kept.
    pub cancel: &'a AtomicBool,
    /// Called with the progress several times a second.
    pub progress: &'a dyn Fn(Progress<'_>),
}

/// Progress of a lab.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The current arm.
    pub arm: &'a str,
    /// The current repetition, from 0.
    pub repetition: u32,
    /// Time run so far in this call, ns.
    pub done_ns: u64,
    /// Time to run in this call, ns.
    pub total_ns: u64,
}

impl Lab<'_> {
    /// Runs the repetitions missing in `out`, all arms of one repetition before
    /// the next. Returns the numbers and, over the repetitions of this call, the
    /// worst precision.
    ///
    /// # Errors
    /// Traffic or an arm that the lab cannot run, found before anything starts; a
    /// program that fails. Finished repetitions are kept.
    pub fn run(&self, out: &Path) -> Result<(Summary, Precision), LabError> {
        self.check()?;
        clean()?;
        let policies = Policies::load(self.scenario, &EngineOptions::default())?;
        let facts = self.facts(policies.facts(self.scenario));
        let dir = ResultDir::create(out, facts, self.force)?;
        let missing: Vec<(u32, &Arm)> = (0..self.scenario.repetitions)
            .flat_map(|repetition| self.scenario.arms.iter().map(move |arm| (repetition, arm)))
            .filter(|(repetition, arm)| !dir.is_finished(&arm.name, *repetition))
            .collect();
        let duration_ns = self.scenario.duration_ns;
        let mut worst = Precision::default();
        for (done, (repetition, arm)) in (0..).zip(&missing) {
            let progress = |now_ns: u64| {
                (self.progress)(Progress {
                    arm: &arm.name,
                    repetition: *repetition,
                    done_ns: done * duration_ns + now_ns,
                    total_ns: missing.len() as u64 * duration_ns,
                });
            };
            let job = Job {
                scenario: self.scenario,
                arm,
                repetition: *repetition,
                host: self.host,
                daemon: self.daemon.as_deref(),
                program: &self.program,
                cancel: self.cancel,
                progress: &progress,
            };
            if let Some(precision) = job.run(&dir)? {
                worst.dropped_before += precision.dropped_before;
                worst.late_p99_us = worst.late_p99_us.max(precision.late_p99_us);
            }
            if self.cancel.load(Ordering::Relaxed) {
                break;
            }
        }
        dir.write_pending()?;
        Ok((dir.summary(), worst))
    }

    /// Checks everything that the lab cannot run.
    fn check(&self) -> Result<(), LabError> {
        let plan = Plan::draw(self.scenario, self.scenario.repetition_seed(0));
        senders(self.scenario, &plan, self.host)?;
        for arm in &self.scenario.arms {
            let refused = |reason| LabError::Arm {
                arm: arm.name.clone(),
                reason,
            };
            if !arm.script.is_empty() {
                return Err(refused("the lab does not support `script`; remove the arm"));
            }
            if arm.control.is_some() && self.daemon.is_none() {
                return Err(refused(
                    "no l4sllmd next to this program or in PATH; give its path with --daemon",
                ));
            }
        }
        Ok(())
    }

    /// The facts of a result that was measured, not emulated.
    fn facts(&self, mut facts: Facts) -> Facts {
        for arm in &mut facts.arms {
            arm.set_latency_ns = None;
        }
        facts.lab = Some(LabFacts {
            kernel: self.host.kernel.clone(),
            iperf: self.host.iperf.clone(),
            machines: None,
        });
        facts
    }
}

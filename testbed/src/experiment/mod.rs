//! Runs all arms and repetitions of a scenario into a result directory.

mod error;
mod measure;
mod policies;
mod progress;

pub use error::ExperimentError;
pub(crate) use measure::measure;
pub use policies::Policies;
pub use progress::Progress;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::capture::{About, EmulatorCapture};
use crate::result::{ResultDir, Rows, Summary};
use crate::scenario::{Arm, Latency, Scenario};
use crate::sim::Simulation;
use crate::workers;
use l4sllm_model::EngineOptions;
use measure::EVENTS;
use progress::Meter;

/// Options of a run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads; 0: one per core. If decision latency is measured, only one is
    /// used, because concurrent runs would disturb it.
    pub threads: usize,
    /// The engine of the arms' policies.
    pub engine: &'a EngineOptions,
    /// Replace another result in the directory.
    pub force: bool,
    /// Set to stop: finished repetitions are kept, others are discarded.
    pub cancel: &'a AtomicBool,
    /// File for a capture of the only repetition to run; see [`crate::capture`].
    pub capture: Option<&'a File>,
    /// Called with the progress, from any thread, a few hundred times per run.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// Runs the repetitions missing in `out`, all arms of one repetition before the
/// next, and writes each as it ends. After a cancellation the summary is marked
/// as incomplete; a later call continues it.
///
/// # Errors
/// A policy cannot be loaded, a run's accounting is violated, a directory or the
/// capture cannot be written, or there is a capture but not exactly one repetition
/// to run. Finished repetitions are kept.
pub fn run(
    scenario: &Scenario,
    out: &Path,
    options: Options<'_>,
) -> Result<Summary, ExperimentError> {
    let policies = Policies::load(scenario, options.engine)?;
    let dir = ResultDir::create(out, policies.facts(scenario), options.force)?;
    let jobs: Vec<(&Arm, u32)> = jobs(scenario)
        .filter(|(arm, repetition)| !dir.is_finished(&arm.name, *repetition))
        .collect();
    if options.capture.is_some() && jobs.len() != 1 {
        return Err(ExperimentError::CaptureRuns { runs: jobs.len() });
    }
    let meter = Meter::new(jobs.len(), scenario.duration_ns, options.progress);
    let threads = match options.threads {
        // Concurrent runs would affect each other's measurements.
        _ if is_measured(scenario) => 1,
        threads => threads,
    };
    let outcome = workers::run(
        threads,
        &jobs,
        |(arm, repetition)| -> Result<_, ExperimentError> {
            if options.cancel.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let job = Job {
                scenario,
                arm,
                repetition: *repetition,
                capture: options.capture,
            };
            job.run(&policies, &dir, options.cancel, &meter)?;
            Ok(true)
        },
    );
    // Also after a failed or cancelled run.
    dir.write_pending()?;
    outcome?;
    Ok(dir.summary())
}

/// Every repetition of every arm, in execution order: all arms of one
/// repetition, then those of the next, so that an interrupted run can be
/// compared.
fn jobs(scenario: &Scenario) -> impl Iterator<Item = (&Arm, u32)> {
    (0..scenario.repetitions)
        .flat_map(|repetition| scenario.arms.iter().map(move |arm| (arm, repetition)))
}

/// One repetition of one arm.
struct Job<'a> {
    scenario: &'a Scenario,
    arm: &'a Arm,
    repetition: u32,
    capture: Option<&'a File>,
}

impl Job<'_> {
    /// Emulates and writes it; none if cancelled.
    fn run(
        &self,
        policies: &Policies,
        dir: &ResultDir,
        cancel: &AtomicBool,
        meter: &Meter<'_>,
    ) -> Result<(), ExperimentError> {
        let (scenario, arm) = (self.scenario, self.arm);
        let failed = |source| ExperimentError::Run {
            arm: arm.name.clone(),
            repetition: self.repetition,
            source,
        };
        let seed = scenario.repetition_seed(self.repetition);
        let engine = policies.engine(arm, seed);
        let simulation = Simulation::new(scenario, arm, self.repetition, engine);
        let mut simulation = simulation.map_err(failed)?;
        if let Some(file) = self.capture {
            simulation.capture(self.begin_capture(file, seed)?);
        }
        let (window, flows) = (simulation.window(), simulation.reported());
        let mut writer = dir.begin(&arm.name, self.repetition, window, flows)?;
        let step_ns = (scenario.duration_ns / STEPS).max(1);
        while simulation.now() + 1 < scenario.duration_ns {
            let before = simulation.now();
            while !simulation
                .run_some(before + step_ns, EVENTS)
                .map_err(failed)?
            {
                if cancel.load(Ordering::Relaxed) {
                    return Ok(());
                }
                writer.add(&simulation.take_rows())?;
            }
            if cancel.load(Ordering::Relaxed) {
                return Ok(());
            }
            meter.advance(simulation.now() - before);
        }
        simulation.run_until(scenario.duration_ns).map_err(failed)?;
        if let Some(capture) = simulation.end_capture() {
            capture.finish().map_err(ExperimentError::Capture)?;
        }
        let run = simulation.finish().map_err(failed)?;
        writer.add(&Rows {
            packets: run.packets,
            flows: run.flows,
            decisions: run.decisions,
            set_points: run.set_points,
        })?;
        dir.finish(&arm.name, self.repetition, writer, &run.meta)?;
        meter.finished();
        Ok(())
    }

    fn begin_capture(&self, file: &File, seed: u64) -> Result<EmulatorCapture, ExperimentError> {
        let (scenario, arm) = (&self.scenario.name, &self.arm.name);
        let comment = format!(
            "emulated: scenario {scenario}, arm {arm}, repetition {}, seed {seed}; \
             virtual time from 1970-01-01 00:00 UTC",
            self.repetition
        );
        let about = About {
            interface: arm,
            discipline: self.arm.aqm.name(),
            comment: &comment,
        };
        let out = file.try_clone();
        out.and_then(|out| EmulatorCapture::begin(out, about))
            .map_err(ExperimentError::Capture)
    }
}

/// Number of progress reports per repetition.
const STEPS: u64 = 200;

fn is_measured(scenario: &Scenario) -> bool {
    let mut controls = scenario.arms.iter().filter_map(|arm| arm.control.as_ref());
    controls.any(|control| control.latency == Latency::Measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_abi::Params;

    /// An interrupted run can be compared.
    #[test]
    fn arms_are_interleaved() {
        let mut scenario = Scenario::new("s", 8_000_000, 10_000_000);
        scenario.repetitions = 2;
        scenario.arms = ["a", "b"]
            .map(|name| Arm::dualpi2(name, Params::default()))
            .to_vec();
        let order: Vec<(&str, u32)> = jobs(&scenario)
            .map(|(arm, repetition)| (arm.name.as_str(), repetition))
            .collect();
        assert_eq!(order, [("a", 0), ("b", 0), ("a", 1), ("b", 1)]);
    }
}

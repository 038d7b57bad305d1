//! Arms times repetitions: runs a scenario into a result directory.

mod error;
mod policies;
mod progress;

pub use error::ExperimentError;
pub use policies::Policies;
pub use progress::Progress;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use l4sllm_model::EngineOptions;
use rayon::prelude::*;

use crate::result::{ResultDir, Run, Summary};
use crate::scenario::{Arm, Latency, Scenario};
use crate::sim::Simulation;
use progress::Meter;

/// How to run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads; 0: one a core. One alone is used where decision latency is
    /// measured, since runs beside each other would disturb it.
    pub threads: usize,
    /// What runs the arms' policies.
    pub engine: &'a EngineOptions,
    /// Replace another result in the directory.
    pub force: bool,
    /// Set to stop: finished repetitions stay, the others are dropped.
    pub cancel: &'a AtomicBool,
    /// Called with the progress, from any thread, a few hundred times a run.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// Runs what `out` does not hold yet and writes each repetition as it ends.
/// After a cancellation the summary says that it is not complete; a later call
/// goes on with it.
///
/// # Errors
/// A policy that does not load, a run whose accounting does not hold, or a
/// directory that cannot be written. Repetitions that were finished stay.
pub fn run(
    scenario: &Scenario,
    out: &Path,
    options: Options<'_>,
) -> Result<Summary, ExperimentError> {
    let policies = Policies::load(scenario, options.engine)?;
    let dir = ResultDir::create(out, policies.facts(scenario), options.force)?;
    let jobs: Vec<(&Arm, u32)> = (0..scenario.repetitions)
        .flat_map(|repetition| scenario.arms.iter().map(move |arm| (arm, repetition)))
        .filter(|(arm, repetition)| !dir.is_finished(&arm.name, *repetition))
        .collect();
    let meter = Meter::new(jobs.len(), scenario.duration_ns, options.progress);
    let work = |(arm, repetition): &(&Arm, u32)| -> Result<(), ExperimentError> {
        let Some(run) = repeat(
            scenario,
            arm,
            *repetition,
            &policies,
            options.cancel,
            &meter,
        )?
        else {
            return Ok(());
        };
        dir.add(&arm.name, *repetition, &run)?;
        meter.finished();
        Ok(())
    };
    let threads = if is_measured(scenario) {
        1
    } else {
        options.threads
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    pool.install(|| jobs.par_iter().with_max_len(1).try_for_each(work))?;
    Ok(dir.summary())
}

/// One repetition of one arm; none if cancelled.
fn repeat(
    scenario: &Scenario,
    arm: &Arm,
    repetition: u32,
    policies: &Policies,
    cancel: &AtomicBool,
    meter: &Meter<'_>,
) -> Result<Option<Run>, ExperimentError> {
    let failed = |source| ExperimentError::Run {
        arm: arm.name.clone(),
        repetition,
        source,
    };
    let seed = scenario.repetition_seed(repetition);
    let engine = policies.engine(arm, seed);
    let mut simulation = Simulation::new(scenario, arm, repetition, engine).map_err(failed)?;
    let step_ns = (scenario.duration_ns / STEPS).max(1);
    while simulation.now() + 1 < scenario.duration_ns {
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let before = simulation.now();
        simulation.run_until(before + step_ns).map_err(failed)?;
        meter.advance(simulation.now() - before);
    }
    simulation.finish().map(Some).map_err(failed)
}

/// How often a repetition looks at `cancel` and tells its progress.
const STEPS: u64 = 200;

fn is_measured(scenario: &Scenario) -> bool {
    let mut controls = scenario.arms.iter().filter_map(|arm| arm.control.as_ref());
    controls.any(|control| control.latency == Latency::Measured)
}

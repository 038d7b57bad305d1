//! One repetition of one arm in memory, for callers that need only its numbers.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::control::EngineFactory;
use crate::result::{Recorder, Samples};
use crate::scenario::{Arm, Scenario};
use crate::sim::{SimError, Simulation};

/// Number of events between two checks of `cancel`, and of rows kept of them:
/// about ten milliseconds.
pub(super) const EVENTS: usize = 1 << 16;

/// Emulates repetition `repetition` of `arm`; none if cancelled. Rows are
/// summarised as they arrive, so memory does not grow with the duration.
///
/// # Errors
/// As [`Simulation::new`] and [`Simulation::finish`].
pub(crate) fn measure(
    scenario: &Scenario,
    arm: &Arm,
    repetition: u32,
    engine: Option<EngineFactory>,
    cancel: &AtomicBool,
) -> Result<Option<Samples>, SimError> {
    let mut simulation = Simulation::new(scenario, arm, repetition, engine)?;
    let mut recorder = Recorder::new(simulation.window(), simulation.reported());
    while !simulation.run_some(scenario.duration_ns, EVENTS)? {
        let rows = simulation.take_rows();
        recorder.packets(&rows.packets);
        recorder.decisions(&rows.decisions);
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    let run = simulation.finish()?;
    recorder.packets(&run.packets);
    recorder.decisions(&run.decisions);
    Ok(Some(recorder.finish(&run.meta)))
}

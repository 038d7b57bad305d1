//! The daemon is ten times too slow: it runs for a tenth of the time.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::bench::Bench;
use super::{Outcome, PATIENCE};
use crate::LabError;

/// Time that the daemon is stopped for in each turn: longer than an override
/// lives, so that the queue must become plain.
const STOPS: Duration = Duration::from_millis(1800);
/// Time that it runs for.
const WORKS: Duration = Duration::from_millis(200);
const TURNS: u32 = 5;

/// Stops and continues the daemon. In each turn, the queue must be plain before
/// the daemon continues.
///
/// # Errors
/// The daemon, the device or the host does not respond in time.
pub fn drill(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let before = bench.received()?;
    let mut worst_ms = 0.0f64;
    for _ in 0..TURNS {
        let stopped = Instant::now();
        bench.fail(|bench| bench.signal(Signal::STOP))?;
        worst_ms = worst_ms.max(bench.wait_plain()?);
        bench.watch_for(STOPS.saturating_sub(stopped.elapsed()))?;
        bench.heal(|bench| bench.signal(Signal::CONT))?;
        bench.watch_for(WORKS)?;
    }
    outcome.plain_ms = Some(worst_ms);
    let decisions = bench.received()? - before;
    if decisions == 0 {
        let fault = "the slow daemon decided nothing".to_owned();
        outcome.faults.push(fault);
    }
    outcome.recovered_ms = Some(bench.wait_steered(PATIENCE)?);
    Ok(())
}

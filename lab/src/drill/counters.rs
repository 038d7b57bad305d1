//! Another program reads the device's counters all the time, on a busy host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use l4sllmd::clock::now_ns;

use super::bench::Bench;
use super::{Outcome, UNSHAKEN, watch_unshaken};
use crate::LabError;

/// Longest time between two packets, ms. Readers of counters hold locks that the
/// packet path needs, for microseconds; the rest is for a busy host.
const MOST_GAP_MS: f64 = 250.0;

/// Reads all counters at each look, every 10 ms, while every processor is busy.
///
/// # Errors
/// The daemon, the device or the host does not respond in time.
pub fn drill(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let mut reader = bench.reader()?;
    let _busy = Busy::start()?;
    bench.fail(|_| Ok(()))?;
    let until = Instant::now() + UNSHAKEN * 2;
    bench.wait_for("the readings", UNSHAKEN * 4, |_| {
        for _ in 0..READINGS {
            reader.stats(now_ns())?;
            reader.queues(now_ns())?;
        }
        Ok(Instant::now() >= until)
    })?;
    let gap_ms = bench.worst_gap_ms();
    if gap_ms > MOST_GAP_MS {
        outcome.faults.push(format!(
            "no packet for {gap_ms:.0} ms while counters are read"
        ));
    }
    watch_unshaken(bench, outcome)
}

/// Readings at each look: `status`, `top`, an exporter and `doctor`, with a margin.
const READINGS: u32 = 16;

/// Threads that use all processors.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start() -> Result<Busy, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut busy = Busy {
            stop: Arc::clone(&stop),
            threads: Vec::new(),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..2 * processors {
            let stop = Arc::clone(&stop);
            let spin = move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            let thread = std::thread::Builder::new().name("busy".to_owned());
            let thread = thread.spawn(spin);
            let thread = thread.map_err(LabError::system("start a busy thread"))?;
            busy.threads.push(thread);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

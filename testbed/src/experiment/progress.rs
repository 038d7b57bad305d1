//! Progress of an experiment.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Progress of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Virtual time emulated in this call, ns, over all repetitions.
    pub done_ns: u64,
    /// Virtual time to emulate in this call, ns.
    pub total_ns: u64,
    /// Repetitions finished in this call.
    pub finished: usize,
    /// Repetitions to run in this call.
    pub repetitions: usize,
}

/// Adds up the progress of repetitions that run at the same time.
pub(super) struct Meter<'a> {
    done_ns: AtomicU64,
    finished: AtomicUsize,
    total_ns: u64,
    repetitions: usize,
    report: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Meter<'a> {
    pub(super) fn new(
        repetitions: usize,
        duration_ns: u64,
        report: &'a (dyn Fn(Progress) + Sync),
    ) -> Meter<'a> {
        Meter {
            done_ns: AtomicU64::new(0),
            finished: AtomicUsize::new(0),
            total_ns: duration_ns * repetitions as u64,
            repetitions,
            report,
        }
    }

    pub(super) fn advance(&self, by_ns: u64) {
        self.done_ns.fetch_add(by_ns, Ordering::Relaxed);
        self.tell();
    }

    pub(super) fn finished(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        (self.report)(Progress {
            done_ns: self.done_ns.load(Ordering::Relaxed),
            total_ns: self.total_ns,
            finished: self.finished.load(Ordering::Relaxed),
            repetitions: self.repetitions,
        });
    }
}

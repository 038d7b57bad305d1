//! Counters of a server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the sizes of batches that are counted, windows.
pub const BATCH_BOUNDS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Counters since the start.
///
/// Always true: `windows = decided + failed + cancelled + waiting`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// Requests for decisions, whatever their outcome.
    pub requests: u64,
    /// Requests without a valid token.
    pub unauthenticated: u64,
    /// Requests with wrong names, shapes or values.
    pub invalid: u64,
    /// Requests refused because too many windows or bytes waited.
    pub overloaded: u64,
    /// Windows accepted.
    pub windows: u64,
    /// Windows decided on.
    pub decided: u64,
    /// Windows for which the policy's engine failed.
    pub failed: u64,
    /// Windows whose requests had ended before they were computed.
    pub cancelled: u64,
    /// Windows that wait or are computed.
    pub waiting: u64,
    /// Bytes charged to the requests that are received, wait or are computed.
    pub waiting_bytes: u64,
    /// Open connections.
    pub connections: u64,
    /// Batches computed.
    pub batches: u64,
    /// Batches with at most [`BATCH_BOUNDS`] windows, and the larger ones.
    pub sizes: [u64; BATCH_BOUNDS.len() + 1],
    /// Time spent computing.
    pub busy: Duration,
}

impl Counters {
    /// Counts a computed batch.
    pub(super) fn batch(&mut self, windows: usize, took: Duration) {
        self.batches += 1;
        self.busy += took;
        let bounds = BATCH_BOUNDS.iter();
        let place = bounds.take_while(|most| windows as u64 > **most).count();
        self.sizes[place] += 1;
    }

    /// Both sides of the identity, if they differ.
    pub fn imbalance(&self) -> Option<(u64, u64)> {
        let right = self.decided + self.failed + self.cancelled + self.waiting;
        (self.windows != right).then_some((self.windows, right))
    }
}

/// Shared between the service and the thread that computes.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedCounters(Arc<Mutex<Counters>>);

impl SharedCounters {
    pub(super) fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self) -> Counters {
        *self.lock()
    }
}

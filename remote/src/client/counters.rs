//! Counters of a client.

use std::sync::Arc;

use super::Shared;
use super::connection::CallError;

/// Counters since the start.
///
/// Always true: `requests = answered + late + invalid + failed + abandoned + waiting`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests sent.
    pub requests: u64,
    /// Valid answers in time.
    pub answered: u64,
    /// Valid answers after their deadline, dropped.
    pub late: u64,
    /// Invalid answers: missing or wrong tensors, or values that are not finite.
    pub invalid: u64,
    /// Requests that ended with an error of the server or the connection.
    pub failed: u64,
    /// Requests cancelled without an answer.
    pub abandoned: u64,
    /// Requests in flight.
    pub waiting: u64,
    /// Deadlines missed, whatever became of the request.
    pub missed: u64,
    /// Decisions for which no request was sent: no connection, a short window, or the
    /// instance's previous request in flight.
    pub unsent: u64,
    /// Connections made, with metadata that fits.
    pub connects: u64,
    /// Failed attempts to connect.
    pub refused: u64,
}

impl Counters {
    /// Both sides of the identity, if they differ.
    pub fn imbalance(&self) -> Option<(u64, u64)> {
        let ended = self.answered + self.late + self.invalid + self.failed + self.abandoned;
        let right = ended + self.waiting;
        (self.requests != right).then_some((self.requests, right))
    }
}

/// Counts the end of one request: as abandoned if it is dropped.
pub(super) struct Count {
    shared: Arc<Shared>,
    is_ended: bool,
}

impl Count {
    pub(super) fn start(shared: Arc<Shared>) -> Count {
        {
            let mut counters = shared.counters();
            counters.requests += 1;
            counters.waiting += 1;
        }
        Count {
            shared,
            is_ended: false,
        }
    }

    pub(super) fn answered(self) {
        self.end(|counters| counters.answered += 1);
    }

    pub(super) fn late(self) {
        self.end(|counters| counters.late += 1);
    }

    pub(super) fn failed(self, error: &CallError) {
        self.end(|counters| match error {
            CallError::Answer(_) => counters.invalid += 1,
            CallError::Status(status) if CallError::is_answer(status) => counters.invalid += 1,
            CallError::Status(_) | CallError::Silent => counters.failed += 1,
        });
    }

    fn end(mut self, count: impl FnOnce(&mut Counters)) {
        self.is_ended = true;
        let mut counters = self.shared.counters();
        counters.waiting -= 1;
        count(&mut counters);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if !self.is_ended {
            let mut counters = self.shared.counters();
            counters.waiting -= 1;
            counters.abandoned += 1;
        }
    }
}

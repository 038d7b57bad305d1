//! A request in flight, as its sender sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use l4sllm_model::Outputs;
use tokio::task::JoinHandle;

use super::Shared;

/// How far a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Progress {
    /// Its answer may still arrive in time.
    #[default]
    Waiting,
    /// Its deadline has passed; an answer will be dropped.
    Overdue,
    /// The answer arrived in time.
    Answered(Outputs),
    /// It ended without an answer in time.
    Ended,
}

/// Shared between the request's task and its ticket.
#[derive(Debug, Clone, Default)]
pub(super) struct State(Arc<Mutex<Progress>>);

impl State {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the time for an answer; false if it had ended.
    pub(super) fn expire(&self) -> bool {
        let mut progress = self.lock();
        let was_waiting = *progress == Progress::Waiting;
        if was_waiting {
            *progress = Progress::Overdue;
        }
        was_waiting
    }

    /// Records an answer; false if it is too late.
    pub(super) fn answer(&self, outputs: Outputs) -> bool {
        let mut progress = self.lock();
        let in_time = *progress == Progress::Waiting;
        *progress = match in_time {
            true => Progress::Answered(outputs),
            false => Progress::Ended,
        };
        in_time
    }

    /// Records the end without an answer.
    pub(super) fn end(&self) {
        *self.lock() = Progress::Ended;
    }
}

/// A request in flight. Dropping it cancels the request.
pub struct Ticket {
    state: State,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Ticket {
    pub(super) fn new(state: State, task: JoinHandle<()>, shared: Arc<Shared>) -> Ticket {
        Ticket {
            state,
            task,
            shared,
        }
    }

    /// Its progress, without waiting.
    pub fn progress(&self) -> Progress {
        // Before the state, which is final once the task has ended.
        let ended = self.task.is_finished();
        let progress = *self.state.lock();
        match progress {
            // The client's thread has ended.
            Progress::Waiting | Progress::Overdue if ended => Progress::Ended,
            progress => progress,
        }
    }

    /// Ends the time for an answer before its deadline.
    pub fn expire(&self) {
        if self.state.expire() {
            self.shared.counters().missed += 1;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

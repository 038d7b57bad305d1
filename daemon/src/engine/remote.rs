//! An engine that asks a server for its decisions.
//!
//! The window is built here, as by a policy's own session, and sent when an interval
//! ends; the answer becomes the decision on that interval. Limits, set-points and
//! the chosen action come from the local configuration, so a server can only move
//! them within it.
//!
//! Each scheduler instance has at most one request in flight. An answer after the
//! next interval has no use, so more requests would only add load to a server that is
//! already too slow; and the instances are independent, so a common bound would let
//! one of them starve the others.

use std::sync::Arc;
use std::time::Duration;

use l4sllm_abi::{Queue, Record, Summary};
use l4sllm_model::{Chooser, IdleBudget, Outputs, PolicyConfig, Window, WindowSession};
use l4sllm_remote::client::{Client, Progress, Ticket};

use super::policy::{on_record, on_summary};
use super::{Decision, Engine, PolicyEngine};

/// Decisions of a server for one scheduler instance.
pub struct RemoteEngine {
    client: Client,
    session: WindowSession,
    chooser: Chooser,
    deadline: Duration,
    /// Decides while the server does not.
    local: Option<PolicyEngine>,
    flight: Option<Flight>,
    /// Whether the last interval had no answer in time; true until the first one.
    failed: bool,
}

/// The request in flight.
struct Flight {
    ticket: Ticket,
    /// The queue of the record that it is based on; none for a summary.
    queue: Option<Queue>,
    /// The local policy's decision, if the answer does not arrive in time.
    local: Option<Decision>,
    /// Whether an answer would still be in time.
    is_open: bool,
}

impl RemoteEngine {
    /// Asks a server for decisions of the policy with this configuration after every
    /// `interval` records or, for a policy on summaries, after each of its periods.
    /// An answer counts only within `deadline`, and before the next interval ends.
    /// `seed` is used by policies that draw their actions at random.
    pub fn new(
        client: Client,
        config: Arc<PolicyConfig>,
        interval: usize,
        deadline: Duration,
        seed: u64,
    ) -> RemoteEngine {
        RemoteEngine {
            client,
            chooser: Chooser::new(config.decision_rule, seed),
            session: WindowSession::new(config, interval),
            deadline,
            local: None,
            flight: None,
            failed: true,
        }
    }

    /// Decides with this policy, with the same interval or period, while the server
    /// does not.
    #[must_use]
    pub fn with_local(mut self, local: Option<PolicyEngine>) -> RemoteEngine {
        self.local = local;
        self
    }

    /// Sends the window of an interval. Returns the local decision if the server's
    /// is not to be expected.
    fn ask(
        &mut self,
        window: &Window,
        queue: Option<Queue>,
        local: Option<Decision>,
    ) -> Option<Decision> {
        if let Some(flight) = &mut self.flight {
            // An interval that ends is also a deadline.
            flight.ticket.expire();
            match flight.ticket.progress() {
                Progress::Waiting | Progress::Overdue => {
                    flight.is_open = false;
                    self.failed = true;
                    self.client.count_unsent();
                    return local;
                }
                Progress::Ended => self.failed |= flight.is_open,
                Progress::Answered(_) => self.failed = false,
            }
        }
        self.flight = None;
        let Some(ticket) = self.client.submit(window, self.deadline) else {
            self.failed = true;
            return local;
        };
        // After a failure the local decision does not wait for the server's, which
        // replaces it if it arrives.
        let (now, later) = match self.failed {
            true => (local, None),
            false => (None, local),
        };
        self.flight = Some(Flight {
            ticket,
            queue,
            local: later,
            is_open: true,
        });
        now
    }

    fn decide(&mut self, queue: Option<Queue>, outputs: &Outputs) -> Option<Decision> {
        let config = self.session.config();
        match queue {
            Some(queue) => {
                let [enqueue, drop, mark, ..] = *outputs;
                on_record(config, &mut self.chooser, queue, [enqueue, drop, mark])
            }
            None => on_summary(config, outputs),
        }
    }
}

impl Engine for RemoteEngine {
    fn observe(&mut self, record: &Record) -> Option<Decision> {
        let local = self.local.as_mut().and_then(|local| local.observe(record));
        let window = self.session.observe(record)?;
        self.ask(&window, Some(record.queue()), local)
    }

    fn skip(&mut self, record: &Record, ahead: u32) {
        self.session.skip(record, ahead);
        if let Some(local) = &mut self.local {
            local.skip(record, ahead);
        }
    }

    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        let local = self.local.as_mut();
        let local = local.and_then(|local| local.observe_summary(summary));
        let window = self.session.observe_summary(summary)?;
        self.ask(&window, None, local)
    }

    fn ready(&mut self) -> Option<Decision> {
        let flight = self.flight.as_mut()?;
        match flight.ticket.progress() {
            Progress::Waiting => None,
            Progress::Overdue => {
                // It stays in flight until it ends, so that no other is sent.
                self.failed |= flight.is_open;
                flight.is_open = false;
                flight.local.take()
            }
            Progress::Ended => {
                self.failed |= flight.is_open;
                self.flight.take()?.local
            }
            Progress::Answered(outputs) => {
                let queue = flight.queue;
                self.flight = None;
                self.failed = false;
                self.decide(queue, &outputs)
            }
        }
    }

    fn is_waiting(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.is_open)
    }

    fn has_failed(&self) -> bool {
        self.failed
    }

    fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.session.set_idle_budget(budget);
        if let Some(local) = &mut self.local {
            local.set_idle_budget(budget);
        }
    }

    fn reset(&mut self) {
        self.session.reset();
        self.chooser.reset();
        // Its window does not continue.
        self.flight = None;
        if let Some(local) = &mut self.local {
            local.reset();
        }
    }
}

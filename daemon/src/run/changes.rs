//! Changes of configuration and engine, one at a time.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::orders::Order;
use super::reload::{Applied, Reload};
use crate::config::Config;
use crate::control::{Choice, Switch};
use crate::error::Error;
use crate::files::Files;

type Answer = oneshot::Sender<Result<(), String>>;

/// Reloads and selections of engines, one at a time. Those that arrive in the
/// meantime are combined into the next one: the last selection counts.
#[derive(Debug, Default)]
pub(super) struct Changes {
    reload: Reload,
    /// Whether the change in progress reads the configuration again.
    rereads: bool,
    answers: Vec<Answer>,
    next: Next,
}

#[derive(Debug, Default)]
struct Next {
    rereads: bool,
    choice: Option<Choice>,
    answers: Vec<Answer>,
}

/// A change that has ended.
pub(super) struct Outcome {
    /// Whether it read the configuration again.
    pub(super) rereads: bool,
    pub(super) result: Result<Applied, Error>,
    answers: Vec<Answer>,
}

impl Outcome {
    /// Sends the result to the clients that requested the change.
    pub(super) fn answer(self) {
        let result = self.result.map(|_| ()).map_err(|error| error.to_string());
        for answer in self.answers {
            // The client may have disconnected.
            let _ = answer.send(result.clone());
        }
    }
}

impl Changes {
    /// Asks for the configuration to be read again.
    pub(super) fn reload(&mut self) {
        self.next.rereads = true;
    }

    /// Asks for another engine.
    pub(super) fn select(&mut self, switch: Switch) {
        self.next.choice = Some(switch.choice);
        self.next.answers.push(switch.answer);
    }

    /// Starts the requested change, unless one is in progress.
    pub(super) fn start(
        &mut self,
        path: &Path,
        files: &Arc<Files>,
        before: &Config,
        choice: Choice,
    ) {
        let asked = self.next.rereads || self.next.choice.is_some();
        if self.reload.is_under_way() || !asked {
            return;
        }
        let next = std::mem::take(&mut self.next);
        let read = next.rereads.then_some(path);
        self.reload = Reload::start(read, files, before, next.choice.unwrap_or(choice));
        self.rereads = next.rereads;
        self.answers = next.answers;
    }

    /// Waits for the change in progress; forever without one. Cancel safe.
    pub(super) async fn finish(&mut self, orders: &mpsc::Sender<Order>) -> Outcome {
        let result = self.reload.finish(orders).await;
        Outcome {
            rereads: self.rereads,
            result,
            answers: std::mem::take(&mut self.answers),
        }
    }
}

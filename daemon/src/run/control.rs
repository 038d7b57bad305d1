//! External inputs: signals and status requests.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::status::Question;

pub(super) struct Control {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    questions: mpsc::Receiver<Question>,
}

pub(super) enum Command {
    Reload,
    Stop(&'static str),
    Tell(Question),
}

impl Control {
    /// Listens for signals. `hangup` is an existing listener for SIGHUP.
    pub(super) fn new(
        questions: mpsc::Receiver<Question>,
        hangup: Option<Signal>,
    ) -> Result<Control, Error> {
        let listen = |kind| signal(kind).map_err(Error::Signals);
        Ok(Control {
            hangup: hangup.map_or_else(|| listen(SignalKind::hangup()), Ok)?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            questions,
        })
    }

    /// Waits for the next command. Cancel safe.
    pub(super) async fn next(&mut self) -> Command {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Command::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Command::Stop("SIGINT"),
            _ = self.hangup.recv() => Command::Reload,
            // `None` is impossible: Daemon::run keeps a sender.
            Some(question) = self.questions.recv() => Command::Tell(question),
        }
    }
}

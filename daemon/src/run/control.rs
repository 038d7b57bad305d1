//! External inputs: signals, status requests and selections of engines.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::Switch;
use crate::error::Error;
use crate::status::Question;

pub(super) struct Control {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    questions: mpsc::Receiver<Question>,
    switches: mpsc::Receiver<Switch>,
}

pub(super) enum Command {
    Reload,
    Stop(&'static str),
    Tell(Question),
    Select(Switch),
}

impl Control {
    /// Listens for signals. `hangup` is an existing listener for SIGHUP.
    pub(super) fn new(
        questions: mpsc::Receiver<Question>,
        switches: mpsc::Receiver<Switch>,
        hangup: Option<Signal>,
    ) -> Result<Control, Error> {
        let listen = |kind| signal(kind).map_err(Error::Signals);
        Ok(Control {
            hangup: hangup.map_or_else(|| listen(SignalKind::hangup()), Ok)?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            questions,
            switches,
        })
    }

    /// Waits for the next command. Cancel safe.
    pub(super) async fn next(&mut self) -> Command {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Command::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Command::Stop("SIGINT"),
            _ = self.hangup.recv() => Command::Reload,
            // `None` is impossible: Daemon::run keeps senders.
            Some(switch) = self.switches.recv() => Command::Select(switch),
            Some(question) = self.questions.recv() => Command::Tell(question),
        }
    }
}

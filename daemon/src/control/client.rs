//! Client of the control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::Choice;

/// Time for an answer: a policy may have to be loaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Maximum size of an answer, bytes.
const MOST: u64 = 4096;

/// Why an engine was not selected.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The daemon refused, and nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// There is no answer.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Selects the engine of a running daemon. Returns once it is in force.
///
/// # Errors
/// There is no listener on the socket, no answer, or the daemon refuses.
pub fn select(socket: &Path, choice: Choice) -> Result<(), ControlError> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("engine {}\n", choice.name()).as_bytes())?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer)?;
    match answer.trim_end() {
        "ok" => Ok(()),
        other => match other.strip_prefix("error: ") {
            Some(reason) => Err(ControlError::Refused(reason.to_owned())),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "expected the reply `ok` or `error: REASON`",
            )
            .into()),
        },
    }
}

//! Server of the control socket.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use l4sllm_model::accept::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::Choice;
use crate::config::ControlConfig;
use crate::files::Files;
use crate::os_error::explain;
use crate::unix_socket::UnixSocket;

/// A selection, and where its result goes.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) choice: Choice,
    pub(crate) answer: oneshot::Sender<Result<(), String>>,
}

/// Maximum number of concurrent connections; further ones wait.
const CONNECTIONS: usize = 4;

/// Time for a client to send its line, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Maximum length of a line, bytes.
const MAX_LINE: usize = 64;

/// The control socket; its file is removed on drop.
pub(crate) struct ControlSocket {
    socket: UnixSocket,
    task: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Starts listening. A stale socket is replaced; any other file, including a
    /// symbolic link, is an error.
    pub(crate) async fn open(
        config: &ControlConfig,
        files: Arc<Files>,
        switches: mpsc::Sender<Switch>,
    ) -> io::Result<ControlSocket> {
        let (socket, listener) = UnixSocket::open(&config.socket, config.mode, files).await?;
        let task = tokio::spawn(serve(listener, switches));
        Ok(ControlSocket { socket, task })
    }
}

impl AsRawFd for ControlSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: UnixListener, switches: mpsc::Sender<Switch>) {
    let mut connections = Acceptor::new(listener, CONNECTIONS, |error, suppressed| {
        tracing::warn!(error = %explain(error), suppressed, "control socket: cannot accept");
    });
    loop {
        let (stream, permit) = connections.next().await;
        let switches = switches.clone();
        tokio::spawn(async move {
            // The client may have disconnected.
            let _ = answer(stream, &switches).await;
            drop(permit);
        });
    }
}

async fn answer(mut stream: UnixStream, switches: &mpsc::Sender<Switch>) -> io::Result<()> {
    let line = tokio::time::timeout(PATIENCE, read_line(&mut stream)).await??;
    let result = match parse(&line) {
        Ok(choice) => ask(choice, switches).await,
        Err(reason) => Err(reason),
    };
    let text = match result {
        Ok(()) => "ok\n".to_owned(),
        Err(reason) => format!("error: {}\n", reason.replace('\n', " ")),
    };
    tokio::time::timeout(PATIENCE, stream.write_all(text.as_bytes())).await??;
    stream.shutdown().await
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut part = [0; MAX_LINE];
    while !line.contains(&b'\n') && line.len() <= MAX_LINE {
        let got = stream.read(&mut part).await?;
        if got == 0 {
            break;
        }
        line.extend_from_slice(&part[..got]);
    }
    Ok(line)
}

fn parse(line: &[u8]) -> Result<Choice, String> {
    let choice = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_suffix('\n')?.strip_prefix("engine "))
        .and_then(Choice::named);
    choice.ok_or_else(|| {
        let names = Choice::ALL.map(Choice::name).join(", ");
        format!("expected the line `engine NAME', with one of {names}")
    })
}

async fn ask(choice: Choice, switches: &mpsc::Sender<Switch>) -> Result<(), String> {
    let (answer, result) = oneshot::channel();
    let sent = switches.send(Switch { choice, answer }).await;
    match sent {
        Ok(()) => result.await.unwrap_or_else(|_| Err(ENDING.to_owned())),
        Err(_) => Err(ENDING.to_owned()),
    }
}

const ENDING: &str = "the daemon is ending";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_selects_an_engine() {
        for choice in Choice::ALL {
            let line = format!("engine {}\n", choice.name());
            assert_eq!(parse(line.as_bytes()), Ok(choice));
        }
        for wrong in [
            "",
            "\n",
            "engine\n",
            "engine tuned",
            "engine Tuned\n",
            "engine x\n",
        ] {
            let error = parse(wrong.as_bytes()).expect_err(wrong);
            assert!(error.contains("adaptive"), "{error}");
        }
        assert!(parse(&[0xff; 100]).is_err());
    }
}

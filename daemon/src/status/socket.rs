//! Server of the status socket.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use l4sllm_model::accept::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::Status;
use crate::config::StatusConfig;
use crate::files::Files;
use crate::os_error::explain;
use crate::unix_socket::UnixSocket;

/// A request to the main loop.
pub(crate) type Question = oneshot::Sender<Status>;

/// Maximum number of concurrent connections; further ones wait in the
/// listener's queue, which is also bounded.
const CONNECTIONS: usize = 16;

/// Clients that have not read the answer after this time are disconnected.
const PATIENCE: Duration = Duration::from_secs(1);

/// The status socket; its file is removed on drop.
pub(crate) struct StatusSocket {
    socket: UnixSocket,
    task: tokio::task::JoinHandle<()>,
}

impl StatusSocket {
    /// Starts listening. A stale socket is replaced; any other file, including
    /// a symbolic link, is an error.
    pub(crate) async fn open(
        config: &StatusConfig,
        files: Arc<Files>,
        questions: mpsc::Sender<Question>,
    ) -> io::Result<StatusSocket> {
        let (socket, listener) = UnixSocket::open(&config.socket, config.mode, files).await?;
        let task = tokio::spawn(serve(listener, questions));
        Ok(StatusSocket { socket, task })
    }
}

impl AsRawFd for StatusSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let mut connections = Acceptor::new(listener, CONNECTIONS, |error, suppressed| {
        tracing::warn!(error = %explain(error), suppressed, "status socket: cannot accept");
    });
    loop {
        let (mut stream, permit) = connections.next().await;
        let (question, answer) = oneshot::channel();
        if questions.send(question).await.is_err() {
            return;
        }
        let Ok(status) = answer.await else { return };
        tokio::spawn(async move {
            let mut line = serde_json::to_vec(&status).expect("plain names and numbers");
            line.push(b'\n');
            // The client may have disconnected.
            let _ = tokio::time::timeout(PATIENCE, stream.write_all(&line)).await;
            drop(permit);
        });
    }
}

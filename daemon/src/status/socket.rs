//! Server of the status socket.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Status;
use crate::config::StatusConfig;
use crate::files::Files;
use crate::logging::Throttle;
use crate::os_error::explain;

/// A request to the main loop.
pub(crate) type Question = oneshot::Sender<Status>;

/// Maximum number of concurrent connections; further ones wait in the
/// listener's queue, which is also bounded.
const CONNECTIONS: usize = 16;

/// Clients that have not read the answer after this time are disconnected.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause after a failed accept(2), until descriptors become free.
const PAUSE: Duration = Duration::from_millis(100);

/// The status socket; its file is removed on drop.
pub(crate) struct StatusSocket {
    path: PathBuf,
    /// In a sandbox, its directory is accessed without a path.
    files: Arc<Files>,
    fd: RawFd,
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
        let path = &config.socket;
        remove_abandoned(path).await?;
        let listener = UnixListener::bind(path)?;
        // Do not follow a link created in the meantime.
        let mode = Mode::from_bits_truncate(config.mode as nix::libc::mode_t);
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)?;
        let fd = listener.as_raw_fd();
        let task = tokio::spawn(serve(listener, questions));
        Ok(StatusSocket {
            path: path.clone(),
            files,
            fd,
            task,
        })
    }
}

impl AsRawFd for StatusSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = self.files.remove(&self.path);
    }
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut log = Throttle::default();
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        let mut stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(suppressed) = log.allow() {
                    tracing::warn!(error = %explain(&error), suppressed, "status socket: cannot accept");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
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

/// Removes a socket without a listener.
async fn remove_abandoned(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket exists; remove it or choose another path",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also if its queue is full, or this user may not connect.
        Ok(_) | Err(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon is listening there",
        )),
    }
}

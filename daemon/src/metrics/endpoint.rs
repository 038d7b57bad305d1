//! The metrics endpoint: a listener that answers `GET /metrics`.
//!
//! It reads the device as an observer, like `l4sllm status`, so that it never
//! waits for a decision and no decision waits for it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use l4sllm_model::accept::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::openmetrics::{CONTENT_TYPE, DeviceSnapshot, Snapshot, text};
use crate::config::DeviceConfig;
use crate::files::Files;
use crate::http::{Request, response, send};
use crate::os_error::explain;
use crate::status::Question;

/// Maximum number of concurrent connections; further ones wait.
const CONNECTIONS: usize = 8;

/// Time for a whole request, and for its answer to be read.
const PATIENCE: Duration = Duration::from_secs(2);

/// The listener; closed on drop.
pub struct Endpoint {
    fd: RawFd,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    /// Serves the metrics of another program, written by `text`.
    ///
    /// # Errors
    /// The address cannot be used.
    pub async fn serving(
        address: SocketAddr,
        text: impl Fn() -> String + Send + Sync + 'static,
    ) -> io::Result<Endpoint> {
        Endpoint::start(address, Source::Text(Box::new(text))).await
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the metrics of this daemon and its device.
    pub(crate) async fn open(
        address: SocketAddr,
        files: Arc<Files>,
        device: DeviceConfig,
        questions: mpsc::Sender<Question>,
    ) -> io::Result<Endpoint> {
        let source = Source::Daemon {
            files,
            device: DeviceConfig::observer(device.kind, device.path),
            questions,
        };
        Endpoint::start(address, source).await
    }

    async fn start(address: SocketAddr, source: Source) -> io::Result<Endpoint> {
        let listener = TcpListener::bind(address).await?;
        let fd = listener.as_raw_fd();
        let address = listener.local_addr()?;
        tracing::info!(%address, "metrics endpoint");
        let task = tokio::spawn(serve(listener, Arc::new(source)));
        Ok(Endpoint { fd, address, task })
    }
}

impl AsRawFd for Endpoint {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({})", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the numbers come from.
enum Source {
    Daemon {
        files: Arc<Files>,
        device: DeviceConfig,
        questions: mpsc::Sender<Question>,
    },
    Text(Box<dyn Fn() -> String + Send + Sync>),
}

async fn serve(listener: TcpListener, source: Arc<Source>) {
    let mut connections = Acceptor::new(listener, CONNECTIONS, |error, suppressed| {
        tracing::warn!(error = %explain(error), suppressed, "metrics endpoint: cannot accept");
    });
    loop {
        let (stream, permit) = connections.next().await;
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let _ = answer(stream, &source).await;
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, source: &Source) -> io::Result<()> {
    let request = tokio::time::timeout(PATIENCE, Request::read(&mut stream)).await??;
    let response = match asked(request.as_ref()) {
        Asked::Metrics => match source.text().await {
            Some(text) => response("200 OK", &[TYPE], &text),
            None => plain("503 Service Unavailable", "the daemon is ending\n"),
        },
        Asked::Elsewhere => plain("404 Not Found", "see /metrics\n"),
        Asked::Method => plain("405 Method Not Allowed", "only GET\n"),
        Asked::Nonsense => plain("400 Bad Request", "not HTTP/1.1\n"),
    };
    tokio::time::timeout(PATIENCE, send(stream, &response)).await?
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Metrics,
    Elsewhere,
    Method,
    Nonsense,
}

fn asked(request: Option<&Request>) -> Asked {
    let Some(request) = request else {
        return Asked::Nonsense;
    };
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/metrics") => Asked::Metrics,
        ("GET", _) => Asked::Elsewhere,
        _ => Asked::Method,
    }
}

const TYPE: (&str, &str) = ("Content-Type", CONTENT_TYPE);

fn plain(status: &str, body: &str) -> String {
    let fields = [("Content-Type", "text/plain; charset=utf-8")];
    response(status, &fields, body)
}

impl Source {
    /// `None` if the daemon is ending.
    async fn text(&self) -> Option<String> {
        let (files, config, questions) = match self {
            Source::Text(text) => return Some(text()),
            Source::Daemon {
                files,
                device,
                questions,
            } => (files, device, questions),
        };
        let (question, answer) = oneshot::channel();
        questions.send(question).await.ok()?;
        let status = answer.await.ok()?;
        let device = DeviceSnapshot::read(files, config).await.ok();
        Some(text(Snapshot { status, device }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_other_than_get_metrics_are_refused() {
        let get = |line: &str| {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            asked(Request::parse(head.as_bytes()).as_ref())
        };
        assert_eq!(get("GET /metrics HTTP/1.1"), Asked::Metrics);
        assert_eq!(get("GET /metrics?x=1 HTTP/1.0"), Asked::Metrics);
        assert_eq!(get("GET / HTTP/1.1"), Asked::Elsewhere);
        assert_eq!(get("POST /metrics HTTP/1.1"), Asked::Method);
        assert_eq!(get("nonsense"), Asked::Nonsense);
    }
}

//! The metrics endpoint: a listener that answers `GET /metrics`.
//!
//! It reads the device as an observer, like `l4sllm status`, so that it never
//! waits for a decision and no decision waits for it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::openmetrics::{CONTENT_TYPE, DeviceSnapshot, Snapshot, text};
use crate::config::DeviceConfig;
use crate::files::Files;
use crate::status::Question;

/// Maximum number of concurrent connections; further ones wait.
const CONNECTIONS: usize = 8;

/// Time for a whole request, and for its answer to be read.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause after a failed accept(2).
const PAUSE: Duration = Duration::from_millis(100);

/// Maximum size of a request's head, bytes, and its maximum number of fields.
const MAX_HEAD: usize = 8192;
const MAX_FIELDS: usize = 64;

/// The listener; closed on drop.
pub(crate) struct Endpoint {
    fd: RawFd,
    task: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    /// Starts listening.
    pub(crate) async fn open(
        address: SocketAddr,
        files: Arc<Files>,
        device: DeviceConfig,
        questions: mpsc::Sender<Question>,
    ) -> io::Result<Endpoint> {
        let listener = TcpListener::bind(address).await?;
        let fd = listener.as_raw_fd();
        tracing::info!(address = %listener.local_addr()?, "metrics endpoint");
        let source = Arc::new(Source {
            files,
            device: DeviceConfig::observer(device.kind, device.path),
            questions,
        });
        let task = tokio::spawn(serve(listener, source));
        Ok(Endpoint { fd, task })
    }
}

impl AsRawFd for Endpoint {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the numbers come from.
struct Source {
    files: Arc<Files>,
    device: DeviceConfig,
    questions: mpsc::Sender<Question>,
}

async fn serve(listener: TcpListener, source: Arc<Source>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let _ = answer(stream, &source).await;
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, source: &Source) -> io::Result<()> {
    let head = tokio::time::timeout(PATIENCE, read_head(&mut stream)).await??;
    let response = match asked(&head) {
        Asked::Metrics => match source.snapshot().await {
            Some(snapshot) => ok(&text(snapshot)),
            None => plain("503 Service Unavailable", "the daemon is ending\n"),
        },
        Asked::Elsewhere => plain("404 Not Found", "see /metrics\n"),
        Asked::Method => plain("405 Method Not Allowed", "only GET\n"),
        Asked::Nonsense => plain("400 Bad Request", "not HTTP/1.1\n"),
    };
    tokio::time::timeout(PATIENCE, stream.write_all(response.as_bytes())).await??;
    stream.shutdown().await
}

/// Reads up to the empty line that ends a request's head.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        let got = stream.read(&mut part).await?;
        if got == 0 {
            break;
        }
        head.extend_from_slice(&part[..got]);
    }
    Ok(head)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Metrics,
    Elsewhere,
    Method,
    Nonsense,
}

fn asked(head: &[u8]) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = request.parse(head) else {
        return Asked::Nonsense;
    };
    let path = request.path.unwrap_or_default();
    match (request.method, path.split('?').next()) {
        (Some("GET"), Some("/metrics")) => Asked::Metrics,
        (Some("GET"), _) => Asked::Elsewhere,
        _ => Asked::Method,
    }
}

fn ok(body: &str) -> String {
    response("200 OK", CONTENT_TYPE, body)
}

fn plain(status: &str, body: &str) -> String {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Source {
    async fn snapshot(&self) -> Option<Snapshot> {
        let (question, answer) = oneshot::channel();
        self.questions.send(question).await.ok()?;
        let status = answer.await.ok()?;
        let device = DeviceSnapshot::read(&self.files, &self.device).await.ok();
        Some(Snapshot { status, device })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_get_metrics_is_answered() {
        let get = |line: &str| asked(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(get("GET /metrics HTTP/1.1"), Asked::Metrics);
        assert_eq!(get("GET /metrics?x=1 HTTP/1.0"), Asked::Metrics);
        assert_eq!(get("GET / HTTP/1.1"), Asked::Elsewhere);
        assert_eq!(get("POST /metrics HTTP/1.1"), Asked::Method);
        assert_eq!(get("nonsense"), Asked::Nonsense);
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\n"), Asked::Nonsense);
        assert_eq!(asked(&[0xff; MAX_HEAD]), Asked::Nonsense);
    }
}

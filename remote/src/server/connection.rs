//! Connections: a bounded number, each with a deadline for its first valid request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use l4sllm_model::accept::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::counters::SharedCounters;

/// Time from accept to the first request with a valid token. A peer that is silent
/// before, during or after its TLS or HTTP/2 handshake, or that has no token, holds its
/// place only for this time. Pings find later silence.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// Accepts at most `connections` at a time.
pub(super) fn incoming(
    listener: TcpListener,
    connections: usize,
    counters: SharedCounters,
) -> impl Stream<Item = io::Result<Connection>> {
    let acceptor = Acceptor::new(listener, connections, |error, suppressed| {
        tracing::warn!(%error, suppressed, "cannot accept a connection");
    });
    unfold((acceptor, counters), |(mut acceptor, counters)| async {
        let (stream, permit) = acceptor.next().await;
        // Only adds delay if it fails.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(stream, permit, counters.clone(), FIRST_REQUEST);
        Some((Ok(connection), (acceptor, counters)))
    })
}

/// Whether a connection has had a valid request. The service finds it in each request's
/// extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer(Arc<AtomicBool>);

impl Peer {
    /// Records a valid request.
    pub(super) fn admit(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_admitted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection, which counts until it is closed.
pub(super) struct Connection {
    stream: TcpStream,
    peer: Peer,
    /// `None` once it has passed or does not matter.
    deadline: Option<Pin<Box<Sleep>>>,
    counters: SharedCounters,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(
        stream: TcpStream,
        permit: Option<OwnedSemaphorePermit>,
        counters: SharedCounters,
        first_request: Duration,
    ) -> Connection {
        counters.lock().connections += 1;
        Connection {
            stream,
            peer: Peer::default(),
            deadline: Some(Box::pin(sleep(first_request))),
            counters,
            _permit: permit,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counters.lock().connections -= 1;
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(deadline) = &mut self.deadline {
            let passed = deadline.as_mut().poll(context).is_ready();
            match self.peer.is_admitted() {
                true => self.deadline = None,
                false if passed => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                false => {}
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair(counters: &SharedCounters, first: Duration) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connection = Connection::new(stream, None, counters.clone(), first);
        (client, connection)
    }

    #[tokio::test]
    async fn connections_without_a_valid_request_end() {
        let counters = SharedCounters::default();
        let (mut client, mut connection) = pair(&counters, Duration::from_millis(20)).await;
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut text = [0; 14];
        connection.read_exact(&mut text).await.unwrap();
        assert_eq!(counters.read().connections, 1);
        // Bytes are not a request.
        let error = connection.read(&mut text).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        assert_eq!(counters.read().connections, 0);
    }

    #[tokio::test]
    async fn connections_with_a_valid_request_stay() {
        let counters = SharedCounters::default();
        let (mut client, mut connection) = pair(&counters, Duration::ZERO).await;
        connection.connect_info().admit();
        client.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'x');
    }
}

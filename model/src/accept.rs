//! Accepting connections: a bounded number at a time, and a pause after a failure.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::throttle::Throttle;

/// Pause after a failed accept(2), until descriptors become free.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
pub trait Listen {
    /// Its connections.
    type Stream;

    /// Accepts one.
    fn accept_one(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept_one(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept_one(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Accepts the connections of one listener.
#[derive(Debug)]
pub struct Acceptor<L> {
    listener: L,
    connections: Arc<Semaphore>,
    throttle: Throttle,
    report: fn(&io::Error, u64),
}

impl<L: Listen> Acceptor<L> {
    /// At most `connections` exist at a time; further ones wait in the listener's
    /// queue, which is also bounded. Failures are reported, together with the number
    /// of failures since the last report, a few times and then once a minute.
    pub fn new(listener: L, connections: usize, report: fn(&io::Error, u64)) -> Acceptor<L> {
        Acceptor {
            listener,
            connections: Arc::new(Semaphore::new(connections)),
            throttle: Throttle::default(),
            report,
        }
    }

    /// The next connection, and a permit to hold until it is closed.
    pub async fn next(&mut self) -> (L::Stream, Option<OwnedSemaphorePermit>) {
        // Only a closed semaphore has no permits, and nothing closes this one.
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok();
        loop {
            match self.listener.accept_one().await {
                Ok(stream) => return (stream, permit),
                Err(error) => {
                    if let Some(suppressed) = self.throttle.allow() {
                        (self.report)(&error, suppressed);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Fails a few times, then accepts.
    struct Failing(AtomicU32);

    impl Listen for Failing {
        type Stream = u32;

        async fn accept_one(&self) -> io::Result<u32> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                number @ 0..3 => Err(io::Error::other(number.to_string())),
                number => Ok(number),
            }
        }
    }

    #[tokio::test]
    async fn failed_accepts_are_reported_and_retried() {
        static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let mut acceptor = Acceptor::new(Failing(AtomicU32::new(0)), 1, |error, suppressed| {
            REPORTS
                .lock()
                .unwrap()
                .push(format!("{error}, {suppressed}"));
        });
        let began = std::time::Instant::now();
        let (stream, permit) = acceptor.next().await;
        assert_eq!(stream, 3);
        assert!(began.elapsed() >= 3 * PAUSE);
        assert_eq!(*REPORTS.lock().unwrap(), ["0, 0", "1, 0", "2, 0"]);
        // A further connection waits until this one is closed.
        tokio::select! {
            biased;
            _ = acceptor.next() => panic!("two connections"),
            () = std::future::ready(()) => {}
        }
        drop(permit);
        assert_eq!(acceptor.next().await.0, 4);
    }
}

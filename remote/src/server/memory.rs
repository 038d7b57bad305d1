//! The limit on the bytes of all requests that are received, wait or are computed.
//!
//! A request is charged with its declared length as soon as its first bytes arrive,
//! before memory is reserved for it, and with what it sends beyond that.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service};

use super::counters::SharedCounters;

/// Bytes charged for a request before its body: its headers, which hyper limits to
/// this size by default, and its state.
const OVERHEAD: usize = 16 << 10;

/// Length of a gRPC message's prefix: a flag, and the length as a 32-bit number.
const PREFIX: usize = 5;

/// Limits the bytes of a service's requests. Those beyond the limit end with the status
/// `RESOURCE_EXHAUSTED`.
#[derive(Debug, Clone)]
pub(super) struct Limited<S> {
    service: S,
    limit: usize,
    counters: SharedCounters,
}

impl<S> Limited<S> {
    pub(super) fn new(service: S, limit: usize, counters: SharedCounters) -> Limited<S> {
        Limited {
            service,
            limit,
            counters,
        }
    }
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<Response<B>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let share = Arc::new(Share {
            limit: self.limit,
            counters: self.counters.clone(),
            bytes: 0.into(),
        });
        let (parts, body) = request.into_parts();
        let charged = Charged {
            body,
            share: Arc::clone(&share),
            prefix: Vec::with_capacity(PREFIX),
            received: 0,
        };
        let request = Request::from_parts(parts, Body::new(charged));
        let answered = self.service.call(request);
        Box::pin(async move {
            let response = answered.await;
            // The body may end before.
            drop(share);
            response
        })
    }
}

/// The bytes charged to one request, until its response or its end.
struct Share {
    limit: usize,
    counters: SharedCounters,
    bytes: std::sync::Mutex<usize>,
}

impl Share {
    /// Charges `bytes` in total.
    fn charge(&self, bytes: usize) -> Result<(), Status> {
        let mut charged = self.bytes.lock().unwrap_or_else(|error| error.into_inner());
        let more = bytes.saturating_sub(*charged) as u64;
        let mut counters = self.counters.lock();
        if counters.waiting_bytes + more > self.limit as u64 {
            counters.overloaded += 1;
            return Err(Status::resource_exhausted("too many bytes wait"));
        }
        counters.waiting_bytes += more;
        *charged += more as usize;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let charged = *self.bytes.lock().unwrap_or_else(|error| error.into_inner());
        self.counters.lock().waiting_bytes -= charged as u64;
    }
}

/// The body of a request, charged as it arrives.
struct Charged {
    body: Body,
    share: Arc<Share>,
    /// The first bytes of the message, up to [`PREFIX`].
    prefix: Vec<u8>,
    /// Bytes received.
    received: usize,
}

impl Charged {
    /// Bytes of the request known so far.
    fn known(&self) -> usize {
        let declared = match self.prefix[..] {
            [_, a, b, c, d] => PREFIX + u32::from_be_bytes([a, b, c, d]) as usize,
            _ => 0,
        };
        OVERHEAD + declared.max(self.received)
    }
}

impl http_body::Body for Charged {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Err(status) = self.share.charge(self.known()) {
            return Poll::Ready(Some(Err(status)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(data)) = frame
            .as_ref()
            .map(|frame| frame.as_ref().map(Frame::data_ref))
        {
            let data = data.map_or(&[][..], |bytes| bytes);
            let missing = PREFIX - self.prefix.len();
            self.prefix.extend(data.iter().take(missing));
            self.received = self.received.saturating_add(data.len());
            if let Err(status) = self.share.charge(self.known()) {
                return Poll::Ready(Some(Err(status)));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::future::poll_fn;

    use http_body::Body as _;
    use tonic::Code;

    use super::*;

    fn charged(limit: usize, counters: &SharedCounters, body: String) -> Charged {
        Charged {
            body: Body::new(body),
            share: Arc::new(Share {
                limit,
                counters: counters.clone(),
                bytes: 0.into(),
            }),
            prefix: Vec::new(),
            received: 0,
        }
    }

    async fn first(body: &mut Charged) -> Result<usize, Code> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        let frame = frame.unwrap().map_err(|status| status.code())?;
        Ok(frame.into_data().unwrap().len())
    }

    #[tokio::test]
    async fn the_declared_length_is_charged_when_it_arrives() {
        let counters = SharedCounters::default();
        // A message of 64 MiB, without its first byte.
        let prefix = || "\0\u{4}\0\0\0".to_owned();
        let mut body = charged(64 << 20, &counters, prefix());
        assert_eq!(first(&mut body).await, Err(Code::ResourceExhausted));
        assert_eq!(counters.read().overloaded, 1);
        drop(body);
        let mut body = charged(65 << 20, &counters, prefix());
        assert_eq!(first(&mut body).await, Ok(PREFIX));
        let bytes = (64 << 20) + PREFIX + OVERHEAD;
        assert_eq!(counters.read().waiting_bytes, bytes as u64);
        // Another request does not fit while this one waits.
        let mut other = charged(65 << 20, &counters, prefix());
        assert_eq!(first(&mut other).await, Err(Code::ResourceExhausted));
        drop((body, other));
        assert_eq!(counters.read().waiting_bytes, 0);
    }

    #[tokio::test]
    async fn bytes_beyond_the_declared_length_are_charged() {
        let counters = SharedCounters::default();
        // An empty message, and more.
        let mut body = charged(1 << 20, &counters, "\0".repeat(5) + &"x".repeat(2 << 20));
        assert_eq!(first(&mut body).await, Err(Code::ResourceExhausted));
        drop(body);
        // No memory even for its headers.
        let mut body = charged(OVERHEAD - 1, &counters, String::from("\0"));
        assert_eq!(first(&mut body).await, Err(Code::ResourceExhausted));
    }
}

//! The server: one policy for several routers.
//!
//! ```text
//! connections ─▶ bytes ─▶ token, shapes ─▶ queue ─▶ one thread: batches ─▶ policy
//! ```
//!
//! Connections, bytes and windows are bounded: further connections wait, further
//! requests are refused with `RESOURCE_EXHAUSTED`. A panic of the thread ends the
//! server with an error, so that a service manager can start it again: a policy cannot
//! be trusted after a panic.

mod batch;
mod connection;
mod counters;
mod memory;
mod service;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use l4sllm_model::Policy;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Identity, Server as Transport, ServerTlsConfig};

use crate::proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::tensors::Contract;
use connection::incoming;
pub use counters::{BATCH_BOUNDS, Counters};
use memory::Limited;
use service::{Bearer, Service};

/// A peer that answers no ping for this time is gone; pings are sent this often.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Time for a TLS handshake: a peer that connects and is silent holds a descriptor.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Maximum number of requests that a connection may have in flight. A router has one
/// for each scheduler instance, at most 1024 by default.
const STREAMS: u32 = 1024;

/// Bytes that a connection, and a request of it, may send before they are read. Both
/// hold many windows.
const RECEIVE: (u32, u32) = (256 << 10, 64 << 10);

/// Time for a request: more than the longest deadline of the daemon's clients, with
/// their patience. Without it, a peer could hold a request that it never completes.
const REQUEST_TIME: Duration = Duration::from_secs(180);

/// Maximum size of a request, bytes: at least, and at most.
const REQUEST: (usize, usize) = (64 << 10, 64 << 20);

/// Options of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// Maximum number of windows in a batch, at least 1.
    pub max_batch: usize,
    /// Time that the first window of a batch waits for others. Those that arrive
    /// while a batch is computed form the next one in any case.
    pub max_wait: Duration,
    /// Maximum number of windows that wait, at least `max_batch`; requests beyond it
    /// are refused.
    pub max_queue: usize,
    /// Maximum number of bytes of the requests that are received, wait or are computed;
    /// requests beyond it are refused. Their tensors take about twice as much in
    /// addition.
    pub max_bytes: usize,
    /// Maximum number of connections; further ones wait.
    pub max_connections: usize,
    /// Time for the requests in flight when the server is stopped.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            max_batch: 64,
            max_wait: Duration::ZERO,
            max_queue: 4096,
            max_bytes: 256 << 20,
            max_connections: 1024,
            grace: Duration::from_secs(10),
        }
    }
}

/// Authentication of clients and of the server.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// A bearer token that every request must carry.
    pub token: Option<String>,
    /// Certificate chain and private key, PEM.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
}

/// A server that is ready to run.
pub struct Server {
    listener: TcpListener,
    service: Service,
    security: Security,
    options: ServerOptions,
    /// Maximum size of a request, bytes.
    max_request: usize,
}

/// A server that cannot start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be used.
    #[error("{address}: cannot listen: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The thread that computes cannot be started.
    #[error("cannot start the thread that computes: {0}")]
    Thread(std::io::Error),
    /// The thread that computes panicked.
    #[error("the thread that computes panicked: {0}")]
    Panicked(String),
    /// Certificate or key are unusable, or the transport failed.
    #[error("{0}")]
    Transport(String),
}

impl From<tonic::transport::Error> for ServeError {
    fn from(error: tonic::transport::Error) -> ServeError {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        ServeError::Transport(match cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }
}

impl Server {
    /// Listens, and starts the thread that computes.
    ///
    /// # Errors
    /// The address cannot be used, or the thread cannot be started.
    pub async fn bind(
        address: SocketAddr,
        policy: Arc<Policy>,
        options: ServerOptions,
        security: Security,
    ) -> Result<Server, ServeError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServeError::Listen { address, source })?;
        let contract = Contract::of(Arc::new(policy.config().clone()));
        let max_request = max_request(&contract, options);
        let service = Service::start(policy, contract, options).map_err(ServeError::Thread)?;
        Ok(Server {
            listener,
            service,
            security,
            options,
            max_request,
        })
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A reader of the counters.
    pub fn counters(&self) -> impl Fn() -> Counters + Send + Sync + use<> {
        let counters = self.service.counters();
        move || counters.read()
    }

    /// Serves until `stop` is ready, and then until the requests in flight are
    /// answered, but at most for the grace time. Connections that remain end with the
    /// runtime.
    ///
    /// # Errors
    /// Certificate or key are unusable, the transport failed, or the thread that
    /// computes panicked.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut transport = Transport::builder()
            .initial_connection_window_size(RECEIVE.0)
            .initial_stream_window_size(RECEIVE.1)
            .timeout(REQUEST_TIME)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(STREAMS);
        if let Some((certificate, key)) = &self.security.tls {
            let identity = Identity::from_pem(certificate, key);
            let tls = ServerTlsConfig::new().identity(identity);
            transport = transport.tls_config(tls.timeout(HANDSHAKE))?;
        }
        let options = self.options;
        let counters = self.service.counters();
        let ended = self.service.queue().ended();
        let service = GrpcInferenceServiceServer::new(self.service)
            .max_decoding_message_size(self.max_request);
        let bearer = Bearer::new(self.security.token.as_deref(), counters.clone());
        let service = InterceptedService::new(service, bearer);
        let service = Limited::new(service, options.max_bytes, counters.clone());
        let incoming = incoming(self.listener, options.max_connections, counters.clone());
        let (stopping, stopped) = oneshot::channel();
        let stop = async {
            stop.await;
            let _ = stopping.send(());
        };
        let late = async {
            let _ = stopped.await;
            sleep(options.grace).await;
        };
        tokio::select! {
            served = transport.serve_with_incoming_shutdown(service, incoming, stop) => {
                Ok(served?)
            }
            reason = ended => Err(ServeError::Panicked(reason)),
            () = late => {
                let counters = counters.read();
                tracing::warn!(
                    connections = counters.connections,
                    windows = counters.waiting,
                    "stopped with requests in flight after {} s",
                    options.grace.as_secs()
                );
                Ok(())
            }
        }
    }
}

/// Maximum size of a request, bytes: that of its windows and names, within bounds.
fn max_request(contract: &Contract, options: ServerOptions) -> usize {
    let (least, most) = REQUEST;
    let windows = contract.window_bytes().saturating_mul(options.max_batch);
    windows.saturating_add(least).min(most)
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

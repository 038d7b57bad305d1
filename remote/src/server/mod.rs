//! The server: one policy for several routers.
//!
//! ```text
//! requests ─▶ service: token, shapes ─▶ bounded queue ─▶ one thread: batches ─▶ policy
//! ```

mod batch;
mod counters;
mod service;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use l4sllm_model::Policy;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server as Transport, ServerTlsConfig};

use crate::proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::tensors::Contract;
pub use counters::{BATCH_BOUNDS, Counters};
use service::{Bearer, Service};

/// A peer that answers no ping for this time is gone; pings are sent this often.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Time for a TLS handshake: a peer that connects and is silent holds a descriptor.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Maximum number of requests that a connection may have in flight. A router has one
/// for each scheduler instance, at most 1024 by default.
const STREAMS: u32 = 1024;

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
    /// Maximum number of windows that wait; requests beyond it are refused.
    pub max_queue: usize,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            max_batch: 64,
            max_wait: Duration::ZERO,
            max_queue: 4096,
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
        let (least, most) = REQUEST;
        let max_request = contract.window_bytes().saturating_mul(options.max_batch);
        let max_request = max_request.saturating_add(least).min(most);
        let service = Service::start(policy, contract, options).map_err(ServeError::Thread)?;
        Ok(Server {
            listener,
            service,
            security,
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
    /// answered.
    ///
    /// # Errors
    /// Certificate or key are unusable, or the transport failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut transport = Transport::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(STREAMS);
        if let Some((certificate, key)) = &self.security.tls {
            let identity = Identity::from_pem(certificate, key);
            let tls = ServerTlsConfig::new().identity(identity);
            transport = transport.tls_config(tls.timeout(HANDSHAKE))?;
        }
        let counters = self.service.counters();
        let service = GrpcInferenceServiceServer::new(self.service)
            .max_decoding_message_size(self.max_request);
        let bearer = Bearer::new(self.security.token.as_deref(), counters);
        let service = tonic::service::interceptor::InterceptedService::new(service, bearer);
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let served = transport
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, stop);
        Ok(served.await?)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

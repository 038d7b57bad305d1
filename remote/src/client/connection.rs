//! The connection: made, checked, used until the first failure, and made again.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use l4sllm_model::SplitMix64;
use l4sllm_model::text::{line, shown};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::{ClientOptions, Shared};
use crate::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::proto::{ModelMetadataRequest, ModelReadyRequest};
use crate::tensors::{AnswerError, MismatchError};

/// A peer that answers no ping for this time is gone; pings are sent this often.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Consecutive requests without an answer after which the connection is made again.
const MAX_SILENT: u32 = 3;

/// Maximum size of a response, bytes: outputs are tens of bytes, metadata hundreds.
/// A longer one is refused by its length, before it is read.
const MAX_RESPONSE: usize = 64 << 10;

/// Maximum size of a file with certificates or a token, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Longest text of a server in the log, characters.
const MAX_TEXT: usize = 200;

type Client = GrpcInferenceServiceClient<InterceptedService<Channel, Bearer>>;

/// A connection whose metadata fits.
pub(super) struct Link {
    pub(super) client: Client,
    /// Steps of a window, if the server takes full ones only.
    pub(super) steps: Option<usize>,
    /// Requests without an answer since the last one with an answer.
    silent: AtomicU32,
    /// The first failure.
    failure: Mutex<Option<CallError>>,
    failed: Notify,
}

impl Link {
    /// Ends the use of this connection.
    pub(super) fn fail(&self, error: CallError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        self.failed.notify_one();
    }

    /// Counts a request that was answered, in time or not.
    pub(super) fn count_answer(&self) {
        self.silent.store(0, Ordering::Relaxed);
    }

    /// Counts a request without an answer. After several, the connection is made
    /// again: a load balancer may know a better server, and tonic may have connected
    /// again to another one.
    pub(super) fn count_silence(&self) {
        if self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_SILENT {
            self.fail(CallError::Silent);
        }
    }

    async fn wait(&self) -> String {
        self.failed.notified().await;
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure
            .as_ref()
            .map_or_else(String::new, CallError::to_string)
    }
}

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The server or the connection failed.
    #[error("{}", describe(.0))]
    Status(Box<Status>),
    /// The response is not usable.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The server does not answer.
    #[error("{MAX_SILENT} consecutive requests without an answer")]
    Silent,
}

impl CallError {
    /// Whether the server refused this request for lack of resources or time. A new
    /// connection of each router would add to its load.
    pub(super) fn is_overload(&self) -> bool {
        let CallError::Status(status) = self else {
            return false;
        };
        matches!(
            status.code(),
            Code::ResourceExhausted | Code::DeadlineExceeded
        )
    }

    /// Whether the status is this side's, about a response that is too long or not of
    /// the protocol.
    pub(super) fn is_answer(status: &Status) -> bool {
        status.code() == Code::OutOfRange
            || (status.code() == Code::Internal && status.message().contains("decode"))
    }
}

/// A failed attempt to connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file cannot be read.
    #[error("{}: cannot read: {source}", shown(path))]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The token has other characters than those of a header.
    #[error("{}: not a token: expected one line of visible ASCII characters", shown(.0))]
    Token(PathBuf),
    /// The connection cannot be made.
    #[error("{url}: cannot connect: {reason}")]
    Transport {
        /// The server.
        url: String,
        /// The cause.
        reason: String,
    },
    /// A request failed.
    #[error("{url}: {what}: {}", describe(status))]
    Call {
        /// The server.
        url: String,
        /// The request.
        what: &'static str,
        /// The failure.
        status: Box<Status>,
    },
    /// The model is missing or not loaded.
    #[error("{url}: model {model:?} is not ready")]
    NotReady {
        /// The server.
        url: String,
        /// The model.
        model: String,
    },
    /// The model has other tensors.
    #[error("{url}: model {model:?}: {source}")]
    Mismatch {
        /// The server.
        url: String,
        /// The model.
        model: String,
        /// The difference.
        source: Box<MismatchError>,
    },
    /// The server was silent: before, during or after a handshake, or to a request.
    #[error("{url}: no connection with metadata within {} s", within.as_secs_f64())]
    Time {
        /// The server.
        url: String,
        /// Time for a connection.
        within: Duration,
    },
}

/// Keeps a connection until the task is dropped.
pub(super) async fn keep(shared: &Shared) {
    let (first, longest) = shared.options.retry;
    let mut jitter = SplitMix64::new(RandomState::new().hash_one(0));
    let mut pause = first;
    let mut was_failing = false;
    loop {
        match connect(shared).await {
            Ok(link) => {
                let since = Instant::now();
                let link = Arc::new(link);
                shared.counters().connects += 1;
                *shared.link() = Some(Arc::clone(&link));
                tracing::info!(
                    url = shared.options.url,
                    model = shared.options.model,
                    "connected"
                );
                was_failing = false;
                let reason = link.wait().await;
                *shared.link() = None;
                tracing::warn!(url = shared.options.url, reason, "connection lost");
                // One that fails soon is like one that cannot be made.
                if since.elapsed() >= longest {
                    pause = first;
                }
            }
            Err(error) => {
                shared.counters().refused += 1;
                match was_failing {
                    true => tracing::debug!(%error, "cannot connect"),
                    false => {
                        tracing::warn!(%error, "cannot connect; further attempts are logged at level debug")
                    }
                }
                was_failing = true;
            }
        }
        // Up to half of the pause less, so that routers do not return together.
        let share = 1.0 - jitter.uniform() / 2.0;
        sleep(pause.mul_f32(share)).await;
        pause = (pause * 2).min(longest);
    }
}

async fn connect(shared: &Shared) -> Result<Link, ConnectError> {
    let within = shared.options.connect;
    let connected = timeout(within, connect_now(shared)).await;
    connected.unwrap_or_else(|_| {
        let url = shared.options.url.clone();
        Err(ConnectError::Time { url, within })
    })
}

async fn connect_now(shared: &Shared) -> Result<Link, ConnectError> {
    let ClientOptions { url, model, .. } = &shared.options;
    let channel = endpoint(&shared.options)?.connect().await;
    let channel = channel.map_err(|error| transport(url, &error))?;
    let bearer = Bearer::read(shared.options.token_file.as_deref())?;
    let mut client = GrpcInferenceServiceClient::with_interceptor(channel, bearer)
        .max_decoding_message_size(MAX_RESPONSE);
    let failed = |what| {
        move |status: Status| ConnectError::Call {
            url: url.clone(),
            what,
            status: Box::new(status),
        }
    };
    let ready = client.model_ready(ModelReadyRequest {
        name: model.clone(),
        version: String::new(),
    });
    if !ready.await.map_err(failed("ModelReady"))?.get_ref().ready {
        return Err(ConnectError::NotReady {
            url: url.clone(),
            model: model.clone(),
        });
    }
    let metadata = client.model_metadata(ModelMetadataRequest {
        name: model.clone(),
        version: String::new(),
    });
    let metadata = metadata.await.map_err(failed("ModelMetadata"))?;
    let steps = shared.contract.check(metadata.get_ref());
    let steps = steps.map_err(|source| ConnectError::Mismatch {
        url: url.clone(),
        model: model.clone(),
        source: Box::new(source),
    })?;
    Ok(Link {
        client,
        steps,
        silent: AtomicU32::new(0),
        failure: Mutex::default(),
        failed: Notify::new(),
    })
}

fn endpoint(options: &ClientOptions) -> Result<Endpoint, ConnectError> {
    let endpoint = Endpoint::from_shared(options.url.clone());
    let endpoint = endpoint.map_err(|error| transport(&options.url, &error))?;
    let endpoint = endpoint
        .connect_timeout(options.connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let Some(path) = &options.ca_file else {
        return Ok(endpoint);
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?));
    let endpoint = endpoint.tls_config(tls);
    endpoint.map_err(|error| transport(&options.url, &error))
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    let bytes = l4sllm_model::files::read_regular(path, MAX_FILE);
    bytes.map_err(|source| ConnectError::File {
        path: path.to_owned(),
        source,
    })
}

fn transport(url: &str, error: &dyn std::error::Error) -> ConnectError {
    ConnectError::Transport {
        url: url.to_owned(),
        reason: causes(error),
    }
}

/// The causes of an error, which tonic does not print itself.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = cause.source();
    }
    line(&texts.join(": "), MAX_TEXT)
}

fn describe(status: &Status) -> String {
    let text = match std::error::Error::source(status) {
        Some(cause) => causes(cause),
        None => line(status.message(), MAX_TEXT),
    };
    format!("{:?}: {text}", status.code())
}

/// Adds the token to each request.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn read(path: Option<&Path>) -> Result<Bearer, ConnectError> {
        let Some(path) = path else {
            return Ok(Bearer(None));
        };
        let wrong = || ConnectError::Token(path.to_owned());
        let token = String::from_utf8(read(path)?).map_err(|_| wrong())?;
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

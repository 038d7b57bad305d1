//! Emulated routers, for measurements of a server: connections that always have one
//! request in flight.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use l4sllm_model::Window;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Status, transport};

use crate::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::tensors::{AnswerError, Contract};

/// Measurements of all routers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Times from each request to its answer, ns, ascending.
    pub latencies_ns: Vec<u64>,
    /// Time from the first request to the last answer.
    pub took: Duration,
}

impl Load {
    /// Decisions per second.
    pub fn rate(&self) -> f64 {
        self.latencies_ns.len() as f64 / self.took.as_secs_f64()
    }
}

/// A router without an answer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot connect.
    #[error("router {0}: cannot connect: {1}")]
    Connect(usize, transport::Error),
    /// A request failed.
    #[error("a request failed: {0}")]
    Call(Box<Status>),
    /// An answer is unusable.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A task ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Sends the same window from `routers` connections for `time`.
///
/// # Errors
/// A connection or a request fails.
pub async fn measure(
    address: SocketAddr,
    contract: &Contract,
    window: &Window,
    routers: usize,
    time: Duration,
) -> Result<Load, LoadError> {
    let mut clients = Vec::with_capacity(routers);
    for router in 0..routers {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|error| LoadError::Connect(router, error))?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        let channel = channel.map_err(|error| LoadError::Connect(router, error))?;
        clients.push(GrpcInferenceServiceClient::new(channel));
    }
    let request = contract.request(&contract.config().name, window);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (request, contract) = (request.clone(), contract.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < time {
                let sent = Instant::now();
                let response = client.model_infer(request.clone()).await;
                let response = response.map_err(|status| LoadError::Call(Box::new(status)))?;
                contract.outputs(response.get_ref())?;
                latencies.push(sent.elapsed().as_nanos() as u64);
            }
            Ok::<_, LoadError>(latencies)
        });
    }
    let mut load = Load::default();
    while let Some(latencies) = tasks.join_next().await {
        load.latencies_ns.extend(latencies??);
    }
    load.took = start.elapsed();
    load.latencies_ns.sort_unstable();
    Ok(load)
}

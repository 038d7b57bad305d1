//! The service of the protocol.

use std::sync::Arc;

use l4sllm_model::{Outputs, Policy};
use tonic::service::Interceptor;
use tonic::{Request, Response, Status, async_trait};

use super::ServerOptions;
use super::batch::{Queue, Refused};
use super::connection::Peer;
use super::counters::SharedCounters;
use crate::proto::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ServerLiveRequest, ServerLiveResponse,
    ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use crate::tensors::{Contract, RequestError};

/// Characters of the policy's hash in the model's version.
const VERSION: usize = 12;

/// One policy.
pub(super) struct Service {
    contract: Contract,
    /// The model's only version: the start of the policy's hash.
    version: String,
    max_batch: usize,
    queue: Queue,
    counters: SharedCounters,
}

impl Service {
    pub(super) fn start(
        policy: Arc<Policy>,
        contract: Contract,
        options: ServerOptions,
    ) -> std::io::Result<Service> {
        let counters = SharedCounters::default();
        let version = policy.hash().chars().take(VERSION).collect();
        let queue = Queue::start(policy, options, counters)?;
        Ok(Service::of(queue, contract, version, options))
    }

    pub(super) fn of(
        queue: Queue,
        contract: Contract,
        version: String,
        options: ServerOptions,
    ) -> Service {
        Service {
            version,
            contract,
            max_batch: options.max_batch,
            counters: queue.counters(),
            queue,
        }
    }

    pub(super) fn counters(&self) -> SharedCounters {
        self.counters.clone()
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    fn is_model(&self, name: &str, version: &str) -> bool {
        name == self.contract.config().name && ["", &self.version].contains(&version)
    }

    fn not_found(&self) -> Status {
        let name = &self.contract.config().name;
        Status::not_found(format!(
            "expected model {name:?}, version {:?}",
            self.version
        ))
    }

    async fn decide(&self, request: &ModelInferRequest) -> Result<ModelInferResponse, Status> {
        self.counters.lock().requests += 1;
        if !self.is_model(&request.model_name, &request.model_version) {
            self.counters.lock().invalid += 1;
            return Err(self.not_found());
        }
        let invalid = |reason: String| {
            self.counters.lock().invalid += 1;
            Status::invalid_argument(reason)
        };
        let asked = self.contract.asked(request, self.max_batch);
        let asked = asked.map_err(|error| invalid(error.to_string()))?;
        let config = self.contract.config();
        let steps = asked.windows.iter().enumerate().map(|(at, window)| {
            let steps = window.steps(config);
            steps.ok_or(RequestError::Values(at))
        });
        let steps: Result<Vec<_>, _> = steps.collect();
        let steps = steps.map_err(|error| invalid(error.to_string()))?;
        let ended = || Status::unavailable("the server is ending");
        let answers = self.queue.add(steps).map_err(|refused| match refused {
            Refused::Full => {
                self.counters.lock().overloaded += 1;
                Status::resource_exhausted("too many windows wait")
            }
            Refused::Ended => ended(),
        })?;
        let mut outputs: Vec<Outputs> = Vec::with_capacity(answers.len());
        for answer in answers {
            let answer = answer.await.map_err(|_| ended())?;
            outputs.push(answer.ok_or_else(|| Status::internal("the policy's engine failed"))?);
        }
        let response = self
            .contract
            .response(request, &self.version, &outputs, asked.raw);
        Ok(response)
    }
}

#[async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(
        &self,
        _request: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _request: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse {
            ready: self.queue.is_running(),
        }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let request = request.get_ref();
        let ready = self.is_model(&request.name, &request.version) && self.queue.is_running();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _request: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: "l4sllm".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: Vec::new(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let request = request.get_ref();
        match self.is_model(&request.name, &request.version) {
            true => Ok(Response::new(self.contract.metadata(&self.version))),
            false => Err(self.not_found()),
        }
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        self.decide(request.get_ref()).await.map(Response::new)
    }
}

/// Refuses requests without the token. Others admit their connection.
#[derive(Clone)]
pub(super) struct Bearer {
    expected: Option<Arc<[u8]>>,
    counters: SharedCounters,
}

impl Bearer {
    pub(super) fn new(token: Option<&str>, counters: SharedCounters) -> Bearer {
        let expected = token.map(|token| format!("Bearer {token}").into_bytes().into());
        Bearer { expected, counters }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization");
        let is_valid = self
            .expected
            .as_ref()
            .is_none_or(|expected| given.is_some_and(|given| is_equal(given.as_bytes(), expected)));
        if is_valid {
            if let Some(peer) = request.extensions().get::<Peer>() {
                peer.admit();
            }
            return Ok(request);
        }
        self.counters.lock().unauthenticated += 1;
        Err(Status::unauthenticated(
            "expected `authorization: Bearer TOKEN'",
        ))
    }
}

/// Compares without a time that depends on the first difference.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    let differs = left.iter().zip(right).fold(0, |acc, (a, b)| acc | (a ^ b));
    left.len() == right.len() && differs == 0
}

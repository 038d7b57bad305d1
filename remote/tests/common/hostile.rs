//! A server that misbehaves on request, behind a proxy that can cut its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use l4sllm_model::Policy;
use l4sllm_remote::proto::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use l4sllm_remote::proto::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ServerLiveRequest, ServerLiveResponse,
    ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use l4sllm_remote::tensors::Contract;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, async_trait};

/// A behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Honest,
    Never,
    Late,
    Fails,
    /// Refuses requests for lack of resources.
    Overloaded,
    Name,
    Type,
    Shape,
    Short,
    NaN,
    Enormous,
    /// Cuts the connection during the request.
    Closes,
    /// Cuts the connection, and answers new ones with other bytes.
    Garbage,
    /// Cuts the connection, and has other tensors afterwards.
    Metadata,
    /// Cuts the connection, and is silent when it is made again: to `ModelReady`.
    SilentReady,
    /// As before: to `ModelMetadata`.
    SilentMetadata,
    /// Keeps every connection without reading or writing.
    Frozen,
}

impl Mode {
    /// Whether it concerns new connections, so that existing ones are cut.
    fn reconnects(self) -> bool {
        matches!(
            self,
            Mode::Metadata | Mode::SilentReady | Mode::SilentMetadata
        )
    }
}

/// Longer than the deadline, shorter than twice the deadline.
const LATE: Duration = Duration::from_millis(75);

/// A running server.
pub struct Hostile {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Hostile {
    pub fn start(policy: &Arc<Policy>) -> Hostile {
        let (mode, modes) = watch::channel(Mode::Honest);
        let (started, ready) = std::sync::mpsc::channel();
        let policy = Arc::clone(policy);
        std::thread::spawn(move || {
            super::common::runtime().block_on(async {
                let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
                let behind = TcpListener::bind(any).await.unwrap();
                let front = TcpListener::bind(any).await.unwrap();
                started.send(front.local_addr().unwrap()).unwrap();
                tokio::spawn(proxy(front, behind.local_addr().unwrap(), modes.clone()));
                let contract = Contract::of(Arc::new(policy.config().clone()));
                let service = Service {
                    policy,
                    contract,
                    modes,
                };
                let _ = tonic::transport::Server::builder()
                    .add_service(
                        GrpcInferenceServiceServer::new(service)
                            .max_encoding_message_size(usize::MAX),
                    )
                    .serve_with_incoming(TcpIncoming::from(behind))
                    .await;
            });
        });
        let address = ready.recv().unwrap();
        Hostile { address, mode }
    }

    /// Changes the behaviour, starting with the next request.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn proxy(front: TcpListener, behind: SocketAddr, modes: watch::Receiver<Mode>) {
    while let Ok((client, _)) = front.accept().await {
        tokio::spawn(forward(client, behind, modes.clone()));
    }
}

async fn forward(mut client: TcpStream, behind: SocketAddr, mut modes: watch::Receiver<Mode>) {
    if *modes.borrow_and_update() == Mode::Garbage {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(behind).await else {
        return;
    };
    let (mut others, mut frozen) = (modes.clone(), modes.clone());
    let cut = async {
        let cuts = |mode: &Mode| matches!(mode, Mode::Closes | Mode::Garbage);
        let _ = modes.wait_for(cuts).await;
        // Meanwhile a request arrives.
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let reconnects = async {
        // Existing connections are cut only when the mode changes to it.
        let is_new = others.borrow_and_update().reconnects();
        match is_new {
            true => std::future::pending().await,
            false => {
                let _ = others.wait_for(|mode| mode.reconnects()).await;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        () = cut => {}
        () = reconnects => {}
        _ = frozen.wait_for(|mode| *mode == Mode::Frozen) => {}
    }
    let _ = frozen.wait_for(|mode| *mode != Mode::Frozen).await;
}

struct Service {
    policy: Arc<Policy>,
    contract: Contract,
    modes: watch::Receiver<Mode>,
}

impl Service {
    async fn infer(&self, request: &ModelInferRequest) -> Result<ModelInferResponse, Status> {
        let asked = self.contract.asked(request, 1);
        let asked = asked.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let steps = asked.windows[0].steps(self.policy.config()).unwrap();
        let outputs = self.policy.outputs_all(&[steps]).unwrap();
        let mut response = self.contract.response(request, "1", &outputs, true);
        let output = &mut response.outputs[0];
        let raw = &mut response.raw_output_contents[0];
        match *self.modes.borrow() {
            Mode::Honest => {}
            // Late and Never are handled by the caller.
            Mode::Late | Mode::Never | Mode::Closes | Mode::Garbage | Mode::Metadata => {}
            Mode::SilentReady | Mode::SilentMetadata | Mode::Frozen => {}
            Mode::Overloaded => return Err(Status::resource_exhausted("too many windows wait")),
            Mode::Fails => return Err(Status::internal("out of memory\n\x1b[31m")),
            Mode::Name => output.name = "results".into(),
            Mode::Type => output.datatype = "FP64".into(),
            Mode::Shape => output.shape = vec![2, 4],
            Mode::Short => raw.truncate(3),
            Mode::NaN => raw[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            Mode::Enormous => raw.resize(8 << 20, 0),
        }
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
        Ok(Response::new(ServerReadyResponse { ready: true }))
    }

    async fn model_ready(
        &self,
        _request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        if *self.modes.borrow() == Mode::SilentReady {
            std::future::pending().await
        }
        Ok(Response::new(ModelReadyResponse { ready: true }))
    }

    async fn server_metadata(
        &self,
        _request: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse::default()))
    }

    async fn model_metadata(
        &self,
        _request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let mut metadata = self.contract.metadata("1");
        let mode = *self.modes.borrow();
        if mode == Mode::SilentMetadata {
            std::future::pending().await
        }
        if mode == Mode::Metadata {
            metadata.inputs[1].shape = vec![-1, -1, 5];
        }
        Ok(Response::new(metadata))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let mode = *self.modes.borrow();
        match mode {
            Mode::Honest => {}
            Mode::Never | Mode::Closes | Mode::Garbage => std::future::pending().await,
            mode if mode.reconnects() || mode == Mode::Frozen => std::future::pending().await,
            Mode::Late => tokio::time::sleep(LATE).await,
            _ => {}
        }
        self.infer(request.get_ref()).await.map(Response::new)
    }
}

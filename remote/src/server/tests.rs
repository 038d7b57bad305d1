//! Limits and ends of a server whose outputs a test controls.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::mpsc::{Receiver, Sender, channel};

use l4sllm_model::{OUTPUTS_MAX, Outputs, PolicyConfig, PolicyError, Step, SummaryFeature, Window};
use tokio::task::{JoinHandle, spawn_blocking};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::batch::Queue;
use super::counters::SharedCounters;
use super::*;
use crate::proto::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use crate::proto::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::{ModelInferRequest, ModelReadyRequest, ServerReadyRequest};

const MODEL: &str = "periods";

fn contract() -> Contract {
    let config = PolicyConfig::on_summaries(MODEL, SummaryFeature::ALL);
    Contract::of(Arc::new(config))
}

/// A request with `rows` windows of one step.
fn request(rows: usize) -> ModelInferRequest {
    let contract = contract();
    let config = contract.config();
    let window = Window {
        returns: vec![0.5],
        inputs: vec![0.5; config.inputs()],
        actions: vec![0.0; config.action_inputs()],
    };
    let mut request = contract.request(MODEL, &window);
    for input in &mut request.inputs {
        input.shape[0] = rows as i64;
    }
    for raw in &mut request.raw_input_contents {
        *raw = raw.repeat(rows);
    }
    request
}

fn service(
    outputs: impl Fn(&[Vec<Step>]) -> Result<Vec<Outputs>, PolicyError> + Send + 'static,
    options: ServerOptions,
) -> Service {
    let queue = Queue::start_with(outputs, options, SharedCounters::default()).unwrap();
    Service::of(queue, contract(), "1".into(), options)
}

/// A server in a task.
struct Running {
    address: SocketAddr,
    counters: SharedCounters,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

async fn start(service: Service, options: ServerOptions) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        listener,
        max_request: max_request(&contract(), options),
        security: Security::default(),
        options,
        service,
    };
    let address = server.address().unwrap();
    let counters = server.service.counters();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Running {
        address,
        counters,
        stop,
        task,
    }
}

async fn connect(address: SocketAddr) -> Client<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    Client::new(endpoint.connect().await.unwrap())
}

/// The outputs of a batch.
type Compute = Box<dyn Fn(&[Vec<Step>]) -> Result<Vec<Outputs>, PolicyError> + Send>;

/// Outputs of batches that report their size and wait to be released; no longer once
/// the sender is dropped.
fn held() -> (Compute, Receiver<usize>, Sender<()>) {
    let (sizes, computing) = channel();
    let (release, released) = channel::<()>();
    let outputs = move |windows: &[Vec<Step>]| {
        let _ = sizes.send(windows.len());
        let _ = released.recv();
        Ok(vec![[0.5; OUTPUTS_MAX]; windows.len()])
    };
    (Box::new(outputs), computing, release)
}

async fn infer(client: &Client<Channel>, rows: usize) -> Result<(), Status> {
    client.clone().model_infer(request(rows)).await.map(|_| ())
}

#[tokio::test]
async fn a_panic_ends_readiness_and_the_server() {
    let options = ServerOptions::default();
    let panics = |_: &[Vec<Step>]| panic!("no such kernel");
    let direct = service(panics, options);
    let ready = || async {
        let server = direct.server_ready(tonic::Request::new(ServerReadyRequest {}));
        let request = ModelReadyRequest {
            name: MODEL.into(),
            version: String::new(),
        };
        let model = direct.model_ready(tonic::Request::new(request));
        [
            server.await.unwrap().get_ref().ready,
            model.await.unwrap().get_ref().ready,
        ]
    };
    assert_eq!(ready().await, [true, true]);
    let failed = direct.model_infer(tonic::Request::new(request(1))).await;
    assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    assert_eq!(ready().await, [false, false]);

    let running = start(service(panics, options), options).await;
    let client = connect(running.address).await;
    assert!(infer(&client, 1).await.is_err());
    let error = running.task.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the thread that computes panicked: no such kernel"
    );
}

#[tokio::test]
async fn a_stopped_server_waits_for_requests_only_for_the_grace_time() {
    let options = ServerOptions {
        grace: Duration::from_millis(50),
        ..ServerOptions::default()
    };
    let (outputs, computing, release) = held();
    let running = start(service(outputs, options), options).await;
    let client = connect(running.address).await;
    let waiting = tokio::spawn(async move { infer(&client, 1).await });
    spawn_blocking(move || computing.recv().unwrap())
        .await
        .unwrap();
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    assert!(!waiting.is_finished());
    drop(release);

    // With a response in time it ends immediately.
    let options = ServerOptions {
        grace: Duration::from_secs(3600),
        ..options
    };
    let (outputs, computing, release) = held();
    let running = start(service(outputs, options), options).await;
    let client = connect(running.address).await;
    let waiting = tokio::spawn(async move { infer(&client, 1).await });
    spawn_blocking(move || computing.recv().unwrap())
        .await
        .unwrap();
    running.stop.send(()).unwrap();
    release.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_beyond_the_bytes_are_refused() {
    let options = ServerOptions {
        max_batch: 4096,
        max_bytes: 1 << 20,
        ..ServerOptions::default()
    };
    let (outputs, computing, release) = held();
    let running = start(service(outputs, options), options).await;
    let client = connect(running.address).await;
    let row = request(1)
        .raw_input_contents
        .iter()
        .map(Vec::len)
        .sum::<usize>();
    let rows = (600 << 10) / row;
    let held_client = client.clone();
    let first = tokio::spawn(async move { infer(&held_client, rows).await });
    spawn_blocking(move || computing.recv().unwrap())
        .await
        .unwrap();
    let charged = running.counters.read().waiting_bytes;
    assert!((600 << 10..700 << 10).contains(&charged), "{charged}");
    // A further one of this size does not fit; a small one does.
    let error = infer(&client, rows).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::ResourceExhausted, "too many bytes wait")
    );
    let small_client = client.clone();
    let small = tokio::spawn(async move { infer(&small_client, 1).await });
    // All batches, of which the first request may have several.
    drop(release);
    first.await.unwrap().unwrap();
    small.await.unwrap().unwrap();
    infer(&client, rows).await.unwrap();
    let counters = running.counters.read();
    assert_eq!((counters.waiting_bytes, counters.overloaded), (0, 1));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let options = ServerOptions {
        max_connections: 1,
        ..ServerOptions::default()
    };
    let outputs = |windows: &[Vec<Step>]| Ok(vec![[0.5; OUTPUTS_MAX]; windows.len()]);
    let running = start(service(outputs, options), options).await;
    let first = connect(running.address).await;
    infer(&first, 1).await.unwrap();
    let address = running.address;
    let second = tokio::spawn(async move {
        let client = connect(address).await;
        infer(&client, 1).await
    });
    for _ in 0..20 {
        infer(&first, 1).await.unwrap();
        assert!(!second.is_finished());
    }
    assert_eq!(running.counters.read().connections, 1);
    drop(first);
    second.await.unwrap().unwrap();
}

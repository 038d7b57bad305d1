//! The client against MLServer, with a small runtime. `MLSERVER_PYTHON` names a Python
//! with MLServer, by default `python3`; otherwise the test is skipped by name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{client, on_records, on_summaries, options, summary};
use l4sllm_model::WindowSession;
use l4sllm_remote::client::Progress;

const NAME: &str = "the_client_works_with_mlserver";

/// Returns the first features of the newest period.
const RUNTIME: &str = r#"
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Newest(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        tensors = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        assert tensors["actions"].shape[:2] == tensors["returns"].shape[:2]
        newest = tensors["inputs"][:, -1, :8].astype("float32")
        outputs = [NumpyCodec.encode_output("outputs", newest)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"#;

/// Time for MLServer to start.
const START: Duration = Duration::from_secs(120);

fn python() -> Option<String> {
    let python = std::env::var("MLSERVER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import mlserver"])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Writes the model's directory.
fn prepare(dir: &Path, ports: [u16; 3], width: usize) {
    let [http, grpc, metrics] = ports;
    let settings = format!(
        r#"{{"host": "127.0.0.1", "http_port": {http}, "grpc_port": {grpc},
            "metrics_port": {metrics}, "parallel_workers": 0, "debug": false}}"#
    );
    let input = |name: &str, width: usize| {
        format!(r#"{{"name": "{name}", "datatype": "FP32", "shape": [-1, -1, {width}]}}"#)
    };
    let inputs = [
        input("returns", 1),
        input("inputs", width),
        input("actions", 4),
    ]
    .join(", ");
    let model = format!(
        r#"{{"name": "periods", "implementation": "runtime.Newest", "inputs": [{inputs}],
            "outputs": [{{"name": "outputs", "datatype": "FP32", "shape": [-1, 8]}}]}}"#
    );
    std::fs::write(dir.join("settings.json"), settings).unwrap();
    std::fs::write(dir.join("model-settings.json"), model).unwrap();
    std::fs::write(dir.join("runtime.py"), RUNTIME).unwrap();
}

/// Killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_client_works_with_mlserver() {
    let Some(python) = python() else {
        println!("skipped: {NAME} (no MLServer: pip install mlserver, MLSERVER_PYTHON=python)");
        return;
    };
    let policy = on_summaries();
    let dir = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    prepare(dir.path(), ports, policy.config().inputs());
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let start = "from mlserver.cli import main; main()";
    let child = Command::new(python)
        .args(["-c", start, "start", "."])
        .current_dir(dir.path())
        .env("PYTHONPATH", ".")
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let said = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let address = SocketAddr::from(([127, 0, 0, 1], ports[1]));
    let asking = client(options(address, "periods"), &policy);
    let since = Instant::now();
    while !asking.is_connected() {
        let ended = running.0.try_wait().unwrap();
        assert!(
            ended.is_none() && since.elapsed() < START,
            "not connected: {}",
            said()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let config = Arc::new(policy.config().clone());
    let mut session = WindowSession::new(config, 1);
    for index in 0..10 {
        let window = session.observe_summary(&summary(index)).unwrap();
        let ticket = asking.submit(&window, Duration::from_secs(30)).unwrap();
        let outputs = common::until("answer", || match ticket.progress() {
            Progress::Answered(outputs) => Some(outputs),
            progress => {
                assert_ne!(progress, Progress::Ended, "no answer: {}", said());
                None
            }
        });
        let width = policy.config().inputs();
        let newest = &window.inputs[window.inputs.len() - width..][..8];
        assert_eq!(outputs, *newest, "to the bit");
    }
    assert_eq!(asking.counters().answered, 10);
    // A policy with other tensors is refused when it connects.
    let other = client(options(address, "periods"), &on_records());
    common::until("refusal", || (other.counters().refused >= 1).then_some(()));
    assert!(!other.is_connected());
}

//! The client against MLServer, with a small runtime. `MLSERVER_PYTHON` names a Python
//! with MLServer, by default `python3`; otherwise the test is skipped by name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/python.rs"]
mod server;

use std::path::Path;
use std::process::Command;

use common::on_summaries;
use server::{Running, free_port, python};

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

#[test]
fn the_client_works_with_mlserver() {
    let Some(python) = python("MLSERVER_PYTHON", "mlserver") else {
        println!("skipped: {NAME} (no MLServer: pip install mlserver, MLSERVER_PYTHON=python)");
        return;
    };
    let policy = on_summaries();
    let dir = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    prepare(dir.path(), ports, policy.config().inputs());
    let start = "from mlserver.cli import main; main()";
    let mut command = Command::new(python);
    command
        .args(["-c", start, "start", "."])
        .env("PYTHONPATH", ".");
    Running::start(&mut command, dir.path(), false).check(ports[1], &policy);
}

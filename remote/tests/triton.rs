//! The client against NVIDIA's tritonserver, as PyTriton runs it. `PYTRITON_PYTHON`
//! names a Python with PyTriton, by default `python3`; otherwise the test is skipped by
//! name. It needs no GPU.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/python.rs"]
mod server;

use std::process::Command;

use common::on_summaries;
use server::{Running, free_port, python};

const NAME: &str = "the_client_works_with_tritonserver";

/// Serves a model until its input ends.
const PROGRAM: &str = r#"
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

width, http, grpc = (int(number) for number in sys.argv[1:])


@batch
def newest(returns, inputs, actions):
    assert actions.shape[:2] == returns.shape[:2]
    return {"outputs": inputs[:, -1, :8].astype("float32")}


def tensor(name, *shape):
    return Tensor(name=name, dtype=np.float32, shape=shape)


config = TritonConfig(
    http_address="127.0.0.1",
    http_port=http,
    grpc_address="127.0.0.1",
    grpc_port=grpc,
    allow_metrics=False,
)
with Triton(config=config) as triton:
    triton.bind(
        model_name="periods",
        infer_func=newest,
        inputs=[tensor("returns", -1, 1), tensor("inputs", -1, width), tensor("actions", -1, 4)],
        outputs=[tensor("outputs", 8)],
        config=ModelConfig(max_batch_size=8),
    )
    triton.run()
    sys.stdin.read()
"#;

#[test]
fn the_client_works_with_tritonserver() {
    let Some(python) = python("PYTRITON_PYTHON", "pytriton.triton") else {
        println!(
            "skipped: {NAME} (no PyTriton: pip install nvidia-pytriton, PYTRITON_PYTHON=python)"
        );
        return;
    };
    let policy = on_summaries();
    let dir = tempfile::tempdir().unwrap();
    let (http, grpc) = (free_port(), free_port());
    let mut command = Command::new(python);
    command.args(["-c", PROGRAM]);
    command.args([policy.config().inputs().to_string()]);
    command.args([http.to_string(), grpc.to_string()]);
    // Its working files are removed with the directory.
    command.env("HOME", dir.path());
    command.env("PYTRITON_HOME", dir.path().join("pytriton"));
    // Python ends tritonserver, which a signal would not end.
    Running::start(&mut command, dir.path(), true).check(grpc, &policy);
}

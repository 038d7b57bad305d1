//! Backbones and adapters through libtorch, compared with `transformers` and
//! `peft`: tests/parity/make_references.py writes the references.

#![allow(clippy::unwrap_used, reason = "tests")]

mod directories;
mod forward;
mod gradients;
mod keys;
mod lora;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use l4sllm_model::backbone::BackboneConfig;
use l4sllm_model::torch::backbone::Weights;
use l4sllm_model::torch::{hub, set_threads};
use tch::{Device, Kind, Tensor};

/// Every variant written by make_references.py.
const VARIANTS: [&str; 10] = [
    "gpt2",
    "gpt2-scaled",
    "opt",
    "opt-post",
    "opt-bare",
    "llama",
    "llama-gqa",
    "llama-linear",
    "t5",
    "t5-gated",
];

/// Tolerance of hidden states, against `transformers` and `peft` in f32.
const TOLERANCE: f64 = 1e-4;

/// Lock for tests that draw numbers: libtorch's generator is shared by all
/// threads.
fn generator() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reference(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/parity/references")
        .join(variant)
}

/// The model of a variant, in f32.
fn model(variant: &str) -> (BackboneConfig, Weights) {
    set_threads(1);
    hub::load(&reference(variant), Kind::Float, Device::Cpu).unwrap()
}

/// The tensors of a file of a variant.
fn tensors(variant: &str, file: &str) -> Weights {
    let all = Tensor::read_safetensors(reference(variant).join(file)).unwrap();
    all.into_iter().collect()
}

/// The embeddings given to `transformers`.
fn embeds(variant: &str) -> Tensor {
    let inputs = tensors(variant, "expected.safetensors");
    inputs.get("embeds").unwrap().shallow_clone()
}

/// Padding masks, positions of tokens, and outputs of `transformers`, for
/// each kind of padding in `file`.
fn cases(variant: &str, file: &str) -> Vec<(&'static str, Option<Tensor>, Tensor)> {
    let inputs = tensors(variant, "expected.safetensors");
    let states = tensors(variant, file);
    let mut cases = Vec::new();
    for side in ["plain", "left", "right"] {
        let Some(state) = states.find(&format!("hidden.{side}")) else {
            continue;
        };
        let mask = inputs.find(&format!("mask.{side}"));
        let mask = mask.map(|m| m.to_kind(Kind::Bool));
        assert_eq!(mask.is_none(), side == "plain");
        cases.push((side, mask, state.shallow_clone()));
    }
    assert!(cases.len() >= 2);
    cases
}

/// The largest difference at tokens; every value is finite.
fn error(got: &Tensor, want: &Tensor, mask: Option<&Tensor>) -> f64 {
    assert_eq!(got.size(), want.size());
    let got = got.to_kind(Kind::Float);
    assert!(bool::try_from(got.isfinite().all()).unwrap());
    let difference = (got - want).abs();
    let difference = match mask {
        Some(mask) => difference * mask.to_kind(Kind::Float).unsqueeze(-1),
        None => difference,
    };
    difference.max().double_value(&[])
}

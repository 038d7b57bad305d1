//! Backbones against `transformers`: tests/parity/make_references.py writes
//! what is compared with.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use l4sllm_model::torch::backbone::{Pass, Weights, hidden};
use l4sllm_model::torch::{hub, set_threads};
use tch::{Device, Kind, Tensor};

/// Of hidden states, against `transformers` in f32.
const TOLERANCE: f64 = 1e-4;

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

fn reference(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/parity/references")
        .join(variant)
}

fn tensors(path: &Path) -> Weights {
    let all = Tensor::read_safetensors(path).unwrap();
    all.into_iter().collect()
}

/// What went into `transformers`, and what came out, by kind of padding.
fn expected(variant: &str) -> (Tensor, Vec<(&'static str, Option<Tensor>, Tensor)>) {
    let file = tensors(&reference(variant).join("expected.safetensors"));
    let get = |name: &str| file.get(name).unwrap().shallow_clone();
    let cases = ["plain", "left", "right"].map(|side| {
        let mask = file.find(&format!("mask.{side}"));
        let mask = mask.map(|m| m.to_kind(Kind::Bool));
        (side, mask, get(&format!("hidden.{side}")))
    });
    (get("embeds"), cases.into())
}

/// The largest difference where there are tokens.
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

#[test]
fn hidden_states_are_those_of_transformers() {
    set_threads(1);
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, weights) = hub::load(&reference(variant), Kind::Float, Device::Cpu).unwrap();
        let (embeds, cases) = expected(variant);
        for (side, mask, want) in cases {
            let pass = Pass {
                mask: mask.as_ref(),
                ..Pass::default()
            };
            let got = hidden(&config, &weights, &embeds, &pass).unwrap();
            let worst = error(&got, &want, mask.as_ref());
            println!("{variant:14} {side:6} {worst:.1e}");
            assert!(worst < TOLERANCE, "{variant} {side}: {worst}");
        }
    }
}

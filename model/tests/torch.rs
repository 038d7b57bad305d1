//! The same policy through libtorch.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{config, gpt2, records, steps, tensors, vary_paths};
use l4sllm_model::torch::{Batch, Network, set_threads};
use l4sllm_model::{Feature, Policy, PolicyConfig, Session, Step, Tensors, small_gpt2};
use tch::Device;

/// Tolerance of probabilities between the plain engine and libtorch.
const TOLERANCE: f32 = 1e-5;

fn assert_close(got: [f32; 3], want: [f32; 3]) {
    assert!(
        got.iter().zip(want).all(|(g, w)| (g - w).abs() < TOLERANCE),
        "{got:?} {want:?}"
    );
}

fn assert_parity(config: &PolicyConfig, tensors: &Tensors) {
    let policy = Policy::new(config.clone(), tensors).unwrap();
    let network = Network::new(config.clone(), tensors, Device::Cpu).unwrap();
    assert_eq!(network.tensors().unwrap(), *tensors);
    let stream = records(200, 11);
    let all = steps(config, &stream);
    for length in [1, config.window / 2, config.window] {
        let length = length.max(1);
        let windows: Vec<Vec<Step>> = (0..12)
            .map(|i| all[i * 5..i * 5 + length].to_vec())
            .collect();
        let batch = Batch::new(&windows, Device::Cpu).unwrap();
        for (window, want) in windows.iter().zip(network.probabilities(&batch).unwrap()) {
            assert_close(policy.decide(window).unwrap(), want);
        }
    }
    for interval in [10, 30] {
        let mut session = Session::new(policy.clone(), interval);
        for (i, record) in stream.iter().enumerate() {
            let Some(got) = session.observe(record).unwrap() else {
                continue;
            };
            let window = all[(i + 1).saturating_sub(config.window)..=i].to_vec();
            let batch = Batch::new(&[window], Device::Cpu).unwrap();
            assert_close(got, network.probabilities(&batch).unwrap()[0]);
        }
    }
}

#[test]
fn random_weights_give_the_same_probabilities() {
    set_threads(1);
    for (features, residual, layers, heads) in [
        (&Feature::PAPER7[..], false, 2, 3),
        (&Feature::PAPER8[..], true, 1, 4),
        (Feature::ALL, true, 1, 2),
    ] {
        let mut config = config(features);
        config.head.residual = residual;
        if layers == 1 {
            vary_paths(&mut config);
        }
        config.backbone = small_gpt2(layers, 48, heads, 192);
        gpt2(&mut config).n_positions = if layers == 1 { 400 } else { 0 };
        assert_parity(&config, &tensors(&config, 12));
        assert_parity(&config, &Tensors::random(&config, 13).unwrap());
    }
}

#[test]
fn the_shipped_policy_gives_the_same_probabilities() {
    set_threads(1);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default");
    let (config, tensors) = Policy::load_tensors(&dir).unwrap();
    assert_parity(&config, &tensors);
}

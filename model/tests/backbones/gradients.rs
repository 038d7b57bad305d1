//! Gradients with recomputation, compared with plain ones.

use l4sllm_model::backbone::{BackboneConfig, LoraConfig};
use l4sllm_model::torch::TrainError;
use l4sllm_model::torch::backbone::{Pass, Weights, backward, begin, end, hidden, layer};
use l4sllm_model::torch::lora;
use tch::{Device, Kind, Tensor};

use crate::{VARIANTS, cases, embeds, generator, model};

fn leaves(weights: &Weights) -> Weights {
    let leaf = |t: &Tensor| t.copy().set_requires_grad(true);
    let leaves = weights.iter().map(|(name, t)| (name.to_owned(), leaf(t)));
    leaves.collect()
}

fn loss(states: &Tensor, embeds: &Tensor) -> Result<Tensor, TrainError> {
    // Uses the embeddings again, like a residual head.
    let width = states.size()[2];
    let weights = Tensor::arange(width, (Kind::Float, Device::Cpu)).cos();
    Ok(((states + embeds * 0.5) * weights)
        .square()
        .mean(Kind::Float))
}

/// Source vector of `embeds`.
fn scale() -> Tensor {
    Tensor::from(1.5f32).set_requires_grad(true)
}

fn assert_same(what: &str, got: &Weights, want: &Weights, scales: [&Tensor; 2]) -> usize {
    let mut compared = 0;
    for ((name, got), (_, want)) in got.iter().zip(want.iter()) {
        let (got, want) = (got.grad(), want.grad());
        assert_eq!(got.defined(), want.defined(), "{what} {name}");
        if !got.defined() {
            continue;
        }
        let worst = (&got - &want).abs().max().double_value(&[]);
        let size = want.abs().max().double_value(&[]);
        assert!(
            worst <= 1e-6 + 1e-5 * size,
            "{what} {name}: {worst} of {size}"
        );
        compared += usize::from(size > 0.0);
    }
    let [got, want] = scales.map(|s| s.grad().double_value(&[]));
    assert!(
        (got - want).abs() <= 1e-6 + 1e-5 * want.abs(),
        "{what}: {got} {want}"
    );
    assert!(want != 0.0);
    compared
}

#[test]
fn checkpointed_gradients_match_plain_gradients() {
    let _alone = generator();
    for variant in VARIANTS {
        let (config, weights) = model(variant);
        let input = embeds(variant);
        for (side, mask, _) in cases(variant, "expected.safetensors") {
            let pass = Pass {
                mask: mask.as_ref(),
                ..Pass::default()
            };
            let (plain, s) = (leaves(&weights), scale());
            let embeds = &input * &s;
            let states = hidden(&config, &plain, &embeds, &pass).unwrap();
            let want = loss(&states, &embeds).unwrap();
            want.backward();

            let (again, r) = (leaves(&weights), scale());
            let got = backward(&config, &again, &(&input * &r), &pass, 1, loss).unwrap();
            assert!((got - want).abs().double_value(&[]) < 1e-6);
            let compared = assert_same(&format!("{variant} {side}"), &again, &plain, [&r, &s]);
            assert!(
                compared >= config.specs().len() - 1,
                "{variant}: {compared}"
            );
        }
    }
}

#[test]
fn flat_weights_get_one_gradient() {
    let _alone = generator();
    let (config, weights) = model("t5");
    let input = embeds("t5");
    let gradient = |again: bool| {
        let parts: Vec<Tensor> = weights.iter().map(|(_, t)| t.view([-1])).collect();
        let flat = Tensor::cat(&parts, 0).set_requires_grad(true);
        let sizes: Vec<i64> = parts.iter().map(|p| p.numel() as i64).collect();
        // Squared, so that the path from the vector stores something that a
        // backward pass frees.
        let views = (&flat * &flat).split_with_sizes(&sizes, 0);
        let views: Weights = weights
            .iter()
            .zip(views)
            .map(|((name, t), view)| (name.to_owned(), view.view_(t.size())))
            .collect();
        let pass = Pass::default();
        if again {
            let _ = backward(&config, &views, &input, &pass, 1, loss).unwrap();
        } else {
            let states = hidden(&config, &views, &input, &pass).unwrap();
            loss(&states, &input).unwrap().backward();
        }
        flat.grad()
    };
    let (want, got) = (gradient(false), gradient(true));
    let worst = (&got - &want).abs().max().double_value(&[]);
    let size = want.abs().max().double_value(&[]);
    assert!(size > 0.0 && worst < 1e-5 * size, "{worst} of {size}");
}

/// The forward pass with the generator seeded as by `backward`.
fn seeded(
    config: &BackboneConfig,
    weights: &Weights,
    embeds: &Tensor,
    pass: &Pass<'_>,
    seed: i64,
) -> Tensor {
    tch::manual_seed(seed);
    let mut state = begin(config, weights, embeds, pass).unwrap();
    for index in 0..config.layers() {
        tch::manual_seed(seed + 1 + index as i64);
        state = layer(config, weights, index, state, pass).unwrap();
    }
    tch::manual_seed(seed + 1 + config.layers() as i64);
    end(config, weights, state, pass).unwrap()
}

#[test]
fn checkpointed_dropout_repeats_and_only_adapters_learn() {
    let _alone = generator();
    for variant in VARIANTS {
        let (config, base) = model(variant);
        let input = embeds(variant);
        let config_lora = LoraConfig {
            r: 3,
            dropout: 0.3,
            ..LoraConfig::default()
        };
        let adapter = lora::random(&config, &config_lora, 5, Kind::Float, Device::Cpu).unwrap();
        let adapter: Weights = adapter
            .iter()
            .map(|(name, t)| (name.to_owned(), t.randn_like() * 0.2))
            .collect();
        let pass = Pass {
            train: true,
            lora: Some(&config_lora),
            ..Pass::default()
        };
        let with = |adapter: &Weights| {
            let mut weights = base.share();
            weights.extend(adapter.share());
            weights
        };
        let (plain, s) = (leaves(&adapter), scale());
        let embeds = &input * &s;
        let states = seeded(&config, &with(&plain), &embeds, &pass, 77);
        let want = loss(&states, &embeds).unwrap();
        want.backward();
        let other = seeded(&config, &with(&plain), &embeds, &pass, 78);
        assert!((other - states).abs().max().double_value(&[]) > 1e-3);

        let (again, r) = (leaves(&adapter), scale());
        let weights = with(&again);
        let got = backward(&config, &weights, &(&input * &r), &pass, 77, loss).unwrap();
        assert!((got - want).abs().double_value(&[]) < 1e-6);
        let compared = assert_same(variant, &again, &plain, [&r, &s]);
        assert_eq!(compared, config_lora.specs(&config).unwrap().len());
        assert!(base.iter().all(|(_, t)| !t.grad().defined()));
    }
}

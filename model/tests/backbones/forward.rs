//! Hidden states.

use l4sllm_model::backbone::BackboneConfig;
use l4sllm_model::torch::backbone::{Asked, Pass, Weights, hidden};
use tch::{Kind, Tensor};

use crate::{TOLERANCE, VARIANTS, cases, embeds, error, model};

#[test]
fn hidden_states_match_transformers() {
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, weights) = model(variant);
        let embeds = embeds(variant);
        for (side, mask, want) in cases(variant, "expected.safetensors") {
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

#[test]
fn padding_content_does_not_matter() {
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, weights) = model(variant);
        let embeds = embeds(variant);
        for (side, mask, _) in cases(variant, "expected.safetensors") {
            let Some(mask) = mask else { continue };
            let pass = Pass {
                mask: Some(&mask),
                ..Pass::default()
            };
            let padding = mask.logical_not().unsqueeze(-1);
            let other = embeds.masked_fill(&padding, 50.0);
            let want = hidden(&config, &weights, &embeds, &pass).unwrap();
            let got = hidden(&config, &weights, &other, &pass).unwrap();
            let worst = error(&got, &want, Some(&mask));
            assert!(worst < 1e-6, "{variant} {side}: {worst}");
        }
    }
}

#[test]
fn selected_tokens_have_the_states_of_a_full_pass() {
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, weights) = model(variant);
        let embeds = embeds(variant);
        for (side, mask, want) in cases(variant, "expected.safetensors") {
            for (first, step) in [(2, 3), (0, 1), (embeds.size()[1] - 1, 9)] {
                let asked = Asked { first, step };
                let pass = Pass {
                    mask: mask.as_ref(),
                    asked: Some(asked),
                    ..Pass::default()
                };
                let got = hidden(&config, &weights, &embeds, &pass).unwrap();
                let mask = mask.as_ref().map(|mask| asked.of(mask).unwrap());
                let worst = error(&got, &asked.of(&want).unwrap(), mask.as_ref());
                assert!(worst < TOLERANCE, "{variant} {side} {asked:?}: {worst}");
            }
        }
    }
}

#[test]
fn causal_backbones_ignore_later_tokens() {
    let _guard = tch::no_grad_guard();
    let pass = Pass::default();
    let seen = |config: &BackboneConfig, weights: &Weights, embeds: &Tensor| {
        let other = embeds.copy();
        let _ = other.narrow(1, 12, 1).fill_(3.0);
        let early = |x| hidden(config, weights, x, &pass).unwrap().narrow(1, 0, 12);
        (early(embeds) - early(&other))
            .abs()
            .max()
            .double_value(&[])
    };
    for variant in VARIANTS {
        let (mut config, weights) = model(variant);
        let embeds = embeds(variant);
        if let BackboneConfig::T5(t5) = &mut config {
            // The published encoder attends to later tokens.
            assert!(seen(&BackboneConfig::T5(t5.clone()), &weights, &embeds) > 0.01);
            t5.causal = true;
        }
        assert!(config.is_causal());
        let leak = seen(&config, &weights, &embeds);
        assert!(leak < 1e-6, "{variant}: {leak}");

        // The same check with a mask that has one false value.
        let mask = Tensor::ones([3, 20], (Kind::Bool, embeds.device()));
        let _ = mask.narrow(1, 19, 1).fill_(0.0);
        let masked = Pass {
            mask: Some(&mask),
            ..pass
        };
        let plain = hidden(&config, &weights, &embeds, &pass).unwrap();
        let masked = hidden(&config, &weights, &embeds, &masked).unwrap();
        let worst = error(&masked, &plain, Some(&mask));
        assert!(worst < 1e-5, "{variant}: {worst}");
    }
}

#[test]
fn bf16_is_near_f32() {
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, weights) = model(variant);
        let embeds = embeds(variant).to_kind(Kind::BFloat16);
        let halves: Weights = weights
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.to_kind(Kind::BFloat16)))
            .collect();
        for (side, mask, want) in cases(variant, "expected.safetensors") {
            let pass = Pass {
                mask: mask.as_ref(),
                ..Pass::default()
            };
            // Weights of another type are converted where they are used.
            let converted = hidden(&config, &weights, &embeds, &pass).unwrap();
            let got = hidden(&config, &halves, &embeds, &pass).unwrap();
            assert_eq!(got.kind(), Kind::BFloat16);
            assert!(error(&got, &converted.to_kind(Kind::Float), None) == 0.0);
            let scale = want.abs().max().double_value(&[]);
            let worst = error(&got, &want, mask.as_ref()) / scale;
            println!("{variant:14} {side:6} {worst:.1e}");
            assert!(worst < 0.05, "{variant} {side}: {worst}");
        }
    }
}

#[test]
fn names_mismatched_inputs() {
    let (config, weights) = model("gpt2");
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
    let refuse = |embeds: &Tensor, mask: Option<&Tensor>, part: &str| {
        let pass = Pass {
            mask,
            ..Pass::default()
        };
        let error = hidden(&config, &weights, embeds, &pass).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(part), "{text}");
    };
    let good = zeros(&[2, 5, 16]);
    refuse(
        &zeros(&[2, 5, 15]),
        None,
        "embeds: shape [2, 5, 15], expected [B, T, 16]",
    );
    refuse(&zeros(&[5, 16]), None, "embeds: shape [5, 16]");
    refuse(&zeros(&[1, 33, 16]), None, "at most 32 tokens");
    let mask = zeros(&[2, 5]);
    refuse(&good, Some(&mask), "mask: ");
    let mask = zeros(&[2, 4]).to_kind(Kind::Bool);
    refuse(
        &good,
        Some(&mask),
        "mask: shape [2, 4], expected [2, 5] of bool",
    );
    for (first, step) in [(-1, 1), (5, 1), (0, 0)] {
        let pass = Pass {
            asked: Some(Asked { first, step }),
            ..Pass::default()
        };
        let error = hidden(&config, &weights, &good, &pass).unwrap_err();
        assert!(error.to_string().contains("tokens for Asked"), "{error}");
    }
    let error = hidden(&config, &Weights::new(), &good, &Pass::default()).unwrap_err();
    assert_eq!(error.to_string(), "weights: tensor wpe.weight: missing");
}

#[test]
fn gpt2_position_ids_are_optional() {
    let _guard = tch::no_grad_guard();
    let (mut config, mut weights) = model("gpt2");
    let embeds = embeds("gpt2");
    weights.insert(
        "wpe.weight",
        weights.get("wpe.weight").unwrap().zeros_like(),
    );
    let want = hidden(&config, &weights, &embeds, &Pass::default()).unwrap();
    let BackboneConfig::Gpt2(gpt2) = &mut config else {
        unreachable!()
    };
    gpt2.n_positions = 0;
    let specs = config.specs();
    assert!(specs.iter().all(|(name, _)| name != "wpe.weight"));
    let needed: Weights = specs
        .iter()
        .map(|(name, _)| (name.clone(), weights.get(name).unwrap().shallow_clone()))
        .collect();
    let got = hidden(&config, &needed, &embeds, &Pass::default()).unwrap();
    assert_eq!(error(&got, &want, None), 0.0);
}

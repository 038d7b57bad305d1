//! Adapters.

use std::fs;
use std::path::Path;

use l4sllm_model::backbone::{ADAPTER_CONFIG_FILE, BackboneConfig, LoraConfig};
use l4sllm_model::torch::backbone::{Pass, Weights, hidden};
use l4sllm_model::torch::lora::{self, ADAPTER_FILE};
use tch::{Device, Kind, Tensor};

use crate::{TOLERANCE, VARIANTS, cases, embeds, error, generator, model, reference, tensors};

/// The adapter that `peft` wrote for a variant.
fn adapter(variant: &str, config: &BackboneConfig) -> (LoraConfig, Weights) {
    let dir = reference(variant).join("adapter");
    lora::load(&dir, config, Kind::Float, Device::Cpu).unwrap()
}

fn with(base: &Weights, adapter: &Weights) -> Weights {
    let mut weights = base.share();
    weights.extend(adapter.share());
    weights
}

#[test]
fn peft_adapters_give_peft_outputs() {
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, base) = model(variant);
        let (lora, adapter) = adapter(variant, &config);
        assert_eq!((lora.r, lora.alpha, lora.dropout), (4, 6.0, 0.05));
        let weights = with(&base, &adapter);
        let embeds = embeds(variant);
        for (side, mask, want) in cases(variant, "adapted.safetensors") {
            let mut pass = Pass {
                mask: mask.as_ref(),
                lora: Some(&lora),
                ..Pass::default()
            };
            let got = hidden(&config, &weights, &embeds, &pass).unwrap();
            let worst = error(&got, &want, mask.as_ref());
            println!("{variant:14} {side:6} {worst:.1e}");
            assert!(worst < TOLERANCE, "{variant} {side}: {worst}");

            // Disabled, they change nothing.
            pass.lora = None;
            let off = hidden(&config, &weights, &embeds, &pass).unwrap();
            let bare = hidden(&config, &base, &embeds, &pass).unwrap();
            assert_eq!(error(&off, &bare, None), 0.0);
            assert!(error(&off, &want, mask.as_ref()) > 0.01);
        }
    }
}

#[test]
fn merging_changes_no_output_and_can_be_undone() {
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, base) = model(variant);
        let (lora, adapter) = adapter(variant, &config);
        let weights = with(&base, &adapter);
        let merged = lora::merge(&config, &lora, &weights).unwrap();
        assert!(
            merged
                .iter()
                .map(|(n, _)| n)
                .eq(base.iter().map(|(n, _)| n))
        );
        let embeds = embeds(variant);
        let adapted = Pass {
            lora: Some(&lora),
            ..Pass::default()
        };
        let want = hidden(&config, &weights, &embeds, &adapted).unwrap();
        let got = hidden(&config, &merged, &embeds, &Pass::default()).unwrap();
        let worst = error(&got, &want, None);
        println!("{variant:14} merged {worst:.1e}");
        assert!(worst < 1e-5, "{variant}: {worst}");

        let back = lora::unmerge(&config, &lora, &merged, &adapter).unwrap();
        for (name, tensor) in base.iter() {
            let worst = error(back.get(name).unwrap(), tensor, None);
            assert!(worst < 1e-6, "{variant} {name}: {worst}");
        }
    }
}

#[test]
fn written_adapters_match_peft() {
    let dir = tempfile::tempdir().unwrap();
    for variant in ["gpt2-scaled", "opt-post", "llama-linear", "t5"] {
        let (config, _) = model(variant);
        let (lora, adapter) = adapter(variant, &config);
        let out = dir.path().join(variant);
        lora::save(&out, &config, &lora, &adapter, Some("base")).unwrap();

        let (again, weights) = lora::load(&out, &config, Kind::Float, Device::Cpu).unwrap();
        assert_eq!(again, lora);
        for (name, tensor) in adapter.iter() {
            assert_eq!(error(weights.get(name).unwrap(), tensor, None), 0.0);
        }
        // These were saved from bare models: the same names and values.
        let theirs = tensors(variant, &format!("adapter/{ADAPTER_FILE}"));
        let ours: Weights = Tensor::read_safetensors(out.join(ADAPTER_FILE))
            .unwrap()
            .into_iter()
            .collect();
        assert!(
            ours.iter()
                .map(|(n, _)| n)
                .eq(theirs.iter().map(|(n, _)| n))
        );
        let json = |path: &Path| -> serde_json::Value {
            serde_json::from_slice(&fs::read(path.join(ADAPTER_CONFIG_FILE)).unwrap()).unwrap()
        };
        let theirs = json(&reference(variant).join("adapter"));
        let ours = json(&out);
        assert_eq!(ours["base_model_name_or_path"], "base");
        for key in [
            "r",
            "lora_alpha",
            "lora_dropout",
            "use_rslora",
            "fan_in_fan_out",
            "bias",
        ] {
            assert_eq!(ours[key], theirs[key], "{variant} {key}");
        }
    }
}

#[test]
fn new_adapter_changes_no_output() {
    let _alone = generator();
    let _guard = tch::no_grad_guard();
    for variant in VARIANTS {
        let (config, base) = model(variant);
        let lora = LoraConfig::default();
        let new = |seed| lora::random(&config, &lora, seed, Kind::Float, Device::Cpu).unwrap();
        let adapter = new(1);
        let mut a = adapter.iter().filter(|(n, _)| n.ends_with("lora_A.weight"));
        let (name, first) = a.next().unwrap();
        let bound = 1.0 / (first.size()[1] as f64).sqrt();
        let most = first.abs().max().double_value(&[]);
        assert!(most < bound && most > 0.9 * bound, "{most} {bound}");
        let other = |seed| error(new(seed).get(name).unwrap(), first, None);
        assert_eq!(other(1), 0.0);
        assert!(other(2) > 0.0);
        let embeds = embeds(variant);
        let pass = Pass {
            lora: Some(&lora),
            ..Pass::default()
        };
        let got = hidden(&config, &with(&base, &adapter), &embeds, &pass).unwrap();
        let want = hidden(&config, &base, &embeds, &Pass::default()).unwrap();
        assert_eq!(error(&got, &want, None), 0.0);
    }
}

#[test]
fn mismatched_adapters_are_refused() {
    let (gpt2, _) = model("gpt2-scaled");
    let (llama, _) = model("llama-linear");
    let dir = tempfile::tempdir().unwrap();
    let copy = |variant: &str| {
        for file in [ADAPTER_FILE, ADAPTER_CONFIG_FILE] {
            fs::copy(
                reference(variant).join("adapter").join(file),
                dir.path().join(file),
            )
            .unwrap();
        }
    };
    let refuse = |config: &BackboneConfig, parts: &[&str]| {
        let error = lora::load(dir.path(), config, Kind::Float, Device::Cpu).unwrap_err();
        let text = error.to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    };
    copy("gpt2-scaled");
    refuse(
        &llama,
        &[ADAPTER_CONFIG_FILE, "target_modules = c_attn", "q_proj"],
    );

    // A rank that differs from the tensors.
    let path = dir.path().join(ADAPTER_CONFIG_FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"r\": 4", "\"r\": 5")).unwrap();
    refuse(&gpt2, &["lora_A.weight", "shape [4, 16], expected [5, 16]"]);

    // Tensors that the configuration does not require would be lost.
    let fewer = text
        .replace("\"c_proj\",", "")
        .replace(",\n    \"c_proj\"", "");
    assert_ne!(fewer, text);
    fs::write(&path, fewer).unwrap();
    refuse(&gpt2, &["c_proj.lora_", "not required"]);

    fs::write(&path, &text).unwrap();
    let weights = dir.path().join(ADAPTER_FILE);
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    refuse(&gpt2, &[ADAPTER_FILE, "not a complete safetensors file"]);
    fs::remove_file(&weights).unwrap();
    fs::write(dir.path().join("adapter_model.bin"), "").unwrap();
    refuse(&gpt2, &["adapter_model.bin", "convert"]);
}

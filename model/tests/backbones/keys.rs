//! Compares each configuration key, and each of PEFT's ways of choosing
//! layers, with `transformers` and `peft`: tests/parity/make_key_references.py
//! contains the tables and writes the references.

use std::fs;
use std::path::Path;

use l4sllm_model::backbone::{ADAPTER_CONFIG_FILE, CONFIG_FILE};
use l4sllm_model::torch::backbone::{Pass, hidden};
use l4sllm_model::torch::lora::ADAPTER_FILE;
use l4sllm_model::torch::{TrainError, hub, lora, set_threads};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use crate::{TOLERANCE, error, reference, tensors};

/// Tolerance of adapters, against `peft` in f32, as a share of the largest
/// state above 1.
const ADAPTED: f64 = 1e-5;

/// A directory with the keys of a case and the weights of its family.
fn directory(family: &str, keys: &Map<String, Value>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CONFIG_FILE), json!(keys).to_string()).unwrap();
    let weights = reference("keys").join(family).join("model.safetensors");
    std::os::unix::fs::symlink(weights, dir.path().join("model.safetensors")).unwrap();
    dir
}

fn state(dir: &Path, embeds: &Tensor) -> Result<Tensor, TrainError> {
    let (config, weights) = hub::load(dir, Kind::Float, Device::Cpu)?;
    let state = hidden(&config, &weights, embeds, &Pass::default());
    Ok(state.unwrap())
}

fn listed(file: &str) -> Value {
    serde_json::from_slice(&fs::read(reference("keys").join(file)).unwrap()).unwrap()
}

#[test]
fn each_key_is_supported_ignored_or_refused_by_name() {
    set_threads(1);
    let _guard = tch::no_grad_guard();
    let mut verdicts = [0; 3];
    for family in ["gpt2", "opt", "llama", "t5"] {
        let list = listed(&format!("{family}/cases.json"));
        let expected = tensors(&format!("keys/{family}"), "expected.safetensors");
        let embeds = expected.get("embeds").unwrap();
        for (number, case) in list["cases"].as_array().unwrap().iter().enumerate() {
            let mut keys = list["base"].as_object().unwrap().clone();
            for (key, value) in case["keys"].as_object().unwrap() {
                match *value == list["absent"] {
                    true => keys.remove(key),
                    false => keys.insert(key.clone(), value.clone()),
                };
            }
            let dir = directory(family, &keys);
            let got = state(dir.path(), embeds);
            let changed = &case["keys"];
            let want = match case["verdict"].as_str().unwrap() {
                "refused" => {
                    verdicts[2] += 1;
                    let text = got.map(drop).unwrap_err().to_string();
                    let named = changed.as_object().unwrap().keys();
                    let named = named.filter(|key| text.contains(&format!(": {key}")));
                    assert!(named.count() > 0, "{family} {changed}: {text}");
                    continue;
                }
                "read" => {
                    verdicts[0] += 1;
                    expected.get(&format!("hidden.{number}"))
                }
                _ => {
                    verdicts[1] += 1;
                    expected.get("hidden")
                }
            };
            let got = got.unwrap_or_else(|e| panic!("{family} {changed}: {e}"));
            let worst = error(&got, want.unwrap(), None);
            assert!(worst < TOLERANCE, "{family} {changed}: {worst}");
        }
    }
    println!("{verdicts:?} keys read, without effect, refused");
    assert!(verdicts.iter().all(|count| *count > 20), "{verdicts:?}");
}

#[test]
fn layer_selection_matches_peft() {
    set_threads(1);
    let _guard = tch::no_grad_guard();
    let expected = tensors("keys/adapters", "expected.safetensors");
    let list = listed("adapters/cases.json");
    for case in list.as_array().unwrap() {
        let (name, family) = (
            case["name"].as_str().unwrap(),
            case["family"].as_str().unwrap(),
        );
        let base = listed(&format!("{family}/cases.json"))["base"].clone();
        let dir = directory(family, base.as_object().unwrap());
        let inputs = tensors(&format!("keys/{family}"), "expected.safetensors");
        let embeds = inputs.get("embeds").unwrap();
        let adapter = reference("keys/adapters").join(name);

        let (config, mut weights) = hub::load(dir.path(), Kind::Float, Device::Cpu).unwrap();
        let (lora, own) = lora::load(&adapter, &config, Kind::Float, Device::Cpu)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        // The written configuration equals the one read, however the layers
        // were chosen.
        let again = dir.path().join("again");
        lora::save(&again, &config, &lora, &own, None).unwrap();
        let (read, _) = lora::load(&again, &config, Kind::Float, Device::Cpu).unwrap();
        assert_eq!(read, lora, "{name}");

        weights.extend(own);
        let pass = Pass {
            lora: Some(&lora),
            ..Pass::default()
        };
        let got = hidden(&config, &weights, embeds, &pass).unwrap();
        let want = expected.get(name).unwrap();
        let largest = want.abs().max().double_value(&[]).max(1.0);
        let worst = error(&got, want, None) / largest;
        println!("{name:24} {worst:.1e}");
        assert!(worst < ADAPTED, "{name}: {worst}");
        let merged = lora::merge(&config, &lora, &weights).unwrap();
        let got = hidden(&config, &merged, embeds, &Pass::default()).unwrap();
        let worst = error(&got, want, None) / largest;
        assert!(worst < ADAPTED, "{name} merged: {worst}");
    }
}

/// An adapter of `peft` with changed keys or missing tensors.
fn changed(name: &str, keys: &Value, without: &str) -> Result<(), String> {
    let base = listed("llama/cases.json")["base"].clone();
    let dir = directory("llama", base.as_object().unwrap());
    let adapter = reference("keys/adapters").join(name);
    let text = fs::read(adapter.join(ADAPTER_CONFIG_FILE)).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(dir.path().join(ADAPTER_CONFIG_FILE), config.to_string()).unwrap();
    let stored = Tensor::read_safetensors(adapter.join(ADAPTER_FILE)).unwrap();
    let kept: Vec<_> = stored
        .iter()
        .filter(|(name, _)| without.is_empty() || !name.contains(without))
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    Tensor::write_safetensors(&kept, dir.path().join(ADAPTER_FILE)).unwrap();
    let backbone = l4sllm_model::backbone::BackboneConfig::from_dir(dir.path()).unwrap();
    let loaded = lora::load(dir.path(), &backbone, Kind::Float, Device::Cpu);
    loaded.map(drop).map_err(|e| e.to_string())
}

#[test]
fn names_selected_layer_without_weights() {
    for name in ["names", "pattern", "all-linear"] {
        changed(name, &json!({}), "").unwrap();
        let text = changed(name, &json!({}), "layers.1.").unwrap_err();
        assert!(
            text.contains("layers.1.self_attn.") && text.contains("missing"),
            "{name}: {text}"
        );
    }
    // Superfluous weights are also refused.
    let text = changed("names", &json!({"layers_to_transform": [0]}), "").unwrap_err();
    assert!(text.contains("layers.1.self_attn."), "{text}");
}

#[test]
fn unsupported_adapter_kinds_are_refused_by_key() {
    for (key, value) in [
        ("use_dora", json!(true)),
        ("lora_bias", json!(true)),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("modules_to_save", json!(["norm"])),
        ("target_parameters", json!(["mlp.experts.weight"])),
        ("trainable_token_indices", json!([1])),
        ("layer_replication", json!([[0, 2]])),
        ("alora_invocation_tokens", json!([1])),
        ("use_qalora", json!(true)),
        ("use_bdlora", json!({"nblocks": 2})),
        ("kasa_config", json!({"beta": 1.0})),
        ("peft_type", json!("IA3")),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("OLoRA")),
        ("something_new", json!(3)),
        ("target_modules", json!([])),
        ("target_modules", json!(["q_proj", "nothing"])),
        ("target_modules", json!("(")),
        ("exclude_modules", json!("(")),
        ("rank_pattern", json!({"(": 4})),
        ("rank_pattern", json!({"q_proj": 0})),
        ("alpha_pattern", json!({"q_proj": "x"})),
        ("r", json!(0)),
    ] {
        let text = changed("names", &json!({ key: value }), "").unwrap_err();
        let start = format!("{ADAPTER_CONFIG_FILE}: {key} = ");
        assert!(text.contains(&start), "{key}: {text}");
    }
    for (key, value) in [
        ("init_lora_weights", json!("gaussian")),
        ("base_model_name_or_path", json!("somewhere")),
        ("something_new", Value::Null),
        ("fan_in_fan_out", json!(true)),
    ] {
        changed("names", &json!({ key: value }), "").unwrap_or_else(|e| panic!("{key}: {e}"));
    }
}

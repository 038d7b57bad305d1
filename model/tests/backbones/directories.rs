//! Writing, reading and refusal of Hugging Face directories.

use std::fs;
use std::path::Path;

use l4sllm_model::backbone::{BackboneConfig, CONFIG_FILE, Initial};
use l4sllm_model::torch::backbone::Weights;
use l4sllm_model::torch::hub::{self, INDEX_FILE, WEIGHTS_FILE};
use tch::{Device, Kind, Tensor};

use crate::{VARIANTS, error, generator, model, reference};

fn load(dir: &Path) -> Result<(BackboneConfig, Weights), String> {
    hub::load(dir, Kind::Float, Device::Cpu).map_err(|e| e.to_string())
}

fn refuse(dir: &Path, parts: &[&str]) {
    let text = load(dir).unwrap_err();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

fn copy_of(variant: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(reference(variant)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    dir
}

#[test]
fn directories_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    for variant in VARIANTS {
        let (config, weights) = model(variant);
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let stored: Weights = weights
                .iter()
                .map(|(name, tensor)| (name.to_owned(), tensor.to_kind(kind)))
                .collect();
            hub::save(dir.path(), &config, &stored).unwrap();
            let (again, read) = hub::load(dir.path(), kind, Device::Cpu).unwrap();
            assert_eq!(again, config);
            assert!(
                read.iter()
                    .map(|(n, _)| n)
                    .eq(weights.iter().map(|(n, _)| n))
            );
            for (name, tensor) in stored.iter() {
                let got = read.get(name).unwrap();
                assert_eq!(got.kind(), kind);
                assert_eq!(error(got, &tensor.to_kind(Kind::Float), None), 0.0);
            }
        }
    }
    // Nothing else is left in the directory.
    let mut files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, [CONFIG_FILE, WEIGHTS_FILE]);
}

#[test]
fn random_weights_follow_the_family_initialisation() {
    let _alone = generator();
    let text = br#"{"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2}"#;
    let gpt2 = BackboneConfig::from_json("config.json", text).unwrap();
    for config in [
        gpt2,
        model("opt").0,
        model("llama-gqa").0,
        model("t5-gated").0,
    ] {
        let draw = |seed| hub::random(&config, seed, Kind::Float, Device::Cpu).unwrap();
        let (weights, same, other) = (draw(3), draw(3), draw(4));
        for (name, shape) in config.specs() {
            let tensor = weights.get(&name).unwrap();
            assert!(tensor.size().iter().map(|n| *n as usize).eq(shape));
            assert_eq!(error(tensor, same.get(&name).unwrap(), None), 0.0);
            let differs = error(tensor, other.get(&name).unwrap(), None) > 0.0;
            match config.initial(&name) {
                Initial::Zeros => assert_eq!(tensor.abs().max().double_value(&[]), 0.0),
                Initial::Constant(c) => {
                    let c = f64::from(c as f32);
                    assert_eq!(tensor.min().double_value(&[]), c);
                    assert_eq!(tensor.max().double_value(&[]), c);
                }
                Initial::Normal(deviation) => {
                    assert!(differs, "{name}");
                    let n = tensor.numel() as f64;
                    let got = tensor.square().mean(Kind::Float).sqrt().double_value(&[]);
                    // Five standard errors.
                    let bound = 5.0 / (2.0 * n).sqrt();
                    assert!(
                        (got / deviation - 1.0).abs() < bound,
                        "{name} {got} {deviation}"
                    );
                }
            }
        }
    }
}

#[test]
fn damaged_directories_are_refused() {
    let dir = copy_of("gpt2");
    let weights = dir.path().join(WEIGHTS_FILE);
    let bytes = fs::read(&weights).unwrap();
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        fs::write(&weights, &bytes[..length]).unwrap();
        refuse(dir.path(), &[WEIGHTS_FILE]);
    }
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&weights, huge).unwrap();
    refuse(
        dir.path(),
        &[WEIGHTS_FILE, "not a complete safetensors file"],
    );

    fs::remove_file(&weights).unwrap();
    refuse(dir.path(), &["neither", WEIGHTS_FILE, INDEX_FILE]);
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    refuse(dir.path(), &["pytorch_model.bin", "convert"]);
    fs::remove_file(dir.path().join(CONFIG_FILE)).unwrap();
    refuse(dir.path(), &["cannot read", CONFIG_FILE]);
}

#[test]
fn mismatched_tensors_are_refused_by_name() {
    let (config, weights) = model("gpt2");
    let dir = tempfile::tempdir().unwrap();
    let name = "h.1.mlp.c_fc.bias";
    let write = |tensor: Option<Tensor>| {
        let mut all = Vec::new();
        for (other, tensor) in weights.iter().filter(|(other, _)| *other != name) {
            all.push((format!("transformer.{other}"), tensor.shallow_clone()));
        }
        all.extend(tensor.map(|t| (format!("transformer.{name}"), t)));
        fs::write(dir.path().join(CONFIG_FILE), config.to_json()).unwrap();
        Tensor::write_safetensors(&all, dir.path().join(WEIGHTS_FILE)).unwrap();
    };
    let bias = || weights.get(name).unwrap().copy();
    write(Some(bias()));
    load(dir.path()).unwrap();
    write(None);
    refuse(
        dir.path(),
        &[WEIGHTS_FILE, name, "missing", "transformer.h.1"],
    );
    write(Some(bias().narrow(0, 0, 63).contiguous()));
    refuse(
        dir.path(),
        &[WEIGHTS_FILE, name, "shape [63], expected [64]"],
    );
    write(Some(bias().to_kind(Kind::Int64)));
    refuse(
        dir.path(),
        &[WEIGHTS_FILE, name, "I64, expected F32, F16 or BF16"],
    );
    for bad in [f64::NAN, f64::INFINITY] {
        let tensor = bias();
        let _ = tensor.narrow(0, 5, 1).fill_(bad);
        write(Some(tensor));
        refuse(dir.path(), &[WEIGHTS_FILE, name, "finite"]);
    }
}

#[test]
fn shard_index_cannot_leave_its_directory() {
    let dir = copy_of("llama-gqa");
    load(dir.path()).unwrap();
    let index = dir.path().join(INDEX_FILE);
    let text = fs::read_to_string(&index).unwrap();
    let second = "model-00002-of-00002.safetensors";
    for (file, part) in [
        ("../secret.safetensors", "../secret.safetensors"),
        ("/etc/secret.safetensors", "/etc/secret"),
        ("a/../../secret.safetensors", "secret"),
        ("..", "\"..\""),
        ("", "\"\""),
        ("weights.bin", "weights.bin"),
    ] {
        fs::write(&index, text.replace(second, file)).unwrap();
        refuse(dir.path(), &[INDEX_FILE, part, "of this directory"]);
    }
    fs::write(&index, text.replace(second, "model-00003.safetensors")).unwrap();
    refuse(dir.path(), &["cannot open", "model-00003.safetensors"]);
    // A tensor that is in another shard.
    let first = "model-00001-of-00002.safetensors";
    fs::write(&index, text.replace(second, first)).unwrap();
    refuse(dir.path(), &[first, "missing"]);
    fs::write(&index, text.replace("norm.weight", "normal.weight")).unwrap();
    refuse(dir.path(), &[INDEX_FILE, "missing"]);
    fs::write(&index, "{\"weight_map\": 3}").unwrap();
    refuse(dir.path(), &[INDEX_FILE]);
}

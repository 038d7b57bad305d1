//! Damaged, truncated or malicious policy directories: each is refused with
//! an error that names the file and the fault.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{Noise, config, tensors};
use l4sllm_model::{
    CONFIG_FILE, EncoderConfig, Feature, Policy, PolicyConfig, PolicyError, Tensors, WEIGHTS_FILE,
    small_gpt2,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn small() -> PolicyConfig {
    let mut config = config(&Feature::PAPER7[..2]);
    config.window = 3;
    config.backbone = small_gpt2(1, 8, 1, 8);
    config.features[0].encoder = EncoderConfig::scalar(2);
    config.features[1].encoder = EncoderConfig::series(2, 8);
    config
}

fn saved() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = small();
    Policy::save(dir.path(), &config, &tensors(&config, 1)).unwrap();
    dir
}

fn refusal(dir: &Path) -> String {
    Policy::load(dir).expect_err("accepted").to_string()
}

#[test]
fn a_saved_policy_loads_and_decides_the_same() {
    let dir = saved();
    let policy = Policy::load(dir.path()).unwrap();
    let same = Policy::new(small(), &tensors(&small(), 1)).unwrap();
    assert_eq!(policy.config(), same.config());
    assert_eq!(policy.hash(), same.hash());
    assert_eq!(policy.hash().len(), 64);
    let steps = common::steps(policy.config(), &common::records(3, 1));
    assert_eq!(policy.decide(&steps).unwrap(), same.decide(&steps).unwrap());
    // A changed weight changes the hash.
    let other = Policy::new(small(), &tensors(&small(), 2)).unwrap();
    assert_ne!(other.hash(), policy.hash());
}

#[test]
fn missing_files_are_named() {
    let dir = saved();
    fs::remove_file(dir.path().join(WEIGHTS_FILE)).unwrap();
    let error = refusal(dir.path());
    assert!(
        error.contains("cannot read") && error.contains(WEIGHTS_FILE),
        "{error}"
    );
    fs::remove_file(dir.path().join(CONFIG_FILE)).unwrap();
    assert!(refusal(dir.path()).contains(CONFIG_FILE));
    assert!(matches!(
        Policy::load(Path::new("/nonexistent")),
        Err(PolicyError::Io { .. })
    ));
}

/// Every key of the configuration with an invalid value.
#[test]
fn configurations_are_refused_by_key() {
    let good: Value = serde_json::to_value(small()).unwrap();
    for (pointer, value, want) in [
        ("/format", json!(1), "format = 1, expected 2"),
        ("/window", json!(0), "window = 0"),
        ("/window", json!(1_000_000), "window = 1000000"),
        ("/window", json!(-1), "window: "),
        (
            "/layout",
            json!("action_first"),
            "layout: unknown variant `action_first`",
        ),
        ("/features", json!([]), "features.length = 0"),
        (
            "/features/1/name",
            json!("queue_type"),
            "features[1].name = queue_type",
        ),
        (
            "/features/1/name",
            json!("colour"),
            "features[1].name: unknown variant `colour`",
        ),
        (
            "/features/0/scaling/std",
            json!(0.0),
            "features[0].scaling.std = 0",
        ),
        (
            "/features/0/scaling/std",
            json!(-1.0),
            "features[0].scaling.std = -1",
        ),
        (
            "/features/0/scaling/clip",
            json!(0.0),
            "features[0].scaling.clip = 0",
        ),
        (
            "/features/0/scaling/mean",
            json!(null),
            "features[0].scaling.mean: ",
        ),
        (
            "/features/0/scaling/transform",
            json!("exp"),
            "features[0].scaling.transform",
        ),
        ("/returns/gamma", json!(1.0), "returns.gamma = 1"),
        (
            "/returns/reward/offset_us",
            json!(0.0),
            "returns.reward.offset_us = 0",
        ),
        (
            "/returns/scaling/std",
            json!(0.0),
            "returns.scaling.std = 0",
        ),
        (
            "/features/0/encoder/scalar/width",
            json!(0),
            "features[0].encoder.scalar.width = 0",
        ),
        (
            "/features/1/encoder/series/history",
            json!(1 << 30),
            "features[1].encoder.series.history = 1073741824",
        ),
        (
            "/features/1/encoder/series/kernels/2",
            json!(9),
            "features[1].encoder.series.kernels[2] = 9, expected 1..=8",
        ),
        (
            "/features/1/encoder/series/kernels",
            json!([3, 3]),
            "features[1].encoder.series.kernels[1] = 3",
        ),
        (
            "/features/0/encoder/scalar/encoding",
            json!({"bins": {"edges": [0.0, 1.0, 1.0]}}),
            "features[0].encoder.scalar.encoding.bins.edges[2] = 1",
        ),
        (
            "/features/0/encoder/scalar/encoding",
            json!({"bins": {"edges": [0.0]}}),
            "features[0].encoder.scalar.encoding.bins.edges.length = 1",
        ),
        (
            "/features/0/encoder",
            json!({"image": {}}),
            "features[0].encoder: unknown variant `image`",
        ),
        (
            "/backbone/model_type",
            json!("bert"),
            "backbone: model_type = bert, expected gpt2, opt, llama or t5",
        ),
        ("/backbone/n_layer", json!(0), "backbone.n_layer = 0"),
        (
            "/backbone/n_layer",
            json!(1u64 << 60),
            "backbone.n_layer = 1152921504606846976",
        ),
        (
            "/backbone/n_embd",
            json!(1 << 20),
            "backbone.n_embd = 1048576",
        ),
        (
            "/backbone/n_head",
            json!(3),
            "backbone.n_embd = 8, expected a multiple of n_head = 3",
        ),
        ("/backbone/n_head", json!(0), "backbone.n_head = 0"),
        ("/backbone/n_inner", json!(0), "backbone.n_inner = 0"),
        (
            "/backbone/n_positions",
            json!(11),
            "window = 3 (12 tokens, window x (features + 2)), expected at most 11",
        ),
        (
            "/backbone/layer_norm_epsilon",
            json!(0.0),
            "backbone.layer_norm_epsilon = 0",
        ),
        (
            "/adaptation",
            json!({"lora": {"r": 0, "alpha": 32.0, "dropout": 0.0}}),
            "adaptation.lora.r = 0",
        ),
        (
            "/adaptation",
            json!({"lora": {"r": 4, "alpha": 32.0, "dropout": 0.0, "target_modules": ["q"]}}),
            "adaptation.lora.target_modules = q",
        ),
        (
            "/base",
            json!({"path": "b", "sha256": "0"}),
            "base = b, expected null",
        ),
        (
            "/head/kind",
            json!("guess"),
            "head.kind: unknown variant `guess`",
        ),
        (
            "/head/kind",
            json!("steer"),
            "head.kind.steer: invalid type",
        ),
        (
            "/head/residual",
            json!("yes"),
            "head.residual: invalid type",
        ),
        (
            "/decision_rule",
            json!("guess"),
            "decision_rule: unknown variant `guess`",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer)
            .unwrap_or_else(|| panic!("no {pointer}")) = value;
        let error = PolicyConfig::from_json("c", bad.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(want), "{pointer}: {error}");
    }
    for (pointer, key) in [
        ("", "colour"),
        ("/backbone", "depth"),
        ("/features/1/encoder/series", "stride"),
        ("/features/0", "kind"),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()[key] = json!(1);
        let error = PolicyConfig::from_json("c", bad.to_string().as_bytes()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("unknown field `{key}`")),
            "{error}"
        );
    }
    for text in [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "{} {}",
        "\u{0}",
        &"[".repeat(100_000),
    ] {
        assert!(
            PolicyConfig::from_json("c", text.as_bytes()).is_err(),
            "{text:.10}"
        );
    }
    assert!(PolicyConfig::from_json("c", (good.to_string() + " x").as_bytes()).is_err());
}

/// A handmade safetensors file: header text, then bytes.
fn weights(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The valid file, split into its parts.
fn parts(dir: &Path) -> (Value, Vec<u8>) {
    let bytes = fs::read(dir.join(WEIGHTS_FILE)).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (
        serde_json::from_slice(&bytes[8..8 + length]).unwrap(),
        bytes[8 + length..].to_vec(),
    )
}

#[test]
fn tensors_are_refused_by_name() {
    let dir = saved();
    let file = dir.path().join(WEIGHTS_FILE);
    let (header, data) = parts(dir.path());
    let check = |want: &str, change: &dyn Fn(&mut Value, &mut Vec<u8>)| {
        let (mut header, mut data) = (header.clone(), data.clone());
        change(&mut header, &mut data);
        fs::write(&file, weights(&header.to_string(), &data)).unwrap();
        let error = refusal(dir.path());
        assert!(
            error.contains(WEIGHTS_FILE) && error.contains(want),
            "expected {want}: {error}"
        );
    };
    let rename = |header: &mut Value, from: &str, to: &str| {
        let map = header.as_object_mut().unwrap();
        let entry = map.remove(from).unwrap();
        map.insert(to.to_owned(), entry);
    };
    check("tensor head.bias: missing", &|h, _| {
        rename(h, "head.bias", "head.bios")
    });
    check("tensor backbone.h.0.ln_1.weight: missing", &|h, _| {
        rename(h, "backbone.h.0.ln_1.weight", "backbone.h.1.ln_1.weight");
    });
    check("tensor extra: not part of this policy", &|h, d| {
        let end = d.len();
        d.extend([0; 4]);
        h["extra"] = json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]});
    });
    check(
        "tensor head.weight: shape [8, 3], expected [3, 8]",
        &|h, _| {
            h["head.weight"]["shape"] = json!([8, 3]);
        },
    );
    check("tensor head.bias: I32, expected F32", &|h, _| {
        h["head.bias"]["dtype"] = json!("I32")
    });
    for bad in [f32::NAN, f32::INFINITY] {
        check(&format!("tensor time.weight: value 1 is {bad}"), &|h, d| {
            let at = h["time.weight"]["data_offsets"][0].as_u64().unwrap() as usize + 4;
            d[at..at + 4].copy_from_slice(&bad.to_le_bytes());
        });
    }
    // Content that the library must not accept.
    let offsets = |a: u64, b: u64| {
        move |h: &mut Value, _: &mut Vec<u8>| h["head.bias"]["data_offsets"] = json!([a, b])
    };
    check("", &offsets(0, 12)); // overlap
    check("", &offsets(u64::MAX - 11, u64::MAX));
    check("", &offsets(12, 0));
    check("", &|h, _| h["head.bias"]["shape"] = json!([u64::MAX, 2]));
    check("", &|_, d| d.truncate(d.len() - 4));
    check("", &|_, d| d.extend([0; 64])); // bytes of no tensor
}

#[test]
fn headers_are_bounded() {
    let dir = saved();
    let file = dir.path().join(WEIGHTS_FILE);
    for (bytes, want) in [
        (vec![], "shorter than"),
        (vec![1, 2, 3], "shorter than"),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "header of 18446744073709551615 bytes",
        ),
        (
            (1u64 << 20).wrapping_add(1).to_le_bytes().to_vec(),
            "header of 1048577 bytes",
        ),
        (weights("{}", &[]), "missing"),
        (weights("", &[]), ""),
        (weights("[1]", &[]), ""),
        (weights(&"{\"a\":".repeat(50_000), &[]), ""),
        (vec![b' '; 4 << 20], "expected at most"), // longer than any policy of this shape
    ] {
        fs::write(&file, bytes).unwrap();
        let error = refusal(dir.path());
        assert!(
            error.contains(WEIGHTS_FILE) && error.contains(want),
            "{want}: {error}"
        );
    }
}

#[test]
fn rejects_non_regular_files() {
    for name in [CONFIG_FILE, WEIGHTS_FILE] {
        let dir = saved();
        let file = dir.path().join(name);
        fs::remove_file(&file).unwrap();
        // A plain open would block, because the FIFO has no writer.
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &file, fifo, mode, 0).unwrap();
        let error = refusal(dir.path());
        assert!(
            error.contains(name) && error.contains("not a regular file"),
            "{error}"
        );
        assert!(Policy::hash_of(dir.path()).is_err());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(refusal(dir.path()).contains(name));
    }
}

#[test]
fn eight_gigabyte_file_is_not_read() {
    for name in [CONFIG_FILE, WEIGHTS_FILE] {
        let dir = saved();
        let file = dir.path().join(name);
        fs::File::create(&file).unwrap().set_len(8 << 30).unwrap();
        let error = refusal(dir.path());
        let want = format!("{name}: has {} bytes, expected at most ", 8u64 << 30);
        assert!(error.contains(&want), "{error}");
    }
}

#[test]
fn rejects_a_policy_with_non_finite_decisions() {
    // Finite weights with products that overflow.
    for large in ["backbone.ln_f.weight", "head.weight"] {
        let dir = tempfile::tempdir().unwrap();
        let config = small();
        let map = tensors(&config, 1)
            .iter()
            .map(|(name, values)| {
                let values = values.iter().map(|v| match name == large {
                    true => v.signum() * 3e38,
                    false => *v,
                });
                (name.to_owned(), values.collect())
            })
            .collect();
        let overflowing = Tensors::new(&config, map).unwrap();
        Policy::save(dir.path(), &config, &overflowing).unwrap();
        let error = refusal(dir.path());
        assert!(
            error.contains("policy test") && error.contains("expected finite numbers"),
            "{large}: {error}"
        );
        let policy = Policy::new(config, &overflowing).unwrap();
        assert!(matches!(policy.probe(), Err(PolicyError::NotFinite { .. })));
    }
}

#[test]
fn damaged_policies_do_not_panic() {
    let dir = saved();
    let mut noise = Noise::new(3);
    for name in [CONFIG_FILE, WEIGHTS_FILE] {
        let file = dir.path().join(name);
        let good = fs::read(&file).unwrap();
        for _ in 0..300 {
            let mut bytes = good.clone();
            for _ in 0..=noise.below(4) {
                let at = noise.below(bytes.len() as u64) as usize;
                bytes[at] = noise.next() as u8;
            }
            bytes.truncate(noise.below(2 * good.len() as u64) as usize + 1);
            fs::write(&file, bytes).unwrap();
            if let Ok(policy) = Policy::load(dir.path()) {
                let steps = common::steps(policy.config(), &common::records(3, 1));
                policy.decide(&steps).unwrap();
                policy.probe().unwrap();
            }
        }
        fs::write(&file, good).unwrap();
    }
    Policy::load(dir.path()).unwrap();
}

#[test]
fn tensors_in_memory_are_checked_too() {
    let config = small();
    let good = tensors(&config, 1);
    type Map = std::collections::BTreeMap<String, Vec<f32>>;
    let with = |change: &dyn Fn(&mut Map)| {
        let mut map: Map = good
            .iter()
            .map(|(n, v)| (n.to_owned(), v.to_vec()))
            .collect();
        change(&mut map);
        Tensors::new(&config, map).unwrap_err().to_string()
    };
    assert!(with(&|m| drop(m.remove("head.bias"))).contains("head.bias: missing"));
    assert!(with(&|m| drop(m.insert("x".into(), vec![]))).contains("x: not part"));
    assert!(with(&|m| m.get_mut("head.bias").unwrap().push(0.0)).contains("head.bias: 4 values"));
    assert!(with(&|m| m.get_mut("head.bias").unwrap()[1] = f32::NAN).contains("value 1 is NaN"));
    // The tensors of another configuration do not fit.
    let mut wider = config.clone();
    wider.backbone = small_gpt2(1, 16, 1, 8);
    assert!(Policy::new(wider, &good).is_err());
}

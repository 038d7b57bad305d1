//! A policy that only libtorch can run, from its training to its use in the
//! loop.

#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::{done, root, text};
use serde_json::Value;

/// Runs a command that must fail with these words in its message.
fn refused(line: &[&str], words: &[&str]) {
    let error = common::refused(line);
    let all = words.iter().all(|word| error.contains(word));
    assert!(all, "{line:?}, expected {words:?}: {error}");
}

/// A pool of the smoke scenario and, in train/best, an adapter trained on it
/// for a few steps, on a small OPT of random weights in train/base.
fn trained() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let opt = r#"{"model_type": "opt", "hidden_size": 16, "ffn_dim": 32, "dropout": 0.0,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32,
            "word_embed_proj_dim": 16, "vocab_size": 8}"#;
        fs::write(at("opt.json"), opt).unwrap();
        let (pool, out, backbone) = (at("pool.parquet"), at("train"), at("opt.json"));
        let collect = "collect --scenario scenarios/smoke.toml --episodes 2 --duration 1s --out";
        let mut line: Vec<&str> = collect.split(' ').collect();
        line.push(text(&pool));
        done(&line);
        let train = "train --lora-rank 2 --window 3 --steps 4 --batch 8 --warmup 1 --rule sample";
        let mut line: Vec<&str> = train.split(' ').collect();
        line.extend(["--out", text(&out)]);
        line.insert(1, text(&pool));
        line.extend(["--backbone", text(&backbone)]);
        done(&line);
        dir
    };
    DIR.get_or_init(make).path()
}

/// Every file of a directory that contains no times.
fn files(dir: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            files(&path, found);
        } else if name.ends_with(".parquet") || name == "facts.json" {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
}

#[test]
fn adapter_decides_in_the_loop_reproducibly() {
    let dir = trained();
    let place = tempfile::tempdir().unwrap();
    let scenario = place.path().join("loop.toml");
    let smoke = fs::read_to_string(root().join("scenarios/smoke.toml")).unwrap();
    let policy = dir.join("train/best");
    let arm = format!(
        "[[arm]]\nname = \"learned\"\naqm = \"dualpi2\"\n\
         control = {{ policy = {policy:?}, interval = 10 }}\n"
    );
    fs::write(&scenario, format!("{smoke}\n{arm}")).unwrap();
    let run = |jobs: &str| {
        let out = place.path().join(format!("out-{jobs}"));
        let mut line = vec!["run", text(&scenario), "--out", text(&out)];
        line.extend(["--arms", "dualpi2,learned", "--threads", jobs]);
        done(&line);
        out
    };
    let outs = ["1", "2"].map(run);
    let [one, two] = outs.each_ref().map(|out| {
        let mut found = Vec::new();
        files(out, &mut found);
        let inside = |path: &Path| path.strip_prefix(out).unwrap().to_owned();
        let found: Vec<_> = found.iter().map(|(p, b)| (inside(p), b.clone())).collect();
        found
    });
    assert_eq!(
        one.len(),
        17,
        "{:?}",
        one.iter().map(|(p, _)| p).collect::<Vec<_>>()
    );
    for (one, two) in one.iter().zip(&two) {
        assert!(one == two, "{} differs", one.0.display());
    }
    let summary = fs::read(outs[0].join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    let learned = &summary["arms"][1];
    let overrides = &learned["pooled"]["overrides"];
    assert!(overrides["applied"].as_u64().unwrap() > 100, "{overrides}");
    let runs_on = &learned["policy"]["runs_on"];
    assert_eq!(runs_on["engine"], "libtorch");
    assert_eq!(
        (&runs_on["device"], &runs_on["precision"]),
        (&"cpu".into(), &"f32".into())
    );
}

#[test]
fn collects_with_a_policy() {
    let dir = trained();
    let place = tempfile::tempdir().unwrap();
    let curriculum = place.path().join("c.toml");
    let policy = dir.join("train/best");
    let toml = format!(
        "name = \"c\"\ndescription = \"one condition\"\nconditions = 2\nbehaviours = \"each\"\n\
         duration = \"1 s\"\nwarmup = \"100 ms\"\nrecords = 200\nrtt = \"10 ms\"\n\
         [bottleneck]\nrate = \"10 Mbit/s\"\n\
         [[flow]]\nname = \"classic\"\ncc = \"cubic\"\n\
         [[behaviour]]\nname = \"plain\"\n\
         [[behaviour]]\nname = \"learned\"\npolicy = {policy:?}\ninterval = 10\n"
    );
    fs::write(&curriculum, toml).unwrap();
    let collect = |threads: &str| {
        let pool = place.path().join(format!("{threads}.parquet"));
        let mut line = vec!["collect", text(&curriculum)];
        line.extend(["--out", text(&pool), "--threads", threads]);
        done(&line);
        fs::read(pool).unwrap()
    };
    assert!(collect("1") == collect("2"));
}

#[test]
fn adapter_is_evaluated_and_reports_its_cost() {
    let dir = trained();
    let (policy, pool) = (dir.join("train/best"), dir.join("pool.parquet"));
    let eval = |more: &[&str]| {
        let mut line = vec!["eval", text(&policy), text(&pool)];
        line.extend(["--decisions", "100", "--format", "json"]);
        line.extend(more);
        let report: Value = serde_json::from_str(&done(&line)).unwrap();
        report
    };
    let full = eval(&[]);
    assert_eq!(full["engine"], "libtorch, cpu, f32");
    assert_eq!(full["late"]["decisions"], 100);
    let half = eval(&["--precision", "bf16", "--threads", "2"]);
    assert_eq!(half["engine"], "libtorch, cpu, bf16");
    let loss = |report: &Value| report["late"]["calibration"]["log_loss"].as_f64().unwrap();
    assert!((loss(&full) - loss(&half)).abs() < 0.05);
    assert_ne!(loss(&full), loss(&half));

    let info: Value = serde_json::from_str(&done(&[
        "policy",
        "info",
        "--format",
        "json",
        text(&policy),
    ]))
    .unwrap();
    assert_eq!(info["needs"]["engine"], "libtorch");
    assert_eq!(info["sha256"], full["sha256"]);
    let needs = info["needs"]["otherwise"].as_str().unwrap();
    assert!(needs.contains("backbone is opt with an adapter"), "{needs}");

    refused(
        &["eval", text(&policy), text(&pool), "--engine", "plain"],
        &["backbone is opt with an adapter", "libtorch"],
    );
    // Its base is changed after the training.
    let copy = tempfile::tempdir().unwrap();
    let (best, base) = (copy.path().join("best"), copy.path().join("base"));
    for (from, to) in [
        (policy.clone(), best.clone()),
        (policy.join("adapter"), best.join("adapter")),
        (dir.join("train/base"), base.clone()),
    ] {
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    let line = ["eval", text(&best), text(&pool)];
    let weights = fs::read(base.join("model.safetensors")).unwrap();
    fs::write(
        base.join("model.safetensors"),
        &weights[..weights.len() - 4],
    )
    .unwrap();
    refused(&line, &["base.sha256", "the hash of"]);
    fs::remove_dir_all(base).unwrap();
    refused(&line, &["cannot read", "base"]);
}

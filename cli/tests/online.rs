//! Training in the loop, as a program.

#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{done, l4sllm, refused, root, text};
use l4sllm_model::{Adaptation, EngineKind, EngineOptions, Policy};
use serde_json::Value;

/// Two families, a condition of each, and a network of a few hundred weights.
const SMALL: [&str; 36] = [
    "--suite",
    "testbed/tests/suite",
    "--duration",
    "2s",
    "--workers",
    "2",
    "--conditions",
    "1",
    "--condition-seeds",
    "1",
    "--fresh-conditions",
    "1",
    "--eval-conditions",
    "1",
    "--rounds",
    "1",
    "--iterations",
    "1",
    "--steps",
    "4",
    "--improve-steps",
    "4",
    "--warmup",
    "2",
    "--batch",
    "8",
    "--width",
    "8",
    "--heads",
    "1",
    "--mlp",
    "8",
    "--accelerator",
    "cpu",
    "--precision",
    "f32",
];

fn line<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let train = ["train", "--online", "--out", text(out)];
    [&train[..], &SMALL[..], more].concat()
}

fn lines(out: &Path, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(out.join(file)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// The files of a training run that depend only on its options.
fn results(out: &Path) -> Vec<Vec<u8>> {
    let files = [
        "last/config.json",
        "last/model.safetensors",
        "last/training.safetensors",
    ];
    let best = [
        "last/progress.json",
        "best/config.json",
        "best/model.safetensors",
    ];
    let all = files.into_iter().chain(best);
    all.map(|file| fs::read(out.join(file)).unwrap()).collect()
}

/// Kills a training run as soon as the first lesson has been evaluated.
fn killed(out: &Path, more: &[&str]) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
        .args(line(out, more))
        .current_dir(root())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let first = said.lines().next().unwrap().unwrap();
    assert!(first.starts_with("imitation: cost"), "{first}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn policy_trained_in_the_loop_decides_in_runs() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let said = done(&line(&whole, &[]));
    for stage in [
        "imitation: cost",
        "round-1: cost",
        "improvement-1: cost",
        "whole/best",
    ] {
        assert!(said.contains(stage), "{stage}: {said}");
    }
    let metrics = lines(&whole, "metrics.jsonl");
    assert_eq!(metrics.len(), 3);
    assert_eq!(metrics[2]["steps"], 12);
    assert!(metrics[1]["own_runs"]["regret"].as_f64().unwrap() >= 0.0);
    assert_eq!(metrics[2]["own_runs"]["costs"].as_array().unwrap().len(), 2);
    for metric in &metrics {
        assert_eq!(metric["costs"].as_array().unwrap().len(), 2);
        assert_eq!(metric["losses"].as_array().unwrap().len(), 4);
        let targets = metric["settings"]["target_ms"].as_array().unwrap();
        assert!(
            targets.iter().all(|ms| ms.as_f64().unwrap() > 0.0),
            "{metric}"
        );
        assert!(metric["cost"].as_f64().unwrap().is_finite(), "{metric}");
        assert!(
            metric["delay_over_adaptive"].as_f64().unwrap() > 0.0,
            "{metric}"
        );
        assert_eq!(metric["conditions"], 2);
    }
    // Each condition has three baselines and 28 settings, a round, three
    // baselines and five actions, and the policy for each of three evaluations.
    assert_eq!(
        lines(&whole, "runs/runs.jsonl").len(),
        2 * (31 + 1 + 8 + 3 + 3)
    );

    let said = done(&["report", text(&whole)]);
    assert!(
        said.contains("\nimprovement-1 ") && said.contains("The best policy is"),
        "{said}"
    );
    let page = fs::read_to_string(whole.join("report.html")).unwrap();
    for figure in [
        "Evaluation after each lesson",
        "Settings chosen by the policy",
    ] {
        assert!(page.contains(figure), "{figure}");
    }

    // Killed after the first lesson, it resumes to the same bytes.
    let parts = dir.path().join("parts");
    killed(&parts, &[]);
    let error = refused(&line(&parts, &[]));
    assert!(error.contains("already contains a training run"), "{error}");
    let error = refused(&line(&parts, &["--resume", "--margin", "0.5"]));
    assert!(error.contains("margin 0.6, not 0.5"), "{error}");
    done(&line(&parts, &["--resume"]));
    assert!(results(&parts) == results(&whole));
    assert_eq!(lines(&parts, "metrics.jsonl").len(), 3);
    // No work is repeated.
    let runs = fs::read(parts.join("runs/runs.jsonl")).unwrap();
    done(&line(&parts, &["--resume"]));
    assert!(results(&parts) == results(&whole));
    assert_eq!(fs::read(parts.join("runs/runs.jsonl")).unwrap(), runs);
    done(&line(&parts, &["--restart"]));
    assert!(results(&parts) == results(&whole));
    assert_eq!(fs::read(parts.join("runs/runs.jsonl")).unwrap(), runs);

    decides(&whole.join("best"), dir.path());
}

/// Runs a policy as an arm of a scenario.
fn decides(policy: &Path, dir: &Path) {
    let scenario = dir.join("loop.toml");
    let smoke = fs::read_to_string(root().join("scenarios/smoke.toml")).unwrap();
    let arm = format!(
        "[[arm]]\nname = \"learned\"\naqm = \"dualpi2\"\ncontrol = {{ policy = {policy:?} }}\n"
    );
    fs::write(&scenario, format!("{smoke}\n{arm}")).unwrap();
    let out: PathBuf = dir.join("run");
    let run = ["run", text(&scenario), "--out", text(&out)];
    done(&[&run[..], &["--arms", "dualpi2,learned"]].concat());
    let summary = fs::read(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    let overrides = &summary["arms"][1]["pooled"]["overrides"];
    assert!(overrides["applied"].as_u64().unwrap() > 5, "{overrides}");
    assert_eq!(overrides["refused"], 0);
}

#[test]
fn adapters_on_a_frozen_backbone_are_trained_in_the_loop() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("lora");
    let adapters = ["--lora-rank", "2", "--layers", "2", "--iterations", "0"];
    let mut all = line(&out, &adapters);
    // The other value of a repeated option.
    let at = all
        .windows(2)
        .position(|two| two == ["--iterations", "1"])
        .unwrap();
    all.drain(at..at + 2);
    done(&all);
    let best = out.join("best");
    let config = Policy::load_config(&best).unwrap();
    assert!(matches!(config.adaptation, Adaptation::Lora(_)) && config.base.is_some());
    assert!(best.join("adapter").is_dir() && out.join("base").is_dir());
    let options = EngineOptions {
        engine: Some(EngineKind::Libtorch),
        ..EngineOptions::default()
    };
    assert!(Policy::load_with(&best, &options).is_ok());
}

#[test]
fn rejects_mixed_pool_and_loop_options() {
    let wrong = |line: &[&str]| {
        let (code, _, error) = l4sllm(line);
        assert_eq!(code, Some(2), "{error}");
        error
    };
    let error = wrong(&["train", "--online", "--out", "x", "--val-fraction", "0.1"]);
    assert!(
        error.contains("'--online' cannot be used with '--val-fraction"),
        "{error}"
    );
    let error = wrong(&["train", "--online", "--out", "x", "pool.parquet"]);
    assert!(error.contains("cannot be used with '[POOL]...'"), "{error}");
    let error = wrong(&["train", "pool.parquet", "--out", "x", "--rounds", "2"]);
    assert!(
        error.contains("cannot be used with '--rounds <N>'"),
        "{error}"
    );
    let error = wrong(&["train", "--out", "x"]);
    assert!(
        error.contains("required") && error.contains("POOL"),
        "{error}"
    );

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("t5");
    let train = [
        "train",
        "--online",
        "--out",
        text(&out),
        "--backbone",
        "t5-small",
    ];
    let error = refused(&train);
    assert!(error.contains("backbone"), "{error}");
    let error = refused(&line(&out, &["--max-rate", "0.01"]));
    assert!(
        error.contains("at most 0.01 Mbit/s (--max-rate)"),
        "{error}"
    );
    assert!(!out.join("runs").exists());
    let error = refused(&line(&out, &["--margin", "2"]));
    assert!(error.contains("--margin 2: expected 0 to 1"), "{error}");
}

//! From emulated runs to a pool, and a policy trained on it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{done, refused, root, text};
use l4sllm_model::{Policy, PolicyConfig, SummaryFeature, Tensors};
use serde_json::Value;

#[test]
fn the_same_seed_collects_the_same_pool() {
    let dir = tempfile::tempdir().unwrap();
    let collect = |name: &str, seed: &str, threads: &str| {
        let out = dir.path().join(name);
        let said = done(&[
            "collect",
            "--scenario",
            "scenarios/smoke.toml",
            "--episodes",
            "4",
            "--duration",
            "2s",
            "--explore",
            "0.5",
            "--seed",
            seed,
            "--threads",
            threads,
            "--out",
            out.to_str().unwrap(),
        ]);
        assert!(said.contains("records in 4 episodes"), "{said}");
        std::fs::read(out).unwrap()
    };
    let first = collect("a.parquet", "5", "1");
    assert!(first == collect("b.parquet", "5", "2"));
    assert!(first != collect("c.parquet", "6", "2"));

    let pool = dir.path().join("a.parquet");
    let eval = |format: &str| {
        let pool = pool.to_str().unwrap();
        let line = ["eval", "policies/imitation", pool, "--decisions", "600"];
        done(&[&line[..], &["--format", format]].concat())
    };
    let said = eval("json");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let late = &report["late"];
    assert_eq!(late["decisions"], 600);
    // On a network other than the one it was trained on, it is still better
    // than the majority-class baseline, which never finds a mark.
    let share = |name: &str| late[name].as_f64().unwrap();
    assert!(share("accuracy") > share("majority_share"), "{said}");
    assert!(late["recall"][2].as_f64().unwrap() > 0.5, "{said}");

    let rows = eval("csv");
    let mut rows = rows.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let late_row = rows.next().unwrap();
    assert_eq!(late_row[..2], ["late", ""]);
    for (name, value) in [
        ("accuracy", &late["accuracy"]),
        ("recall.mark", &late["recall"][2]),
        ("confusion.enqueue.mark", &late["confusion"][0][2]),
    ] {
        let at = names.iter().position(|of| *of == name).unwrap();
        assert_eq!(late_row[at], value.to_string(), "{name}");
    }
}

#[test]
fn policy_info_describes_the_shipped_policy() {
    let said = done(&["policy", "info", "policies/default"]);
    for word in ["sha256", "window", "queue_type", "settings", "trained on"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // Small enough for a repository.
    let weights = root().join("policies/default/model.safetensors");
    assert!(fs::metadata(weights).unwrap().len() <= 2 << 20);

    // The policy steers set-points, so a pool cannot show how good a choice
    // was.
    let error = refused(&["eval", "policies/default", "none.parquet"]);
    assert!(error.contains("steers"), "{error}");

    let error = refused(&["policy", "info", "scenarios"]);
    assert!(error.contains("config.json"), "{error}");
}

/// Its configuration is printed, and it decides in the loop.
#[test]
fn policy_on_summaries_is_described_and_run() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("periods");
    let config = PolicyConfig::on_summaries("periods", SummaryFeature::ALL);
    let tensors = Tensors::random(&config, 1).unwrap();
    Policy::save(&policy, &config, &tensors).unwrap();
    let said = done(&["policy", "info", text(&policy)]);
    for words in [
        "1 periods (250 ms) of 28 tokens, 28 tokens in all; periods before it: 31",
        "idle_share",
        "budget     0.5 % of link time",
        "target_ms 1.5 to 30; alpha_hz 0.008 to 3.2",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let scenario = dir.path().join("loop.toml");
    let smoke = fs::read_to_string(root().join("scenarios/smoke.toml")).unwrap();
    let arm = format!(
        "[[arm]]\nname = \"learned\"\naqm = \"dualpi2\"\n\
         control = {{ policy = {policy:?}, idle_budget = 0.01 }}\n"
    );
    fs::write(&scenario, format!("{smoke}\n{arm}")).unwrap();
    let said = done(&["scenario", "check", text(&scenario)]);
    assert!(
        said.contains("periods every 250 ms, idle budget 0.01, latency"),
        "{said}"
    );
    let out = dir.path().join("out");
    let line = ["run", text(&scenario), "--out", text(&out)];
    done(&[&line[..], &["--arms", "dualpi2,learned"]].concat());
    let summary = fs::read(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    let learned = &summary["arms"][1];
    assert_eq!(learned["policy"]["period_ns"], 250_000_000);
    assert_eq!(learned["policy"]["idle_budget"], 0.01);
    assert_eq!(learned["interval"], Value::Null);
    let overrides = &learned["pooled"]["overrides"];
    assert!(overrides["applied"].as_u64().unwrap() > 5, "{overrides}");
    assert_eq!(overrides["refused"], 0);
}

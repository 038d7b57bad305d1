//! From emulated runs to a pool, and a policy trained on it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{done, refused, root};

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
            "--seconds",
            "2",
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
    let said = done(&[
        "eval",
        "--policy",
        "policies/imitation",
        "--decisions",
        "600",
        "--json",
        "--pool",
        pool.to_str().unwrap(),
    ]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let late = &report["late"];
    assert_eq!(late["decisions"], 600);
    // Another network than it was trained on: still better than always the
    // most frequent action, which never finds a mark.
    let share = |name: &str| late[name].as_f64().unwrap();
    assert!(share("accuracy") > share("majority_share"), "{said}");
    assert!(late["recall"][2].as_f64().unwrap() > 0.5, "{said}");
}

#[test]
fn the_shipped_policy_tells_what_it_is() {
    let said = done(&["policy", "info", "policies/default"]);
    for word in ["sha256", "window", "queue_type", "settings", "trained on"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // Small enough to live in a repository.
    let weights = root().join("policies/default/model.safetensors");
    assert!(std::fs::metadata(weights).unwrap().len() <= 2 << 20);

    // What it chooses is no action, and no pool tells how good a choice was.
    let error = refused(&[
        "eval",
        "--policy",
        "policies/default",
        "--pool",
        "none.parquet",
    ]);
    assert!(error.contains("steers"), "{error}");

    let error = refused(&["policy", "info", "scenarios"]);
    assert!(error.contains("config.json"), "{error}");
}

//! RESULTS.md documents everything that a result directory holds.

use std::collections::BTreeSet;
use std::path::Path;

use super::ResultDir;
use super::fixture::{Shape, facts, run};

/// Every key of the JSON files and every column of the Parquet files.
fn written(dir: &Path) -> BTreeSet<String> {
    fn keys(prefix: &str, value: &serde_json::Value, into: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    let path = if prefix.is_empty() {
                        key.clone()
                    } else {
                        format!("{prefix}.{key}")
                    };
                    keys(&path, value, into);
                    into.insert(path);
                }
            }
            serde_json::Value::Array(values) => {
                values
                    .iter()
                    .for_each(|value| keys(&format!("{prefix}[]"), value, into));
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    let files = [
        "summary.json",
        "facts.json",
        "host.json",
        "arms/l4sllm-10/0/run.json",
    ];
    for file in files {
        let value =
            serde_json::from_str(&std::fs::read_to_string(dir.join(file)).unwrap()).unwrap();
        keys("", &value, &mut found);
    }
    found
}

#[test]
fn every_key_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape {
        classic_ns: 13_000_000,
        l4s_ns: 900_000,
        idle: 2,
        interval: Some(10),
    };
    let out = ResultDir::create(dir.path(), facts(&[("l4sllm-10", Some(10))], 1), false).unwrap();
    out.add("l4sllm-10", 0, &run(1, 4, shape)).unwrap();
    let document = include_str!("../../RESULTS.md");
    let named: BTreeSet<&str> = document.split('`').skip(1).step_by(2).collect();
    for key in written(dir.path()) {
        // A repetition has the same keys as pooled, which are documented once.
        let key = key.replace("arms[].repetitions[].", "arms[].pooled.");
        let own = ["repetition", "seed"].map(|own| format!("arms[].pooled.{own}"));
        let key = if own.contains(&key) {
            key.replace("pooled", "repetitions[]")
        } else {
            key
        };
        let known = named.contains(key.as_str())
            || key
                .strip_prefix("arms[].pooled.")
                .is_some_and(|key| named.contains(key));
        assert!(known, "`{key}` is written but not documented");
    }
    for column in [
        "time_ns",
        "sojourn_ns",
        "cwnd_bytes",
        "srtt_ns",
        "delivered_bytes",
        "latency_ns",
        "target_ns",
        "tupdate_ns",
        "alpha_uhz",
        "beta_uhz",
        "coupling_q8",
    ] {
        assert!(
            named.contains(column),
            "column `{column}` is not documented"
        );
    }
}

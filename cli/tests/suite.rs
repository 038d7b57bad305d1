//! The suite as a user meets it: reduced, interrupted, refused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{done, l4sllm, refused, root, text};

const SUITE: &str = r#"
description = "One small family"

[protocol]
repetitions = 4
measured = "2 s"

[quick]
conditions = 1
repetitions = 1
measured = "100 ms"

[[family]]
curriculum = "slow.toml"
"#;

const SLOW: &str = r#"
name = "slow"
description = "Few packets"
conditions = 3
duration = "3 s"
warmup = "500 ms"
rtt = { log_uniform = ["5 ms", "40 ms"] }
rtt_jitter = 0.03

[bottleneck]
rate = { log_uniform = ["5 Mbit/s", "20 Mbit/s"] }

[[flow]]
cc = "cubic"
count = { choice = [1, 2] }

[[flow]]
cc = "prague"
"#;

/// A directory with a small suite.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.path("suite.toml"), SUITE).unwrap();
        fs::write(place.path("slow.toml"), SLOW).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command line that judges the shipped policy on it.
    fn line(&self, out: &str) -> Vec<String> {
        let (suite, out) = (self.0.path(), self.path(out));
        [
            "suite",
            "--policy",
            "policies/default",
            "--suite",
            text(suite),
            "--out",
            text(&out),
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

fn strs(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

fn finished(cells: &Path) -> usize {
    fs::read_to_string(cells).map_or(0, |text| text.lines().count())
}

/// Every family of the repository, with the shipped policy.
#[test]
fn a_reduced_suite_judges_every_family() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    let said = done(&[
        "suite",
        "--quick",
        "--policy",
        "policies/default",
        "--out",
        out,
    ]);
    let json = fs::read(dir.path().join("suite.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["complete"], true);
    let families = json["families"].as_array().unwrap();
    assert_eq!(families.len(), 13);
    for family in families {
        let name = family["name"].as_str().unwrap();
        assert!(said.contains(&format!("\n{name} ")), "{name}: {said}");
        for arm in family["conditions"][0]["arms"].as_array().unwrap() {
            let utilisation = arm["means"]["utilisation"].as_f64().unwrap();
            assert!(
                utilisation > 0.0 && utilisation <= 1.001,
                "{name}: {utilisation}"
            );
            let decides = arm["name"] == "policy" || arm["name"] == "adaptive";
            let applied = arm["means"]["overrides_applied"].as_f64().unwrap();
            assert!(decides || applied == 0.0, "{name}: {applied}");
        }
    }
    assert!(said.contains("Noise: against itself"), "{said}");
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains("<h2 id=\"s-wifi\">") && page.contains("bias-10"));
}

#[test]
fn a_killed_suite_resumes_to_the_same_results() {
    let place = Place::new();
    done(&strs(&place.line("whole")));
    let torn = place.line("torn");
    let cells = place.path("torn").join("cells.jsonl");
    for count in [2, 9] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
            .args(&torn)
            .args(["--threads", "1"])
            .current_dir(root())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while finished(&cells) < count {
            assert!(began.elapsed() < Duration::from_secs(120), "no cell came");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    }
    assert!(finished(&cells) < 60);
    done(&strs(&torn));
    let results = |out: &str| fs::read(place.path(out).join("suite.json")).unwrap();
    assert_eq!(results("torn"), results("whole"));
    assert_eq!(finished(&cells), 60);
    // Nothing is run again.
    done(&strs(&torn));
    assert_eq!(finished(&cells), 60);
}

#[test]
fn the_oracle_is_printed_next_to_the_arms() {
    let place = Place::new();
    let mut line = place.line("oracle");
    line.extend(["--oracle", "--conditions", "1", "--seconds", "1"].map(str::to_owned));
    let said = done(&strs(&line));
    assert!(said.lines().next().unwrap().contains("Oracle"), "{said}");
    let json = fs::read(place.path("oracle").join("suite.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let condition = &json["families"][0]["conditions"][0];
    assert!(condition["oracle"]["setting"].is_string());
    assert!(condition["arms"][0]["to_oracle"]["mean"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_cannot_be_run_is_named() {
    let place = Place::new();
    let dir = place.0.path();
    let out = place.path("out");
    let line = ["suite", "--suite", text(dir), "--out", text(&out)];
    let said = refused(&[&line[..], &["--families", "fast"]].concat());
    assert!(
        said.contains("there is no family `fast`; there are slow"),
        "{said}"
    );
    let said = refused(&[&line[..], &["--policy", "policies/none"]].concat());
    assert!(said.contains("policies/none"), "{said}");
    let (code, _, _) = l4sllm(&[&line[..], &["--repetitions", "0"]].concat());
    assert_eq!(code, Some(2));
    let said = refused(&["suite", "--suite", "scenarios/published"]);
    assert!(
        said.contains("suite.toml") && said.contains("--suite"),
        "{said}"
    );
    assert!(!Path::new(&out).exists());
}

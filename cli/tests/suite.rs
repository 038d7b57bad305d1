//! The suite from a user's view: reduced, interrupted, refused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{done, l4sllm, refused, root, text};

/// Two small families of two conditions each.
const SMALL: &str = "testbed/tests/suite";

/// Of the small suite's default arms in 3 repetitions.
const CELLS: usize = 60;

/// A directory for results of the small suite.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command line that evaluates the shipped policy on it.
    fn line(&self, out: &str) -> Vec<String> {
        [
            "suite",
            "--policy",
            "policies/default",
            "--suite",
            SMALL,
            "--repetitions",
            "3",
            "--out",
            text(&self.path(out)),
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
fn reduced_suite_evaluates_every_family() {
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
    // The same values in machine-readable form.
    let rows = done(&["export", out]);
    let (first, arms) = (
        &families[0]["summaries"][0],
        families[0]["summaries"].as_array(),
    );
    let arms = arms.unwrap().len();
    assert_eq!(rows.lines().count(), 1 + (families.len() + 1) * arms);
    let names: Vec<&str> = rows.lines().next().unwrap().split(',').collect();
    let values: Vec<&str> = rows.lines().nth(1).unwrap().split(',').collect();
    let value = |name: &str| values[names.iter().position(|of| *of == name).unwrap()];
    assert_eq!(value("family"), families[0]["name"].as_str().unwrap());
    assert_eq!(value("arm"), first["arm"].as_str().unwrap());
    let mean = &first["classic_delay"]["mean"]["mean"];
    assert_eq!(value("classic_delay.mean.mean"), mean.to_string());
    let conditions = done(&["export", out, "--table", "conditions", "--format", "json"]);
    let conditions: serde_json::Value = serde_json::from_str(&conditions).unwrap();
    assert_eq!(conditions.as_array().unwrap().len(), families.len() * arms);
    let utilisation = &families[0]["conditions"][0]["arms"][0]["means"]["utilisation"];
    assert_eq!(&conditions[0]["means.utilisation"], utilisation);
    assert!(said.starts_with("No verdict: "), "{said}");
    assert!(said.contains("Noise: against itself"), "{said}");
    let said_of_report = refused(&["report", out]);
    assert!(
        said_of_report.contains("`l4sllm suite`"),
        "{said_of_report}"
    );
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains("<h2 id=\"s-wifi\">") && page.contains("bias-10"));
}

/// Every comparison has plain, tuned, the rule and the policy. In most
/// conditions the rule has less delay than plain and keeps the better
/// utilisation of plain and tuned, which tuned does not.
#[test]
fn rule_keeps_utilisation_with_less_delay_than_plain() {
    let dir = tempfile::tempdir().unwrap();
    let mut line = vec!["suite", "--policy", "policies/default"];
    line.extend(["--families", "stationary", "--conditions", "6"]);
    line.extend(["--repetitions", "2", "--duration", "15s"]);
    line.extend(["--out", text(dir.path())]);
    done(&line);
    let json = fs::read(dir.path().join("suite.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let conditions = json["families"][0]["conditions"].as_array().unwrap();
    let mut ratios: Vec<f64> = conditions
        .iter()
        .map(|condition| {
            let arms = condition["arms"].as_array().unwrap();
            let names: Vec<&str> = arms.iter().map(|of| of["name"].as_str().unwrap()).collect();
            assert_eq!(
                names,
                ["tuned", "plain", "adaptive", "policy", "tuned-again"]
            );
            let delay = |arm: usize| arms[arm]["means"]["classic_delay_ms"].as_f64().unwrap();
            delay(2) / delay(1)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    assert!(
        ratios[2] < 0.8 && ratios[3] < 0.95,
        "of plain's delay: {ratios:?}"
    );
    let points = |arm: usize, what: &str| json["all"][arm]["utilisation"][what].as_f64().unwrap();
    let (mean, worst) = (points(2, "mean"), points(2, "worst"));
    assert!(mean > -1.0 && worst > -3.0, "mean {mean}, worst {worst}");
    assert!(points(0, "mean") < mean, "the bar distinguishes them");
}

/// In families in which traffic varies, the policy trained in the loop has less
/// classic delay than the rule, and loses no more utilisation
/// than the idle budget or than the rule. The bounds are those of the claim,
/// not of the current weights, so any acceptable weights pass.
#[test]
fn context_policy_has_less_delay_than_the_rule() {
    let dir = tempfile::tempdir().unwrap();
    let mut line = vec!["suite", "--policy", "policies/context"];
    line.extend(["--families", "video,flow-counts,not-ect,unresponsive"]);
    line.extend(["--conditions", "3", "--repetitions", "2"]);
    line.extend(["--duration", "20s", "--out", text(dir.path())]);
    done(&line);
    let json = fs::read(dir.path().join("suite.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let all = |arm: &str| {
        let rows = json["all"].as_array().unwrap().iter();
        rows.clone().find(|row| row["arm"] == arm).unwrap().clone()
    };
    let (rule, policy) = (all("adaptive"), all("policy"));
    let delay = |of: &serde_json::Value| of["classic_delay"]["mean"]["mean"].as_f64().unwrap();
    let ratio = delay(&policy) / delay(&rule);
    assert!(ratio < 1.0, "{ratio} of the rule's delay");
    // Difference to the better of plain and tuned, in points.
    let points = |of: &serde_json::Value, what| of["utilisation"][what].as_f64().unwrap();
    let budget = json["policy"]["idle_budget"].as_f64().unwrap() * 100.0;
    let (own, rules) = (points(&policy, "mean"), points(&rule, "mean"));
    assert!(own >= rules.min(-budget), "{own} points, the rule {rules}");
    let (own, rules) = (points(&policy, "worst"), points(&rule, "worst"));
    assert!(
        own >= rules.min(-2.0),
        "worst: {own} points, the rule {rules}"
    );
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
    assert!(finished(&cells) < CELLS);
    done(&strs(&torn));
    let results = |out: &str| fs::read(place.path(out).join("suite.json")).unwrap();
    assert_eq!(results("torn"), results("whole"));
    assert_eq!(finished(&cells), CELLS);
    // No run is repeated.
    done(&strs(&torn));
    assert_eq!(finished(&cells), CELLS);
    // Other options run what is missing, and keep existing cells.
    let mut other = torn.clone();
    other.extend(["--seed", "2", "--conditions", "1", "--repetitions", "1"].map(str::to_owned));
    let other: Vec<String> = without_first(&other, "--repetitions");
    let (code, _, error) = l4sllm(&strs(&other));
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("60 runs in "), "{error}");
    assert_eq!(finished(&cells), CELLS + 10);
    done(&strs(&torn));
    assert_eq!(results("torn"), results("whole"));
}

/// A command line without the first of two occurrences of an option.
fn without_first(line: &[String], option: &str) -> Vec<String> {
    let at = line.iter().position(|word| word == option).unwrap();
    [&line[..at], &line[at + 2..]].concat()
}

/// A full disk, simulated by a limit on file sizes: finished cells are kept,
/// and the suite resumes from them.
#[cfg(unix)]
#[test]
fn reports_a_full_disk_and_resumes() {
    let place = Place::new();
    let line = place.line("out");
    let limited = "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_l4sllm")])
        .args(&line)
        .current_dir(root())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("cannot write ") && error.contains("cells.jsonl"),
        "{error}"
    );
    let cells = place.path("out").join("cells.jsonl");
    let before = finished(&cells);
    assert!((1..CELLS).contains(&before), "{before}");
    done(&strs(&line));
    assert_eq!(finished(&cells), CELLS);
}

#[test]
fn arms_with_flow_weights_are_printed() {
    let place = Place::new();
    let mut line = place.line("weights");
    line.extend(["--flow-weights", "--quick", "--families", "slow"].map(str::to_owned));
    let said = done(&strs(&line));
    for arm in ["tuned-weights", "adaptive-weights"] {
        // A row, and a line of the legend.
        assert_eq!(said.matches(arm).count(), 2, "{said}");
    }
}

/// The curves of a suite: arm, and its points as budget and delay relative to
/// tuned.
fn frontier(out: &Path) -> Vec<(String, Vec<(f64, f64)>)> {
    let json = fs::read(out.join("suite.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let point = |of: &serde_json::Value| {
        let delay = of["classic_delay"]["mean"]["mean"].as_f64().unwrap();
        (of["idle_budget"].as_f64().unwrap(), delay)
    };
    let curve = |of: &serde_json::Value| {
        let points = of["points"].as_array().unwrap().iter().map(point);
        (of["arm"].as_str().unwrap().to_owned(), points.collect())
    };
    json["frontier"]
        .as_array()
        .unwrap()
        .iter()
        .map(curve)
        .collect()
}

/// One policy and the rule, each with several budgets; the other arms reuse the
/// cells of the suite without budgets.
#[test]
fn each_idle_budget_is_a_point_without_other_reruns() {
    let place = Place::new();
    let mut line = place.line("frontier");
    let policy = line.iter().position(|word| word == "policies/default");
    line[policy.unwrap()] = "policies/context".to_owned();
    line.extend(["--families", "slow"].map(str::to_owned));
    done(&strs(&line));
    let cells = place.path("frontier").join("cells.jsonl");
    let arms = finished(&cells);
    line.extend(["--idle-budgets", "2%,0.1%,0.5%,2%"].map(str::to_owned));
    let said = done(&strs(&line));
    // Two arms with three budgets, each in two conditions with three
    // repetitions.
    assert_eq!(finished(&cells), arms + 2 * 3 * 2 * 3);
    assert!(said.contains("\nIdle budget "), "{said}");
    let curves = frontier(&place.path("frontier"));
    let names: Vec<&str> = curves.iter().map(|of| of.0.as_str()).collect();
    assert_eq!(names, ["adaptive", "policy"]);
    for (arm, points) in &curves {
        let budgets: Vec<f64> = points.iter().map(|of| of.0).collect();
        assert_eq!(budgets, [0.001, 0.005, 0.02], "{arm}");
    }
    let page = fs::read_to_string(place.path("frontier").join("report.html")).unwrap();
    assert!(page.contains("Delay at each idle budget"));
    let again = " --interval 100 --families slow --idle-budgets 0.1%,0.5%,2% --repetitions 3 ";
    assert!(page.contains(again), "the command that runs it again");

    for value in ["0.5", "3%", "x%"] {
        let (code, _, error) = l4sllm(&["suite", "--idle-budgets", value]);
        assert_eq!(code, Some(2));
        assert!(error.contains("expected 0.1% to 2%"), "{error}");
    }
}

/// The policy and the rule each work with the smallest and the largest budget.
#[test]
fn larger_idle_budget_gives_less_delay() {
    let dir = tempfile::tempdir().unwrap();
    let mut line = vec!["suite", "--policy", "policies/context"];
    line.extend(["--families", "stationary", "--conditions", "3"]);
    line.extend(["--repetitions", "1", "--duration", "20s"]);
    line.extend(["--idle-budgets", "0.1%,2%", "--out", text(dir.path())]);
    done(&line);
    for (arm, points) in frontier(dir.path()) {
        let [(_, least), (_, most)] = points[..] else {
            panic!("{arm}: {points:?}");
        };
        assert!(most < 0.9 * least, "{arm}: {least} and {most} of tuned's");
    }
}

#[test]
fn the_oracle_is_printed_next_to_the_arms() {
    let place = Place::new();
    let mut line = place.line("oracle");
    line.extend(["--oracle", "--families", "slow", "--conditions", "1"].map(str::to_owned));
    let said = done(&strs(&line));
    assert!(said.contains("Oracle"), "{said}");
    let json = fs::read(place.path("oracle").join("suite.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let condition = &json["families"][0]["conditions"][0];
    assert!(condition["oracle"]["setting"].is_string());
    assert!(condition["arms"][0]["to_oracle"]["mean"].as_f64().unwrap() > 0.0);
}

#[test]
fn names_unrunnable_suite_arguments() {
    let place = Place::new();
    let out = place.path("out");
    let line = ["suite", "--suite", SMALL, "--out", text(&out)];
    let said = refused(&[&line[..], &["--policy", "policies/none"]].concat());
    assert!(said.contains("policies/none"), "{said}");
    let said = refused(&["suite", "--suite", "scenarios", "--out", text(&out)]);
    assert!(
        said.contains("--suite scenarios: cannot read scenarios/suite.toml: No such file"),
        "{said}"
    );
    let wrong = |option: &str, value: &str| {
        let (code, _, error) = l4sllm(&[&line[..], &[option, value]].concat());
        assert_eq!(code, Some(2));
        error
    };
    assert_eq!(
        wrong("--families", "fast"),
        "l4sllm: --families: unknown family `fast`; expected one of slow, steps\n"
    );
    let records = ["--policy", "policies/default", "--idle-budgets"];
    let (code, _, error) = l4sllm(&[&line[..], &records, &["0.5%"]].concat());
    assert_eq!(code, Some(2));
    assert!(
        error.starts_with("l4sllm: --idle-budgets: policy default decides on records"),
        "{error}"
    );
    assert!(wrong("--repetitions", "0").contains("1..=1000"));
    assert!(wrong("--interval", "0").contains("expected 1 to 2048 records"));
    let once = ["--oracle", "--repetitions", "1"];
    let (code, _, said) = l4sllm(&[&line[..], &once].concat());
    assert_eq!(code, Some(2));
    assert!(
        said.contains("--oracle needs at least 2 repetitions"),
        "{said}"
    );
    let said = refused(&["suite", "--suite", "scenarios/published"]);
    assert!(
        said.contains("suite.toml") && said.contains("--suite"),
        "{said}"
    );
    assert!(!Path::new(&out).exists());
}

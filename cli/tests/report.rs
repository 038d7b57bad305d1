//! Reports from a reader's view.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{done, refused, root, text, two_flows};

/// The command in a page, as a reader copies it.
fn command(page: &Path) -> String {
    let page = fs::read_to_string(page).unwrap();
    let command = page.split("<pre class=\"command\">").nth(1).unwrap();
    let command = command.split("</pre>").next().unwrap();
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ];
    named
        .iter()
        .fold(command.to_owned(), |command, (name, sign)| {
            command.replace(name, sign)
        })
}

/// A scenario with a policy next to it, in a directory that a shell would
/// split.
fn place(dir: &Path) -> String {
    let place = dir.join("it's a $place");
    fs::create_dir(&place).unwrap();
    let policy = root().join("policies/default").canonicalize().unwrap();
    std::os::unix::fs::symlink(policy, place.join("its policy")).unwrap();
    let scenario = place.join("two flows.toml");
    let policy = "aqm = \"dualpi2\"\ncontrol = { policy = \"its policy\", interval = 100 }";
    let arms = [
        ("dualpi2", "aqm = \"dualpi2\""),
        ("l4sllm-100", policy),
        ("fifo", "aqm = \"fifo\""),
    ];
    fs::write(&scenario, two_flows("two-flows", &arms)).unwrap();
    text(&scenario).to_owned()
}

#[test]
fn command_in_report_reruns_from_any_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (scenario, out) = (place(dir.path()), dir.path().join("out"));
    let change = ["--duration", "1.5s", "--repetitions", "1", "--seed", "5"];
    let line = [
        &["run", &scenario, "--out", text(&out)][..],
        &["--arms", "dualpi2,l4sllm-100"],
        &change,
    ]
    .concat();
    done(&line);

    let elsewhere = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_l4sllm")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let again = Command::new("sh")
        .args(["-eu", "-c", &command(&out.join("report.html"))])
        .current_dir(elsewhere.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(again.status.success(), "{again:?}");

    let again = elsewhere.path().join("two-flows-again");
    for arm in ["dualpi2", "l4sllm-100"] {
        let packets = |out: &Path| fs::read(out.join("arms").join(arm).join("0/packets.parquet"));
        assert!(packets(&out).unwrap() == packets(&again).unwrap(), "{arm}");
    }
    assert!(!again.join("arms/fifo").exists());
    let facts = |out: &Path| fs::read_to_string(out.join("facts.json")).unwrap();
    assert_eq!(facts(&out), facts(&again));
}

/// Shipped files are unpacked into a directory that is deleted afterwards.
#[test]
fn report_command_uses_shipped_names() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
        .current_dir(dir.path())
        .args(["run", "variable", "--out", "out", "--arms", "l4sllm-100"])
        .args(["--duration", "1s", "--repetitions", "1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let command = command(&out.join("report.html"));
    assert!(command.starts_with("l4sllm run variable "), "{command}");
    assert!(command.contains("--policy default"), "{command}");
}

#[test]
fn overlays_two_results() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = place(dir.path());
    let out = |name: &str| dir.path().join(name);
    let run = |name: &str, seed: &str| {
        let out = out(name);
        let line = ["run", &scenario, "--out", text(&out)];
        let change = ["--duration", "1s", "--arms", "dualpi2,fifo", "--seed", seed];
        done(&[&line[..], &change].concat());
        out
    };
    let (before, after) = (run("before", "1"), run("after", "2"));
    let change = out("change");
    let overlay = ["--overlay", "--out", text(&change)];
    let said = done(&[&["report", text(&before), text(&after)][..], &overlay].concat());
    assert!(said.contains("fifo (after) vs fifo (before)"), "{said}");
    assert!(change.join("figures/rate-time.svg").exists());
    let error = refused(&[&["report", text(&before)][..], &overlay].concat());
    assert!(
        error.contains("expected two or three directories"),
        "{error}"
    );
}

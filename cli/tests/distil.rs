//! A student distilled from a policy, and from the adaptive rule.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{done, refused};
use l4sllm_model::student::Student;

/// A small distillation of `from` into `out`.
fn distil<'a>(from: &'a str, out: &'a Path) -> Vec<&'a str> {
    let small = "policy distil --to kernel --families stationary --rounds 1 --conditions 2 \
                 --eval-conditions 1 --duration 10s --steps 200 --batch 64 --inputs 24 --hidden 8,4";
    let mut line: Vec<&str> = small.split_whitespace().collect();
    line.extend(["--from", from, "--out", out.to_str().unwrap()]);
    line
}

#[test]
fn a_policy_is_distilled_and_an_interrupted_run_continues_to_the_same_student() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, again) = (dir.path().join("whole"), dir.path().join("again"));
    let said = done(&distil("context", &whole));
    assert!(said.contains("utilisation kept in"), "{said}");
    assert!(said.trim_end().ends_with("student.l4s"), "{said}");
    let bytes = fs::read(whole.join("student.l4s")).unwrap();
    let student = Student::from_bytes(&bytes).unwrap();
    assert_eq!(
        (student.name.as_str(), student.inputs.len()),
        ("context", 24)
    );
    assert_eq!(student.period_ns, 250_000_000);
    assert_eq!(student.units.each_ref().map(Vec::len), [8, 4, 4]);

    // Killed after the first round: only its files are left.
    fs::create_dir(&again).unwrap();
    for name in [
        "options.txt",
        "round-0.lessons",
        "round-0.l4s",
        "round-0.json",
    ] {
        fs::copy(whole.join(name), again.join(name)).unwrap();
    }
    let said = done(&distil("context", &again));
    assert!(!said.contains("round 0"), "{said}");
    assert!(said.contains("round 1"), "{said}");
    assert_eq!(fs::read(again.join("student.l4s")).unwrap(), bytes);

    // Other options must not mix with it.
    let mut other = distil("context", &again);
    other.extend(["--seed", "2"]);
    let refused = refused(&other);
    assert!(
        refused.contains("a distillation with other options"),
        "{refused}"
    );

    // A damaged file is named.
    fs::write(again.join("round-1.l4s"), &bytes[..100]).unwrap();
    let refused = common::refused(&distil("context", &again));
    assert!(refused.contains("round-1.l4s"), "{refused}");
    assert!(refused.contains("100 bytes"), "{refused}");
}

#[test]
fn the_rule_is_distilled_with_its_periods() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("rule");
    done(&distil("adaptive", &out));
    let student = Student::from_bytes(&fs::read(out.join("student.l4s")).unwrap()).unwrap();
    assert_eq!(student.tupdate_ns, 4_000_000);
    assert_eq!(student.slow_tupdate_ns, 16_000_000);
    assert_eq!(student.teacher, [0; 32]);
}

#[test]
fn teachers_decide_on_summaries() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let said = refused(&distil("default", &out));
    assert!(said.contains("decides on records"), "{said}");
    assert!(!out.exists());
    let mut line = distil("context", &out);
    line.extend(["--hidden", "8,65"]);
    let said = refused(&line);
    assert!(said.contains("two numbers of 1 to 64"), "{said}");
}

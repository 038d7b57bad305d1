#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::store::{CELLS_FILE, Store};
use super::*;
use crate::published::{Figure, Measure};
use l4sllm_abi::Queue;
use l4sllm_model::EngineOptions;

/// The repository's suite.
fn repository(part: Part) -> Suite {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/suite");
    Suite::load(&dir, part, 1).unwrap()
}

const SUITE: &str = r#"
description = "Two small families"

[protocol]
repetitions = 2
measured = "1 s"

[quick]
conditions = 1
repetitions = 1
measured = "100 ms"

[[family]]
curriculum = "slow.toml"

[[family]]
curriculum = "steps.toml"
"#;

const SLOW: &str = r#"
name = "slow"
description = "Few packets"
conditions = 2
duration = "2 s"
warmup = "500 ms"
rtt = { log_uniform = ["5 ms", "40 ms"] }
[bottleneck]
rate = { log_uniform = ["2 Mbit/s", "8 Mbit/s"] }
[[flow]]
cc = "cubic"
count = { choice = [1, 2] }
[[flow]]
cc = "prague"
[[behaviour]]
name = "plain"
"#;

/// A directory with a small suite, and one for its cells.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| fs::write(place.0.path().join(name), text).unwrap();
        write("suite.toml", SUITE);
        write("slow.toml", SLOW);
        let steps = SLOW.replace("\"slow\"", "\"steps\"").replace(
            "[[flow]]\ncc = \"cubic\"",
            "change = { every = \"500 ms\", factor = { choice = [0.5, 2] } }\n[[flow]]\ncc = \"cubic\"",
        );
        write("steps.toml", &steps);
        place
    }

    fn suite(&self) -> Suite {
        Suite::load(self.0.path(), Part::Test, 1).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// Runs the suite, stopped after so many cells; how many were run.
    fn run(&self, protocol: Protocol, stop: usize) -> (Outcome, usize) {
        self.run_suite(&self.suite(), protocol, stop)
    }

    fn run_suite(&self, suite: &Suite, protocol: Protocol, stop: usize) -> (Outcome, usize) {
        let (cancel, run) = (AtomicBool::new(false), AtomicUsize::new(0));
        let first = AtomicUsize::new(usize::MAX);
        let progress = |progress: Progress| {
            let _ = first.compare_exchange(
                usize::MAX,
                progress.cells,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            run.fetch_max(
                progress.cells - first.load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
            if run.load(Ordering::Relaxed) >= stop {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let options = Options {
            out: &self.out(),
            protocol,
            policy: None,
            engine: &EngineOptions::default(),
            oracle: false,
            threads: 2,
            cancel: &cancel,
            progress: &progress,
        };
        let (outcome, policy) = super::run(suite, options).unwrap();
        assert!(policy.is_none());
        (outcome, run.into_inner())
    }
}

/// Two families of two conditions, two repetitions of four arms.
const CELLS: usize = 32;

#[test]
fn an_interrupted_suite_continues_to_the_same_outcome() {
    let (whole, torn) = (Place::new(), Place::new());
    let protocol = whole.suite().protocol;
    let (expected, run) = whole.run(protocol, usize::MAX);
    assert!(expected.complete);
    assert_eq!(run, CELLS);
    let (partial, run) = torn.run(protocol, 5);
    assert!(!partial.complete && (5..CELLS).contains(&run), "{run}");
    // Killed in the middle of a line.
    let path = torn.out().join(CELLS_FILE);
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"identity\":\"12");
    fs::write(&path, text).unwrap();
    let (continued, rest) = torn.run(protocol, usize::MAX);
    assert_eq!(run + rest, CELLS);
    assert_eq!(continued, expected);
    let (again, run) = torn.run(protocol, usize::MAX);
    assert_eq!((again, run), (expected, 0));
}

#[test]
fn a_cell_of_another_condition_is_not_reused() {
    let place = Place::new();
    let protocol = place.suite().protocol;
    place.run(protocol, usize::MAX);
    let longer = Protocol {
        measured_ns: 2 * protocol.measured_ns,
        ..protocol
    };
    assert_eq!(place.run(longer, usize::MAX).1, CELLS);
    // More repetitions keep those that there are.
    let more = Protocol {
        repetitions: 3,
        ..protocol
    };
    assert_eq!(place.run(more, usize::MAX).1, CELLS / 2);
    // One family changes, the other does not.
    let slow = place.0.path().join("slow.toml");
    fs::write(&slow, SLOW.replace("40 ms", "50 ms")).unwrap();
    assert_eq!(place.run(protocol, usize::MAX).1, CELLS / 2);
}

/// A cell has its own of each published figure, by their order.
#[test]
fn a_cell_with_other_figures_is_not_reused() {
    let place = Place::new();
    let mut suite = place.suite();
    let protocol = suite.quick;
    // One condition of each family, once.
    let cells = CELLS / 4;
    assert_eq!(place.run_suite(&suite, protocol, usize::MAX).1, cells);
    let figure = |measure| Figure {
        measure,
        theirs: 0.9,
        source: "A. Author".to_owned(),
        place: "table 1".to_owned(),
        why: None,
    };
    let figures = |suite: &mut Suite, measures: [Measure; 2]| {
        suite.families[0].conditions[0].figures = measures.map(figure).to_vec();
    };
    figures(
        &mut suite,
        [Measure::Utilisation, Measure::DelayMean(Queue::L4s)],
    );
    assert_eq!(place.run_suite(&suite, protocol, usize::MAX).1, cells / 2);
    figures(
        &mut suite,
        [Measure::DelayMean(Queue::L4s), Measure::Utilisation],
    );
    let (outcome, run) = place.run_suite(&suite, protocol, usize::MAX);
    assert_eq!(run, cells / 2);
    for arm in &outcome.families[0].conditions[0].arms {
        let measures = arm.repetitions[0].as_ref().unwrap();
        assert_eq!(
            measures.figures,
            [measures.l4s_mean_ms, Some(measures.utilisation)]
        );
    }
}

#[test]
fn arms_are_paired_and_the_noise_arm_has_draws_of_its_own() {
    let place = Place::new();
    let (outcome, _) = place.run(place.suite().protocol, usize::MAX);
    for condition in outcome
        .families
        .iter()
        .flat_map(|family| &family.conditions)
    {
        let arm = |name: &str| &condition.arm(name).unwrap().repetitions;
        assert_ne!(arm(TUNED), arm(TUNED_AGAIN), "{}", condition.name);
        let [first, second] = &arm(TUNED)[..] else {
            panic!("two repetitions")
        };
        assert_ne!(first, second, "{}", condition.name);
    }
    let suite = place.suite();
    let condition = &suite.families[0].conditions[0];
    let draw = |draws, number| condition.repetition(&suite.protocol, draws, number);
    assert_eq!(draw(0, 1), draw(0, 1));
    assert_ne!(draw(0, 1).seed, draw(0, 0).seed);
    assert_ne!(draw(0, 1).seed, draw(1, 1).seed);
}

#[test]
fn what_is_no_cell_is_named_by_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CELLS_FILE), "{\"name\": 1}\n").unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("cells.jsonl:1: not a cell of a suite"),
        "{error}"
    );
}

#[test]
fn the_repository_s_families_are_read_and_described() {
    for part in [Part::Training, Part::Test] {
        let suite = repository(part);
        assert_eq!(suite.families.len(), 13);
        assert!(suite.protocol.repetitions >= 6 && suite.protocol.measured_ns >= 60_000_000_000);
        for family in &suite.families {
            assert!(family.conditions.len() >= 8, "{}", family.name);
            for condition in &family.conditions {
                assert!(condition.facts().contains("bit/s"), "{}", condition.facts());
                assert!(condition.scenario.arms.is_empty());
            }
        }
        let published = suite.families.iter().flat_map(|family| &family.conditions);
        assert!(
            published
                .filter(|condition| !condition.figures.is_empty())
                .count()
                >= 16
        );
    }
}

#[test]
fn families_are_chosen_by_name() {
    let mut suite = repository(Part::Test);
    let error = suite.select(&["wifi".to_owned(), "nonsense".to_owned()]);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("there is no family `nonsense`; there are stationary, ")
    );
    suite
        .select(&["wifi".to_owned(), "lte".to_owned()])
        .unwrap();
    let names: Vec<&str> = suite.families.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["lte", "wifi"]);
}

#[test]
fn settings_of_the_oracle_are_distinct_and_tuned_is_among_them() {
    let grid = oracle_grid();
    let names: std::collections::BTreeSet<&str> =
        grid.iter().map(|of| of.arm.name.as_str()).collect();
    assert_eq!(names.len(), grid.len());
    let tuned = crate::scenario::Arm::dualpi2("fixed-10ms-x1", l4sllm_abi::Params::tuned());
    assert!(grid.iter().any(|of| of.arm == tuned && of.draws == 0));
}

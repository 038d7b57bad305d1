#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::store::{CELLS_FILE, Store};
use super::*;
use crate::published::{Figure, Measure};
use crate::scenario::Control;
use crate::scenario::curriculum::BEYOND;
use l4sllm_abi::Queue;
use l4sllm_model::{EngineOptions, IdleBudget};

/// The repository's suite.
fn repository(part: Part) -> Suite {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/suite");
    Suite::load(&dir, part, 1).unwrap()
}

/// A directory with the suite of `tests/suite`, and one for its cells.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
        for name in ["suite.toml", "slow.toml", "steps.toml"] {
            fs::copy(small.join(name), place.0.path().join(name)).unwrap();
        }
        place
    }

    fn suite(&self) -> Suite {
        Suite::load(self.0.path(), Part::Test, 1).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// Runs the suite, stopping after a number of cells; returns the number
    /// run.
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
            student: None,
            engine: &EngineOptions::default(),
            flow_weights: false,
            budgets: &[],
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
fn cell_of_another_condition_is_not_reused() {
    let place = Place::new();
    let protocol = place.suite().protocol;
    place.run(protocol, usize::MAX);
    let longer = Protocol {
        measured_ns: 2 * protocol.measured_ns,
        ..protocol
    };
    assert_eq!(place.run(longer, usize::MAX).1, CELLS);
    // More repetitions keep the existing ones.
    let more = Protocol {
        repetitions: 3,
        ..protocol
    };
    assert_eq!(place.run(more, usize::MAX).1, CELLS / 2);
    // One family changes, and the other does not.
    let slow = place.0.path().join("slow.toml");
    let text = fs::read_to_string(&slow).unwrap();
    fs::write(&slow, text.replace("40 ms", "50 ms")).unwrap();
    assert_eq!(place.run(protocol, usize::MAX).1, CELLS / 2);
}

/// A cell has its value for each published figure, in order.
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
            [
                measures.outcome.l4s_mean_ms,
                Some(measures.outcome.utilisation)
            ]
        );
    }
}

#[test]
fn arms_are_paired_and_the_noise_arm_has_separate_draws() {
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
fn a_directory_with_other_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("suite.json");
    fs::write(&file, "mine").unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not the result of a suite"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // Next to cells, it is a suite's own file.
    fs::write(dir.path().join(CELLS_FILE), "").unwrap();
    assert!(Store::open(dir.path()).is_ok());
}

#[test]
fn names_the_line_of_an_invalid_cell() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CELLS_FILE), "{\"name\": 1}\n").unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("cells.jsonl:1: not a cell of a suite: missing field `identity`, column 11"),
        "{error}"
    );
    assert!(
        error.ends_with("delete this line to repeat its run"),
        "{error}"
    );
}

/// A line as written before [`Measures`] contained an outcome.
#[test]
fn cells_already_written_are_read() {
    let line = r#"{"identity":"ab","condition":"slow-00000","arm":"tuned","repetition":1,"measures":{"utilisation":0.97,"classic_mean_ms":8.5,"classic_p50_ms":8.0,"classic_p99_ms":19.25,"l4s_mean_ms":0.5,"l4s_p99_ms":1.5,"jain":0.9,"drop_share":0.001,"completions":{"finished":3,"unfinished":1,"mean_ms":40.5,"p99_ms":80.0},"overrides_applied":7,"figures":[null,1.25]}}"#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CELLS_FILE);
    fs::write(&path, format!("{line}\n")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let measures = store.get("ab").unwrap();
    assert_eq!(
        (
            measures.outcome.utilisation,
            measures.outcome.drop_share,
            measures.overrides_applied
        ),
        (0.97, Some(0.001), 7)
    );
    // They are still written as before.
    let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_value(measures).unwrap(), parsed["measures"]);
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

/// The same ranges in two families give different conditions.
#[test]
fn families_have_independent_draws() {
    let suite = Place::new().suite();
    let [slow, steps] = &suite.families[..] else {
        panic!("two families")
    };
    for (a, b) in slow.conditions.iter().zip(&steps.conditions) {
        let rate = |of: &Condition| of.scenario.bottleneck.steps()[0].bits_per_s;
        assert_ne!((rate(a), a.scenario.rtt_ns), (rate(b), b.scenario.rtt_ns));
        assert_ne!(a.scenario.seed, b.scenario.seed);
    }
}

/// Numbers of `A to B UNIT` in a description.
fn ranges(description: &str, unit: &str) -> Vec<(f64, f64)> {
    let words: Vec<&str> = description.split([' ', ',']).collect();
    let of = |at: usize| match words.get(at..at + 4) {
        Some([least, "to", most, own]) if *own == unit => {
            Some((least.parse().ok()?, most.parse().ok()?))
        }
        _ => None,
    };
    (0..words.len()).filter_map(of).collect()
}

/// A family's description matches its conditions, with tests extending a
/// tenth of each range beyond its ends (`BEYOND`).
#[test]
fn conditions_match_their_family_description() {
    let (mut checked, mut beyond) = (0, 0);
    for part in [Part::Training, Part::Test] {
        for family in repository(part).families {
            for Condition { scenario, .. } in &family.conditions {
                let rate = scenario.bottleneck.steps()[0].bits_per_s as f64 / 1e6;
                let rtt = scenario.rtt_ns as f64 / 1e6;
                for (unit, value) in [("Mbit/s", rate), ("ms", rtt)] {
                    let ranges = ranges(&family.description, unit);
                    let within = |reach: f64| {
                        ranges.iter().any(|(least, most): &(f64, f64)| {
                            let reach = (most / least).powf(reach);
                            (least / reach..=most * reach).contains(&value)
                        })
                    };
                    let reach = if part == Part::Test { BEYOND } else { 0.0 };
                    assert!(
                        ranges.is_empty() || within(reach + 1e-9),
                        "{}: {value} {unit}, {}",
                        scenario.name,
                        family.description
                    );
                    checked += ranges.len();
                    beyond += usize::from(!ranges.is_empty() && !within(1e-9));
                }
            }
        }
    }
    assert!(checked > 300 && beyond > 0, "{checked}, {beyond}");
}

#[test]
fn families_are_chosen_by_name() {
    let mut suite = repository(Part::Test);
    let error = suite.select(&["wifi".to_owned(), "nonsense".to_owned()]);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("unknown family `nonsense`; expected one of stationary, ")
    );
    suite
        .select(&["wifi".to_owned(), "lte".to_owned()])
        .unwrap();
    let names: Vec<&str> = suite.families.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["lte", "wifi"]);
}

#[test]
fn arms_with_flow_weights_differ_only_in_weights() {
    let (without, with) = (
        contestants(None, None, false, &[]),
        contestants(None, None, true, &[]),
    );
    let added: Vec<&Contestant> = with.iter().filter(|of| !without.contains(of)).collect();
    assert_eq!(with.len(), without.len() + 2);
    let pairs = [(TUNED_WEIGHTS, TUNED), (ADAPTIVE_WEIGHTS, ADAPTIVE)];
    for (of, (name, base)) in added.into_iter().zip(pairs) {
        assert_eq!(of.arm.name, name);
        let mut same = of.clone();
        same.arm.name = base.to_owned();
        let crate::scenario::Aqm::DualPi2(queue) = &mut same.arm.aqm else {
            panic!("{name} is not DualPI2");
        };
        assert!(queue.params.flow_weights, "{name}");
        queue.params.flow_weights = false;
        assert!(without.contains(&same), "{name}");
    }
}

#[test]
fn arms_with_budgets_differ_only_in_the_budget() {
    let policy = Control::new(Path::new("policy"), NonZeroU32::MIN);
    let budgets = [0.001, 0.02].map(|share| IdleBudget::new(share).unwrap());
    let without = contestants(Some(&policy), None, true, &[]);
    let with = contestants(Some(&policy), None, true, &budgets);
    assert_eq!(with[..without.len()], without);
    let own = [ADAPTIVE, POLICY].iter();
    let expected = own.flat_map(|arm| [(arm, 0.001), (arm, 0.02)]);
    let added = &with[without.len()..];
    assert_eq!(added.len(), 4);
    for (of, (base, share)) in added.iter().zip(expected) {
        assert_eq!(of.arm.name, format!("{base}-budget-{share}"));
        let at = of.budget.as_ref().unwrap();
        assert_eq!((at.arm.as_str(), at.share), (*base, share));
        let mut same = of.clone();
        same.budget = None;
        same.arm.name = at.arm.clone();
        let budget = same.arm.control.as_mut().unwrap().idle_budget.take();
        assert_eq!(budget, IdleBudget::new(share));
        assert!(without.contains(&same), "{base}");
    }
}

#[test]
fn oracle_settings_are_distinct_and_include_tuned() {
    let grid = oracle_grid();
    let names: std::collections::BTreeSet<&str> =
        grid.iter().map(|of| of.arm.name.as_str()).collect();
    assert_eq!(names.len(), grid.len());
    let tuned = crate::scenario::Arm::dualpi2("fixed-10ms-x1", l4sllm_abi::Params::tuned());
    assert!(grid.iter().any(|of| of.arm == tuned && of.draws == 0));
}

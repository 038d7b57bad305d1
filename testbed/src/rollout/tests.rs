#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use l4sllm_abi::Params;
use l4sllm_model::{
    HeadKind, IdleBudget, Outcome, Policy, PolicyConfig, SET_POINTS, SummaryFeature, Tensors,
};

use super::observer::rollout;
use super::*;
use crate::experiment::measure;
use crate::scenario::curriculum::{Curriculum, Part};
use crate::scenario::{Arm, Scenario};
use crate::sim::derive_seed;
use crate::suite::Suite;

/// Period of the policy.
const PERIOD_NS: u64 = 250_000_000;
const MEASURED_NS: u64 = 1_000_000_000;

fn small_suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite")
}

fn conditions() -> Vec<TrainingCondition> {
    let selection = Selection {
        families: &[],
        per_family: 1,
        most_bps: None,
        measured_ns: MEASURED_NS,
    };
    training_conditions(&small_suite(), &selection, 1, "test", 0).unwrap()
}

fn scenario() -> Scenario {
    conditions()[0].repetition(MEASURED_NS, 0)
}

fn policy() -> Arc<Policy> {
    let features = [SummaryFeature::IdleShare, SummaryFeature::TargetMs];
    let config = PolicyConfig::on_summaries("random", &features);
    Policy::new(config.clone(), &Tensors::random(&config, 1).unwrap()).unwrap()
}

fn driven_by(policy: Arc<Policy>, offset: f32) -> Driver {
    Driver::Policy {
        actor: policy.into(),
        budget: IdleBudget::new(0.005).unwrap(),
        offset: [offset; SET_POINTS],
    }
}

fn run(driver: &Driver) -> Rollout {
    let cancel = AtomicBool::new(false);
    let run = rollout(&scenario(), driver, PERIOD_NS, &cancel);
    run.unwrap().unwrap()
}

/// The values of periods, bit by bit.
fn bits(periods: &[Period]) -> Vec<u32> {
    let numbers = |p: &Period| p.features.into_iter().chain(p.outputs).collect::<Vec<_>>();
    periods.iter().flat_map(numbers).map(f32::to_bits).collect()
}

fn feature(period: &Period, feature: SummaryFeature) -> f64 {
    let at = SummaryFeature::ALL.iter().position(|f| *f == feature);
    period.features[at.unwrap()].into()
}

#[test]
fn fixed_driver_matches_its_arm() {
    for params in [Params::default(), Params::tuned()] {
        let arm = Arm::dualpi2("arm", params);
        let cancel = AtomicBool::new(false);
        let samples = measure(&scenario(), &arm, 0, None, &cancel)
            .unwrap()
            .unwrap();
        let want = samples.repetition(0, scenario().seed).statistics.outcome();
        let got = run(&Driver::Fixed(params));
        assert_eq!(got.outcome, want);
        let target_ms = params.target_ns as f64 / 1e6;
        for period in &got.periods {
            assert!((feature(period, SummaryFeature::TargetMs) - target_ms).abs() < 1e-6);
        }
    }
}

#[test]
fn every_period_of_a_run_is_recorded() {
    let scenario = scenario();
    for driver in [
        Driver::Fixed(Params::default()),
        Driver::Adaptive,
        driven_by(policy(), 0.0),
    ] {
        let run = run(&driver);
        let whole = (scenario.duration_ns / PERIOD_NS) as usize;
        assert!(
            [whole - 1, whole].contains(&run.periods.len()),
            "{}",
            run.periods.len()
        );
        for period in &run.periods {
            let idle = feature(period, SummaryFeature::IdleShare);
            assert!((0.0..=100.0).contains(&idle), "{idle}");
        }
    }
}

#[test]
fn outputs_with_offset_apply_in_the_next_period() {
    let policy = policy();
    let HeadKind::SetPoints(head) = policy.config().head.kind else {
        panic!("a policy on summaries");
    };
    let target_ms = |output: f32| {
        let log = head.target_ms.mean + head.target_ms.std * f64::from(output);
        log.exp().clamp(head.target_ms.min, head.target_ms.max)
    };
    let [plain, shifted] = [0.0, 0.4].map(|offset| run(&driven_by(Arc::clone(&policy), offset)));
    for run in [&plain, &shifted] {
        for two in run.periods.windows(2).skip(1) {
            let want = target_ms(two[0].outputs[0]);
            let got = feature(&two[1], SummaryFeature::TargetMs);
            assert!((got / want - 1.0).abs() < 0.01, "{got} {want}");
        }
    }
    // Nothing differs before the first decision.
    for (shifted, plain) in shifted.periods[0]
        .outputs
        .iter()
        .zip(plain.periods[0].outputs)
    {
        assert!((shifted - plain - 0.4).abs() < 1e-5);
    }
    assert_ne!(plain.outcome, shifted.outcome);
}

#[test]
fn roll_out_is_bit_reproducible() {
    let [first, second] = [0, 1].map(|_| run(&driven_by(policy(), 0.1)));
    assert_eq!(bits(&first.periods), bits(&second.periods));
    assert_eq!(first.outcome, second.outcome);
}

#[test]
fn a_cancelled_roll_out_returns_none() {
    // Long enough for a check of `cancel`.
    let scenario = conditions()[0].repetition(600_000_000_000, 0);
    let cancel = AtomicBool::new(true);
    let run = rollout(&scenario, &Driver::Adaptive, PERIOD_NS, &cancel);
    assert_eq!(run.unwrap(), None);
}

/// A run under outputs chosen by the caller; `None` leaves a period without a decision.
fn interact(decide: impl Fn(&Observation) -> Option<[f32; SET_POINTS]>) -> (usize, Outcome) {
    let config = Arc::new(policy().config().clone());
    let budget = IdleBudget::new(0.005).unwrap();
    let mut run = InteractiveRun::new(&scenario(), &config, budget).unwrap();
    let mut periods = 0;
    while let Some(seen) = run.advance().unwrap() {
        periods += 1;
        if let Some(outputs) = decide(&seen) {
            run.decide(outputs).unwrap();
        }
    }
    (periods, run.finish().unwrap())
}

#[test]
fn interactive_run_matches_the_policys_roll_out() {
    let policy = policy();
    for offset in [0.0, 0.4] {
        let want = run(&driven_by(Arc::clone(&policy), offset));
        let (periods, outcome) = interact(|seen| {
            let steps = seen.window.steps(policy.config()).unwrap();
            let outputs = policy.outputs_all(&[steps]).unwrap()[0];
            Some([0, 1, 2, 3].map(|i| outputs[i] + offset))
        });
        assert_eq!((periods, outcome), (want.periods.len(), want.outcome));
    }
}

#[test]
fn interactive_run_without_decisions_is_plain_dualpi2() {
    let plain = run(&Driver::Fixed(Params::default()));
    let (periods, outcome) = interact(|_| None);
    assert_eq!((periods, outcome), (plain.periods.len(), plain.outcome));
    let (_, shifted) = interact(|_| Some([-1.0; SET_POINTS]));
    assert_ne!(shifted, plain.outcome);
}

fn jobs(conditions: &[TrainingCondition]) -> Vec<Job<'_>> {
    let drivers = [Driver::Fixed(Params::tuned()), Driver::Adaptive];
    let job = |condition| {
        drivers.clone().map(|driver| Job {
            condition,
            repetition: 0,
            driver,
            keep: true,
        })
    };
    conditions.iter().flat_map(job).collect()
}

/// Makes the runs of two conditions under two drivers, and stops after a number
/// of new ones; returns their identities and the number of new ones.
fn make(store: &RunStore, stop: usize) -> (Option<Vec<String>>, usize) {
    let conditions = conditions();
    let runner = Runner::new(store, PERIOD_NS, MEASURED_NS, 1).unwrap();
    let (cancel, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let progress = |_, _| {
        // The first call reports the initial number.
        if calls.fetch_add(1, Ordering::Relaxed) >= stop {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let made = runner.run("first", &jobs(&conditions), &cancel, &progress);
    (made.unwrap(), calls.into_inner() - 1)
}

#[test]
fn interrupted_runner_makes_only_the_missing_runs() {
    let whole = tempfile::tempdir().unwrap();
    let whole = RunStore::open(whole.path()).unwrap();
    let (identities, new) = make(&whole, usize::MAX);
    let identities = identities.unwrap();
    assert_eq!((identities.len(), new), (4, 4));

    let dir = tempfile::tempdir().unwrap();
    let (made, new) = make(&RunStore::open(dir.path()).unwrap(), 1);
    assert_eq!((made, new), (None, 1));
    // Killed while it wrote the second: rows without a line, and half a line.
    for (file, torn) in [
        ("first.periods", &[7u8; 300][..]),
        (RUNS_FILE, b"{\"identity\":\"a"),
    ] {
        let path = dir.path().join(file);
        let bytes = [&fs::read(&path).unwrap()[..], torn].concat();
        fs::write(path, bytes).unwrap();
    }
    let store = RunStore::open(dir.path()).unwrap();
    let (made, new) = make(&store, usize::MAX);
    assert_eq!((made.as_ref(), new), (Some(&identities), 3));
    let (made, new) = make(&RunStore::open(dir.path()).unwrap(), usize::MAX);
    assert_eq!((made.as_ref(), new), (Some(&identities), 0));

    for store in [&store, &RunStore::open(dir.path()).unwrap()] {
        for identity in &identities {
            assert_eq!(store.outcome(identity), whole.outcome(identity));
            let [got, want] = [store, &whole].map(|store| store.periods(identity).unwrap());
            assert!(!want.is_empty());
            assert_eq!(bits(&got), bits(&want));
        }
    }
}

#[test]
fn runs_with_missing_periods_are_rerun() {
    let dir = tempfile::tempdir().unwrap();
    let (identities, _) = make(&RunStore::open(dir.path()).unwrap(), usize::MAX);
    let path = dir.path().join("first.periods");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let store = RunStore::open(dir.path()).unwrap();
    assert_eq!(store.len(), 3);
    assert_eq!(make(&store, usize::MAX), (identities.clone(), 1));
    // Rows of a program with other features.
    fs::write(&path, b"{\"columns\":[]}\n").unwrap();
    let store = RunStore::open(dir.path()).unwrap();
    assert!(store.is_empty());
    assert_eq!(make(&store, usize::MAX), (identities, 4));
}

#[test]
fn run_of_an_unavailable_policy_is_only_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = RunStore::open(dir.path()).unwrap();
    let runner = Runner::new(&store, PERIOD_NS, MEASURED_NS, 1).unwrap();
    let (conditions, policy) = (conditions(), policy());
    let look = |actor: Actor| {
        let job = Job {
            condition: &conditions[0],
            repetition: 0,
            driver: Driver::Policy {
                actor,
                budget: IdleBudget::new(0.01).unwrap(),
                offset: [0.0; SET_POINTS],
            },
            keep: false,
        };
        runner.run("own", &[job], &AtomicBool::new(false), &|_, _| ())
    };
    let finished = Actor::finished(policy.hash());
    let error = look(finished.clone()).unwrap_err().to_string();
    assert!(
        error.contains("slow-00000@test-0") && error.contains("is missing"),
        "{error}"
    );
    let made = look(policy.into()).unwrap();
    assert_eq!(look(finished).unwrap(), made);
}

#[test]
fn names_unknown_family() {
    let families = ["slow".to_owned(), "fast".to_owned()];
    let selection = Selection {
        families: &families,
        per_family: 1,
        most_bps: None,
        measured_ns: MEASURED_NS,
    };
    let error = training_conditions(&small_suite(), &selection, 1, "test", 0).unwrap_err();
    let want = "unknown family `fast`; expected one of slow, steps";
    assert_eq!(error.to_string(), want);
}

/// The repository's suite, without published setups or values of the test part
/// (the parts of a curriculum are disjoint).
#[test]
fn training_conditions_are_from_the_training_part() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/suite");
    let selection = Selection {
        families: &[],
        per_family: 3,
        most_bps: Some(100e6),
        measured_ns: MEASURED_NS,
    };
    let drawn = |number| training_conditions(&dir, &selection, 7, "surfaces", number).unwrap();
    let conditions = drawn(1);
    let suite = Suite::load(&dir, Part::Test, 7).unwrap();
    for family in &suite.families {
        let own = conditions.iter().filter(|of| of.family == family.name);
        let want = if family.part.is_some() { 1..=3 } else { 0..=0 };
        assert!(want.contains(&own.count()), "{}", family.name);
    }
    let seed = derive_seed(7, "surfaces", 1);
    for of in &conditions {
        let path = dir.join(format!("{}.toml", of.family));
        let curriculum = Curriculum::load(&path).unwrap().part(Part::Training);
        let scenario = &of.condition.scenario;
        let (name, _) = scenario.name.split_once('@').unwrap();
        let number = name.rsplit_once('-').unwrap().1.parse().unwrap();
        let mut want = curriculum.condition(derive_seed(seed, &of.family, 0), number);
        want.name.clone_from(&scenario.name);
        assert_eq!(*scenario, want);
    }
    let names = |number| -> Vec<_> {
        let all = drawn(number).into_iter();
        all.map(|of| (of.condition.scenario.name, of.condition.scenario.seed))
            .collect()
    };
    assert_eq!(names(1), names(1));
    assert_ne!(names(1), names(2));
}

//! A policy in the loop. Its weights are random: these tests check that every
//! record reaches it, that its decisions are accounted for, and that the run is
//! reproducible.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use l4sllm_model::{
    DecisionRule, EngineOptions, Feature, HeadKind, IdleBudget, Policy, PolicyConfig, Setting,
    SummaryFeature, Tensors,
};
use l4sllm_testbed::experiment::{ExperimentError, Options, Policies, run};
use l4sllm_testbed::result::{Run, STEER, summarise};
use l4sllm_testbed::scenario::{Aqm, Arm, Control, ControlEngine, DualPi2, FlowGroup, Scenario};
use l4sllm_testbed::sim::Simulation;
use l4sllm_testbed::transport::Cc;

use crate::support::*;

/// A policy directory and a scenario with arms that use it.
fn with_policy(dir: &Path) -> Scenario {
    let features = [
        Feature::QueueType,
        Feature::CurrentQueueDelay,
        Feature::PacketLength,
    ];
    let config = PolicyConfig::new("random", &features);
    Policy::save(dir, &config, &Tensors::random(&config, 1).unwrap()).unwrap();
    let flows = vec![
        FlowGroup {
            count: 4,
            ..flow(Cc::Cubic)
        },
        flow(Cc::Dctcp),
    ];
    let mut scenario = scenario(8 * MBIT, 10 * MS, 6, flows);
    for interval in [10, 100] {
        let mut arm = Arm::new(
            &format!("policy-{interval}"),
            Aqm::DualPi2(DualPi2::default()),
        );
        arm.control = Some(Control::new(dir, interval.try_into().unwrap()));
        scenario.arms.push(arm);
    }
    scenario
}

fn finish(scenario: &Scenario, arm: &Arm) -> Run {
    let policies = Policies::load(scenario, &EngineOptions::default()).unwrap();
    let engine = policies.engine(arm, scenario.repetition_seed(0));
    let simulation = Simulation::new(scenario, arm, 0, engine).unwrap();
    let mut run = simulation.finish().unwrap();
    run.meta.wall_s = 0.0;
    run
}

#[test]
fn decisions_follow_the_interval_reproducibly() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = with_policy(dir.path());
    for (arm, interval) in scenario.arms.iter().zip([10, 100]) {
        let run = finish(&scenario, arm);
        let expected = run.packets.len() / interval;
        assert!(
            run.decisions.len().abs_diff(expected) <= 1,
            "{} {expected}",
            run.decisions.len()
        );
        assert!(run.decisions.iter().all(|row| row.latency_ns == 100_000));
        assert_eq!(run.meta.records.lost, 0);
        assert_eq!(run, finish(&scenario, arm), "{}", arm.name);
    }
}

#[test]
fn facts_name_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("random");
    let scenario = with_policy(&policy);
    let cancel = AtomicBool::new(false);
    let out = dir.path().join("out");
    let options = Options {
        threads: 2,
        engine: &EngineOptions::default(),
        force: false,
        cancel: &cancel,
        capture: None,
        progress: &|_| {},
    };
    let summary = run(&scenario, &out, options).unwrap();
    let hash = Policy::load(&policy).unwrap().hash().to_owned();
    assert!(summary.complete);
    for arm in &summary.arms {
        let facts = arm.policy.as_ref().unwrap();
        assert_eq!((facts.name.as_str(), &facts.sha256), ("random", &hash));
        assert_eq!(arm.pooled.decision_latency_us.p50, Some(100.0));
    }
}

/// A policy on summaries, and an arm that uses it.
fn with_periods(dir: &Path, name: &str) -> Scenario {
    let mut scenario = with_policy(&dir.join("records"));
    let config = PolicyConfig::on_summaries(name, SummaryFeature::ALL);
    let tensors = Tensors::random(&config, 1).unwrap();
    Policy::save(&dir.join(name), &config, &tensors).unwrap();
    let control = Control::new(&dir.join(name), 100.try_into().unwrap());
    scenario.arms.truncate(1);
    scenario.arms[0].name = name.to_owned();
    scenario.arms[0].control = Some(control);
    scenario
}

#[test]
fn a_policy_on_summaries_decides_after_each_of_its_periods() {
    let dir = tempfile::tempdir().unwrap();
    let mut scenario = with_periods(dir.path(), "periods");
    let run = finish(&scenario, &scenario.arms[0]);
    // Six seconds of periods of 250 ms, each a packet longer.
    assert!(
        (22..=24).contains(&run.decisions.len()),
        "{}",
        run.decisions.len()
    );
    assert!(run.decisions.iter().all(|row| row.action == STEER));
    assert_eq!(run.meta.overrides.refused, 0);
    assert_eq!(run.meta.overrides.expired, 0);
    assert!(run.meta.overrides.applied >= 22);
    assert_eq!(run, finish(&scenario, &scenario.arms[0]));
    // Its budget is recorded.
    let control = scenario.arms[0].control.as_mut().unwrap();
    control.idle_budget = IdleBudget::new(0.02);
    assert_ne!(run.packets, finish(&scenario, &scenario.arms[0]).packets);
}

#[test]
fn facts_include_period_and_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut scenario = with_periods(dir.path(), "periods");
    let facts = |scenario: &Scenario| {
        let policies = Policies::load(scenario, &EngineOptions::default())?;
        Ok::<_, ExperimentError>(policies.facts(scenario).arms[0].clone())
    };
    let arm = facts(&scenario).unwrap();
    let policy = arm.policy.unwrap();
    assert_eq!(arm.interval, None);
    assert_eq!(
        (policy.period_ns, policy.idle_budget),
        (Some(250 * MS), Some(0.005))
    );
    scenario.arms[0].control.as_mut().unwrap().idle_budget = IdleBudget::new(0.02);
    let policy = facts(&scenario).unwrap().policy.unwrap();
    assert_eq!(policy.idle_budget, Some(0.02));
    // A policy on records has no budget.
    let control = scenario.arms[0].control.as_mut().unwrap();
    control.engine = ControlEngine::Policy(dir.path().join("records"));
    let error = facts(&scenario).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("leave out idle_budget"), "{source}");
}

/// Every setting reduces delay, so the choice of the random weights does not
/// matter.
#[test]
fn a_head_that_steers_shifts_the_set_points() {
    let dir = tempfile::tempdir().unwrap();
    let mut scenario = with_policy(dir.path());
    let (mut config, tensors) = Policy::load_tensors(dir.path()).unwrap();
    config.head.kind = HeadKind::Steer([0.5, 0.4, 0.3].map(|target| Setting::from((target, 4.0))));
    config.decision_rule = DecisionRule::Mean;
    Policy::save(dir.path(), &config, &tensors).unwrap();
    // Few flows, so that their minimum windows cause no queue.
    scenario.flows[0].count = 1;
    scenario.arms[0].name = "steered".to_owned();
    let steered = finish(&scenario, &scenario.arms[0]);
    assert!(steered.decisions.len() > 100);
    assert!(steered.decisions.iter().all(|row| row.action == STEER));
    assert!(steered.meta.overrides.applied > 100);

    scenario.arms[0].control = None;
    let plain = finish(&scenario, &scenario.arms[0]);
    let delay = |run: &Run| {
        let statistics = summarise(0, run).statistics;
        statistics.queue_delay_ms.classic.mean.unwrap()
    };
    assert!(
        delay(&steered) < 0.7 * delay(&plain),
        "{} {}",
        delay(&steered),
        delay(&plain)
    );
}

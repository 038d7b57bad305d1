//! The same seed gives the same run in any environment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use l4sllm_abi::Message;
use l4sllm_testbed::result::Run;
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::sim::{SimError, Simulation};

fn smoke() -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/smoke.toml");
    Scenario::load(&file).unwrap()
}

fn finish(scenario: &Scenario, arm: &str, repetition: u32) -> Run {
    let arm = scenario.arm(arm).unwrap();
    let run = Simulation::new(scenario, arm, repetition, None)
        .unwrap()
        .finish()
        .unwrap();
    without_wall_time(run)
}

fn without_wall_time(mut run: Run) -> Run {
    run.meta.wall_s = 0.0;
    run
}

#[test]
fn the_same_seed_gives_the_same_rows() {
    let scenario = smoke();
    for arm in &scenario.arms {
        let first = finish(&scenario, &arm.name, 0);
        assert!(first.packets.len() > 1000);
        assert_eq!(first, finish(&scenario, &arm.name, 0), "{}", arm.name);
        assert_ne!(
            first.packets,
            finish(&scenario, &arm.name, 1).packets,
            "{}",
            arm.name
        );
    }
}

/// Arms of one repetition have the same traffic.
#[test]
fn arms_are_paired() {
    let scenario = smoke();
    let starts = |arm: &str| {
        let run = finish(&scenario, arm, 0);
        run.meta
            .flows
            .iter()
            .map(|flow| (flow.name.clone(), flow.start_ns))
            .collect::<Vec<_>>()
    };
    assert_eq!(starts("dualpi2"), starts("fq-codel"));
}

/// An arm without a controller writes records for a tap, which does not change it.
#[test]
fn a_plain_arm_can_be_observed() {
    let scenario = smoke();
    let arm = scenario.arm("dualpi2").unwrap();
    let mut simulation = Simulation::new(&scenario, arm, 0, None).unwrap();
    let seen = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let counters = Arc::clone(&seen);
    let tap = move |message: &Message, _: u64| {
        let [messages, decisions] = &*counters;
        messages.fetch_add(1, Ordering::Relaxed);
        if matches!(message, Message::Decision(_)) {
            decisions.fetch_add(1, Ordering::Relaxed);
        }
    };
    simulation.tap(Box::new(tap)).unwrap();
    let observed = simulation.finish().unwrap();
    let plain = finish(&scenario, "dualpi2", 0);
    assert_eq!(observed.packets, plain.packets);
    let [messages, decisions] = &*seen;
    let decisions = decisions.load(Ordering::Relaxed);
    assert_eq!(decisions, plain.packets.len() as u64);
    let messages = messages.load(Ordering::Relaxed);
    assert_eq!(observed.meta.records.read, messages);

    let mut late = Simulation::new(&scenario, arm, 0, None).unwrap();
    late.run_until(200_000_000).unwrap();
    assert_eq!(late.tap(Box::new(|_, _| {})), Err(SimError::Started));
    let fq = scenario.arm("fq-codel").unwrap();
    let baseline = Simulation::new(&scenario, fq, 0, None).unwrap();
    assert_eq!(
        baseline.open().unwrap_err(),
        SimError::NoDevice { aqm: "fq-codel" }
    );
}

/// The step size of driving a run and observers do not change it.
#[test]
fn steps_and_observers_do_not_change_the_run() {
    let scenario = smoke();
    let whole = finish(&scenario, "scripted", 0);
    let arm = scenario.arm("scripted").unwrap();
    let mut simulation = Simulation::new(&scenario, arm, 0, None).unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    let tap = move |message: &Message, _now_ns: u64| {
        if matches!(message, Message::Decision(_)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    simulation.tap(Box::new(tap)).unwrap();
    while simulation.now() + 1 < simulation.duration() {
        simulation.run_until(simulation.now() + 777_777).unwrap();
    }
    let stepped = without_wall_time(simulation.finish().unwrap());
    assert_eq!(whole, stepped);
    // One record per departure or drop.
    assert_eq!(seen.load(Ordering::Relaxed), whole.packets.len() as u64);
}

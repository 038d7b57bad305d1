//! Overrides in the loop: their effects and their end.

use l4sllm_abi::{Action, Factor, Factors, Limits, Mode, Record, Steer, raw};
use l4sllm_testbed::control::EngineFactory;
use l4sllm_testbed::result::{Run, SetPointRow};
use l4sllm_testbed::scenario::{Aqm, Arm, Control, DualPi2, FlowGroup, Latency, Scripted};
use l4sllm_testbed::sim::Simulation;
use l4sllm_testbed::transport::Cc;
use l4sllmd::{Decision, Engine};

use crate::support::*;

/// Target halved for ten seconds: classic p50 falls to about half and returns.
#[test]
fn a_scripted_steer_moves_the_delay_and_back() {
    let steer = Steer::new(Factors {
        target: Some(Factor::new(0.5).unwrap()),
        ..Factors::NONE
    })
    .unwrap();
    let mut arm = Arm::new("steered", Aqm::DualPi2(DualPi2::default()));
    arm.script.push(Scripted {
        at_ns: 10 * S,
        ttl_ns: 10 * S,
        mode: Mode::Steer(steer),
    });
    let flows = vec![
        FlowGroup {
            count: 4,
            ..flow(Cc::Cubic)
        },
        flow(Cc::Prague),
    ];
    let run = run(&scenario(50 * MBIT, 20 * MS, 30, flows), &arm);
    let p50 = |from, to| delay_ms(&run, CLASSIC, from * S, to * S, 0.5);
    let (before, during, after) = (p50(4, 10), p50(12, 20), p50(22, 30));
    assert!((11.0..19.0).contains(&before), "before: {before} ms");
    assert!(
        (0.35..0.7).contains(&(during / before)),
        "during: {during} of {before} ms"
    );
    assert!(
        (0.8..1.25).contains(&(after / before)),
        "after: {after} of {before} ms"
    );
    let overrides = run.meta.overrides;
    assert_eq!((overrides.received, overrides.applied), (1, 1));
    // The effective set-points, at the first sample after each change.
    let targets: Vec<(u64, u64)> = (run.set_points.iter())
        .map(|row| (row.time_ns / S, row.target_ns / MS))
        .collect();
    assert_eq!(targets, [(0, 15), (10, 7), (20, 15)]);
    let gains = |row: &SetPointRow| (row.alpha_uhz, row.beta_uhz, row.coupling_q8);
    assert!(
        run.set_points
            .iter()
            .all(|row| gains(row) == gains(&run.set_points[0]))
    );
}

/// Makes the same decision in every interval.
struct Always {
    action: Action,
    interval: u32,
    seen: u32,
}

impl Engine for Always {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        self.seen += 1;
        (self.seen % self.interval == 0).then_some(Decision::Action {
            action: self.action,
            probabilities: [0.0, 0.0, 1.0],
        })
    }

    fn reset(&mut self) {
        self.seen = 0;
    }
}

fn always(action: Action, interval: u32) -> EngineFactory {
    EngineFactory::on_records(move |_| {
        Box::new(Always {
            action,
            interval,
            seen: 0,
        })
    })
}

/// A controller that may mark every packet.
fn controlled(interval: u32, latency: Latency) -> Arm {
    let dualpi2 = DualPi2 {
        limits: Limits {
            mark_share: raw::L4S_FACTOR_ONE,
            ..Limits::default()
        },
        ..DualPi2::default()
    };
    let mut arm = Arm::new("controlled", Aqm::DualPi2(dualpi2));
    let interval = interval.try_into().unwrap();
    arm.control = Some(Control {
        latency,
        ..Control::new("none".as_ref(), interval)
    });
    arm
}

/// After every ten records the next packet is marked: a tenth of all packets, and
/// every decision is accounted for.
#[test]
fn a_controller_in_the_loop() {
    let scenario = scenario(20 * MBIT, 10 * MS, 6, vec![flow(Cc::Cubic)]);
    let arm = controlled(10, Latency::Fixed(100_000));
    let engine = always(Action::Mark, 10);
    let run = Simulation::new(&scenario, &arm, 0, Some(engine))
        .unwrap()
        .finish()
        .unwrap();
    let decisions = run.decisions.len() as u64;
    assert!(
        run.decisions
            .iter()
            .all(|d| d.latency_ns == 100_000 && d.action == 2)
    );
    assert_eq!(run.meta.overrides.received, decisions);
    assert!(decisions.abs_diff(run.packets.len() as u64 / 10) <= 1);
    assert!(run.meta.overrides.applied * 100 > decisions * 99);
    let marked = run.packets.iter().filter(|row| row.action == 2).count() as u64;
    assert!(marked >= run.meta.overrides.applied);
    assert_eq!(run.meta.records.lost, 0);
}

/// Drops stay within their share (1/16), whatever is requested, and spare the
/// last packet in the queue. A flow in addition to the stream sustains a queue;
/// each override with an effect is a drop.
#[test]
fn a_controller_that_only_drops() {
    let flows = vec![udp("flood", 15 * MBIT), flow(Cc::Prague)];
    let scenario = scenario(20 * MBIT, 10 * MS, 6, flows);
    let arm = controlled(2, Latency::Fixed(0));
    let engine = always(Action::Drop, 2);
    let run = Simulation::new(&scenario, &arm, 0, Some(engine))
        .unwrap()
        .finish()
        .unwrap();
    let share = run.meta.overrides.applied as f64 / run.meta.packets.arrived as f64;
    assert!(share > 0.03 && share <= 1.0 / 16.0 + 0.01, "{share}");
    assert!(run.meta.refusals.drop_share > 0);
    assert!(run.meta.refusals.last_packet > 0);
}

/// Under the default limits, a controller that marks every packet costs little
/// utilisation: marks beyond DualPI2's own stay within their share.
#[test]
fn a_controller_that_only_marks() {
    let flows = vec![flow(Cc::Cubic), flow(Cc::Prague)];
    let scenario = scenario(20 * MBIT, 10 * MS, 10, flows);
    let emulate = |arm: &Arm, engine: Option<EngineFactory>| {
        let simulation = Simulation::new(&scenario, arm, 0, engine).unwrap();
        simulation.finish().unwrap()
    };
    let sent = |run: &Run| {
        let left = run.packets.iter().filter(|row| row.action != 1);
        left.map(|row| f64::from(row.bytes)).sum::<f64>()
    };
    let plain = Arm::new("plain", Aqm::DualPi2(DualPi2::default()));
    let plain = emulate(&plain, None);
    let mut arm = controlled(1, Latency::Fixed(0));
    let without_limit = emulate(&arm, Some(always(Action::Mark, 1)));
    arm.aqm = Aqm::DualPi2(DualPi2::default());
    let limited = emulate(&arm, Some(always(Action::Mark, 1)));
    assert!(limited.meta.refusals.mark_share > 1000);
    assert_eq!(without_limit.meta.refusals.mark_share, 0);
    assert!(sent(&limited) > 0.9 * sent(&plain), "{}", sent(&limited));
    assert!(sent(&without_limit) < 0.7 * sent(&plain));
}

/// Reading the device only when a decision may be due changes nothing: with a
/// tap it is read after every event. On the smallest ring nothing is lost.
#[test]
fn reading_only_when_due_does_not_change_the_run() {
    let flows = vec![flow(Cc::Cubic), flow(Cc::Prague), udp("voice", MBIT)];
    let scenario = scenario(20 * MBIT, 10 * MS, 4, flows);
    for interval in [1, 2, 37, 1000] {
        let mut arm = controlled(interval, Latency::Fixed(100_000));
        arm.aqm = Aqm::DualPi2(DualPi2 {
            ring_records: 16,
            ..DualPi2::default()
        });
        let emulate = |tapped: bool| {
            let engine = always(Action::Mark, interval);
            let mut simulation = Simulation::new(&scenario, &arm, 0, Some(engine)).unwrap();
            if tapped {
                simulation.tap(Box::new(|_, _| {})).unwrap();
            }
            let mut run = simulation.finish().unwrap();
            run.meta.wall_s = 0.0;
            run
        };
        let run = emulate(false);
        assert!(run.decisions.len() >= 5, "{}", run.decisions.len());
        assert_eq!(run.meta.records.lost, 0);
        assert_eq!(run.meta.records.waiting, 0);
        assert!(run == emulate(true), "interval {interval}");
    }
}

/// The measured latency of an engine that does nothing is short, and in the rows.
#[test]
fn measured_latency() {
    let scenario = scenario(20 * MBIT, 10 * MS, 3, vec![flow(Cc::Cubic)]);
    let arm = controlled(10, Latency::Measured);
    let engine = always(Action::Enqueue, 10);
    let run = Simulation::new(&scenario, &arm, 0, Some(engine))
        .unwrap()
        .finish()
        .unwrap();
    assert!(run.decisions.len() > 100);
    let mut latencies: Vec<u64> = run.decisions.iter().map(|row| row.latency_ns).collect();
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    assert!(median > 0 && median < 1_000_000, "{median} ns");
}

/// An arm with a policy cannot run without its engine.
#[test]
fn a_policy_without_an_engine() {
    let scenario = scenario(20 * MBIT, 10 * MS, 3, vec![flow(Cc::Cubic)]);
    let error = Simulation::new(&scenario, &controlled(10, Latency::Fixed(0)), 0, None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "arm controlled: its policy has not been loaded"
    );
}

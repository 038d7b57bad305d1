//! The adaptive rule in the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use l4sllm_abi::{Message, Params};
use l4sllm_testbed::result::{STEER, SetPointRow};
use l4sllm_testbed::scenario::{Arm, Control, FlowGroup, Scenario};
use l4sllm_testbed::sim::Simulation;
use l4sllm_testbed::transport::Cc;
use l4sllmd::engine::Preset;

use crate::support::*;

fn adaptive() -> Arm {
    Arm {
        control: Some(Control::adaptive(Preset::default())),
        ..Arm::dualpi2("adaptive", Params::default())
    }
}

fn four_cubics() -> Scenario {
    let flows = FlowGroup {
        count: 4,
        ..flow(Cc::Cubic)
    };
    scenario(40 * MBIT, 15 * MS, 45, vec![flows])
}

/// A link filled by several flows has a shorter queue than with the tuned
/// profile, at no less utilisation.
#[test]
fn queue_is_shorter_at_equal_utilisation() {
    let scenario = four_cubics();
    let ruled = run(&scenario, &adaptive());
    let tuned = statistics(&run(&scenario, &Arm::dualpi2("tuned", Params::tuned())));
    let stats = statistics(&ruled);
    let mean = |of: &l4sllm_testbed::result::Statistics| of.queue_delay_ms.classic.mean.unwrap();
    assert!(
        mean(&stats) < 0.85 * mean(&tuned),
        "{} ms, tuned {} ms",
        mean(&stats),
        mean(&tuned)
    );
    assert!(
        stats.utilisation > 0.995 * tuned.utilisation,
        "{}, tuned {}",
        stats.utilisation,
        tuned.utilisation
    );
    // Ten decisions a second, each a shift of set-points.
    assert!((440..=450).contains(&ruled.decisions.len()));
    assert!(ruled.decisions.iter().all(|row| row.action == STEER));
    assert_eq!(ruled.meta.overrides.refused, 0);
    // Sampled no more often than flows; the base first.
    let sampled = &ruled.set_points;
    assert!((100..=1 + ruled.flows.len() / 4).contains(&sampled.len()));
    assert_eq!(
        (sampled[0].time_ns, sampled[0].target_ns),
        (0, Params::default().target_ns)
    );
    for pair in sampled.windows(2) {
        assert!(pair[0].time_ns < pair[1].time_ns);
        let unchanged = SetPointRow {
            time_ns: pair[1].time_ns,
            ..pair[0]
        };
        assert_ne!(unchanged, pair[1]);
    }
    assert!(
        run(&scenario, &Arm::dualpi2("plain", Params::default()))
            .set_points
            .is_empty()
    );
}

/// One flow on a path that holds more than half its window: with tuned the link
/// becomes idle, and the rule finds a longer target.
#[test]
fn a_single_flow_on_a_long_path_gets_a_longer_queue() {
    let scenario = scenario(50 * MBIT, 80 * MS, 90, vec![flow(Cc::Cubic)]);
    let ruled = statistics(&run(&scenario, &adaptive())).utilisation;
    let tuned = Arm::dualpi2("tuned", Params::tuned());
    let tuned = statistics(&run(&scenario, &tuned)).utilisation;
    assert!(ruled > tuned + 0.01, "{ruled}, tuned {tuned}");
}

/// A tap also reads the records, and changes nothing.
#[test]
fn an_observer_sees_records_and_summaries() {
    let scenario = Scenario {
        duration_ns: 5 * S,
        warmup_ns: S,
        ..four_cubics()
    };
    let plain = run(&scenario, &adaptive());
    let mut simulation = Simulation::new(&scenario, &adaptive(), 0, None).unwrap();
    let seen = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let counters = Arc::clone(&seen);
    let tap = move |message: &Message, _: u64| {
        let of = match message {
            Message::Decision(_) => 0,
            Message::Summary(_) => 1,
            _ => return,
        };
        counters[of].fetch_add(1, Ordering::Relaxed);
    };
    simulation.tap(Box::new(tap)).unwrap();
    let observed = simulation.finish().unwrap();
    assert_eq!(observed.packets, plain.packets);
    assert_eq!(observed.decisions, plain.decisions);
    let [records, summaries] = [0, 1].map(|of: usize| seen[of].load(Ordering::Relaxed));
    assert_eq!(records, observed.packets.len() as u64);
    assert!((44..=50).contains(&summaries), "{summaries}");
}

//! The other disciplines in the loop.

use l4sllm_testbed::aqm::{CodelParams, FifoParams, FqCodelParams, PieParams};
use l4sllm_testbed::scenario::{Aqm, Arm, FlowGroup};
use l4sllm_testbed::transport::Cc;

use crate::support::*;

/// 100 packets of 1500 bytes at 40 Mbit/s are 30 ms.
#[test]
fn cubic_fills_a_fifo() {
    let fifo = Arm::new("fifo", Aqm::Fifo(FifoParams { limit_packets: 100 }));
    let run = run(
        &scenario(40 * MBIT, 10 * MS, 20, vec![flow(Cc::Cubic)]),
        &fifo,
    );
    let stats = statistics(&run);
    let p99 = delay_ms(&run, CLASSIC, 7 * S, 20 * S, 0.99);
    assert!((28.0..31.0).contains(&p99), "{p99} ms");
    assert!(stats.drops > 0 && stats.marks == 0);
    assert!(stats.utilisation > 0.99, "{}", stats.utilisation);
}

#[test]
fn pie_and_codel_hold_their_targets() {
    let arms = [
        (Arm::new("pie", Aqm::Pie(PieParams::default())), 3.0..25.0),
        (
            Arm::new("codel", Aqm::Codel(CodelParams::default())),
            1.0..10.0,
        ),
    ];
    for (arm, median_ms) in arms {
        let flows = vec![FlowGroup {
            count: 4,
            ..flow(Cc::Cubic)
        }];
        let run = run(&scenario(40 * MBIT, 20 * MS, 20, flows), &arm);
        let stats = statistics(&run);
        let median = delay_ms(&run, CLASSIC, 7 * S, 20 * S, 0.5);
        assert!(median_ms.contains(&median), "{}: {median} ms", arm.name);
        assert!(
            stats.utilisation > 0.9,
            "{}: {}",
            arm.name,
            stats.utilisation
        );
        assert!(stats.marks > 0, "{}", arm.name);
    }
}

/// An unresponsive flood hurts its own queue only, and a sparse flow waits
/// for hardly more than the packets in front of it.
#[test]
fn fq_codel_isolates_flows() {
    let arm = Arm::new("fq-codel", Aqm::FqCodel(FqCodelParams::default()));
    let flows = vec![
        udp("flood", 60 * MBIT),
        flow(Cc::Cubic),
        udp("voice", 100_000),
    ];
    let run = run(&scenario(40 * MBIT, 10 * MS, 12, flows), &arm);
    let stats = statistics(&run);
    let cubic = goodput(&stats, "cubic");
    assert!((15.0..21.0).contains(&cubic), "{cubic} Mbit/s");
    let voice: Vec<u64> = run
        .packets
        .iter()
        .filter(|row| row.flow == 2 && row.time_ns > 4 * S)
        .map(|row| row.sojourn_ns)
        .collect();
    assert!(voice.len() > 50);
    assert!(
        voice.iter().all(|sojourn| *sojourn < 3 * MS),
        "{:?}",
        voice.iter().max()
    );
}

//! Promises of RFC 9332.

use l4sllm_abi::{Dither, Ecn, Params};
use l4sllm_testbed::scenario::{Arm, FlowGroup};
use l4sllm_testbed::transport::Cc;

use crate::support::*;

fn dualpi2() -> Arm {
    Arm::dualpi2("dualpi2", Params::default())
}

/// One CUBIC against one Prague flow at 40 Mbit/s and 10 ms: shares within a
/// factor of two (RFC 9332, section 1), short L4S delay, classic delay around
/// its target of 15 ms.
#[test]
fn a_classic_and_a_scalable_flow_coexist() {
    let scenario = scenario(
        40 * MBIT,
        10 * MS,
        30,
        vec![flow(Cc::Cubic), flow(Cc::Prague)],
    );
    let stats = statistics(&run(&scenario, &dualpi2()));
    let ratio = goodput(&stats, "cubic") / goodput(&stats, "prague");
    assert!((0.5..=2.0).contains(&ratio), "cubic over prague: {ratio}");
    let l4s = stats.queue_delay_ms.l4s.p99.unwrap();
    assert!(l4s < 3.0, "L4S p99 {l4s} ms");
    let classic = stats.queue_delay_ms.classic.p50.unwrap();
    assert!((8.0..=25.0).contains(&classic), "classic p50 {classic} ms");
    assert!(
        stats.utilisation > 0.97,
        "utilisation {}",
        stats.utilisation
    );
}

/// Each control fills the link by itself.
#[test]
fn a_single_flow_uses_the_link() {
    for cc in [Cc::NewReno, Cc::Cubic, Cc::Dctcp, Cc::Prague, Cc::UdpPrague] {
        let scenario = scenario(40 * MBIT, 10 * MS, 15, vec![flow(cc)]);
        let stats = statistics(&run(&scenario, &dualpi2()));
        assert!(stats.utilisation > 0.9, "{cc}: {}", stats.utilisation);
        let delay = if cc.is_scalable() {
            stats.queue_delay_ms.l4s.p99
        } else {
            stats.queue_delay_ms.classic.p50
        };
        let most = if cc.is_scalable() { 3.0 } else { 25.0 };
        assert!(delay.unwrap() < most, "{cc}: {delay:?} ms");
    }
}

/// At 8 Mbit/s a packet takes 1.5 ms, longer than the L4S threshold: Th_len keeps
/// the native AQM from marking a queue of one packet (RFC 9332, 2.5.1.1).
#[test]
fn a_slow_link_is_used_by_l4s_traffic() {
    let scenario = scenario(8 * MBIT, 10 * MS, 20, vec![flow(Cc::Prague)]);
    let stats = statistics(&run(&scenario, &dualpi2()));
    assert!(stats.utilisation > 0.9, "utilisation {}", stats.utilisation);
}

/// 60 Mbit/s of unresponsive traffic into 40 Mbit/s, in either queue, ECN-capable or
/// not, and 2 Mbit/s in the other queue: overload is dropped from both queues
/// equally, so that neither starves, and delays do not change (RFC 9332, section
/// 4.2).
#[test]
fn overload_starves_no_queue() {
    for flood in [None, Some(Ecn::Ect0), Some(Ecn::Ect1)] {
        let other = if flood == Some(Ecn::Ect1) {
            None
        } else {
            Some(Ecn::Ect1)
        };
        let group = |codepoint: Option<Ecn>, name, rate| FlowGroup {
            ecn: codepoint.is_some(),
            codepoint,
            ..udp(name, rate)
        };
        let flows = vec![
            group(flood, "flood", 60 * MBIT),
            group(other, "other", 2 * MBIT),
        ];
        let run = run(&scenario(40 * MBIT, 10 * MS, 12, flows), &dualpi2());
        let stats = statistics(&run);
        let got = |name, rate| goodput(&stats, name) / rate;
        let (flood_share, other_share) = (got("flood", 60.0), got("other", 2.0));
        let ratio = other_share / flood_share;
        assert!(
            (0.85..1.3).contains(&ratio),
            "{flood:?}: {other_share} to {flood_share}"
        );
        assert!(stats.utilisation > 0.99, "{flood:?}: {}", stats.utilisation);
        let [classic, l4s] = [CLASSIC, L4S].map(|queue| delay_ms(&run, queue, 6 * S, 12 * S, 0.99));
        assert!(
            classic < 25.0 && l4s < 25.0,
            "{flood:?}: p99 {classic} and {l4s} ms"
        );
        if flood != Some(Ecn::Ect1) {
            assert!(l4s < 3.0, "{flood:?}: L4S p99 {l4s} ms");
        }
    }
}

/// Unresponsive traffic that leaves a quarter of the link: a flow in the other
/// queue gets most of it.
#[test]
fn flows_use_the_capacity_left_by_unresponsive_traffic() {
    for (codepoint, cc) in [(None, Cc::Prague), (Some(Ecn::Ect1), Cc::Cubic)] {
        let steady = FlowGroup {
            ecn: codepoint.is_some(),
            codepoint,
            ..udp("steady", 30 * MBIT)
        };
        let stats = statistics(&run(
            &scenario(40 * MBIT, 10 * MS, 15, vec![steady, flow(cc)]),
            &dualpi2(),
        ));
        let got = goodput(&stats, cc.name());
        assert!(got > 5.0, "{cc}: {got} Mbit/s");
        assert!(stats.utilisation > 0.9, "{cc}: {}", stats.utilisation);
    }
}

/// A flood of Not-ECT packets in the classic queue does not increase L4S delay.
#[test]
fn classic_overload_keeps_l4s_delay_short() {
    let flows = vec![udp("flood", 60 * MBIT), flow(Cc::Prague)];
    let run = run(&scenario(40 * MBIT, 10 * MS, 12, flows), &dualpi2());
    let delay = delay_ms(&run, L4S, 6 * S, 12 * S, 0.99);
    assert!(delay < 5.0, "L4S p99 {delay} ms");
}

/// Streams of equal, regular packets that ignore congestion, such as cameras:
/// each loses within 10 % of the mean. With RFC 9332's `recur()`, which locks to the
/// order of arrival, one of two would lose almost everything.
#[test]
fn equal_regular_streams_lose_equally() {
    for (count, rate) in [(2, 6 * MBIT), (4, 3 * MBIT), (3, 4 * MBIT)] {
        let flows = vec![FlowGroup {
            count,
            ..udp("camera", rate)
        }];
        let stats = statistics(&run(&scenario(10 * MBIT, 20 * MS, 60, flows), &dualpi2()));
        let drops: Vec<f64> = stats.flows.iter().map(|flow| flow.drops as f64).collect();
        let mean = drops.iter().sum::<f64>() / drops.len() as f64;
        assert!(mean > 1000.0, "{drops:?}");
        for drops in &drops {
            assert!((drops / mean - 1.0).abs() < 0.1, "{drops:?}: mean {mean}");
        }
    }
}

/// On slow links, where one packet takes longer than the target, no drop makes
/// the link idle while a packet is queued. Reno and DCTCP use 96 % of 500
/// kbit/s (85 % with such drops), CUBIC and DCTCP use the same share of 512
/// kbit/s, and one Reno flow uses 95 % of 256 kbit/s. The loss is due to
/// delayed acknowledgements: at windows of two or three segments nothing else
/// is in flight while the receiver waits for a second segment. With immediate
/// acknowledgements, the shares are 99.9 %, 99.9 % and 98.7 %.
#[test]
fn slow_links_are_used() {
    let classic = |cc| FlowGroup {
        ecn: false,
        ..flow(cc)
    };
    let run_at = |rate, flows| statistics(&run(&scenario(rate, 20 * MS, 90, flows), &dualpi2()));
    let reno = run_at(500_000, vec![classic(Cc::NewReno), flow(Cc::Dctcp)]);
    assert!(
        reno.utilisation > 0.94,
        "newreno, dctcp: {}",
        reno.utilisation
    );
    let ratio = goodput(&reno, "dctcp") / goodput(&reno, "newreno");
    assert!((0.5..1.6).contains(&ratio), "dctcp over newreno: {ratio}");
    let cubic = run_at(512_000, vec![classic(Cc::Cubic), flow(Cc::Dctcp)]);
    assert!(
        cubic.utilisation > 0.94,
        "cubic, dctcp: {}",
        cubic.utilisation
    );
    let alone = run_at(256_000, vec![classic(Cc::NewReno)]);
    assert!(alone.utilisation > 0.93, "newreno: {}", alone.utilisation);
}

/// Evenly spaced signals keep the classic delay steadier than independent ones.
#[test]
fn even_signals_keep_the_delay_steady() {
    let flows = || {
        vec![
            FlowGroup {
                count: 2,
                ..flow(Cc::Cubic)
            },
            flow(Cc::Prague),
        ]
    };
    let p99 = |dither| {
        let params = Params {
            dither,
            ..Params::default()
        };
        let scenario = scenario(40 * MBIT, 20 * MS, 40, flows());
        let stats = statistics(&run(&scenario, &Arm::dualpi2("dualpi2", params)));
        stats.queue_delay_ms.classic.p99.unwrap()
    };
    let (even, independent) = (p99(Dither::Recur), p99(Dither::Random));
    assert!(even < 23.0, "{even} ms");
    assert!(even < 0.95 * independent, "{even} and {independent} ms");
}

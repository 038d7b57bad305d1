//! Intermittent traffic and its completion times.

use l4sllm_abi::{Ecn, Params};
use l4sllm_testbed::result::{PacketRow, Run};
use l4sllm_testbed::scenario::{Arm, Arrivals, FlowGroup, SizeDistribution};
use l4sllm_testbed::transport::{Cc, Chunks};

use crate::support::{MBIT, MS, S, run, scenario, statistics, udp};

fn plain() -> Arm {
    Arm::dualpi2("dualpi2", Params::default())
}

fn chunked(cc: Cc, bytes: u64, every_ns: u64) -> FlowGroup {
    FlowGroup {
        chunks: Some(Chunks { bytes, every_ns }),
        ..FlowGroup::new("app", cc)
    }
}

/// Video of 4 Mbit/s on a link of 20: each chunk arrives in about the time
/// needed by its windows, and everything offered is delivered.
#[test]
fn chunks_arrive_on_time() {
    for cc in [Cc::Cubic, Cc::NewReno, Cc::Dctcp, Cc::Prague] {
        let scenario = scenario(20 * MBIT, 20 * MS, 30, vec![chunked(cc, 500_000, S)]);
        let run = run(&scenario, &plain());
        let statistics = statistics(&run);
        let app = &statistics.flows[0];
        let completions = app.completions.unwrap();
        // One per second from 10 to 30 s; the last may be unfinished.
        assert!(
            (19..=20).contains(&completions.finished),
            "{cc}: {completions:?}"
        );
        assert!(completions.unfinished <= 1, "{cc}: {completions:?}");
        // 500 kB take 208 ms at the link's rate and half a round trip. A window
        // that starts again with ten segments takes longer, DCTCP's most, whose
        // slow start ends at the first marks.
        let mean_ms = completions.mean_ms.unwrap();
        assert!((218.0..600.0).contains(&mean_ms), "{cc}: {completions:?}");
        assert!(completions.p99_ms.unwrap() >= completions.p50_ms.unwrap());
        assert!(
            (app.goodput_mbps - 4.0).abs() < 0.25,
            "{cc}: {}",
            app.goodput_mbps
        );
        // It is application-limited, so fairness does not apply.
        assert!(!run.meta.flows[0].fair);
    }
}

/// A source of 2 Mbit/s in steps of 20 ms builds no queue and sends evenly.
#[test]
fn small_chunks_are_paced_traffic() {
    let scenario = scenario(
        20 * MBIT,
        20 * MS,
        9,
        vec![chunked(Cc::Cubic, 5_000, 20 * MS)],
    );
    let run = run(&scenario, &plain());
    let statistics = statistics(&run);
    // Rounded up to four segments.
    let want = 4.0 * 1448.0 * 8.0 / 0.02 / 1e6;
    let got = statistics.flows[0].goodput_mbps;
    assert!((got / want - 1.0).abs() < 0.01, "{got}, expected {want}");
    assert!(statistics.queue_delay_ms.classic.p99.unwrap() < 3.0);
    let completions = statistics.flows[0].completions.unwrap();
    // Four segments at 20 Mbit/s and half a round trip.
    assert!(
        (completions.p50_ms.unwrap() - 12.4).abs() < 0.2,
        "{completions:?}"
    );
}

/// Arrival times of a flow's packets at the bottleneck, ns.
fn times(run: &Run) -> Vec<u64> {
    let forwarded = run.packets.iter().filter(|row| row.forwarded());
    forwarded.map(|row: &PacketRow| row.time_ns).collect()
}

/// Bursts of datagrams into the L4S queue: each lasts as long as its bytes take
/// at its rate, one per period.
#[test]
fn unresponsive_bursts() {
    let burst = FlowGroup {
        ecn: true,
        codepoint: Some(Ecn::Ect1),
        chunks: Some(Chunks {
            bytes: 50 * 1472,
            every_ns: 250 * MS,
        }),
        ..udp("burst", 30 * MBIT)
    };
    let run = run(&scenario(100 * MBIT, 20 * MS, 6, vec![burst]), &plain());
    assert_eq!(run.meta.flows[0].queue, 1);
    assert_eq!(statistics(&run).flows[0].completions, None);
    let times = times(&run);
    let bursts: Vec<&[u64]> = times.chunk_by(|a, b| b - a < 100 * MS).collect();
    assert!((23..=24).contains(&bursts.len()), "{}", bursts.len());
    for burst in &bursts[..bursts.len() - 1] {
        // 50 packets of 1500 bytes, one each 0.4 ms.
        assert_eq!(burst.len(), 50);
        let lasts = burst[49] - burst[0];
        assert!(lasts.abs_diff(49 * 400_000) < 1000, "{lasts}");
    }
    let starts = bursts.windows(2).map(|pair| pair[1][0] - pair[0][0]);
    assert!({ starts }.all(|ns| ns == 250 * MS));
}

/// Short flows of a group have one distribution of completion times; those that
/// began in the warm-up are excluded, unfinished ones are counted.
#[test]
fn short_flows_have_completion_times() {
    let web = FlowGroup {
        arrivals: Some(Arrivals {
            per_s: 20.0,
            size: SizeDistribution::Fixed(100_000),
        }),
        ..FlowGroup::new("web", Cc::Cubic)
    };
    let bulk = FlowGroup::new("bulk", Cc::Cubic);
    let run = run(&scenario(50 * MBIT, 20 * MS, 9, vec![web, bulk]), &plain());
    let statistics = statistics(&run);
    let web = statistics.flows[0].completions.unwrap();
    assert!(
        (90..=150).contains(&(web.finished + web.unfinished)),
        "{web:?}"
    );
    assert!(web.unfinished < 15, "{web:?}");
    // At least three windows of ten, twenty and forty segments: two and a half
    // round trips, plus queueing.
    let (p50, p99) = (web.p50_ms.unwrap(), web.p99_ms.unwrap());
    assert!(50.0 < p50 && p50 < web.p95_ms.unwrap() && web.p95_ms.unwrap() < p99 && p99 < 2000.0);
    assert!(web.mean_ms.unwrap() > 50.0);
    assert_eq!(statistics.flows[1].completions, None);
}

/// `ecn = false` sends Not-ECT, which is never marked.
#[test]
fn not_ect_flows_are_never_marked() {
    let flow = FlowGroup {
        ecn: false,
        count: 2,
        ..FlowGroup::new("plain", Cc::Cubic)
    };
    let run = run(&scenario(20 * MBIT, 20 * MS, 9, vec![flow]), &plain());
    assert!(run.packets.iter().all(|row| row.ecn == 0));
    let statistics = statistics(&run);
    assert_eq!(statistics.marks, 0);
    assert!(statistics.drops > 0);
}

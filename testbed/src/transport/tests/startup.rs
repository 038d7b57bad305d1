//! Slow start, HyStart++, pacing, short flows, names.

use crate::transport::harness::*;
use crate::transport::segment::MSS;
use crate::transport::{Cc, FlowConfig};

const RTT: u64 = 40 * MS;

fn config(cc: Cc) -> FlowConfig {
    FlowConfig {
        handshake_rtt_ns: Some(RTT),
        ..FlowConfig::new(1, cc)
    }
}

/// Ten segments, doubled each round trip.
#[test]
fn slow_start_doubles() {
    for cc in [Cc::NewReno, Cc::Cubic, Cc::Dctcp, Cc::Prague] {
        let mut path = Path::new(RTT, clean).logged().flow(&config(cc), 0);
        path.run_until(6 * RTT - 1);
        let log = path.log.as_ref().unwrap();
        let mut previous = 0;
        for round in 0..6 {
            let sent = log
                .iter()
                .filter(|s| (round * RTT..(round + 1) * RTT).contains(&s.sent_ns))
                .count();
            if cc == Cc::Prague {
                // Paced over the round, at twice the rate.
                assert!(
                    sent >= previous * 3 / 2,
                    "{cc}: round {round}: {sent} after {previous}"
                );
            } else {
                assert_eq!(sent, 10 << round, "{cc}: round {round}");
            }
            previous = sent;
        }
    }
}

/// RFC 5681: above half the window at a timeout, one segment per round trip.
#[test]
fn slow_start_ends_at_the_threshold() {
    // Longer than a tail loss probe takes, so that the timer expires.
    let outage = 200 * MS..500 * MS;
    let mut path = Path::new(RTT, move |arrival| {
        if outage.contains(&arrival.now_ns) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    })
    .flow(&config(Cc::NewReno), 0);
    path.run_until(SECOND + 100 * MS);
    let stats = path.sender(0).stats();
    assert_eq!((stats.timeouts, stats.loss_events), (1, 1), "{stats:?}");
    assert!(stats.cwnd_bytes > stats.ssthresh_bytes);
    path.run_until(path.now_ns + 10 * RTT);
    let grown = path.sender(0).stats().cwnd_bytes - stats.cwnd_bytes;
    assert!((9 * 1500..=11 * 1500).contains(&grown), "{grown}");
}

/// A growing queue slows slow start before it overflows.
#[test]
fn hystart_spares_losses() {
    let run = |hystart| {
        let config = FlowConfig {
            hystart,
            ..config(Cc::Cubic)
        };
        let limit = 150 * MS;
        let mut path = Path::new(RTT, move |arrival| {
            if arrival.backlog_ns > limit {
                Verdict::Drop
            } else {
                Verdict::Pass
            }
        })
        .bottleneck(50_000_000)
        .flow(&config, 0);
        path.run_until(3 * SECOND);
        path.sender(0).stats()
    };
    let (with, without) = (run(true), run(false));
    assert!(
        with.retransmits * 4 < without.retransmits,
        "{with:?} {without:?}"
    );
    // At no cost in throughput.
    let delivered = [with, without].map(|stats| stats.delivered_bytes as f64);
    assert!(delivered[0] > 0.95 * delivered[1]);
}

/// Paced segments are sent one at a time at the pacing rate.
#[test]
fn pacing_spaces_segments() {
    for cc in [Cc::Prague, Cc::UdpPrague] {
        let p = 0.02;
        let mut path = Path::new(RTT, random(p, Verdict::Mark, 4))
            .logged()
            .flow(&config(cc), 0);
        path.run_until(20 * SECOND);
        path.log = Some(Vec::new());
        let from = path.now_ns;
        let mut slowest = f64::INFINITY;
        let mut fastest: f64 = 0.0;
        while path.now_ns < from + 10 * SECOND {
            path.run_until(path.now_ns + MS);
            let rate = path.sender(0).stats().pacing_rate.unwrap() as f64;
            slowest = slowest.min(rate);
            fastest = fastest.max(rate);
        }
        let log = path.log.as_ref().unwrap();
        let gaps: Vec<u64> = log
            .windows(2)
            .map(|w| w[1].sent_ns - w[0].sent_ns)
            .collect();
        let shortest = *gaps.iter().min().unwrap() as f64;
        assert!(
            shortest >= 1500.0 * 1e9 / (fastest * 1.04),
            "{cc}: {shortest}"
        );
        // The pacing rate governs: the mean follows it.
        let mean = (log.last().unwrap().sent_ns - log[0].sent_ns) as f64 / gaps.len() as f64;
        let (least, most) = (
            1500.0 * 1e9 / (fastest * 1.04),
            1500.0 * 1e9 / (slowest * 0.96),
        );
        assert!(
            (least..=most).contains(&mean),
            "{cc}: {mean} in {least}..{most}"
        );
    }
}

/// Completion of a short flow on a clean path: 30 segments need two rounds.
#[test]
fn short_flow_completion() {
    for cc in [Cc::NewReno, Cc::Cubic, Cc::Dctcp] {
        let config = FlowConfig {
            bytes: Some(30 * u64::from(MSS) - 100),
            ..config(cc)
        };
        let mut path = Path::new(RTT, clean).flow(&config, SECOND);
        path.run_until(10 * SECOND);
        assert_eq!(
            path.receiver(0).stats().finished_ns,
            Some(SECOND + 3 * RTT / 2),
            "{cc}"
        );
        assert_eq!(
            path.sender(0).stats().finished_ns,
            Some(SECOND + 2 * RTT),
            "{cc}"
        );
        assert_eq!(path.sender(0).stats().sent_packets, 30, "{cc}");
    }
    let empty = FlowConfig {
        bytes: Some(0),
        ..config(Cc::Cubic)
    };
    let mut path = Path::new(RTT, clean).flow(&empty, 0);
    path.run_until(SECOND);
    assert_eq!(path.sender(0).stats().finished_ns, Some(0));
}

/// The packets of UDP Prague shrink so that two are sent in 25 ms.
#[test]
fn udp_prague_packets_fit_the_rate() {
    let config = FlowConfig {
        rate_bps: Some(200_000),
        ..FlowConfig::new(1, Cc::UdpPrague)
    };
    let mut path = Path::new(10 * MS, clean).logged().flow(&config, 0);
    path.run_until(5 * SECOND);
    let last = path.log.as_ref().unwrap().last().unwrap();
    assert_eq!(last.bytes, 312);
    let start = path.log.as_ref().unwrap()[0];
    assert_eq!(start.bytes, 156);
}

/// Without marks UDP Prague adds a packet per virtual round trip at first, then
/// a millisecond of queue if that is more.
#[test]
fn udp_prague_grows_faster_after_quiet() {
    let mut path = Path::new(RTT, clean).flow(&config(Cc::UdpPrague), 0);
    let mut rate_after = |rounds| {
        path.run_until(rounds * RTT + MS);
        path.sender(0).stats().pacing_rate.unwrap() as f64
    };
    let linear = 1500.0 / 0.04;
    let (before, after) = (rate_after(20), rate_after(30));
    let early = (after - before) / 10.0;
    assert!((early / linear - 1.0).abs() < 0.1, "{early} of {linear}");
    // From 1.5 MB/s on a millisecond is more than a packet: 1/40 of the rate.
    let (before, after) = (rate_after(120), rate_after(130));
    assert!(before > 3e6, "{before}");
    let factor = (after / before).powf(0.1);
    assert!((factor - 1.025).abs() < 0.003, "{factor}");
}

/// UDP Prague restarts after the network has been frozen for a second.
#[test]
fn udp_prague_starts_over() {
    let outage = 5 * SECOND..8 * SECOND;
    let mut path = Path::new(RTT, move |arrival| {
        if outage.contains(&arrival.now_ns) || arrival.backlog_ns > 50 * MS {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    })
    .bottleneck(5_000_000)
    .flow(&config(Cc::UdpPrague), 0);
    path.run_until(7900 * MS);
    let stats = path.sender(0).stats();
    assert!((2..=3).contains(&stats.timeouts), "{stats:?}");
    assert_eq!(stats.pacing_rate, Some(12_500));
    let before = path.receiver(0).stats().delivered_bytes;
    path.run_until(12 * SECOND);
    assert!(path.receiver(0).stats().delivered_bytes - before > 1_000_000);
}

#[test]
fn names() {
    for cc in Cc::ALL {
        assert_eq!(cc.to_string().parse(), Ok(cc));
        let json = serde_json::to_string(&cc).unwrap();
        assert_eq!(json, format!("\"{cc}\""));
        assert_eq!(serde_json::from_str::<Cc>(&json).unwrap(), cc);
    }
    let error = "reno".parse::<Cc>().unwrap_err();
    assert!(error.to_string().contains("\"reno\""));
    assert!(error.to_string().contains("udp-prague"));
}

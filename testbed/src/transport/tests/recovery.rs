//! Loss, repair and timeouts.

use crate::transport::harness::*;
use crate::transport::segment::{Body, MSS};
use crate::transport::{Cc, FlowConfig, Segment};

const RTT: u64 = 20 * MS;
const STREAMS: [Cc; 4] = [Cc::NewReno, Cc::Cubic, Cc::Dctcp, Cc::Prague];

pub(super) fn limited(cc: Cc, segments: u64) -> FlowConfig {
    FlowConfig {
        bytes: Some(segments * u64::from(MSS)),
        handshake_rtt_ns: Some(RTT),
        ..FlowConfig::new(1, cc)
    }
}

pub(super) fn retransmitted(log: &[Segment]) -> Vec<u64> {
    log.iter()
        .filter_map(|s| match s.body {
            Body::Data {
                seq,
                retransmit: true,
                ..
            } => Some(seq / u64::from(MSS)),
            _ => None,
        })
        .collect()
}

/// One loss: one retransmission, one reduction by the control's factor, no timeout.
#[test]
fn one_loss_costs_one_retransmission_and_one_reduction() {
    for cc in STREAMS {
        let mut path = Path::new(RTT, lose_first(&[15]))
            .bottleneck(100_000_000)
            .logged()
            .flow(&limited(cc, 400), 0);
        // Slow start doubles 10 to 20; segment 15 is sent in the second round, its loss
        // is known in the third.
        path.run_until(2 * RTT - MS);
        let before = path.sender(0).stats();
        assert_eq!(before.loss_events, 0, "{cc}");
        let mut at_loss = before;
        while path.sender(0).stats().loss_events == 0 {
            at_loss = path.sender(0).stats();
            path.run_until(path.now_ns + MS / 10);
        }
        let after = path.sender(0).stats();
        let factor = if cc == Cc::Cubic { 0.7 } else { 0.5 };
        let ratio = after.ssthresh_bytes as f64 / at_loss.cwnd_bytes as f64;
        // The window may have grown since the previous sample.
        assert!(
            (factor * 0.99..=factor * 1.35).contains(&ratio),
            "{cc}: {ratio} of {at_loss:?}"
        );
        // The data in flight exceeds the new window, but the retransmission does not
        // wait (except a packet's time if paced).
        path.run_until(path.now_ns + 2 * MS);
        assert_eq!(retransmitted(path.log.as_ref().unwrap()), [15], "{cc}");
        path.run_until(10 * SECOND);
        let stats = path.sender(0).stats();
        assert!(stats.finished(), "{cc}");
        assert_eq!(retransmitted(path.log.as_ref().unwrap()), [15], "{cc}");
        assert_eq!((stats.loss_events, stats.timeouts), (1, 0), "{cc}");
        assert_eq!(path.receiver(0).stats().duplicate_bytes, 0, "{cc}");
    }
}

/// A burst within a window is repaired in one recovery, without timeout and
/// without sending anything needlessly.
#[test]
fn burst_within_a_window() {
    for cc in STREAMS {
        let lost = [12, 13, 14, 16, 18, 19, 25];
        let mut path = Path::new(RTT, lose_first(&lost))
            .logged()
            .flow(&limited(cc, 400), 0);
        path.run_until(10 * SECOND);
        let stats = path.sender(0).stats();
        assert_eq!(retransmitted(path.log.as_ref().unwrap()), lost, "{cc}");
        assert_eq!((stats.loss_events, stats.timeouts), (1, 0), "{cc}");
        assert!(stats.finished(), "{cc}");
        assert_eq!(path.receiver(0).stats().duplicate_bytes, 0, "{cc}");
    }
}

/// Longest time without a transmission, ms, after the first reduction, of a flow in slow
/// start. The bottleneck serves a segment a millisecond; the first that waits 20 ms is
/// dropped or marked.
fn longest_silence_ms(config: &FlowConfig, verdict: Verdict) -> f64 {
    let mut signalled = false;
    let mut path = Path::new(RTT, move |arrival: Arrival<'_>| {
        let signals = !signalled && arrival.backlog_ns >= 20 * MS;
        signalled |= signals;
        if signals { verdict } else { Verdict::Pass }
    })
    .bottleneck(12_000_000)
    .logged()
    .flow(config, 0);
    let reduced = |path: &Path| {
        let stats = path.sender(0).stats();
        stats.ecn_events + stats.loss_events > 0
    };
    while !reduced(&path) {
        path.run_until(path.now_ns + MS / 10);
    }
    let from = path.now_ns - MS;
    path.run_until(from + 4 * RTT);
    let stats = path.sender(0).stats();
    assert_eq!(
        (stats.ecn_events + stats.loss_events, stats.timeouts),
        (1, 0)
    );
    let sent = path.log.as_ref().unwrap().iter().map(|s| s.sent_ns);
    let sent: Vec<u64> = sent.filter(|at| *at >= from).collect();
    let longest = sent.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    longest as f64 / MS as f64
}

/// With proportional rate reduction a sender sends at half the rate of its deliveries
/// during a reduction; without it, it is silent until the flight fits the new window.
#[test]
fn proportional_rate_reduction_leaves_no_silence() {
    for cc in [Cc::NewReno, Cc::Cubic] {
        for verdict in [Verdict::Mark, Verdict::Drop] {
            let silence = |prr| {
                let config = FlowConfig {
                    prr,
                    handshake_rtt_ns: Some(RTT),
                    ..FlowConfig::new(1, cc)
                };
                longest_silence_ms(&config, verdict)
            };
            let (with, without) = (silence(true), silence(false));
            let half = if cc == Cc::Cubic { 10.0 } else { 17.0 };
            assert!(with <= 5.0, "{cc} {verdict:?}: {with} ms");
            assert!(without >= half, "{cc} {verdict:?}: {without} ms");
        }
    }
}

/// Controls without proportional rate reduction ignore the option.
#[test]
fn prr_is_for_newreno_and_cubic() {
    for cc in [Cc::Dctcp, Cc::Prague, Cc::Bbr] {
        let run = |prr| {
            let config = FlowConfig {
                prr,
                ..limited(cc, 400)
            };
            let lost = [12, 13, 14, 60];
            let mut path = Path::new(RTT, lose_first(&lost)).flow(&config, 0);
            path.run_until(10 * SECOND);
            path.sender(0).stats()
        };
        assert_eq!(run(true), run(false), "{cc}");
    }
}

/// A lost retransmission is detected by later deliveries.
#[test]
fn lost_retransmission_needs_no_timeout() {
    let mut drops = 0;
    let mut path = Path::new(RTT, move |arrival| match arrival.segment.body {
        Body::Data { seq, .. } if seq == 15 * u64::from(MSS) && drops < 2 => {
            drops += 1;
            Verdict::Drop
        }
        _ => Verdict::Pass,
    })
    .logged()
    .flow(&limited(Cc::NewReno, 400), 0);
    path.run_until(10 * SECOND);
    let stats = path.sender(0).stats();
    assert_eq!(retransmitted(path.log.as_ref().unwrap()), [15, 15]);
    assert_eq!((stats.loss_events, stats.timeouts), (1, 0));
    assert!(stats.finished());
}

/// A deep queue filled by slow start extends the timer: no timeout without a loss.
#[test]
fn growing_queue_causes_no_timeout() {
    for cc in [Cc::NewReno, Cc::Cubic] {
        let mut path = Path::new(RTT, clean)
            .bottleneck(8_000_000)
            .flow(&FlowConfig::new(1, cc), 0);
        path.run_until(60 * SECOND);
        let stats = path.sender(0).stats();
        assert!(stats.srtt_ns > 5 * SECOND, "{cc}: {stats:?}");
        assert_eq!((stats.timeouts, stats.retransmits), (0, 0), "{cc}");
    }
}

/// A path that holds everything for a second: the timeout is spurious, at most a window
/// is retransmitted, and the flow continues.
#[test]
fn spurious_timeout() {
    for cc in STREAMS {
        let window = 150_000;
        let config = FlowConfig {
            receive_window: window,
            ..FlowConfig::new(1, cc)
        };
        let mut path = Path::new(RTT, clean)
            .bottleneck(10_000_000)
            .flow(&config, 0);
        path.run_until(2 * SECOND);
        path.freeze(3 * SECOND);
        path.run_until(5 * SECOND);
        let stats = path.sender(0).stats();
        assert!((1..=2).contains(&stats.timeouts), "{cc}: {stats:?}");
        assert_eq!(stats.loss_events, 1, "{cc}");
        let receiver = path.receiver(0).stats();
        assert!(receiver.duplicate_bytes <= window, "{cc}: {receiver:?}");
        path.run_until(6 * SECOND);
        let rate = path.receiver(0).stats().delivered_bytes - receiver.delivered_bytes;
        assert!(rate * 8 > 9_000_000, "{cc}: {rate}");
    }
}

/// Datagrams are not retransmitted; a loss halves UDP Prague's rate, once per virtual
/// round trip.
#[test]
fn udp_prague_halves_for_loss() {
    let lossy = 5 * SECOND..5 * SECOND + 20 * MS;
    let mut path = Path::new(RTT, move |arrival| {
        if lossy.contains(&arrival.now_ns) && arrival.index % 2 == 0 {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    })
    .flow(
        &FlowConfig {
            rate_bps: Some(20_000_000),
            ..FlowConfig::new(1, Cc::UdpPrague)
        },
        0,
    );
    path.run_until(5 * SECOND);
    let before = path.sender(0).stats();
    assert_eq!(before.pacing_rate, Some(2_500_000));
    path.run_until(5 * SECOND + 30 * MS);
    let after = path.sender(0).stats();
    assert_eq!((after.loss_events, after.retransmits), (1, 0));
    let ratio = after.pacing_rate.unwrap() as f64 / 2.5e6;
    assert!((0.5..0.55).contains(&ratio), "{ratio}");
}

/// During an outage a probe is sent, and the timer doubles; after it, the flow
/// continues.
#[test]
fn timeouts_back_off_and_recover() {
    for cc in STREAMS {
        let outage = SECOND..6 * SECOND;
        let mut path = Path::new(RTT, move |arrival| {
            if outage.contains(&arrival.now_ns) {
                Verdict::Drop
            } else {
                Verdict::Pass
            }
        })
        .bottleneck(10_000_000)
        .logged()
        .flow(
            &FlowConfig {
                handshake_rtt_ns: Some(RTT),
                receive_window: 100_000,
                ..FlowConfig::new(1, cc)
            },
            0,
        );
        path.run_until(5900 * MS);
        let attempts: Vec<u64> = path
            .log
            .as_ref()
            .unwrap()
            .iter()
            .filter(|s| s.sent_ns > 1100 * MS)
            .map(|s| s.sent_ns)
            .collect();
        let gaps: Vec<u64> = attempts.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.len() >= 4, "{cc}: {attempts:?}");
        assert_eq!(path.sender(0).stats().probes, 1, "{cc}");
        // The first attempt is the probe, from which the timer restarts.
        for pair in gaps[1..].windows(2) {
            assert_eq!(pair[1], 2 * pair[0], "{cc}: {gaps:?}");
        }
        assert!(path.sender(0).stats().cwnd_bytes <= 2 * 1500, "{cc}");

        path.run_until(12 * SECOND);
        let before = path.receiver(0).stats().delivered_bytes;
        path.run_until(14 * SECOND);
        let rate = (path.receiver(0).stats().delivered_bytes - before) * 4;
        assert!(rate > 8_000_000, "{cc}: {rate} after the outage");
    }
}

/// Fewer than three later deliveries prove a loss a quarter of a round trip
/// after the lost segment is overdue (RFC 8985, section 6.2).
#[test]
fn reordering_window() {
    let config = FlowConfig {
        receive_window: 3 * u64::from(MSS),
        ..limited(Cc::NewReno, 100)
    };
    let mut path = Path::new(RTT, lose_first(&[9])).logged().flow(&config, 0);
    path.run_until(20 * SECOND);
    let stats = path.sender(0).stats();
    assert_eq!((stats.loss_events, stats.timeouts, stats.probes), (1, 0, 0));
    let log = path.log.as_ref().unwrap();
    let at: Vec<u64> = log
        .iter()
        .filter(|s| matches!(s.body, Body::Data { seq, .. } if seq == 9 * u64::from(MSS)))
        .map(|s| s.sent_ns)
        .collect();
    assert_eq!(at.len(), 2);
    assert_eq!(at[1] - at[0], RTT + RTT / 4);
}

/// The first two duplicate acknowledgements release new segments (RFC 3042).
#[test]
fn limited_transmit() {
    let mut path = Path::new(RTT, lose_first(&[3, 22]))
        .bottleneck(10_000_000)
        .logged()
        .flow(&limited(Cc::NewReno, 100), 0);
    path.run_until(20 * SECOND);
    assert_eq!(path.sender(0).stats().timeouts, 0);
    let log = path.log.as_ref().unwrap();
    assert_eq!(retransmitted(log), [3, 22]);
    let duplicates = path.acks.as_ref().unwrap().iter().filter(|ack| {
        matches!(ack.body, Body::Ack { cumulative, sack, .. }
            if cumulative == 22 * u64::from(MSS) && sack[0].1 > 0)
    });
    for duplicate in duplicates.take(2) {
        let arrives = duplicate.sent_ns + RTT / 2;
        let sent: Vec<bool> = log
            .iter()
            .filter(|s| s.sent_ns == arrives)
            .map(|s| matches!(s.body, Body::Data { retransmit, .. } if !retransmit))
            .collect();
        assert_eq!(sent, [true], "at {arrives}");
    }
}

/// With a fifth of packets lost, and of acknowledgements too in every third run, every
/// byte arrives exactly once and the sender finishes.
#[test]
fn everything_arrives_exactly_once() {
    for seed in 0..300 {
        let cc = STREAMS[seed as usize % 4];
        let mut size = Random::new(seed ^ 0xabcd);
        let bytes = 1 + (0..).take_while(|_| !size.chance(0.01)).count() as u64 * 733;
        let config = FlowConfig {
            bytes: Some(bytes),
            ..FlowConfig::new(1, cc)
        };
        let mut path = Path::new(RTT, random(0.2, Verdict::Drop, seed))
            .bottleneck(20_000_000)
            .losing_acks(if seed % 3 == 0 { 0.2 } else { 0.0 }, seed + 1)
            .flow(&config, 0);
        path.run_until(3600 * SECOND);
        let receiver = path.receiver(0).stats();
        let sender = path.sender(0).stats();
        assert_eq!(receiver.delivered_bytes, bytes, "{cc}, seed {seed}");
        assert_eq!(sender.delivered_bytes, bytes, "{cc}, seed {seed}");
        assert_eq!(
            receiver.counts.bytes,
            receiver.delivered_bytes + receiver.duplicate_bytes
        );
        assert!(sender.finished() && receiver.finished_ns.is_some());
        assert!(receiver.finished_ns <= sender.finished_ns);
    }
}

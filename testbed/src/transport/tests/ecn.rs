//! ECN: codepoints, the classic exchange, accurate counts.

use l4sllm_abi::Ecn;

use crate::transport::harness::*;
use crate::transport::segment::{Body, EcnCounts, MSS};
use crate::transport::{Cc, Chunks, Endpoint, FlowConfig, Segment, Sender, sender};

const RTT: u64 = 20 * MS;

fn config(cc: Cc) -> FlowConfig {
    FlowConfig {
        handshake_rtt_ns: Some(RTT),
        ..FlowConfig::new(1, cc)
    }
}

fn has_cwr(segment: &Segment) -> bool {
    matches!(segment.body, Body::Data { cwr: true, .. })
}

fn has_ece(segment: &Segment) -> bool {
    matches!(segment.body, Body::Ack { ece: true, .. })
}

/// One mark: ECE until CWR arrives, one reduction, CWR on one segment.
#[test]
fn classic_exchange() {
    for (cc, factor) in [(Cc::NewReno, 0.5), (Cc::Cubic, 0.7)] {
        let mut path = Path::new(RTT, |arrival| match arrival.segment.body {
            Body::Data { seq, .. } if seq == 15 * u64::from(MSS) => Verdict::Mark,
            _ => Verdict::Pass,
        })
        .logged()
        .flow(&config(cc), 0);
        while path.sender(0).stats().ecn_events == 0 {
            path.run_until(path.now_ns + MS / 10);
        }
        let stats = path.sender(0).stats();
        assert_eq!(stats.cwnd_bytes, stats.ssthresh_bytes, "{cc}");
        // Slow start had made 10 + 10 + (marked at 15, known with its pair) of 10.
        let segments = stats.cwnd_bytes as f64 / 1500.0;
        assert!(
            (20.0 * factor..=26.0 * factor).contains(&segments),
            "{cc}: {segments}"
        );
        let reduced_at = path.now_ns;
        path.run_until(reduced_at + RTT * 9 / 10);
        assert_eq!(
            path.sender(0).stats().cwnd_bytes,
            stats.cwnd_bytes,
            "{cc} holds its window for a round trip"
        );
        path.run_until(SECOND);
        assert_eq!(path.sender(0).stats().ecn_events, 1, "{cc}");
        assert_eq!(path.sender(0).stats().loss_events, 0, "{cc}");

        let cwr: Vec<&Segment> = path
            .log
            .as_ref()
            .unwrap()
            .iter()
            .filter(|s| has_cwr(s))
            .collect();
        assert_eq!(cwr.len(), 1, "{cc}");
        let cwr_arrives = cwr[0].sent_ns + RTT / 2;
        let acks = path.acks.as_ref().unwrap();
        let first = acks.iter().position(has_ece).unwrap();
        let last = acks.iter().rposition(has_ece).unwrap();
        assert!(acks[first..=last].iter().all(has_ece), "{cc}");
        assert!(acks[last].sent_ns <= cwr_arrives && acks[last + 1].sent_ns == cwr_arrives);
    }
}

/// Every packet marked: one reduction per round trip, down to two segments.
#[test]
fn one_reduction_a_round_trip() {
    for cc in [Cc::NewReno, Cc::Cubic, Cc::Dctcp] {
        let mut path = Path::new(RTT, |_| Verdict::Mark).flow(&config(cc), 0);
        path.run_until(25 * RTT);
        let stats = path.sender(0).stats();
        // A round trip before the first echo. With two segments and a delayed
        // acknowledgement a round may take longer.
        assert!((5..=25).contains(&stats.ecn_events), "{cc}: {stats:?}");
        assert!(
            (2 * 1500..=3 * 1500 + 1).contains(&stats.cwnd_bytes),
            "{cc}"
        );
        assert_eq!((stats.loss_events, stats.timeouts), (0, 0), "{cc}");
    }
}

/// A loss and a mark in one window are a single event for a classic control.
#[test]
fn loss_and_mark_in_a_window_reduce_once() {
    let mut path = Path::new(RTT, |arrival| match arrival.segment.body {
        Body::Data {
            seq,
            retransmit: false,
            ..
        } if seq == 20 * u64::from(MSS) => Verdict::Drop,
        Body::Data { seq, .. } if seq == 14 * u64::from(MSS) => Verdict::Mark,
        _ => Verdict::Pass,
    })
    .flow(&config(Cc::NewReno), 0);
    path.run_until(5 * RTT);
    let stats = path.sender(0).stats();
    assert_eq!(
        (stats.ecn_events, stats.loss_events, stats.retransmits),
        (1, 0, 1)
    );
}

#[test]
fn codepoints() {
    for (cc, want) in [
        (Cc::NewReno, Ecn::Ect0),
        (Cc::Cubic, Ecn::Ect0),
        (Cc::Dctcp, Ecn::Ect1),
        (Cc::Prague, Ecn::Ect1),
        (Cc::UdpPrague, Ecn::Ect1),
    ] {
        let run = |config: FlowConfig| {
            let mut path = Path::new(RTT, lose_first(&[15])).logged().flow(&config, 0);
            path.run_until(SECOND / 2);
            path.log.take().unwrap()
        };
        for segment in run(config(cc)) {
            let repeated = matches!(
                segment.body,
                Body::Data {
                    retransmit: true,
                    ..
                }
            );
            let expect = if repeated && !cc.is_scalable() {
                Ecn::NotEct
            } else {
                want
            };
            assert_eq!(segment.ecn, expect, "{cc}: {segment:?}");
        }
        let off = FlowConfig {
            ecn: false,
            ..config(cc)
        };
        assert!(run(off).iter().all(|s| s.ecn == Ecn::NotEct), "{cc}");
    }
    assert_eq!(FlowConfig::new(1, Cc::Udp).ecn_codepoint(), Ecn::NotEct);
}

/// The sender's count equals the number of marks, whatever the acknowledgements.
#[test]
fn accurate_counts() {
    for cc in [Cc::Dctcp, Cc::Prague, Cc::UdpPrague] {
        let config = FlowConfig {
            bytes: Some(3_000_000),
            ..config(cc)
        };
        let mut path = Path::new(RTT, random(0.1, Verdict::Mark, 9))
            .logged()
            .flow(&config, 0);
        path.run_until(60 * SECOND);
        let receiver = path.receiver(0).stats();
        let sender = path.sender(0).stats();
        assert!(sender.finished(), "{cc}");
        assert!(receiver.counts.ce_packets > 100, "{cc}");
        assert_eq!(sender.ce_packets, receiver.counts.ce_packets, "{cc}");
        assert_eq!(sender.delivered_bytes, 3_000_000, "{cc}");
    }
}

/// RFC 8257, section 3.3: alpha is the marked share.
#[test]
fn alpha_is_the_marked_share() {
    for cc in [Cc::Dctcp, Cc::Prague, Cc::UdpPrague] {
        let mut path = Path::new(RTT, random(0.05, Verdict::Mark, 2)).flow(&config(cc), 0);
        path.run_until(10 * SECOND);
        let (mut sum, samples) = (0.0, 500);
        for _ in 0..samples {
            path.run_until(path.now_ns + 2 * RTT);
            sum += path.sender(0).stats().alpha;
        }
        let mean = sum / f64::from(samples);
        assert!((mean / 0.05 - 1.0).abs() < 0.1, "{cc}: {mean}");
    }
}

/// A duplicate acknowledgement, such as that of an unnecessary probe, may be the first
/// with ECE, when everything has been acknowledged. The window shrinks, and the next
/// chunk is sent.
#[test]
fn an_echo_without_data_in_flight_does_not_stop_a_sender() {
    let chunk = 5 * u64::from(MSS);
    for prr in [false, true] {
        let mut sender = sender(&FlowConfig {
            prr,
            chunks: Some(Chunks {
                bytes: chunk,
                every_ns: SECOND,
            }),
            ..config(Cc::Cubic)
        });
        let sent = |sender: &mut Sender, now_ns: u64| {
            sender.on_timer(now_ns);
            std::iter::from_fn(|| sender.poll_transmit(now_ns)).count()
        };
        let acknowledge = |sender: &mut Sender, now_ns: u64, ece: bool| {
            let body = Body::Ack {
                cumulative: chunk,
                sack: Default::default(),
                ece,
                counts: EcnCounts::default(),
                echo_ns: 0,
            };
            let segment = Segment {
                flow: 1,
                bytes: 60,
                ecn: Ecn::NotEct,
                sent_ns: now_ns,
                body,
            };
            sender.on_segment(now_ns, &segment);
        };
        assert_eq!(sent(&mut sender, 0), 5, "prr {prr}");
        acknowledge(&mut sender, 20 * MS, false);
        acknowledge(&mut sender, 30 * MS, true);
        assert_eq!(sender.stats().ecn_events, 1, "prr {prr}");
        assert_eq!(sent(&mut sender, SECOND), 5, "prr {prr}");
    }
}

//! Tail loss probes (RFC 8985, section 7).

use super::recovery::{limited, retransmitted};
use crate::transport::harness::*;
use crate::transport::segment::{Body, MSS};
use crate::transport::{Cc, FlowConfig, SenderStats};

const RTT: u64 = 20 * MS;
const STREAMS: [Cc; 4] = [Cc::NewReno, Cc::Cubic, Cc::Dctcp, Cc::Prague];

/// Arrival of the last acknowledgement before the first retransmission, and the
/// time of the latter.
fn before_repair(path: &Path) -> (u64, u64) {
    let log = path.log.as_ref().unwrap();
    let repair = log
        .iter()
        .find(|s| matches!(s.body, Body::Data { retransmit, .. } if retransmit))
        .unwrap();
    let acks = path.acks.as_ref().unwrap().iter();
    let last = acks
        .map(|ack| ack.sent_ns + RTT / 2)
        .filter(|&arrives| arrives < repair.sent_ns)
        .max();
    (last.unwrap(), repair.sent_ns)
}

fn losses(stats: &SenderStats) -> (u64, u64, u64) {
    (stats.loss_events, stats.timeouts, stats.probes)
}

/// The last segments of a flow are not followed by any that would prove their
/// loss. The very last one is retransmitted two round trips after the last
/// acknowledgement; its delivery proves that the others are lost. No timeout.
#[test]
fn lost_tail_is_repaired_by_a_probe() {
    for cc in STREAMS {
        let mut path = Path::new(RTT, lose_first(&[18, 19, 20]))
            .logged()
            .flow(&limited(cc, 21), 0);
        path.run_until(10 * SECOND);
        let stats = path.sender(0).stats();
        let log = path.log.as_ref().unwrap();
        assert_eq!(retransmitted(log), [20, 18, 19], "{cc}");
        assert_eq!(losses(&stats), (1, 0, 1), "{cc}");
        let (acked, repair) = before_repair(&path);
        assert!(
            (2 * RTT..2 * RTT + MS).contains(&(repair - acked)),
            "{cc}: {acked} to {repair}"
        );
        let finished = stats.finished_ns.unwrap();
        assert!(finished - acked < 5 * RTT, "{cc}: {acked} to {finished}");
        assert_eq!(path.receiver(0).stats().duplicate_bytes, 0, "{cc}");
    }
}

/// The acknowledgement of a single segment may be delayed, so the probe is sent
/// instead of the timeout. The window does not collapse.
#[test]
fn single_segment_is_probed_when_the_timer_runs_out() {
    for cc in STREAMS {
        let mut path = Path::new(RTT, lose_first(&[20]))
            .logged()
            .flow(&limited(cc, 21), 0);
        path.run_until(10 * SECOND);
        let stats = path.sender(0).stats();
        assert_eq!(retransmitted(path.log.as_ref().unwrap()), [20], "{cc}");
        assert_eq!(losses(&stats), (0, 0, 1), "{cc}");
        let (acked, repair) = before_repair(&path);
        assert!(
            (RTT + 200 * MS..RTT + 205 * MS).contains(&(repair - acked)),
            "{cc}: {acked} to {repair}"
        );
        assert!(stats.finished() && stats.cwnd_bytes > 10 * 1500, "{cc}");
    }
}

/// A completely lost flight: the probe is new data, ignores the window, and its
/// delivery proves the losses.
#[test]
fn probe_sends_new_data_if_available() {
    for cc in [Cc::NewReno, Cc::Cubic, Cc::Dctcp] {
        let flight: Vec<u64> = (10..30).collect();
        let mut path = Path::new(RTT, lose_first(&flight))
            .logged()
            .flow(&limited(cc, 400), 0);
        path.run_until(10 * SECOND);
        let log = path.log.as_ref().unwrap();
        assert_eq!(retransmitted(log), flight, "{cc}");
        let probe = 30 * u64::from(MSS);
        let probe = log
            .iter()
            .find(|s| matches!(s.body, Body::Data { seq, .. } if seq == probe))
            .unwrap();
        assert_eq!(probe.sent_ns, 3 * RTT, "{cc}: after the flight of one RTT");
        let stats = path.sender(0).stats();
        assert_eq!(losses(&stats), (1, 0, 1), "{cc}");
        assert!(stats.finished(), "{cc}");
    }
}

/// If no segment is in flight, or all are acknowledged in time, there is no
/// probe, even if a window of one segment waits for every delayed
/// acknowledgement.
#[test]
fn probes_need_an_unacknowledged_tail() {
    for cc in STREAMS {
        for window in [1, 2, 3, 100] {
            let config = FlowConfig {
                receive_window: window * u64::from(MSS),
                ..limited(cc, 301)
            };
            let mut path = Path::new(RTT, clean).logged().flow(&config, 0);
            path.run_until(60 * SECOND);
            let stats = path.sender(0).stats();
            assert!(stats.finished(), "{cc}, {window}");
            assert_eq!(losses(&stats), (0, 0, 0), "{cc}, {window}");
            assert_eq!(stats.retransmits, 0, "{cc}, {window}");
        }
    }
}

/// A loss revealed only by the probe's acknowledgement is still a congestion
/// signal (section 7.4.2).
#[test]
fn loss_repaired_by_a_probe_reduces_once() {
    for cc in STREAMS {
        let config = FlowConfig {
            receive_window: u64::from(MSS),
            ..limited(cc, 100)
        };
        let mut path = Path::new(RTT, lose_first(&[8])).logged().flow(&config, 0);
        while path.sender(0).stats().probes == 0 {
            path.run_until(path.now_ns + MS);
        }
        let before = path.sender(0).stats();
        assert_eq!(losses(&before), (0, 0, 1), "{cc}");
        path.run_until(60 * SECOND);
        let stats = path.sender(0).stats();
        assert_eq!(retransmitted(path.log.as_ref().unwrap()), [8], "{cc}");
        assert_eq!(losses(&stats), (1, 0, 1), "{cc}");
        let factor = if cc == Cc::Cubic { 0.7 } else { 0.5 };
        let ratio = stats.ssthresh_bytes as f64 / before.cwnd_bytes as f64;
        assert!(
            (factor - 0.01..factor + 0.01).contains(&ratio),
            "{cc}: {ratio}"
        );
    }
}

/// The path holds everything for longer than the probe waits: the probe arrives
/// as a duplicate, and nothing was lost.
#[test]
fn an_unnecessary_probe_does_not_reduce_the_window() {
    for cc in STREAMS {
        let config = FlowConfig {
            receive_window: 10 * u64::from(MSS),
            ..FlowConfig::new(1, cc)
        };
        let mut path = Path::new(RTT, clean)
            .bottleneck(50_000_000)
            .flow(&config, 0);
        path.run_until(2 * SECOND);
        path.freeze(2 * SECOND + 100 * MS);
        path.run_until(4 * SECOND);
        let stats = path.sender(0).stats();
        assert_eq!(losses(&stats), (0, 0, 1), "{cc}");
        let receiver = path.receiver(0).stats();
        assert_eq!(receiver.duplicate_bytes, u64::from(MSS), "{cc}");
    }
}

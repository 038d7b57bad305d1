//! BBR on paths: its phases, its queue and its response to losses.

use crate::transport::harness::*;
use crate::transport::{Cc, Chunks, FlowConfig};

const RTT: u64 = 40 * MS;
const RATE_BPS: u64 = 20_000_000;
/// Packets in flight that fill the path.
const PRODUCT: f64 = 20e6 * 0.04 / 12_000.0;

fn bbr(flow: u32) -> FlowConfig {
    FlowConfig {
        handshake_rtt_ns: Some(RTT),
        ..FlowConfig::new(flow, Cc::Bbr)
    }
}

fn path() -> Path {
    Path::new(RTT, clean).bottleneck(RATE_BPS)
}

/// Pacing rate over the bottleneck's in every ms of a run, with the time in ms.
fn gains(path: &mut Path, ms: u64) -> Vec<(u64, f64)> {
    let mut list = Vec::new();
    for at in 0..ms {
        path.run_until(at * MS);
        let rate = path.sender(0).stats().pacing_rate.unwrap();
        list.push((at, rate as f64 * 8.0 / RATE_BPS as f64));
    }
    list
}

/// Gains that last, in order, within 2 %.
fn sequence(gains: &[(u64, f64)]) -> Vec<f64> {
    let mut list: Vec<f64> = Vec::new();
    for (_, gain) in gains {
        let known = [2.856, 0.343, 1.2375, 0.7425, 0.99];
        let near = known
            .into_iter()
            .find(|known| (gain / known - 1.0).abs() < 0.02);
        if let Some(near) = near.filter(|near| list.last() != Some(near)) {
            list.push(near);
        }
    }
    list
}

/// STARTUP with 2.885, DRAIN with its inverse, then cycles of 1.25, 0.75 and 1, all
/// paced 1 % lower.
#[test]
fn startup_drain_and_probe_bw_have_their_gains() {
    let mut path = path().flow(&bbr(1), 0);
    let gains = gains(&mut path, 4000);
    let sequence = sequence(&gains);
    // Until the pipe is full, the rate is a share of the link's.
    let full = sequence.iter().position(|gain| *gain == 2.856).unwrap();
    let sequence = &sequence[full..];
    assert_eq!(sequence[..2], [2.856, 0.343], "{sequence:?}");
    let cycles: Vec<&[f64]> = sequence[2..]
        .split(|gain| *gain == 1.2375)
        .skip(1)
        .collect();
    // Eight round trips each.
    assert!((8..=13).contains(&cycles.len()), "{cycles:?}");
    for cycle in &cycles[..cycles.len() - 1] {
        assert_eq!(*cycle, [0.7425, 0.99], "{cycles:?}");
    }
    // The rate doubles every round, from 10 packets to 67; in three rounds without
    // growth, the queue holds up to two products.
    let startup = gains.iter().position(|(_, gain)| *gain < 0.4).unwrap();
    assert!((400..600).contains(&startup), "{startup} ms");
}

/// Alone, it fills the link and keeps less than a product in the queue.
#[test]
fn a_link_is_full_with_a_short_queue() {
    let mut path = path().flow(&bbr(1), 0);
    let rate = path.packet_rate(0, 2 * SECOND, 7 * SECOND);
    let full = RATE_BPS as f64 / 12_000.0;
    assert!(rate > 0.97 * full, "{rate} of {full}");
    let stats = path.sender(0).stats();
    assert!(stats.srtt_ns < RTT * 3 / 2, "{stats:?}");
    assert_eq!(stats.retransmits, 0);
}

/// Ten seconds after the last shorter round trip, four packets in flight for 200 ms;
/// then the window is restored.
#[test]
fn the_minimum_round_trip_is_measured_every_ten_seconds() {
    let mut path = path().flow(&bbr(1), 0);
    let mut probing: Vec<u64> = Vec::new();
    for at in 0..25_000 {
        path.run_until(at * MS);
        let stats = path.sender(0).stats();
        if at > 1000 && stats.cwnd_bytes == 4 * 1500 {
            probing.push(at);
        }
        // A flight drains and 200 ms pass before the rate may fall at all.
        let rate = stats.pacing_rate.unwrap() as f64 * 8.0;
        assert!(at < 1000 || rate > 0.7 * RATE_BPS as f64, "{at} ms: {rate}");
    }
    let first = probing[0];
    assert!((10_000..10_100).contains(&first), "{first}");
    let second = *probing.iter().find(|at| **at > first + 5000).unwrap();
    assert!((10_000..10_800).contains(&(second - first)), "{second}");
    let lasted = probing.iter().filter(|at| **at < first + 5000).count();
    assert!((200..=350).contains(&lasted), "{lasted} ms");
    path.run_until(25 * SECOND);
    let window = path.sender(0).stats().cwnd_bytes as f64 / 1500.0;
    assert!(window > 1.8 * PRODUCT, "{window}");
}

/// Random losses, which a loss-based control interprets as congestion.
#[test]
fn random_losses_do_not_reduce_the_rate() {
    let rate = |cc| {
        let config = FlowConfig {
            handshake_rtt_ns: Some(RTT),
            ..FlowConfig::new(1, cc)
        };
        let mut path = Path::new(RTT, random(0.02, Verdict::Drop, 3))
            .bottleneck(RATE_BPS)
            .flow(&config, 0);
        path.packet_rate(0, 5 * SECOND, 20 * SECOND) * 12_000.0 / RATE_BPS as f64
    };
    let (bbr, cubic) = (rate(Cc::Bbr), rate(Cc::Cubic));
    assert!(bbr > 0.9, "{bbr}");
    assert!(cubic < 0.3, "{cubic}");
}

#[test]
fn two_flows_share_a_link() {
    let mut path = path().flow(&bbr(1), 0).flow(&bbr(2), 3 * SECOND);
    path.run_until(30 * SECOND);
    let before = [0, 1].map(|flow| path.receiver(flow).stats().counts.packets);
    path.run_until(90 * SECOND);
    let after = [0, 1].map(|flow| path.receiver(flow).stats().counts.packets);
    let rates = [0, 1].map(|flow| (after[flow] - before[flow]) as f64 / 60.0);
    let ratio = rates[0] / rates[1];
    assert!((0.5..2.0).contains(&ratio), "{rates:?}");
    let full = RATE_BPS as f64 / 12_000.0;
    assert!(rates[0] + rates[1] > 0.95 * full, "{rates:?}");
}

/// An application that offers a fifth of the link's rate does not lower the model's.
#[test]
fn the_application_does_not_lower_the_rate() {
    let config = FlowConfig {
        chunks: Some(Chunks {
            bytes: 500 * 1448,
            every_ns: 1_448 * MS,
        }),
        ..bbr(1)
    };
    let mut path = path().flow(&config, 0);
    path.run_until(60 * SECOND);
    let stats = path.sender(0).stats();
    let rate = stats.pacing_rate.unwrap() as f64 * 8.0;
    assert!(rate > 0.7 * RATE_BPS as f64, "{rate}");
}

/// After an outage, the flow is back at its rate.
#[test]
fn an_outage_is_survived() {
    let outage = 3 * SECOND..5 * SECOND;
    let mut path = Path::new(RTT, move |arrival| match outage.contains(&arrival.now_ns) {
        true => Verdict::Drop,
        false => Verdict::Pass,
    })
    .bottleneck(RATE_BPS)
    .flow(&bbr(1), 0);
    path.run_until(5 * SECOND);
    assert!(path.sender(0).stats().timeouts > 0);
    let rate = path.packet_rate(0, 3 * SECOND, 2 * SECOND);
    let full = RATE_BPS as f64 / 12_000.0;
    assert!(rate > 0.9 * full, "{rate} of {full}");
}

/// Marks change nothing: no window, no rate.
#[test]
fn marks_are_ignored() {
    let config = FlowConfig {
        ecn: true,
        ..bbr(1)
    };
    let mut path = Path::new(RTT, every(2, Verdict::Mark))
        .bottleneck(RATE_BPS)
        .flow(&config, 0);
    let rate = path.packet_rate(0, 2 * SECOND, 5 * SECOND);
    assert!(rate > 0.97 * RATE_BPS as f64 / 12_000.0, "{rate}");
    let stats = path.sender(0).stats();
    assert!(stats.ce_packets > 0);
    assert_eq!(stats.ecn_events, 0);
}

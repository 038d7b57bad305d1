//! Steady state: windows and rates as functions of the loss or mark
//! probability, and fairness.

use crate::transport::harness::*;
use crate::transport::{Cc, Endpoint, FlowConfig};

/// Mean window, packets: rate times round trip on a path without a queue.
fn mean_window(config: &FlowConfig, rtt_ns: u64, seconds: u64, pattern: Pattern) -> f64 {
    let mut path = Path::new(rtt_ns, pattern).flow(config, 0);
    path.packet_rate(0, seconds * SECOND / 4, seconds * SECOND) * rtt_ns as f64 / 1e9
}

type Pattern = Box<dyn FnMut(Arrival<'_>) -> Verdict>;

fn losing(period: u64) -> Pattern {
    Box::new(every(period, Verdict::Drop))
}

fn marking(p: f64, seed: u64) -> Pattern {
    Box::new(random(p, Verdict::Mark, seed))
}

fn assert_near(what: &str, measured: f64, theory: f64, tolerance: f64) {
    println!(
        "{what}: measured {measured:.2}, theory {theory:.2}, ratio {:.3}",
        measured / theory
    );
    assert!(
        (measured / theory - 1.0).abs() <= tolerance,
        "{what}: measured {measured}, theory {theory}"
    );
}

/// W = sqrt(3 / 2p) (Mathis et al. 1997), with growth as for one acknowledgement
/// per segment: bytes are counted, so delayed acknowledgements do not slow it
/// down. The formula omits a round of recovery without growth, half a packet
/// because windows are whole, and half a packet that waits for its
/// acknowledgement; with them theory agrees within 2 %.
#[test]
fn newreno_response_function() {
    for period in [200u64, 1000, 5000] {
        let n = period as f64;
        let config = FlowConfig::new(1, Cc::NewReno);
        let measured = mean_window(&config, 50 * MS, 400, losing(period));
        let what = format!("newreno p = 1/{period}");
        assert_near(&what, measured, (1.5 * n).sqrt(), 0.12);
        // 3/8 W^2 + W/2 packets in W/2 + 1 rounds.
        let peak = (-0.5 + (0.25 + 1.5 * n).sqrt()) / 0.75;
        let refined = n / (peak / 2.0 + 1.0) - 1.0;
        assert_near(&what, measured, refined, 0.02);
    }
}

/// C and beta of RFC 9438, section 5.
const CUBIC: (f64, f64) = (0.4, 0.7);

/// AVG_W_cubic (RFC 9438, section 5.1, equation 5), which assumes that each
/// cycle ends on the plateau and that there is no fast convergence.
fn cubic_window(p: f64, rtt_s: f64) -> f64 {
    let (c, beta) = CUBIC;
    (c * (3.0 + beta) / (4.0 * (1.0 - beta))).powf(0.25) * (rtt_s / p).powf(0.75)
}

/// The mean of sections 4.2, 4.6 and 4.7 as a fluid: the cubic, the decrease and
/// fast convergence, with a round of recovery in each cycle of `n` packets.
fn cubic_fluid(n: f64, rtt_s: f64) -> f64 {
    let (c, beta) = CUBIC;
    let (cycles, step) = (400, rtt_s / 10.0);
    let (mut window, mut w_max) = (cubic_window(1.0 / n, rtt_s), 0.0);
    let (mut packets, mut seconds) = (0.0, 0.0);
    for cycle in 0..cycles {
        w_max = if window < w_max {
            window * (1.0 + beta) / 2.0
        } else {
            window
        };
        let start = beta * window;
        let k = ((w_max - start) / c).cbrt();
        let (mut sent, mut t) = (start, 0.0);
        while sent < n {
            window = (c * f64::powi(t - k, 3) + w_max).max(start);
            sent += window / rtt_s * step;
            t += step;
        }
        if cycle >= cycles / 2 {
            packets += sent;
            seconds += t + rtt_s;
        }
    }
    packets / seconds * rtt_s
}

#[test]
fn cubic_response_function() {
    for (period, rtt_ms) in [(5_000u64, 100), (20_000, 100), (20_000, 200)] {
        let (n, rtt_s) = (period as f64, rtt_ms as f64 / 1e3);
        let config = FlowConfig {
            receive_window: 1 << 30,
            ..FlowConfig::new(1, Cc::Cubic)
        };
        let measured = mean_window(&config, rtt_ms * MS, 400, losing(period));
        let what = format!("cubic p = 1/{period}, {rtt_ms} ms");
        assert_near(&what, measured, cubic_window(1.0 / n, rtt_s), 0.15);
        assert_near(&what, measured, cubic_fluid(n, rtt_s), 0.07);
    }
}

/// If Reno would get more, CUBIC gets as much as Reno: AIMD(alpha, beta) with
/// alpha = 3 (1 - beta) / (1 + beta) has Reno's window (RFC 9438, section 4.3).
/// Above the previous window it grows by a whole segment, which makes it faster
/// than that.
#[test]
fn cubic_in_the_reno_friendly_region() {
    for (period, rtt_ms) in [(200u64, 10), (1000, 10)] {
        let reno = (1.5 * period as f64).sqrt();
        assert!(cubic_window(1.0 / period as f64, rtt_ms as f64 / 1e3) < reno);
        let config = FlowConfig::new(1, Cc::Cubic);
        let measured = mean_window(&config, rtt_ms * MS, 60, losing(period));
        assert_near(
            &format!("cubic as reno p = 1/{period}"),
            measured,
            reno,
            0.15,
        );
    }
}

/// x = pW marks per round trip balance at x/2 = 1 + 1/x; see `cc::dctcp`.
const MARKS_PER_ROUND: f64 = 2.732;

#[test]
fn dctcp_window_is_inverse_in_p() {
    for p in [0.1, 0.03, 0.01] {
        let config = FlowConfig::new(1, Cc::Dctcp);
        let window = mean_window(&config, 20 * MS, 120, marking(p, 1));
        assert_near(&format!("dctcp p = {p}"), window, MARKS_PER_ROUND / p, 0.12);
    }
}

/// Like DCTCP, with increase for unmarked packets only: (1 - p) of it.
#[test]
fn prague_window_is_inverse_in_p() {
    for (p, rtt_ms) in [(0.1, 30u64), (0.03, 30), (0.03, 60), (0.01, 40)] {
        let config = FlowConfig::new(1, Cc::Prague);
        let window = mean_window(&config, rtt_ms * MS, 120, marking(p, 1));
        assert_near(
            &format!("prague p = {p}, {rtt_ms} ms"),
            window,
            MARKS_PER_ROUND * (1.0 - p) / p,
            0.06,
        );
    }
}

/// Below 25 ms the rate is that of 25 ms.
#[test]
fn prague_rate_does_not_depend_on_short_round_trips() {
    let p = 0.05;
    let rate = |cc, rtt_ns| {
        let mut path =
            Path::new(rtt_ns, random(p, Verdict::Mark, 3)).flow(&FlowConfig::new(1, cc), 0);
        path.packet_rate(0, 20 * SECOND, 200 * SECOND)
    };
    let theory = MARKS_PER_ROUND * (1.0 - p) / p / 0.025;
    for rtt_us in [25_000, 15_000, 10_000, 5_000, 1_000] {
        assert_near(
            &format!("prague {rtt_us} us"),
            rate(Cc::Prague, rtt_us * 1000),
            theory,
            0.05,
        );
    }
}

/// A window below one packet means occasional packets.
#[test]
fn prague_window_may_be_a_fraction() {
    let p = 0.3;
    for cc in [Cc::Prague, Cc::UdpPrague] {
        let config = FlowConfig::new(1, cc);
        let mut path = Path::new(MS, random(p, Verdict::Mark, 3)).flow(&config, 0);
        let rate = path.packet_rate(0, 20 * SECOND, 200 * SECOND);
        let theory = MARKS_PER_ROUND * (1.0 - p) / p / 0.025;
        assert_near(&format!("{cc} p = {p}, 1 ms"), rate, theory, 0.15);
        assert!(path.sender(0).stats().cwnd_bytes < 1000);
    }
}

/// The same law over datagrams gives the same rate.
#[test]
fn udp_prague_has_pragues_rate() {
    for (p, rtt_ms) in [(0.1, 10u64), (0.03, 10), (0.03, 30), (0.1, 40)] {
        let rate = |cc, seed| {
            let mut path = Path::new(rtt_ms * MS, random(p, Verdict::Mark, seed))
                .flow(&FlowConfig::new(1, cc), 0);
            path.packet_rate(0, 20 * SECOND, 200 * SECOND)
        };
        let tcp = rate(Cc::Prague, 5);
        assert_near(
            &format!("udp-prague p = {p}, {rtt_ms} ms"),
            rate(Cc::UdpPrague, 6),
            tcp,
            0.06,
        );
    }
}

fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    sum * sum / (rates.len() as f64 * squares)
}

/// Two flows, the second late, converge at a bottleneck whose queue signals
/// above a delay.
#[test]
fn two_flows_converge() {
    for cc in [Cc::NewReno, Cc::Cubic, Cc::Dctcp, Cc::Prague, Cc::UdpPrague] {
        // A random decision per packet above the threshold prevents signalling
        // the flows in lockstep.
        let mut coin = Random::new(11);
        let (threshold, share) = if cc.is_scalable() {
            (MS, 0.3)
        } else {
            (20 * MS, 0.05)
        };
        let mut path = Path::new(20 * MS, move |arrival| {
            if arrival.backlog_ns > threshold && coin.chance(share) {
                Verdict::Mark
            } else {
                Verdict::Pass
            }
        })
        .bottleneck(20_000_000)
        .flow(&FlowConfig::new(1, cc), 0)
        .flow(&FlowConfig::new(2, cc), 5 * SECOND);
        path.run_until(20 * SECOND);
        let before = [0, 1].map(|flow| path.receiver(flow).stats().delivered_bytes);
        path.run_until(80 * SECOND);
        let rates: Vec<f64> = [0, 1]
            .map(|flow| {
                (path.receiver(flow).stats().delivered_bytes - before[flow]) as f64 * 8.0 / 60.0
            })
            .to_vec();
        println!("{cc}: {rates:?} jain {:.4}", jain(&rates));
        assert!(jain(&rates) > 0.95, "{cc}: {rates:?}");
        let used = rates.iter().sum::<f64>() / 20e6;
        assert!(used > 0.85, "{cc} uses {used}");
        assert_eq!(path.sender(0).stats().timeouts, 0, "{cc}");
    }
}

/// `udp` sends at its rate whatever is lost, with any codepoint.
#[test]
fn udp_is_unresponsive() {
    let config = FlowConfig {
        rate_bps: Some(3_000_000),
        ecn: true,
        codepoint: Some(l4sllm_abi::Ecn::Ect1),
        ..FlowConfig::new(1, Cc::Udp)
    };
    let mut path = Path::new(20 * MS, every(2, Verdict::Drop))
        .logged()
        .flow(&config, 0);
    path.run_until(10 * SECOND);
    let log = path.log.as_ref().unwrap();
    assert_eq!(log.len(), 2501);
    assert!(
        log.iter()
            .all(|s| s.ecn == l4sllm_abi::Ecn::Ect1 && s.bytes == 1500)
    );
    assert!(
        log.windows(2)
            .all(|w| w[1].sent_ns - w[0].sent_ns == 4 * MS)
    );
    let limited = FlowConfig {
        bytes: Some(100_000),
        ..config
    };
    let mut path = Path::new(20 * MS, clean).flow(&limited, 0);
    path.run_until(10 * SECOND);
    assert_eq!(path.receiver(0).stats().delivered_bytes, 100_000);
    assert!(path.sender(0).stats().finished());
    assert_eq!(path.sender(0).next_timer(), None);
}

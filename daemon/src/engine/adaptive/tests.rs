use l4sllm_abi::{header, raw};

use super::*;

const MS: u64 = 1_000_000;
const RATE: f64 = 5e6; // bytes a second: 40 Mbit/s

/// The state of a link for some time.
#[derive(Clone, Copy)]
struct Phase {
    /// Idle share of the time.
    idle: f64,
    /// Classic marks per second.
    signals: f64,
    /// Bytes per second while busy.
    rate: f64,
    /// Bits of the sending classic flows.
    flows: u64,
    /// Bits of the sending L4S flows.
    l4s_flows: u64,
    /// Share of L4S traffic in the link's output.
    l4s_share: f64,
    /// Change of the classic delay in every 4 ms, ms.
    delay_change: f64,
    /// Mean L4S delay, ms.
    l4s_delay: f64,
}

const BUSY: Phase = Phase {
    idle: 0.0,
    signals: 10.0,
    rate: RATE,
    flows: 1,
    l4s_flows: 0,
    l4s_share: 0.0,
    delay_change: 0.0,
    l4s_delay: 0.0,
};

struct Link {
    rule: Adaptive,
    now_ns: u64,
    /// Fractional marks carried over.
    marks: f64,
}

impl Link {
    fn new(config: AdaptiveConfig) -> Link {
        Link {
            rule: Adaptive::new(config),
            now_ns: 0,
            marks: 0.0,
        }
    }

    /// Passes summaries of `period_ms` for `ms`; returns the last set-points.
    fn run(&mut self, phase: Phase, ms: u64, period_ms: u64) -> SetPoints {
        let mut points = None;
        for _ in 0..ms / period_ms {
            let summary = self.summary(phase, period_ms * MS);
            points = Some(self.rule.update(&summary));
        }
        points.unwrap()
    }

    fn summary(&mut self, phase: Phase, period_ns: u64) -> Summary {
        let begin_ns = self.now_ns;
        self.now_ns += period_ns;
        let seconds = period_ns as f64 / 1e9;
        self.marks += phase.signals * seconds;
        let marks = self.marks as u64;
        self.marks -= marks as f64;
        let busy_s = seconds * (1.0 - phase.idle);
        let in_force = self.rule.set_points();
        let updates = seconds / 0.004;
        let variation = updates * phase.delay_change / 1e3 * in_force.beta_hz;
        let mut s = raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, 0, self.now_ns),
            begin_ns,
            idle_ns: (period_ns as f64 * phase.idle) as u64,
            target_ns: 1,
            tupdate_ns: 4 * MS,
            beta_uhz: (in_force.beta_hz * 1e6) as u32,
            updates: updates as u64,
            p_variation: (variation * f64::from(raw::L4S_PROB_ONE)) as u64,
            ..Default::default()
        };
        let windows = (busy_s * 1e9 / raw::L4S_RATE_WINDOW_NS as f64).round();
        let log = phase.rate.log2() * 65_536.0;
        s.rate_windows = windows as u64;
        s.rate_log_sum = (windows * log) as u64;
        s.rate_log_sq = (windows * log * log / 65_536.0) as u64;
        let bytes = phase.rate * busy_s;
        s.queue[0].forwarded_bytes = (bytes * (1.0 - phase.l4s_share)) as u64;
        s.queue[1].forwarded_bytes = (bytes * phase.l4s_share) as u64;
        s.queue[0].marks_aqm = marks;
        s.queue[1].forwarded = s.queue[1].forwarded_bytes / 1500;
        s.queue[1].sojourn_sum_ns = (s.queue[1].forwarded as f64 * phase.l4s_delay * 1e6) as u64;
        s.queue[0].flows[0] = phase.flows;
        s.queue[1].flows[0] = phase.l4s_flows;
        Summary::try_from(s).unwrap()
    }
}

fn target_ms(points: SetPoints) -> f64 {
    points.target_s * 1e3
}

fn near(got: f64, want: f64, by: f64) {
    assert!((got - want).abs() <= by, "{got}, expected {want} ± {by}");
}

/// A rule after a long-lived flow without idle time.
fn filled() -> Link {
    let mut link = Link::new(AdaptiveConfig::balanced());
    let still = Phase {
        signals: 0.0,
        ..BUSY
    };
    link.run(still, 5_000, 100);
    link.rule.state.log_target = f64::ln(6.0);
    link
}

#[test]
fn starts_at_10_ms_with_matching_gains() {
    let rule = Adaptive::new(AdaptiveConfig::balanced());
    let points = rule.set_points();
    near(target_ms(points), 10.0, 1e-9);
    near(points.tupdate_s, 0.004, 0.0);
    let gain = 3.2;
    near(points.alpha_hz, 0.04 * gain / 2.0, 1e-9);
    near(points.beta_hz, 3.2 * gain, 1e-9);
    near(points.coupling, 2.0, 1e-9);
}

#[test]
fn an_interval_without_length_changes_nothing() {
    let mut link = Link::new(AdaptiveConfig::balanced());
    let before = link.rule.set_points();
    let summary = link.summary(BUSY, 0);
    assert_eq!(link.rule.update(&summary), before);
}

/// dx/dt = r (I / ε − 1).
#[test]
fn target_follows_idle_time_at_the_rate_of_signals() {
    // 2 signals a second: 0.05 · 2; 100 a second: 0.35.
    for (signals, rate) in [(2.0, 0.1), (100.0, 0.35)] {
        let mut link = filled();
        let phase = Phase { signals, ..BUSY };
        link.rule.state.signals = DecayingMean::over(5.0);
        let fallen = target_ms(link.run(phase, 2000, 500));
        near(fallen, 6.0 * f64::exp(-rate * 2.0), 0.02);
    }
    // Over 100 ms, I goes to 0.05 (1 − e^−0.5), I5 to 0.05 (1 − e^−0.02).
    let mut link = filled();
    for mean in [&mut link.rule.state.idle, &mut link.rule.state.idle_long] {
        mean.add(0.0, 1e3);
    }
    let share = |time: f64| 0.05 * (1.0 - f64::exp(-0.1 / time));
    let excess = share(0.2) / (0.004 + 0.05 * share(5.0)) - 1.0;
    // Without a signal the least rate, 0.1, applies.
    let idle = Phase {
        idle: 0.05,
        signals: 0.0,
        ..BUSY
    };
    let risen = target_ms(link.run(idle, 100, 100));
    near(risen, 6.0 * f64::exp(0.1 * excess * 0.1), 1e-6);
}

/// With an average idle share of ε, the target ends where it started, whatever
/// the pattern.
#[test]
fn the_long_term_idle_share_is_the_budget() {
    let mut link = filled();
    for _ in 0..20 {
        let silent = Phase {
            signals: 20.0,
            ..BUSY
        };
        // Idle for 4.2 ‰ of 5 s within 100 ms: ε including the term of I5.
        let idle = 0.0042 * 50.0;
        link.run(Phase { idle, ..silent }, 100, 100);
        link.run(silent, 4_900, 100);
    }
    let moved = (link.rule.state.log_target - f64::ln(6.0)) / 100.0;
    assert!(moved.abs() < 0.02, "{moved} a second");
}

/// The cost of the last signal is unknown until the next one.
#[test]
fn without_signals_the_target_stays() {
    let mut link = filled();
    let quiet = Phase {
        signals: 0.0,
        ..BUSY
    };
    near(target_ms(link.run(quiet, 60_000, 100)), 6.0, 1e-9);
}

#[test]
fn the_target_stays_within_its_bounds() {
    let mut link = filled();
    near(target_ms(link.run(BUSY, 60_000, 100)), 1.5, 1e-9);
    let idle = Phase { idle: 0.5, ..BUSY };
    near(target_ms(link.run(idle, 30_000, 100)), 17.0, 1e-9);
}

/// A link that stays idle gets RFC 9332's gains.
#[test]
fn maximum_target_has_plain_gains() {
    let mut link = filled();
    let points = link.run(Phase { idle: 0.5, ..BUSY }, 30_000, 100);
    let plain = l4sllm_abi::Params::default();
    near(points.target_s, 0.017, 1e-9);
    assert!(points.target_s > plain.target_ns as f64 / 1e9);
    near(points.alpha_hz, f64::from(plain.alpha_uhz) / 1e6, 1e-4);
    near(points.tupdate_s, plain.tupdate_ns as f64 / 1e9, 1e-9);
    near(points.beta_hz, f64::from(plain.beta_uhz) / 1e6, 1e-3);
    near(points.coupling, f64::from(plain.coupling_q8) / 256.0, 1e-9);
    // Half way between 10 and 17 ms, in logarithms: the roots of 3.2 and 1.6.
    link.rule.state.log_target = f64::ln(170.0) / 2.0;
    let points = link.rule.set_points();
    near(points.beta_hz, 3.2 * f64::sqrt(3.2), 1e-3);
    near(points.alpha_hz, 0.04 * f64::sqrt(1.6), 1e-4);
}

/// 1 Mbit/s sends a packet in 12 ms.
#[test]
fn target_is_at_least_one_packet_time() {
    let mut link = filled();
    let slow = Phase {
        rate: 125_000.0,
        ..BUSY
    };
    near(target_ms(link.run(slow, 60_000, 100)), 12.0, 0.01);
    // A packet time above the maximum target is clamped to it.
    let slower = Phase {
        rate: 12_500.0,
        ..BUSY
    };
    near(target_ms(link.run(slower, 60_000, 500)), 17.0, 1e-9);
}

/// A step is at most half a second, for intervals of any length.
#[test]
fn a_long_interval_counts_for_half_a_second() {
    let mut link = filled();
    let busy = Phase {
        signals: 100.0,
        ..BUSY
    };
    let fallen = target_ms(link.run(busy, 20_000, 20_000));
    near(fallen, 6.0 * f64::exp(-0.35 * 0.5), 1e-6);
}

/// With short flows, the link becomes idle for any target.
#[test]
fn idle_time_counts_only_with_a_long_lived_flow() {
    let mut link = filled();
    let mut points = None;
    for number in 0..120 {
        let short = Phase {
            idle: 0.5,
            flows: 1 << (number % 60),
            ..BUSY
        };
        points = Some(link.run(short, 500, 100));
    }
    let points = points.unwrap();
    near(target_ms(points), 10.0, 1e-9);
    near(link.rule.state.idle.value().unwrap(), 0.0, 1e-9);
    near(points.beta_hz, 3.2 * 4.0, 1e-3);
}

/// The first flow may be a long one, and its slow start must not end early.
#[test]
fn after_the_start_and_after_silence_idle_time_counts_for_four_seconds() {
    let mut link = Link::new(AdaptiveConfig::balanced());
    let nobody = Phase {
        idle: 0.5,
        flows: 0,
        ..BUSY
    };
    near(target_ms(link.run(nobody, 1_000, 100)), 17.0, 1e-9);
    near(target_ms(link.run(nobody, 2_900, 100)), 17.0, 1e-9);
    assert!(target_ms(link.run(nobody, 200, 100)) < 17.0);
    near(target_ms(link.run(nobody, 30_000, 100)), 10.0, 1e-9);

    let silent = Phase {
        idle: 1.0,
        ..nobody
    };
    near(target_ms(link.run(silent, 3_900, 100)), 10.0, 1e-9);
    near(target_ms(link.run(silent, 1_000, 100)), 17.0, 1e-9);
    near(target_ms(link.run(nobody, 3_900, 100)), 17.0, 1e-9);
    near(target_ms(link.run(nobody, 30_000, 100)), 10.0, 1e-9);

    // A summary that begins with silence and ends with a packet.
    let packet = Phase {
        idle: 0.99,
        ..nobody
    };
    link.run(packet, 20_000, 5_000);
    let target = target_ms(link.run(nobody, 3_900, 100));
    near(target, 17.0, 1e-9);
}

/// Slow starts on fast links need few marks: g = 4 · 50 Mbit/s / R, within 1 and 4.
#[test]
fn the_gain_without_long_lived_flows_falls_with_the_links_rate() {
    for (mbps, gain) in [(10.0, 4.0), (50.0, 4.0), (100.0, 2.0), (300.0, 1.0)] {
        let mut link = filled();
        let nobody = Phase {
            idle: 0.5,
            rate: mbps * 1e6 / 8.0,
            flows: 0,
            ..BUSY
        };
        let points = link.run(nobody, 120_000, 100);
        near(points.beta_hz, 3.2 * gain, 1e-2);
    }
}

/// An L4S flow would use idle time that classic signals cause, since its own
/// signals are coupled to them; a paced stream would not.
#[test]
fn a_long_lived_l4s_flow_counts_unless_it_is_a_paced_stream() {
    for (share, counts) in [(0.05, false), (0.14, false), (0.4, true)] {
        let mut link = filled();
        let phase = Phase {
            idle: 0.3,
            flows: 0,
            l4s_flows: 1,
            l4s_share: share,
            ..BUSY
        };
        let points = link.run(phase, 60_000, 100);
        let want = match counts {
            true => 17.0,
            false => 10.0,
        };
        near(target_ms(points), want, 1e-6);
        assert_eq!(
            link.rule.state.idle.value().unwrap() > 0.2,
            counts,
            "{share}"
        );
    }
}

/// A flow that is missed once does not make the gain jump: after t seconds
/// without one, the gain is 3.2^(1 − w) · 4^w, w = 1 − e^(−t / 4 s).
#[test]
fn gain_reaches_short_flow_value_within_seconds() {
    let mut link = filled();
    link.run(BUSY, 20_000, 100);
    link.rule.state.log_target = f64::ln(10.0);
    let nobody = Phase { flows: 0, ..BUSY };
    // The piece without the flow ends after half a second.
    link.run(nobody, 400, 100);
    link.run(nobody, 1_000, 100);
    link.rule.state.log_target = f64::ln(10.0);
    let share: f64 = 1.0 - f64::exp(-1.0 / 4.0);
    let gain = 3.2 * f64::powf(4.0 / 3.2, share);
    near(link.rule.set_points().beta_hz, 3.2 * gain, 0.05);
}

#[test]
fn result_is_independent_of_the_decision_period() {
    let phases = [
        (BUSY, 8_000),
        (Phase { idle: 0.01, ..BUSY }, 2_000),
        (BUSY, 2_000),
    ];
    let run = |period_ms| {
        let mut link = filled();
        let points = phases.map(|(phase, ms)| link.run(phase, ms, period_ms));
        points.map(target_ms)
    };
    let fine = run(20);
    for period_ms in [100, 250, 500] {
        for (got, want) in run(period_ms).into_iter().zip(fine) {
            assert!((got / want).ln().abs() < 0.15, "{period_ms}: {got} {want}");
        }
    }
}

/// Runs `seconds` of a link with a rate that alternates by e^±`swing` every
/// `every_ms`.
fn swing(link: &mut Link, swing: f64, every_ms: u64, seconds: u64) -> SetPoints {
    let mut points = None;
    for number in 0..seconds * 1000 / every_ms {
        let sign = [1.0, -1.0][number as usize % 2];
        let phase = Phase {
            rate: RATE * f64::exp(sign * swing),
            ..BUSY
        };
        points = Some(link.run(phase, every_ms, 100));
    }
    points.unwrap()
}

/// ± 0.2 every 100 ms is a change of 0.4 with each summary.
#[test]
fn a_variable_link_gets_the_gains_of_plain_dualpi2() {
    let mut link = filled();
    let points = swing(&mut link, 0.2, 100, 20);
    near(link.rule.state.rates.typical_change(), 0.4, 0.01);
    near(target_ms(points), 17.0, 1e-9);
    near(points.beta_hz, 3.2, 1e-9);
    near(points.tupdate_s, 0.016, 0.0);
}

/// At 40 Mbit/s a packet takes 0.3 ms, so random arrivals in 4 ms change the
/// delay by √1.2 ms.
#[test]
fn a_bursty_link_gets_the_gains_of_plain_dualpi2() {
    let ripples = |relative: f64| Phase {
        delay_change: relative * f64::sqrt(1.2),
        ..BUSY
    };
    let mut link = filled();
    let points = link.run(ripples(1.6), 20_000, 100);
    near(link.rule.state.ripple.value(), 1.6, 0.03);
    near(target_ms(points), 1.5, 1e-9);

    let points = link.run(ripples(2.5), 20_000, 100);
    near(link.rule.state.ripple.value(), 2.5, 0.03);
    near(target_ms(points), 17.0, 1e-9);
    near(points.beta_hz, 3.2, 1e-4);
    near(points.alpha_hz, 0.04, 1e-6);
    near(points.tupdate_s, 0.004, 0.0);

    // Bursts of L4S senders do not count: they hardly delay L4S packets.
    let burst = |l4s_delay| Phase {
        l4s_share: 0.5,
        l4s_delay,
        ..ripples(2.5)
    };
    near(target_ms(link.run(burst(0.3), 20_000, 100)), 1.5, 1e-9);
    near(target_ms(link.run(burst(1.4), 20_000, 100)), 17.0, 1e-9);

    // Bursts of short flows and streams do not count.
    let traffic = Phase {
        flows: 0,
        ..ripples(2.5)
    };
    near(target_ms(link.run(traffic, 20_000, 100)), 10.0, 1e-9);
}

#[test]
fn a_stepping_link_gets_more_gain() {
    let mut link = filled();
    let constant = link.rule.set_points();
    near(link.rule.state.rates.volatility(), 0.0, 0.01);
    // With 3 s at each rate, the mean over 3 s follows.
    let points = swing(&mut link, 0.7, 5_000, 60);
    assert!(link.rule.state.rates.typical_change() < 0.003);
    assert!(link.rule.state.rates.volatility() > 0.25);
    near(points.beta_hz, 3.2 * 6.0, 1e-9);
    near(points.alpha_hz, 0.04 * 6.0, 1e-9);
    assert!(constant.beta_hz < points.beta_hz);
    // For any target, with its period.
    link.rule.state.log_target = f64::ln(15.0);
    let points = link.rule.set_points();
    near(points.beta_hz, 3.2 * 6.0, 1e-9);
    near(points.tupdate_s, 0.004, 0.0);
    // It decays with a time constant of 15 s.
    let before = link.rule.state.rates.volatility();
    link.run(BUSY, 10_000, 100);
    let settled = link.rule.state.rates.volatility();
    link.run(BUSY, 30_000, 100);
    near(
        link.rule.state.rates.volatility() / settled,
        f64::exp(-1.0),
        0.05,
    );
    assert!(settled < before);
}

#[test]
fn presets_are_found_by_name() {
    for (name, preset) in Preset::NAMES {
        assert_eq!(preset.name(), name);
    }
    assert_eq!(AdaptiveConfig::default(), AdaptiveConfig::balanced());
}

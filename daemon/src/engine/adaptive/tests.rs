use l4sllm_abi::{header, raw};

use super::*;

const MS: u64 = 1_000_000;
const RATE: f64 = 5e6; // bytes a second: 40 Mbit/s

/// What a link does for a while.
#[derive(Clone, Copy)]
struct Phase {
    /// Share of the time.
    idle: f64,
    /// Classic marks a second.
    signals: f64,
    /// Bytes a second while busy.
    rate: f64,
    /// p', and how much it changes within 16 ms.
    p: f64,
    p_change: f64,
}

const BUSY: Phase = Phase {
    idle: 0.0,
    signals: 10.0,
    rate: RATE,
    p: 0.1,
    p_change: 0.05,
};

struct Link {
    rule: Adaptive,
    now_ns: u64,
    /// Marks that are due.
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

    /// Passes summaries of `period_ms` for `ms`; the set-points at the end.
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
        let mut s = raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, 0, self.now_ns),
            begin_ns,
            idle_ns: (period_ns as f64 * phase.idle) as u64,
            target_ns: 1,
            tupdate_ns: 1,
            updates: 1,
            p_sum: q31(phase.p),
            p_variation: q31(phase.p_change * seconds / 0.016),
            ..Default::default()
        };
        let windows = (busy_s * 1e9 / raw::L4S_RATE_WINDOW_NS as f64).round();
        let log = phase.rate.log2() * 65_536.0;
        s.rate_windows = windows as u64;
        s.rate_log_sum = (windows * log) as u64;
        s.rate_log_sq = (windows * log * log / 65_536.0) as u64;
        s.queue[0].forwarded_bytes = (phase.rate * busy_s) as u64;
        s.queue[0].marks_aqm = marks;
        Summary::try_from(s).unwrap()
    }
}

fn q31(p: f64) -> u64 {
    (p * f64::from(raw::L4S_PROB_ONE)) as u64
}

fn target_ms(points: SetPoints) -> f64 {
    points.target_s * 1e3
}

fn near(got: f64, want: f64, by: f64) {
    assert!((got - want).abs() <= by, "{got}, expected {want} ± {by}");
}

#[test]
fn it_starts_at_six_milliseconds_and_the_gains_of_that_target() {
    let rule = Adaptive::new(AdaptiveConfig::q3());
    let points = rule.set_points();
    near(target_ms(points), 6.0, 1e-9);
    near(points.tupdate_s, 0.004, 0.0);
    let gain = 0.8 * f64::powf(10.0 / 6.0, 0.3);
    near(points.alpha_hz, 0.16 * gain, 1e-9);
    near(points.beta_hz, 12.8 * gain, 1e-9);
    near(points.coupling, 2.0 * f64::powf(0.6, 0.28), 1e-9);
}

#[test]
fn an_interval_without_length_changes_nothing() {
    let mut link = Link::new(AdaptiveConfig::q3());
    let before = link.rule.set_points();
    let summary = link.summary(BUSY, 0);
    assert_eq!(link.rule.update(&summary), before);
}

/// d ln T/dt = 100 · min(e, 0.2), and e / ε times the rate of signals.
#[test]
fn the_target_rises_with_idle_time_and_falls_with_signals() {
    let mut link = Link::new(AdaptiveConfig::q3());
    link.rule.idle.add(0.0, 100.0);
    link.rule.idle_long.add(0.0, 1000.0);
    let idle = Phase {
        idle: 0.02,
        signals: 100.0,
        ..BUSY
    };
    let risen = link.run(idle, 20, 20);
    // Over 20 ms, I goes to 0.02 (1 − e^−0.1), I5 to 0.02 (1 − e^−0.004).
    let share = |time: f64| 0.02 * (1.0 - f64::exp(-0.02 / time));
    let excess = share(0.2) - 0.0025 - 0.05 * share(5.0);
    assert!(excess < 0.0);
    // Nothing has risen yet: 2 % of idle time are within the budget.
    assert!(target_ms(risen) < 6.0);

    let mut link = Link::new(AdaptiveConfig::q3());
    let idle = Phase { idle: 0.05, ..BUSY };
    let risen = target_ms(link.run(idle, 100, 100));
    let excess = 0.05 - 0.0025 - 0.05 * 0.05;
    near(risen, 6.0 * f64::exp(100.0 * excess * 0.1), 1e-6);

    // 2 signals a second: 0.05 · 2; 100 a second: 0.35.
    for (signals, rate) in [(2.0, 0.1), (100.0, 0.35)] {
        let mut link = Link::new(AdaptiveConfig::q3());
        let fallen = target_ms(link.run(Phase { signals, ..BUSY }, 2000, 500));
        near(fallen, 6.0 * f64::exp(-rate * 2.0), 0.02);
    }
}

/// Nothing says what the last signal cost before there is another one.
#[test]
fn without_signals_the_target_stays() {
    let mut link = Link::new(AdaptiveConfig::q3());
    let quiet = Phase {
        signals: 0.0,
        ..BUSY
    };
    near(target_ms(link.run(quiet, 60_000, 100)), 6.0, 1e-9);
}

#[test]
fn the_target_stays_within_its_bounds() {
    let mut link = Link::new(AdaptiveConfig::q3());
    near(target_ms(link.run(BUSY, 60_000, 100)), 1.5, 1e-9);
    let idle = Phase { idle: 0.5, ..BUSY };
    near(target_ms(link.run(idle, 10_000, 100)), 15.0, 1e-9);
    let mut link = Link::new(AdaptiveConfig::q2());
    near(target_ms(link.run(idle, 10_000, 100)), 20.0, 1e-9);
    let mut link = Link::new(AdaptiveConfig::h1());
    near(target_ms(link.run(idle, 10_000, 100)), 10.0, 1e-9);
}

/// 1 Mbit/s sends a packet in 12 ms.
#[test]
fn a_packet_time_is_the_least_target() {
    let mut link = Link::new(AdaptiveConfig::q3());
    let slow = Phase {
        rate: 125_000.0,
        idle: 0.001,
        ..BUSY
    };
    near(target_ms(link.run(slow, 60_000, 100)), 12.0, 0.01);
    // A packet time beyond the cap is the cap.
    let slower = Phase {
        rate: 12_500.0,
        ..slow
    };
    near(target_ms(link.run(slower, 60_000, 1000)), 15.0, 1e-9);
}

/// A step is at most half a second long, however long the interval was.
#[test]
fn a_long_interval_counts_for_half_a_second() {
    let mut link = Link::new(AdaptiveConfig::q3());
    let busy = Phase {
        signals: 100.0,
        ..BUSY
    };
    let fallen = target_ms(link.run(busy, 20_000, 20_000));
    near(fallen, 6.0 * f64::exp(-0.35 * 0.5), 1e-6);
}

#[test]
fn the_period_of_decisions_does_not_matter() {
    let phases = [
        (BUSY, 8_000),
        (Phase { idle: 0.01, ..BUSY }, 2_000),
        (BUSY, 2_000),
    ];
    let run = |period_ms| {
        let mut link = Link::new(AdaptiveConfig::q3());
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

#[test]
fn longer_targets_have_less_gain_and_a_higher_coupling() {
    let mut link = Link::new(AdaptiveConfig::q2());
    let idle = Phase { idle: 0.5, ..BUSY };
    let points = link.run(idle, 10_000, 100);
    near(points.beta_hz, 0.8 * 12.8 * f64::powf(0.5, 1.2), 1e-9);
    near(points.coupling, 2.0 * f64::powf(2.0, 0.28), 1e-9);
    // Its factor is bounded.
    link.rule.log_target = 0.5f64.ln();
    near(link.rule.set_points().coupling, 1.0, 1e-9);
}

#[test]
fn ripple_lowers_gains_and_they_come_back() {
    let rippled = Phase {
        p_change: 0.26,
        idle: 0.5,
        ..BUSY
    };
    let mut link = Link::new(AdaptiveConfig::q3());
    let calm = link.run(
        Phase {
            p_change: 0.12,
            ..rippled
        },
        5_000,
        100,
    );
    near(link.rule.ripple(), 1.2, 1e-6);
    near(link.rule.log_ripple_gain, 0.0, 0.0);

    let mut link = Link::new(AdaptiveConfig::q3());
    let lowered = link.run(rippled, 2_000, 100);
    near(link.rule.ripple(), 2.6, 1e-6);
    let gain = f64::exp(-0.5 * f64::ln(2.0) * 2.0);
    near(lowered.alpha_hz / calm.alpha_hz, gain, 1e-6);
    near(lowered.beta_hz / calm.beta_hz, gain, 1e-6);

    link.run(rippled, 60_000, 100);
    near(link.rule.log_ripple_gain.exp(), 0.08, 1e-9);
    link.run(
        Phase {
            p_change: 0.0,
            ..rippled
        },
        20_000,
        100,
    );
    near(link.rule.log_ripple_gain, 0.0, 0.0);

    let mut link = Link::new(AdaptiveConfig::h1());
    link.run(rippled, 2_000, 100);
    near(link.rule.log_ripple_gain, 0.0, 0.0);
}

#[test]
fn a_rate_that_varies_raises_gains() {
    let idle = Phase { idle: 0.5, ..BUSY };
    let mut link = Link::new(AdaptiveConfig::q3());
    let constant = link.run(idle, 10_000, 100);
    near(link.rule.volatility(), 0.0, 0.01);
    for _ in 0..200 {
        link.run(
            Phase {
                rate: RATE / 2.0,
                ..idle
            },
            200,
            100,
        );
        link.run(
            Phase {
                rate: RATE * 2.0,
                ..idle
            },
            200,
            100,
        );
    }
    // ± ln 2 around the mean.
    let varying = link.rule.set_points();
    near(link.rule.volatility(), f64::ln(2.0), 0.03);
    let gain = 1.0 + 7.0 * (link.rule.volatility() - 0.15);
    near(varying.beta_hz / constant.beta_hz, gain, 1e-6);
    // It is forgotten with 15 s.
    let before = link.rule.volatility();
    link.run(idle, 30_000, 100);
    near(link.rule.volatility() / before, f64::exp(-1.0), 0.05);
}

#[test]
fn presets_have_names() {
    for (name, preset) in Preset::NAMES {
        assert_eq!(preset.name(), name);
    }
    assert_eq!(AdaptiveConfig::default(), AdaptiveConfig::q3());
}

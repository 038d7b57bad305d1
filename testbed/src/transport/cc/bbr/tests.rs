//! BBR's numbers, without a network. Its behaviour on paths is in
//! `transport/tests/bbr.rs`.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// An acknowledgement of `acked` segments at `now_ms`, 40 ms after they were sent,
/// at `rate` segments/s.
fn ack(now_ms: u64, acked: u32, delivered: u64, rate: f64) -> Ack {
    let interval_ns = 40 * MS;
    let segments = (rate * 0.04) as u64;
    Ack {
        now_ns: now_ms * MS,
        acked,
        rtt_ns: interval_ns,
        srtt_ns: interval_ns,
        sample: Some(RateSample {
            delivered,
            prior_delivered: delivered.saturating_sub(segments),
            interval_ns,
            app_limited: false,
        }),
        prior_in_flight: segments as u32 + acked,
        in_flight: segments as u32,
        ..Ack::default()
    }
}

/// Rounds of 40 ms with these rates, in segments/s.
fn rounds(bbr: &mut Bbr, rates: &[f64]) {
    let from = bbr.rounds;
    let mut delivered = bbr.delivered;
    for (round, rate) in (from..).zip(rates) {
        let segments = (rate * 0.04) as u32;
        delivered += u64::from(segments);
        bbr.on_ack(&ack((round + 1) * 40, segments, delivered, *rate));
    }
    assert_eq!(bbr.rounds - from, rates.len() as u64);
}

#[test]
fn gains_are_those_of_the_draft() {
    assert!((HIGH_GAIN - 2.885).abs() < 1e-3);
    assert!((HIGH_GAIN * DRAIN_GAIN - 1.0).abs() < 1e-12);
    // A cycle does not change the queue.
    assert_eq!(CYCLE.iter().sum::<f64>(), CYCLE.len() as f64);
}

#[test]
fn the_initial_window_is_paced_over_a_round() {
    let bbr = Bbr::new(40 * MS, 1);
    let expected = 0.99 * 2.885 * 10.0 * 1500.0 / 0.04;
    assert!((bbr.pacing_rate / expected - 1.0).abs() < 1e-3);
    assert_eq!(bbr.window(), 10.0);
    // Without a round trip, Linux assumes a millisecond.
    assert!((Bbr::new(0, 1).pacing_rate / expected / 40.0 - 1.0).abs() < 1e-3);
}

/// The pipe is full after three rounds that grew by less than 25 %.
#[test]
fn the_pipe_is_full_after_three_rounds_without_growth() {
    let mut bbr = Bbr::new(40 * MS, 1);
    rounds(&mut bbr, &[1000.0, 2000.0, 4000.0, 4900.0, 4950.0]);
    assert_eq!(bbr.mode, Mode::Startup);
    assert_eq!(bbr.full_rounds, 2);
    // 25 % more than the last growth: counted again from there.
    rounds(&mut bbr, &[5000.0, 5000.0, 5000.0]);
    assert_eq!(bbr.mode, Mode::Startup);
    rounds(&mut bbr, &[5000.0]);
    assert!(bbr.full_pipe);
    // The flight of one product needs no draining.
    assert!(matches!(bbr.mode, Mode::ProbeBw { .. }), "{bbr:?}");
    let expected = 0.99 * bbr.pacing_gain() * 5000.0 * 1500.0;
    assert!((bbr.pacing_rate - expected).abs() < 1.0, "{bbr:?}");
}

#[test]
fn samples_limited_by_the_application_only_raise_the_rate() {
    let mut bbr = Bbr::new(40 * MS, 1);
    rounds(&mut bbr, &[4000.0]);
    for (rate, expected) in [(1000.0, 4000.0), (6000.0, 6000.0)] {
        for round in 0..20 {
            let now_ms = (bbr.rounds + 1) * 40;
            let delivered = bbr.delivered + (rate * 0.04) as u64;
            let mut ack = ack(now_ms, 1, delivered, rate);
            ack.sample.as_mut().unwrap().app_limited = true;
            bbr.on_ack(&ack);
            assert_eq!(bbr.bandwidth.max(), expected, "round {round}");
        }
    }
    assert!(!bbr.full_pipe);
}

/// The second phase would drain a queue that nothing has made.
#[test]
fn cycles_begin_in_any_phase_except_the_second() {
    let mut counts = [0; 8];
    for seed in 0..7000 {
        let mut bbr = Bbr::new(40 * MS, seed);
        bbr.probe_bandwidth(0);
        if let Mode::ProbeBw { phase, .. } = bbr.mode {
            counts[phase] += 1;
        }
    }
    assert_eq!(counts[1], 0);
    for phase in [0, 2, 3, 4, 5, 6, 7] {
        assert!((800..1200).contains(&counts[phase]), "{counts:?}");
    }
}

/// Segments of a millisecond, at least two, or one below 1.2 Mbit/s.
#[test]
fn bursts_are_a_millisecond_of_data() {
    let burst = |bits_per_s: f64| {
        let mut bbr = Bbr::new(40 * MS, 1);
        bbr.pacing_rate = bits_per_s / 8.0;
        bbr.burst()
    };
    assert_eq!(burst(1e6), 1);
    assert_eq!(burst(4e6), 2);
    assert_eq!(burst(100e6), 8);
    assert_eq!(burst(10e9), 44);
}

/// Linux: conservation for a round, then the old window.
#[test]
fn recovery_conserves_packets_and_restores_the_window() {
    let mut bbr = Bbr::new(40 * MS, 1);
    rounds(&mut bbr, &[5000.0; 6]);
    let before = bbr.window();
    let losing = |now_ms, delivered, repair| Ack {
        lost: 3,
        in_flight: 100,
        repair,
        ..ack(now_ms, 2, delivered, 5000.0)
    };
    let delivered = bbr.delivered;
    bbr.on_ack(&losing(241, delivered + 2, Repair::Losses));
    assert_eq!(bbr.window(), 102.0, "in flight and acknowledged");
    assert!(bbr.conserving);
    let ack = Ack {
        lost: 0,
        in_flight: 0,
        repair: Repair::None,
        ..ack(250, 2, delivered + 4, 5000.0)
    };
    bbr.on_ack(&ack);
    assert!(!bbr.conserving);
    assert!(bbr.window() >= before, "{} of {before}", bbr.window());
}

proptest! {
    /// On any network the rate stays finite, and the window at least four segments
    /// outside a repair.
    #[test]
    fn window_and_rate_stay_within_bounds(
        steps in prop::collection::vec(
            (1u64..200, 1u32..50, 0u32..50, 1u64..300, 0u8..20), 1..300
        )
    ) {
        let mut bbr = Bbr::new(0, 7);
        let (mut now_ns, mut delivered) = (0, 0);
        for (gap_ms, acked, lost, rtt_ms, kind) in steps {
            now_ns += gap_ms * MS;
            delivered += u64::from(acked);
            let repair = match kind {
                0 => {
                    bbr.on_timeout(now_ns, true);
                    Repair::Timeout
                }
                1..4 => Repair::Losses,
                _ => Repair::None,
            };
            bbr.on_transmit_start(now_ns, kind == 5);
            bbr.on_ack(&Ack {
                now_ns,
                acked,
                rtt_ns: rtt_ms * MS,
                srtt_ns: rtt_ms * MS,
                sample: Some(RateSample {
                    delivered,
                    prior_delivered: delivered.saturating_sub(u64::from(acked) * 3),
                    interval_ns: rtt_ms * MS,
                    app_limited: kind % 3 == 0,
                }),
                prior_in_flight: acked * 2,
                in_flight: acked,
                lost,
                repair,
                ..Ack::default()
            });
            prop_assert!(bbr.pacing_rate.is_finite() && bbr.pacing_rate > 0.0);
            prop_assert!(bbr.window() >= 1.0 && bbr.window() < 1e6);
            prop_assert!(bbr.conserving || bbr.window() >= MIN_SEGMENTS);
            prop_assert!(bbr.burst() >= 1);
            if bbr.is_below_capacity() {
                prop_assert!(bbr.window() <= MIN_SEGMENTS);
            }
        }
    }
}

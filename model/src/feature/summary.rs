//! Features of a summary, the inputs of a policy.

use l4sllm_abi::{Queue, Summary, raw};
use serde::{Deserialize, Serialize};

use super::{Period, Transform};

/// A probability of one, Q31.
const ONE: f64 = raw::L4S_PROB_ONE as f64;
const NS_PER_MS: f64 = 1e6;
const NS_PER_S: f64 = 1e9;

/// Interval for measuring ripple, s: DualPI2's default update period.
const RIPPLE_INTERVAL: f64 = 0.016;

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $name:literal [$unit:literal] in $range:expr, |$s:ident| $value:expr, $transform:ident;)+) => {
        /// One number of a [`Period`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum SummaryFeature { $($(#[$doc])* $variant),+ }

        impl SummaryFeature {
            /// Every feature.
            pub const ALL: &'static [SummaryFeature] = &[$(SummaryFeature::$variant),+];

            /// The name in configurations.
            pub fn name(self) -> &'static str {
                match self { $(SummaryFeature::$variant => $name),+ }
            }

            /// The unit of the raw value; empty for a ratio.
            pub fn unit(self) -> &'static str {
                match self { $(SummaryFeature::$variant => $unit),+ }
            }

            /// Least and greatest raw value. Values outside, as from a summary
            /// with corrupt counters, are clamped.
            pub const fn range(self) -> (f64, f64) {
                match self { $(SummaryFeature::$variant => $range),+ }
            }

            /// The raw value, always finite. `None` if it is undefined for the
            /// period: then the previous period's value applies (0 in the
            /// first).
            pub fn value(self, period: &Period) -> Option<f64> {
                let value: Option<f64> = match self {
                    $(SummaryFeature::$variant => { let $s = period; $value }),+
                };
                let (least, most) = self.range();
                value.map(|value| value.clamp(least, most))
            }

            /// The transform that suits the range.
            pub fn transform(self) -> Transform {
                match self { $(SummaryFeature::$variant => Transform::$transform),+ }
            }
        }
    };
}

features! {
    /// Share of the time in which the link was idle, in thousandths.
    IdleShare = "idle_share" ["permille"] in (0.0, 1000.0),
        |s| Some(1e3 * s.idle_ns as f64 / NS_PER_S / seconds(s)), Log1p;
    /// Mean of the base controller's p' over its updates.
    PMean = "p_mean" [""] in (0.0, 1.0), |s| Some(p_mean(s)), Log;
    /// Maximum of p'.
    PMax = "p_max" [""] in (0.0, 1.0), |s| Some(f64::from(s.p_max) / ONE), Log;
    /// Sum of the absolute changes of p' per 16 ms, relative to its mean; 0 if p'
    /// is 0.
    PRipple = "p_ripple" [""] in (0.0, 1000.0), |s| Some(p_ripple(s)), Log1p;
    /// Mean sojourn time of the classic queue's packets; 0 without one.
    ClassicDelayMeanMs = "classic_delay_mean_ms" ["ms"] in (0.0, 1e6),
        |s| Some(ms(s.queue(Queue::Classic).mean_sojourn_ns())), Log1p;
    /// Its standard deviation; 0 without a packet.
    ClassicDelaySdMs = "classic_delay_sd_ms" ["ms"] in (0.0, 1e6),
        |s| Some(ms(s.queue(Queue::Classic).sojourn_sd_ns())), Log1p;
    /// Its maximum; 0 without a packet.
    ClassicDelayMaxMs = "classic_delay_max_ms" ["ms"] in (0.0, 1e6),
        |s| Some(longest_ms(s, Queue::Classic)), Log1p;
    /// Mean sojourn time of the L4S queue's packets; 0 without one.
    L4sDelayMeanMs = "l4s_delay_mean_ms" ["ms"] in (0.0, 1e6),
        |s| Some(ms(s.queue(Queue::L4s).mean_sojourn_ns())), Log1p;
    /// Its maximum; 0 without a packet.
    L4sDelayMaxMs = "l4s_delay_max_ms" ["ms"] in (0.0, 1e6),
        |s| Some(longest_ms(s, Queue::L4s)), Log1p;
    /// Congestion signals of the classic queue (marks and drops) per second.
    ClassicSignalsPerS = "classic_signals_per_s" ["1/s"] in (0.0, 1e9),
        |s| Some(s.queue(Queue::Classic).signals() as f64 / seconds(s)), Log1p;
    /// Congestion signals of the L4S queue per second.
    L4sSignalsPerS = "l4s_signals_per_s" ["1/s"] in (0.0, 1e9),
        |s| Some(s.queue(Queue::L4s).signals() as f64 / seconds(s)), Log1p;
    /// Packets dropped by both queues, for any reason, per second.
    DropsPerS = "drops_per_s" ["1/s"] in (0.0, 1e9),
        |s| Some(both(s, |s, queue| s.queue(queue).drops() as f64) / seconds(s)), Log1p;
    /// Share of the L4S queue in the bytes forwarded.
    L4sShare = "l4s_share" [""] in (0.0, 1.0), |s| s.l4s_share(), Linear;
    /// Rate of the link while it was busy.
    DrainRateMbps = "drain_rate_mbps" ["Mbit/s"] in (0.0, 1e6),
        |s| s.drain_rate().map(|bytes| 8.0 * bytes / 1e6), Log1p;
    /// Standard deviation of ln(drain rate) over windows of 24 ms of busy time.
    RateVolatility = "rate_volatility" [""] in (0.0, 32.0), |s| rate_volatility(s), Log1p;
    /// Estimated number of sending flows in both queues.
    Flows = "flows" ["flows"] in (0.0, 1e5),
        |s| Some(both(s, |s, queue| s.queue(queue).flows())), Log1p;
    /// Classic flows that sent in every half second of the last 4 s.
    LongClassicFlows = "long_classic_flows" ["flows"] in (0.0, 256.0),
        |s| Some(f64::from(s.long_lived(Queue::Classic))), Log1p;
    /// L4S flows that sent in every half second of the last 4 s.
    LongL4sFlows = "long_l4s_flows" ["flows"] in (0.0, 256.0),
        |s| Some(f64::from(s.long_lived(Queue::L4s))), Log1p;
    /// Exponential mean of the idle share over 20 s, in thousandths.
    LongIdleShare = "long_idle_share" ["permille"] in (0.0, 1000.0),
        |s| Some(1e3 * s.long_idle_share()), Log1p;
    /// Exponential mean of the classic queue's congestion signals per second over
    /// 20 s.
    LongClassicSignalsPerS = "long_classic_signals_per_s" ["1/s"] in (0.0, 1e9),
        |s| Some(s.long_classic_signals_per_s()), Log1p;
    /// Packets in the classic queue at the end.
    ClassicBacklog = "classic_backlog" ["packets"] in (0.0, u32::MAX as f64),
        |s| Some(f64::from(s.queue(Queue::Classic).backlog)), Log1p;
    /// Packets forwarded by the classic queue per second.
    ClassicPacketsPerS = "classic_packets_per_s" ["1/s"] in (0.0, 1e9),
        |s| Some(s.queue(Queue::Classic).forwarded as f64 / seconds(s)), Log1p;
    /// Target delay at the end.
    TargetMs = "target_ms" ["ms"] in (0.0, 1e6), |s| Some(s.target_ns as f64 / NS_PER_MS), Log;
    /// Integral gain at the end.
    AlphaHz = "alpha_hz" ["Hz"] in (0.0, 1e4), |s| Some(f64::from(s.alpha_uhz) / 1e6), Log;
    /// Proportional gain at the end.
    BetaHz = "beta_hz" ["Hz"] in (0.0, 1e4), |s| Some(f64::from(s.beta_uhz) / 1e6), Log;
    /// Coupling factor k at the end.
    Coupling = "coupling" [""] in (0.0, 1e4), |s| Some(f64::from(s.coupling_q8) / 256.0), Log;
}

impl SummaryFeature {
    /// The feature with this name.
    pub fn named(name: &str) -> Option<SummaryFeature> {
        SummaryFeature::ALL
            .iter()
            .copied()
            .find(|f| f.name() == name)
    }
}

/// The interval's length, s; never 0.
fn seconds(summary: &Summary) -> f64 {
    summary.duration_ns().max(1) as f64 / NS_PER_S
}

/// Converts to ms; 0 without packets.
fn ms(ns: Option<f64>) -> f64 {
    ns.unwrap_or(0.0) / NS_PER_MS
}

fn longest_ms(summary: &Summary, queue: Queue) -> f64 {
    ms(summary
        .queue(queue)
        .sojourn_range_ns()
        .map(|(_, longest)| longest as f64))
}

fn both(summary: &Summary, of: impl Fn(&Summary, Queue) -> f64) -> f64 {
    of(summary, Queue::Classic) + of(summary, Queue::L4s)
}

/// Mean of p'; without an update, its value at the end.
fn p_mean(summary: &Summary) -> f64 {
    summary.p_mean().unwrap_or(f64::from(summary.p_end) / ONE)
}

fn p_ripple(summary: &Summary) -> f64 {
    let variation = summary.p_variation() * RIPPLE_INTERVAL / seconds(summary);
    match p_mean(summary) {
        p if p > 0.0 => variation / p,
        _ => 0.0,
    }
}

fn rate_volatility(summary: &Summary) -> Option<f64> {
    let (windows, sum, squares) = summary.rate_moments();
    let mean = sum / windows;
    (windows > 0.0).then(|| (squares / windows - mean * mean).max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use l4sllm_abi::header;

    use super::*;
    use crate::{Periods, Scaling, SplitMix64};

    const MS: u64 = 1_000_000;

    fn empty(ms: u64) -> raw::l4s_summary {
        raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, 0, ms * MS),
            target_ns: 15 * MS,
            tupdate_ns: 16 * MS,
            ..Default::default()
        }
    }

    fn value(feature: SummaryFeature, raw: raw::l4s_summary) -> Option<f64> {
        feature.value(&period(&Summary::try_from(raw).unwrap()))
    }

    /// The first period of a stream.
    fn period(summary: &Summary) -> Period {
        Periods::of(0).add(summary).unwrap()
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for feature in SummaryFeature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.name());
            assert_eq!(SummaryFeature::named(feature.name()), Some(*feature));
            assert_eq!(crate::Feature::named(feature.name()), None);
        }
    }

    #[test]
    fn values_are_in_their_units() {
        use SummaryFeature as F;
        let mut s = empty(500);
        s.idle_ns = 5 * MS;
        s.updates = 2;
        s.p_sum = u64::from(raw::L4S_PROB_ONE) / 2;
        s.p_max = raw::L4S_PROB_ONE;
        s.p_variation = u64::from(raw::L4S_PROB_ONE);
        s.rate_windows = 2;
        // log2 of the rates: 20 and 22.
        s.rate_log_sum = 42 << 16;
        s.rate_log_sq = (20 * 20 + 22 * 22) << 16;
        s.alpha_uhz = 160_000;
        s.beta_uhz = 3_200_000;
        s.coupling_q8 = 512;
        let classic = &mut s.queue[0];
        (classic.forwarded, classic.forwarded_bytes) = (100, 300_000);
        (classic.sojourn_sum_ns, classic.sojourn_max_ns) = (700 * MS, 20 * MS);
        (classic.marks_aqm, classic.drops_tail, classic.drops_flush) = (3, 1, 2);
        classic.backlog = 9;
        classic.flows[0] = 1;
        let l4s = &mut s.queue[1];
        (l4s.forwarded, l4s.forwarded_bytes) = (50, 100_000);
        (l4s.sojourn_sum_ns, l4s.sojourn_max_ns) = (50 * MS, 3 * MS);
        l4s.marks_native = 5;
        let near = |feature: F, want: f64| {
            let got = value(feature, s).unwrap();
            assert!(
                (got - want).abs() < 1e-6 * want.max(1.0),
                "{feature:?} {got} {want}"
            );
        };
        near(F::IdleShare, 10.0);
        near(F::PMean, 0.25);
        near(F::PMax, 1.0);
        near(F::PRipple, 0.016 / 0.5 / 0.25);
        near(F::ClassicDelayMeanMs, 7.0);
        near(F::ClassicDelayMaxMs, 20.0);
        near(F::L4sDelayMeanMs, 1.0);
        near(F::L4sDelayMaxMs, 3.0);
        near(F::ClassicSignalsPerS, 8.0);
        near(F::L4sSignalsPerS, 10.0);
        near(F::DropsPerS, 6.0);
        near(F::L4sShare, 0.25);
        near(F::DrainRateMbps, 8.0 * 0.4 / 0.495);
        near(F::RateVolatility, std::f64::consts::LN_2);
        near(F::ClassicBacklog, 9.0);
        near(F::ClassicPacketsPerS, 200.0);
        near(F::TargetMs, 15.0);
        near(F::AlphaHz, 0.16);
        near(F::BetaHz, 3.2);
        near(F::Coupling, 2.0);
        assert!((value(F::Flows, s).unwrap() - 1.0).abs() < 0.02);
        near(F::LongClassicFlows, 1.0);
        near(F::LongL4sFlows, 0.0);
        // The first period's means are its own.
        near(F::LongIdleShare, 10.0);
        near(F::LongClassicSignalsPerS, 8.0);
    }

    /// A period without packets has delay 0 and no rate.
    #[test]
    fn missing_events_have_substitute_values() {
        use SummaryFeature as F;
        let mut s = empty(250);
        s.idle_ns = 250 * MS;
        s.p_end = raw::L4S_PROB_ONE / 4;
        for feature in F::ALL {
            let none = matches!(feature, F::L4sShare | F::DrainRateMbps | F::RateVolatility);
            assert_eq!(value(*feature, s).is_none(), none, "{feature:?}");
        }
        assert_eq!(value(F::ClassicDelaySdMs, s), Some(0.0));
        assert!((value(F::PMean, s).unwrap() - 0.25).abs() < 1e-9);
        assert_eq!(value(F::PRipple, empty(250)), Some(0.0));
    }

    /// Counters of any value, intervals of any length.
    #[test]
    fn feature_values_are_finite() {
        let mut random = SplitMix64::new(5);
        for _ in 0..20_000 {
            let Ok(summary) = Summary::try_from(arbitrary(&mut random)) else {
                panic!("header, times and probabilities are sound");
            };
            let period = period(&summary);
            for feature in SummaryFeature::ALL {
                let Some(value) = feature.value(&period) else {
                    continue;
                };
                let (least, most) = feature.range();
                assert!((least..=most).contains(&value), "{feature:?}: {value}");
                let scaling = Scaling {
                    transform: feature.transform(),
                    clip: Scaling::CLIP,
                    ..Scaling::IDENTITY
                };
                assert!(scaling.apply(value).is_finite(), "{feature:?}: {value}");
            }
        }
    }

    fn arbitrary(random: &mut SplitMix64) -> raw::l4s_summary {
        // Zeros and the ends of the range as often as other values.
        let mut any = |most: u64| {
            let bits = random.next_u64();
            match bits % 4 {
                0 => 0,
                1 => most,
                _ => (bits >> (bits % 61)) % most.max(1),
            }
        };
        let end = any(u64::MAX);
        let begin_ns = any(end);
        let mut s = empty(0);
        s.hdr.time_ns = end;
        s.begin_ns = begin_ns;
        s.idle_ns = any(end - begin_ns);
        for p in [&mut s.p_begin, &mut s.p_end, &mut s.p_max] {
            *p = any(raw::L4S_PROB_ONE.into()) as u32;
        }
        for counter in [
            &mut s.updates,
            &mut s.p_sum,
            &mut s.p_variation,
            &mut s.rate_windows,
            &mut s.rate_log_sum,
            &mut s.rate_log_sq,
        ] {
            *counter = any(u64::MAX);
        }
        s.target_ns = any(u64::MAX).max(1);
        (s.alpha_uhz, s.beta_uhz) = (any(u32::MAX.into()) as u32, any(u32::MAX.into()) as u32);
        s.coupling_q8 = any(u16::MAX.into()) as _;
        for q in &mut s.queue {
            for counter in [
                &mut q.forwarded,
                &mut q.forwarded_bytes,
                &mut q.marks_aqm,
                &mut q.marks_native,
                &mut q.drops_tail,
                &mut q.drops_flush,
                &mut q.sojourn_sum_ns,
                &mut q.sojourn_sq,
                &mut q.sojourn_max_ns,
            ] {
                *counter = any(u64::MAX);
            }
            q.backlog = any(u32::MAX.into()) as _;
            q.flows.fill(any(u64::MAX) as _);
        }
        s
    }
}

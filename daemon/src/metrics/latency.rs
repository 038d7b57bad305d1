//! Quantiles of a duration: over the whole run and over the last minute.

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

/// Longer durations are clamped to this, ns: no override lasts as long.
const MAX_NS: u64 = 60_000_000_000;

/// Length of one part of the last minute, ns, and the number of parts: six
/// complete ones and the current one.
const PART_NS: u64 = 10_000_000_000;
const PARTS: usize = 7;

/// A histogram from 1 ns to a minute with the given significant digits: 3
/// digits take 216 kB, and 2 (with 32-bit counts) 16 kB.
pub(super) fn histogram<C: Counter>(digits: u8) -> Histogram<C> {
    Histogram::new_with_bounds(1, MAX_NS, digits).expect("bounds in order, at most 5 digits")
}

/// Durations of the whole run and of the last 60 to 70 seconds.
#[derive(Debug, Clone)]
pub struct Latency {
    lifetime: Histogram<u64>,
    recent: [Histogram<u32>; PARTS],
    /// Number of the current part, from the clock's zero.
    part: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            lifetime: histogram(3),
            recent: std::array::from_fn(|_| histogram(2)),
            part: 0,
        }
    }
}

impl Latency {
    /// Records a duration that ended at `now_ns`.
    pub fn record(&mut self, duration_ns: u64, now_ns: u64) {
        self.advance(now_ns);
        self.lifetime.saturating_record(duration_ns);
        self.recent[(self.part % PARTS as u64) as usize].saturating_record(duration_ns);
    }

    /// Quantiles over the whole run.
    pub fn lifetime(&self) -> Quantiles {
        Quantiles::of_ns(&self.lifetime)
    }

    /// Quantiles over the last 60 to 70 seconds before `now_ns`.
    pub fn last_minute(&mut self, now_ns: u64) -> Quantiles {
        self.advance(now_ns);
        let mut sum = histogram::<u32>(2);
        for part in &self.recent {
            sum.add(part).expect("of the same bounds");
        }
        Quantiles::of_ns(&sum)
    }

    /// Clears expired parts.
    fn advance(&mut self, now_ns: u64) {
        let part = now_ns / PART_NS;
        let over = part.saturating_sub(self.part).min(PARTS as u64);
        for ended in 0..over {
            self.recent[((part - ended) % PARTS as u64) as usize].reset();
        }
        self.part = self.part.max(part);
    }
}

/// Quantiles of a histogram, us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Maximum.
    pub max: f64,
}

impl Quantiles {
    /// Quantiles of a histogram in ns.
    pub fn of_ns<C: Counter>(histogram: &Histogram<C>) -> Quantiles {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        if histogram.is_empty() {
            return Quantiles::default();
        }
        Quantiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: us(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn last_minute_expires_and_lifetime_accumulates() {
        let mut latency = Latency::default();
        latency.record(9_000_000, 1_000 * S);
        latency.record(1_000, 1_030 * S);
        let minute = latency.last_minute(1_060 * S);
        // Two digits are within one percent.
        assert!(
            minute.count == 2 && (minute.max - 9_000.0).abs() < 90.0,
            "{minute:?}"
        );
        let minute = latency.last_minute(1_071 * S);
        assert_eq!((minute.count, minute.max.round()), (1, 1.0));
        assert_eq!(latency.last_minute(1_200 * S), Quantiles::default());
        assert_eq!(latency.lifetime().count, 2);
        // A long pause clears every part, and they are reused after it.
        latency.record(2_000, 50_000 * S);
        assert_eq!(latency.last_minute(50_001 * S).count, 1);
        // A clock that jumps back, as with another device, loses nothing.
        latency.record(2_000, 49_000 * S);
        assert_eq!(latency.last_minute(50_001 * S).count, 2);
    }
}

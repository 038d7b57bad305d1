//! Quantiles of a duration: over the whole run and over the last minute.

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

/// Longer durations count as this, ns: no override lives as long.
const MAX_NS: u64 = 60_000_000_000;

/// Length of one part of the last minute, ns, and how many there are: six
/// whole ones and the one under way.
const PART_NS: u64 = 10_000_000_000;
const PARTS: usize = 7;

/// A histogram of 1 ns to a minute with so many significant digits: with 3 it
/// takes 216 kB, with 2 (and counts of 32 bits) 16 kB.
pub(super) fn histogram<C: Counter>(digits: u8) -> Histogram<C> {
    Histogram::new_with_bounds(1, MAX_NS, digits).expect("bounds in order, at most 5 digits")
}

/// Durations of the whole run and of the last 60 to 70 seconds.
#[derive(Debug, Clone)]
pub struct Latency {
    lifetime: Histogram<u64>,
    recent: [Histogram<u32>; PARTS],
    /// Number of the part that is under way, from the clock's zero.
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
    /// Takes a duration that ended at `now_ns`.
    pub fn record(&mut self, duration_ns: u64, now_ns: u64) {
        self.advance(now_ns);
        self.lifetime.saturating_record(duration_ns);
        self.recent[(self.part % PARTS as u64) as usize].saturating_record(duration_ns);
    }

    /// Over the whole run.
    pub fn lifetime(&self) -> Quantiles {
        Quantiles::of_ns(&self.lifetime)
    }

    /// Over the last 60 to 70 seconds before `now_ns`.
    pub fn last_minute(&mut self, now_ns: u64) -> Quantiles {
        self.advance(now_ns);
        let mut sum = histogram::<u32>(2);
        for part in &self.recent {
            sum.add(part).expect("of the same bounds");
        }
        Quantiles::of_ns(&sum)
    }

    /// Empties the parts that are over.
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
    /// Values in it.
    pub count: u64,
    /// Half are at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Quantiles {
    /// Of a histogram of ns.
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
    fn the_last_minute_forgets_what_the_lifetime_keeps() {
        let mut latency = Latency::default();
        latency.record(9_000_000, 1_000 * S);
        latency.record(1_000, 1_030 * S);
        let minute = latency.last_minute(1_060 * S);
        // Two digits: within one percent.
        assert!(
            minute.count == 2 && (minute.max - 9_000.0).abs() < 90.0,
            "{minute:?}"
        );
        let minute = latency.last_minute(1_071 * S);
        assert_eq!((minute.count, minute.max.round()), (1, 1.0));
        assert_eq!(latency.last_minute(1_200 * S), Quantiles::default());
        assert_eq!(latency.lifetime().count, 2);
        // A long pause empties every part, and they are in use again after it.
        latency.record(2_000, 50_000 * S);
        assert_eq!(latency.last_minute(50_001 * S).count, 1);
        // A clock that goes back, as another device's may, loses nothing.
        latency.record(2_000, 49_000 * S);
        assert_eq!(latency.last_minute(50_001 * S).count, 2);
    }
}

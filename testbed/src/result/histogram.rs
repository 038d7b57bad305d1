//! Distributions in bounded memory, for any number of values.

/// Counts values in buckets of constant relative width: each value below
/// 2^`bits` has its own bucket, and each doubling above has 2^`bits` buckets.
/// Count, sum, extremes and variance are exact.
///
/// Merging adds counts, so the result does not depend on the order of values or
/// merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    bits: u32,
    /// Counts by bucket, up to the highest one used.
    counts: Vec<u64>,
    count: u64,
    least: u64,
    most: u64,
    sum: u128,
    /// Sum of squares; saturates at values of 2^50 and more, which are days in
    /// ns.
    squares: u128,
}

impl Default for Histogram {
    /// Quantiles are within 1/8192 of the exact value: 0.5 MB for delays of up
    /// to 100 ms.
    fn default() -> Histogram {
        Histogram::new(12)
    }
}

impl Histogram {
    /// Quantiles are within 1/256: a few kilobytes.
    pub fn coarse() -> Histogram {
        Histogram::new(7)
    }

    fn new(bits: u32) -> Histogram {
        Histogram {
            bits,
            counts: Vec::new(),
            count: 0,
            least: u64::MAX,
            most: 0,
            sum: 0,
            squares: 0,
        }
    }

    /// The distribution of `values`.
    pub fn of(values: &[u64]) -> Histogram {
        values.iter().copied().collect()
    }

    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        let bucket = self.bucket(value);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        self.sum += u128::from(value);
        let square = u128::from(value) * u128::from(value);
        self.squares = self.squares.saturating_add(square);
    }

    /// Counts the values of `other`, which has the same precision.
    pub fn merge(&mut self, other: &Histogram) {
        debug_assert_eq!(self.bits, other.bits);
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, new) in self.counts.iter_mut().zip(&other.counts) {
            *own += new;
        }
        self.count += other.count;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        self.sum += other.sum;
        self.squares = self.squares.saturating_add(other.squares);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The maximum; none without values.
    pub fn most(&self) -> Option<u64> {
        (self.count > 0).then_some(self.most)
    }

    /// About the smallest value that at least a share `q` of the values do not
    /// exceed (nearest rank): the middle of its bucket, within the extremes.
    /// `q` is clamped to 0..=1; none without values.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = (q.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        bucket.map(|bucket| self.middle(bucket).clamp(self.least, self.most))
    }

    /// Arithmetic mean; none without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Standard deviation of the population; none without values.
    pub fn stddev(&self) -> Option<f64> {
        let count = u128::from(self.count);
        // Exact up to here: the difference of two large numbers of one size.
        let scaled = match (
            self.squares.checked_mul(count),
            self.sum.checked_mul(self.sum),
        ) {
            (Some(squares), Some(sum)) => squares.saturating_sub(sum) as f64,
            _ => (self.squares as f64 * count as f64 - (self.sum as f64).powi(2)).max(0.0),
        };
        (count > 0).then(|| scaled.sqrt() / count as f64)
    }

    fn bucket(&self, value: u64) -> usize {
        // Bits below the bucket resolution.
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(self.bits + 1);
        ((u64::from(shift) << self.bits) + (value >> shift)) as usize
    }

    fn middle(&self, bucket: usize) -> u64 {
        let shift = ((bucket as u64) >> self.bits).saturating_sub(1);
        let first = bucket as u64 - (shift << self.bits);
        (first << shift) + ((1 << shift) >> 1)
    }
}

impl FromIterator<u64> for Histogram {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.add(value));
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::quantile;
    use crate::sim::Random;

    #[test]
    fn small_values_are_exact_and_large_ones_nearly() {
        let histogram = Histogram::default();
        for value in [0, 1, 4095, 4096, 8191] {
            assert_eq!(histogram.middle(histogram.bucket(value)), value);
        }
        for value in (0..64).map(|bit| (1u64 << bit) + (1 << bit) / 3) {
            let middle = histogram.middle(histogram.bucket(value));
            let error = (middle as f64 - value as f64).abs() / value as f64;
            assert!(error <= 1.0 / 8192.0, "{value}: {middle}");
        }
        assert!(histogram.bucket(u64::MAX) < 1 << 18);
    }

    #[test]
    fn quantiles_mean_and_deviation_match_the_values() {
        let mut random = Random::stream(3, "histogram");
        let mut values: Vec<u64> = (0..20_000)
            .map(|_| random.exponential(2e7) as u64)
            .collect();
        let histogram = Histogram::of(&values);
        values.sort_unstable();
        for q in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (found, exact) = (
                histogram.quantile(q).unwrap(),
                quantile(&values, q).unwrap(),
            );
            let error = (found as f64 - exact as f64).abs() / exact as f64;
            assert!(error <= 1.0 / 8192.0, "{q}: {found} or {exact}");
        }
        let mean = values.iter().sum::<u64>() as f64 / 2e4;
        let variance = values
            .iter()
            .map(|v| (*v as f64 - mean).powi(2))
            .sum::<f64>()
            / 2e4;
        assert!((histogram.mean().unwrap() / mean - 1.0).abs() < 1e-12);
        assert!((histogram.stddev().unwrap() / variance.sqrt() - 1.0).abs() < 1e-9);
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().stddev(), None);
    }

    /// A merge equals one histogram of all values, in any order.
    #[test]
    fn merges_are_sums() {
        let (a, b) = ([5, 5_000_000, 70], [1 << 40, 12]);
        let (mut ab, mut ba) = (Histogram::of(&a), Histogram::of(&b));
        ab.merge(&Histogram::of(&b));
        ba.merge(&Histogram::of(&a));
        assert_eq!(ab, ba);
        assert_eq!(ab, Histogram::of(&[5, 5_000_000, 70, 1 << 40, 12]));
        assert_eq!(ab.most(), Some(1 << 40));
    }
}

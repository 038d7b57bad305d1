//! Draws the windows of training steps.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::pool::Windows;
use crate::splitmix::SplitMix64;

/// Ranges of rows, drawn in proportion to `weight`.
#[derive(Debug, Clone, PartialEq)]
pub struct Portion {
    /// Rows to draw windows from.
    pub ranges: Vec<Range<usize>>,
    /// Share of the drawn records, relative to the other portions.
    pub weight: f64,
}

impl Portion {
    /// One portion in which every record has the same weight.
    pub fn plain(ranges: &[Range<usize>]) -> Vec<Portion> {
        vec![Portion {
            ranges: ranges.to_vec(),
            weight: 1.0,
        }]
    }
}

/// Draws batches of windows. All windows of a batch have the same length, so
/// nothing is padded; batches of shorter windows have more of them, for about
/// the same number of records.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    length: usize,
    shortest: usize,
    buckets: Vec<Bucket>,
    total: f64,
}

/// Windows of one portion and one length.
#[derive(Debug, Clone)]
struct Bucket {
    length: usize,
    until: f64, // sum of the weights up to and including this one
    windows: Windows,
}

impl Sampler {
    /// Draws windows of at most `length` rows, and shorter ones only where a
    /// range is shorter. With `shortest` below `length`, the length of each
    /// batch is random, `shortest` or more.
    pub(super) fn new(portions: &[Portion], length: usize, shortest: usize) -> Sampler {
        let mut sampler = Sampler {
            length,
            shortest: shortest.clamp(1, length),
            buckets: Vec::new(),
            total: 0.0,
        };
        for portion in portions {
            let mut by_length: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
            for range in portion.ranges.iter().filter(|r| !r.is_empty()) {
                let of = by_length.entry(range.len().min(length)).or_default();
                of.push(range.clone());
            }
            let all: usize = portion.ranges.iter().map(|r| r.len()).sum();
            for (length, ranges) in by_length {
                let rows: usize = ranges.iter().map(|r| r.len()).sum();
                sampler.total += portion.weight * rows as f64 / all as f64;
                sampler.buckets.push(Bucket {
                    length,
                    until: sampler.total,
                    windows: Windows::new(&ranges, length),
                });
            }
        }
        sampler
    }

    /// Whether there are no windows.
    pub(super) fn is_empty(&self) -> bool {
        self.total <= 0.0
    }

    /// Windows with about as many records as `count` windows of full length.
    /// `accept` may reject a window; others are drawn until one is accepted.
    pub(super) fn batch(
        &self,
        random: &mut SplitMix64,
        count: usize,
        mut accept: impl FnMut(&Range<usize>, &mut SplitMix64) -> bool,
    ) -> Vec<Range<usize>> {
        let whole = self.bucket(random, None).length;
        let most = self.shortest + below(random, self.length - self.shortest + 1);
        let length = whole.min(most);
        let count = (count * self.length / length).max(1);
        (0..count)
            .map(|_| {
                loop {
                    let windows = &self.bucket(random, Some(whole)).windows;
                    let rows = windows.rows(below(random, windows.len()));
                    let start = rows.start + below(random, rows.len() - length + 1);
                    let rows = start..start + length;
                    if accept(&rows, random) {
                        return rows;
                    }
                }
            })
            .collect()
    }

    /// A bucket by weight, among those of the given length.
    fn bucket(&self, random: &mut SplitMix64, length: Option<usize>) -> &Bucket {
        loop {
            let at = f64::from(random.uniform()) * self.total;
            let index = self.buckets.partition_point(|bucket| bucket.until <= at);
            let bucket = &self.buckets[index.min(self.buckets.len() - 1)];
            if length.is_none_or(|length| bucket.length == length) {
                return bucket;
            }
        }
    }
}

fn below(random: &mut SplitMix64, count: usize) -> usize {
    (random.next_u64() % count as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_has_one_window_length_and_a_constant_record_count() {
        let sampler = Sampler::new(&Portion::plain(&[0..50, 60..63, 70..78]), 8, 8);
        let mut random = SplitMix64::new(1);
        let mut lengths = BTreeMap::new();
        for _ in 0..2000 {
            let batch = sampler.batch(&mut random, 4, |_, _| true);
            let length = batch[0].len();
            assert!(batch.iter().all(|rows| rows.len() == length));
            assert_eq!(batch.len(), if length == 8 { 4 } else { 10 });
            assert!(length == 8 || batch[0] == (60..63));
            *lengths.entry(length).or_insert(0) += 1;
        }
        // 3 of 61 rows are in a short range.
        assert_eq!(lengths.len(), 2);
        assert!((60..150).contains(&lengths[&3]), "{lengths:?}");
    }

    #[test]
    fn portions_are_mixed_by_weight() {
        let portions = [(0..1000, 1.0), (2000..2010, 3.0), (3000..4000, 0.0)];
        let portions = portions.map(|(rows, weight)| Portion {
            ranges: vec![rows],
            weight,
        });
        let sampler = Sampler::new(&portions, 5, 5);
        let rows = sampler.batch(&mut SplitMix64::new(2), 4000, |_, _| true);
        let small = rows.iter().filter(|r| r.start >= 2000).count();
        assert!((2850..3150).contains(&small), "{small}");
        assert!(rows.iter().all(|r| r.start < 3000));
    }

    #[test]
    fn lengths_and_starts_vary() {
        let sampler = Sampler::new(&Portion::plain(&[100..115, 115..130]), 10, 4);
        let mut random = SplitMix64::new(3);
        let batches: Vec<_> = (0..500)
            .map(|_| sampler.batch(&mut random, 2, |_, _| true))
            .collect();
        let lengths: std::collections::BTreeSet<_> = batches.iter().map(|b| b[0].len()).collect();
        assert_eq!(Vec::from_iter(lengths), [4, 5, 6, 7, 8, 9, 10]);
        let rows = || batches.iter().flatten();
        assert_eq!(rows().map(|r| r.start).min(), Some(100));
        assert_eq!(rows().map(|r| r.end).max(), Some(130));
    }

    #[test]
    fn windows_are_invertible() {
        let sampler = Sampler::new(&Portion::plain(&[0..40, 50..60]), 4, 4);
        let rows = sampler.batch(&mut SplitMix64::new(4), 50, |rows, _| rows.end % 7 == 0);
        assert!(rows.iter().all(|rows| rows.end % 7 == 0));
    }
}

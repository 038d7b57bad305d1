//! A set of half-open byte ranges, kept sorted and merged.
//!
//! Contains the data received beyond a gap, at both ends of a stream. It has
//! one element per gap, a handful even under heavy loss, so a sorted ring beats
//! a tree and allocates only when it grows.

use std::collections::VecDeque;

/// Sorted, disjoint, non-adjacent ranges.
#[derive(Debug, Default)]
pub(super) struct Ranges(VecDeque<(u64, u64)>);

impl Ranges {
    /// Adds `start .. end` and calls `fresh` with each part that was not in the
    /// set before, in ascending order.
    pub fn insert(&mut self, start: u64, end: u64, mut fresh: impl FnMut(u64, u64)) {
        if start >= end {
            return;
        }
        // Overlapping and adjacent ranges are first .. last.
        let first = self.0.partition_point(|&(_, e)| e < start);
        let mut last = first;
        let mut at = start;
        let (mut low, mut high) = (start, end);
        while let Some(&(s, e)) = self.0.get(last).filter(|&&(s, _)| s <= end) {
            if at < s {
                fresh(at, s);
            }
            at = at.max(e);
            low = low.min(s);
            high = high.max(e);
            last += 1;
        }
        if at < end {
            fresh(at, end);
        }
        if first == last {
            self.0.insert(first, (low, high));
        } else {
            self.0[first] = (low, high);
            self.0.drain(first + 1..last);
        }
    }

    /// Removes everything below `floor`.
    pub fn remove_below(&mut self, floor: u64) {
        while let Some(front) = self.0.front_mut() {
            if front.1 <= floor {
                self.0.pop_front();
            } else {
                front.0 = front.0.max(floor);
                return;
            }
        }
    }

    /// Removes the range that begins at or below `at` and extends beyond it,
    /// and all lower ranges; returns its end.
    pub fn take_contiguous(&mut self, at: u64) -> Option<u64> {
        self.remove_below(at);
        let &(start, end) = self.0.front()?;
        (start <= at).then(|| {
            self.0.pop_front();
            end
        })
    }

    /// The range that contains `at`.
    pub fn containing(&self, at: u64) -> Option<(u64, u64)> {
        let i = self.0.partition_point(|&(_, e)| e <= at);
        self.0.get(i).copied().filter(|&(s, _)| s <= at)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(ranges: &mut Ranges, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut fresh = Vec::new();
        ranges.insert(start, end, |s, e| fresh.push((s, e)));
        fresh
    }

    #[test]
    fn bytes_covered_before_are_not_reported() {
        let mut r = Ranges::default();
        assert_eq!(insert(&mut r, 10, 20), [(10, 20)]);
        assert_eq!(insert(&mut r, 30, 40), [(30, 40)]);
        assert_eq!(insert(&mut r, 10, 20), []);
        assert_eq!(insert(&mut r, 5, 50), [(5, 10), (20, 30), (40, 50)]);
        assert_eq!(r.0, [(5, 50)]);
        assert_eq!(insert(&mut r, 50, 60), [(50, 60)]);
        assert_eq!(insert(&mut r, 60, 60), []);
        assert_eq!(r.0, [(5, 60)]);
    }

    #[test]
    fn agrees_with_a_bitmap() {
        let mut state = 7u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        let mut r = Ranges::default();
        let mut map = [false; 200];
        let mut floor = 0;
        for _ in 0..5000 {
            if random(50) == 0 {
                floor = random(200);
                r.remove_below(floor);
                map[..floor as usize].fill(false);
            }
            let start = floor + random(200 - floor);
            let end = start + random((200 - start).min(9) + 1);
            for (s, e) in insert(&mut r, start, end) {
                for cell in &mut map[s as usize..e as usize] {
                    assert!(!*cell);
                    *cell = true;
                }
            }
            for at in 0..200u64 {
                assert_eq!(r.containing(at).is_some(), map[at as usize]);
            }
            assert!(r.0.iter().zip(r.0.iter().skip(1)).all(|(a, b)| a.1 < b.0));
        }
    }

    #[test]
    fn merges_ranges_joined_by_a_filled_gap() {
        let mut r = Ranges::default();
        insert(&mut r, 10, 20);
        insert(&mut r, 30, 40);
        assert_eq!(r.take_contiguous(5), None);
        assert_eq!(r.take_contiguous(10), Some(20));
        assert_eq!(r.take_contiguous(35), Some(40));
        assert!(r.is_empty());
    }
}

//! Estimates of BBR: the bottleneck's rate and the aggregation of acknowledgements.

use std::collections::VecDeque;

/// The maximum of the last rounds.
#[derive(Debug, Default)]
pub(super) struct WindowedMax {
    /// Candidates, (round, value): later ones are smaller.
    candidates: VecDeque<(u64, f64)>,
}

impl WindowedMax {
    /// Adds a value of `round` and forgets those more than `window` rounds older.
    pub fn update(&mut self, round: u64, value: f64, window: u64) {
        while self.candidates.back().is_some_and(|last| last.1 <= value) {
            self.candidates.pop_back();
        }
        self.candidates.push_back((round, value));
        while { self.candidates.front() }.is_some_and(|first| first.0 + window < round) {
            self.candidates.pop_front();
        }
    }

    /// The maximum; 0 before the first value.
    pub fn max(&self) -> f64 {
        self.candidates.front().map_or(0.0, |first| first.1)
    }
}

/// Rounds of each of the two halves of the aggregation's window.
const AGGREGATION_ROUNDS: u32 = 5;
/// Longest time of aggregation that the window allows for, s.
const MAX_AGGREGATION_S: f64 = 0.1;
/// An epoch ends after this many segments: Linux counts them in 20 bits.
const MAX_EPOCH_SEGMENTS: f64 = 0xf_ffff as f64;

/// Segments acknowledged in excess of the bottleneck's rate, as when a link or a
/// receiver aggregates acknowledgements (Linux since 5.1).
#[derive(Debug, Default)]
pub(super) struct Aggregation {
    epoch_ns: u64,
    epoch_acked: f64,
    /// Maxima of the current and the previous half of the window.
    extra: [f64; 2],
    rounds: u32,
}

impl Aggregation {
    /// Counts `acked` segments; `bandwidth` in segments/s.
    pub fn update(&mut self, now_ns: u64, acked: u32, bandwidth: f64, round: bool, window: f64) {
        if round {
            self.rounds += 1;
            if self.rounds >= AGGREGATION_ROUNDS {
                self.rounds = 0;
                self.extra = [0.0, self.extra[0]];
            }
        }
        let acked = f64::from(acked);
        let mut expected = bandwidth * now_ns.saturating_sub(self.epoch_ns) as f64 / 1e9;
        if self.epoch_acked <= expected || self.epoch_acked + acked >= MAX_EPOCH_SEGMENTS {
            self.restart(now_ns);
            expected = 0.0;
        }
        self.epoch_acked += acked;
        let extra = (self.epoch_acked - expected).min(window);
        self.extra[0] = self.extra[0].max(extra);
    }

    /// Begins a new epoch.
    pub fn restart(&mut self, now_ns: u64) {
        self.epoch_ns = now_ns;
        self.epoch_acked = 0.0;
    }

    /// Segments to add to the window.
    pub fn allowance(&self, bandwidth: f64) -> f64 {
        let [current, previous] = self.extra;
        current.max(previous).min(bandwidth * MAX_AGGREGATION_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_filter_is_the_maximum_of_the_last_rounds(
            steps in prop::collection::vec((0u64..3, 0.0f64..100.0), 1..200)
        ) {
            let (mut filter, mut all, mut round) = (WindowedMax::default(), Vec::new(), 0);
            for (rounds, value) in steps {
                round += rounds;
                filter.update(round, value, 10);
                all.push((round, value));
                let recent = all.iter().filter(|(at, _)| at + 10 >= round);
                let expected = recent.map(|(_, value)| *value).fold(0.0, f64::max);
                prop_assert_eq!(filter.max(), expected);
            }
        }
    }

    /// Ten segments at once every 10 ms, at 1000 segments/s: ten in excess.
    #[test]
    fn aggregated_acknowledgements_are_in_excess() {
        let mut aggregation = Aggregation::default();
        for burst in 1..20 {
            aggregation.update(burst * 10_000_000, 10, 1000.0, true, 100.0);
        }
        assert_eq!(aggregation.allowance(1000.0), 10.0);
        assert_eq!(aggregation.allowance(50.0), 5.0, "at most 100 ms");
        // One by one: at most one, once the bursts are out of the window.
        for at in 200..400 {
            aggregation.update(at * 1_000_000, 1, 1000.0, at % 10 == 0, 100.0);
        }
        assert!(aggregation.allowance(1000.0) <= 2.0, "{aggregation:?}");
    }
}

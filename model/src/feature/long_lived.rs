//! Detection of long-lived flows.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Bits set by a summary's flows (`L4S_FLOW_BITS`).
type Flows = [u64; 4];

/// Detects flows that sent in every piece of the last seconds.
///
/// Summaries are merged into pieces of at least [`PIECE`]; a flow that sent in
/// all of them has its bit set in all of them. Short flows that share a bit can
/// look like one: with a third of the bits set, a bit is set in all eight pieces
/// with a probability of 3^-8.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LongLived {
    persistence: f64,
    pieces: VecDeque<(Flows, f64)>,
    /// The incomplete piece.
    open: (Flows, f64),
}

/// Length of a piece, s: a round trip of a long path, so that a flow that waits
/// for acknowledgments does not count as ended.
const PIECE: f64 = 0.5;

/// Tolerance, because summaries do not add up to a piece exactly.
const ROUNDING: f64 = 1e-6;

impl LongLived {
    /// No flows yet; a flow is long-lived after `persistence` seconds.
    pub fn over(persistence: f64) -> LongLived {
        LongLived {
            persistence,
            pieces: VecDeque::new(),
            open: ([0; 4], 0.0),
        }
    }

    /// Adds an interval of `dt` seconds in which `flows` sent.
    pub fn add(&mut self, flows: Flows, dt: f64) {
        let (bits, length) = &mut self.open;
        for (bits, flows) in bits.iter_mut().zip(flows) {
            *bits |= flows;
        }
        *length += dt;
        if *length < PIECE - ROUNDING {
            return;
        }
        self.pieces.push_back(self.open);
        self.open = ([0; 4], 0.0);
        let mut total: f64 = self.pieces.iter().map(|piece| piece.1).sum();
        while let Some((_, oldest)) = self.pieces.front() {
            total -= oldest;
            if total < self.persistence - ROUNDING {
                break;
            }
            self.pieces.pop_front();
        }
    }

    /// Bits of the long-lived flows. In the first seconds, a flow that has sent
    /// since the beginning is included.
    pub fn count(&self) -> u32 {
        if self.pieces.is_empty() {
            return 0;
        }
        let all = |word: usize| {
            self.pieces
                .iter()
                .fold(u64::MAX, |bits, piece| bits & piece.0[word])
        };
        (0..4).map(|word| all(word).count_ones()).sum()
    }

    /// Whether a long-lived flow sends.
    pub fn any(&self) -> bool {
        self.count() > 0
    }

    /// Discards all flows.
    pub fn reset(&mut self) {
        self.pieces.clear();
        self.open = ([0; 4], 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(to: &mut LongLived, word: u64, seconds: f64, dt: f64) {
        for _ in 0..(seconds / dt).round() as u64 {
            to.add([0, word, 0, 0], dt);
        }
    }

    #[test]
    fn a_flow_is_long_lived_once_it_sent_in_every_piece() {
        for dt in [0.02_f64, 0.1, 0.25, 1.0, 3.0] {
            let mut flows = LongLived::over(4.0);
            assert!(!flows.any());
            // Another flow in each interval.
            for number in 0..400 {
                flows.add([1 << (number % 64), 0, 0, 0], dt.max(0.5));
            }
            assert!(!flows.any(), "{dt}");
            // One flow among the others; it is in every piece after 4 s, or 3 s
            // later with pieces of that length.
            add(&mut flows, 2, 3.0, dt.min(1.0));
            assert!(!flows.any(), "{dt}");
            add(&mut flows, 2, 6.0, dt);
            assert!(flows.any(), "{dt}");
            // A piece without the flow ends it.
            add(&mut flows, 0, 3.0, dt);
            assert!(!flows.any(), "{dt}");
        }
    }

    #[test]
    fn silence_within_a_piece_does_not_matter() {
        let mut flows = LongLived::over(4.0);
        for _ in 0..40 {
            flows.add([0, 0, 0, 1], 0.1);
            flows.add([0; 4], 0.4);
        }
        assert!(flows.any());
    }
}

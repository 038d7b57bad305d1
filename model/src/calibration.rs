//! Calibration of probabilities.

use serde::Serialize;

use crate::ACTIONS;

/// Bins of confidence, of equal width.
const BINS: usize = 10;

/// Minimum probability in the loss, so that one confident mistake does not make
/// it infinite.
const FLOOR: f64 = 1e-12;

/// Collects probabilities and outcomes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibration {
    bins: [Sums; BINS],
    losses: f64,
    squares: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    decisions: u64,
    right: u64,
    confidence: f64,
}

/// The summary of a [`Calibration`]. Confidence is the probability of the most
/// probable action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// Expected calibration error: |accuracy - confidence|, averaged over ten
    /// bins of confidence by their decisions (Naeini et al. 2015).
    pub expected_calibration_error: f64,
    /// Mean negative log-likelihood of the outcomes, nats.
    pub log_loss: f64,
    /// Brier score: squared distance to the outcome, summed over the actions, 0
    /// to 2.
    pub brier: f64,
    /// The bins with decisions.
    pub bins: Vec<Bin>,
}

/// Decisions of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Confidence above this …
    pub from: f64,
    /// … and up to this.
    pub to: f64,
    /// Decisions in the bin.
    pub decisions: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// Accuracy of the decisions.
    pub accuracy: f64,
}

impl Calibration {
    /// Adds the probabilities of one decision and the code of its outcome.
    pub fn add(&mut self, probabilities: &[f32; ACTIONS], actual: usize) {
        let p = probabilities.map(f64::from);
        let best = (0..ACTIONS).fold(0, |best, a| if p[a] > p[best] { a } else { best });
        // Bin i contains values above i / BINS, so that 1 is in the last.
        let bin = ((p[best] * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let sums = &mut self.bins[bin];
        sums.decisions += 1;
        sums.right += u64::from(best == actual);
        sums.confidence += p[best];
        self.losses -= p[actual].max(FLOOR).ln();
        self.squares += (0..ACTIONS)
            .map(|a| (p[a] - f64::from(u8::from(a == actual))).powi(2))
            .sum::<f64>();
    }

    /// The summary; none without decisions.
    pub fn reliability(&self) -> Option<Reliability> {
        let all: u64 = self.bins.iter().map(|bin| bin.decisions).sum();
        if all == 0 {
            return None;
        }
        let edge = |i: usize| i as f64 / BINS as f64;
        let bins: Vec<Bin> = self
            .bins
            .iter()
            .enumerate()
            .filter(|(_, sums)| sums.decisions > 0)
            .map(|(i, sums)| Bin {
                from: edge(i),
                to: edge(i + 1),
                decisions: sums.decisions,
                confidence: sums.confidence / sums.decisions as f64,
                accuracy: sums.right as f64 / sums.decisions as f64,
            })
            .collect();
        let gaps = bins
            .iter()
            .map(|bin| (bin.accuracy - bin.confidence).abs() * bin.decisions as f64);
        Some(Reliability {
            expected_calibration_error: gaps.sum::<f64>() / all as f64,
            log_loss: self.losses / all as f64,
            brier: self.squares / all as f64,
            bins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_as_probabilities_are_calibrated() {
        let mut calibration = Calibration::default();
        for i in 0..100 {
            calibration.add(&[0.75, 0.25, 0.0], usize::from(i % 4 == 0));
        }
        let reliability = calibration.reliability().unwrap();
        assert!(reliability.expected_calibration_error < 1e-12);
        let entropy = -(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert!((reliability.log_loss - entropy).abs() < 1e-12);
        assert!((reliability.brier - 2.0 * 0.75 * 0.25).abs() < 1e-12);
        assert_eq!(reliability.bins.len(), 1);
        assert_eq!(
            (reliability.bins[0].from, reliability.bins[0].to),
            (0.7, 0.8)
        );
    }

    #[test]
    fn overconfidence_is_miscalibration() {
        let mut calibration = Calibration::default();
        for i in 0..10 {
            calibration.add(&[1.0, 0.0, 0.0], usize::from(i < 4));
        }
        let reliability = calibration.reliability().unwrap();
        assert!((reliability.expected_calibration_error - 0.4).abs() < 1e-12);
        assert!((reliability.brier - 0.8).abs() < 1e-12);
        assert!(reliability.log_loss.is_finite());
        assert_eq!(Calibration::default().reliability(), None);
    }
}

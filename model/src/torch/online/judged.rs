//! How a run compares with the baselines of the same draws.

use crate::Outcome;

/// What a doubling, or e-folding, of the L4S queue's 99th percentile costs: a
/// part of what the classic queue's delay does.
const L4S_WEIGHT: f64 = 0.15;
/// L4S delays below this are all the same, ms.
const L4S_LEAST_MS: f64 = 0.05;
/// Part of tuned's fairness that costs nothing to lose.
const FAIR: f64 = 0.98;
/// What the rest of Jain's index costs.
const FAIRNESS_WEIGHT: f64 = 4.0;
/// Least square of a delay, ms²: a queue that is always empty has none.
const LEAST_SQUARE: f64 = 1e-4;

/// Share of utilisation from which losses count for less and less: a condition
/// in which a lot is lost would else outweigh all others.
const LARGE_LOSS: f64 = 0.05;

/// A run next to plain and tuned DualPI2 with the same draws.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Judged {
    /// ln(√(mean · 99th percentile)) of the classic queue's delay relative to
    /// tuned's.
    pub delay: f64,
    /// Share of the utilisation of the better of plain and tuned that is lost;
    /// below 0: gained.
    pub loss: f64,
    /// What is lost in fairness and in the L4S queue, in units of the delay.
    pub harm: f64,
}

impl Judged {
    /// None where no classic packet was forwarded, or nothing at all.
    pub fn of(run: &Outcome, plain: &Outcome, tuned: &Outcome) -> Option<Judged> {
        let best = plain.utilisation.max(tuned.utilisation);
        let l4s = match (run.l4s_p99_ms, tuned.l4s_p99_ms) {
            (Some(own), Some(tuned)) => {
                L4S_WEIGHT * (own.max(L4S_LEAST_MS) / tuned.max(L4S_LEAST_MS)).ln()
            }
            _ => 0.0,
        };
        let unfair = match (run.jain, tuned.jain) {
            (Some(own), Some(tuned)) => FAIRNESS_WEIGHT * (FAIR * tuned - own).max(0.0),
            _ => 0.0,
        };
        let judged = Judged {
            delay: log_delay(run)? - log_delay(tuned)?,
            loss: 1.0 - run.utilisation / best,
            harm: l4s + unfair,
        };
        (best > 0.0).then_some(judged)
    }

    /// The cost under an idle budget, a share of link time: delay and harm, and
    /// `caution` for each budget that is lost above the share `margin` of one.
    pub fn cost(&self, budget: f64, caution: f64, margin: f64) -> f64 {
        let over = (self.moderated_loss() / budget - margin).max(0.0);
        self.delay + self.harm + caution * over
    }

    /// The loss as costs count it: s ln(1 + loss / s) with s = 5 %. A gain stays.
    pub fn moderated_loss(&self) -> f64 {
        match self.loss > 0.0 {
            true => LARGE_LOSS * (self.loss / LARGE_LOSS).ln_1p(),
            false => self.loss,
        }
    }

    /// The mean of repetitions.
    pub fn mean(runs: &[Judged]) -> Judged {
        let mean = |of: fn(&Judged) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        Judged {
            delay: mean(|run| run.delay),
            loss: mean(|run| run.loss),
            harm: mean(|run| run.harm),
        }
    }
}

/// ln(√(mean · 99th percentile in ms²)): neither a short tail on a long queue
/// nor the reverse passes for good.
fn log_delay(run: &Outcome) -> Option<f64> {
    let square = run.classic_mean_ms? * run.classic_p99_ms?;
    Some(0.5 * square.max(LEAST_SQUARE).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(utilisation: f64, mean_ms: f64, jain: f64) -> Outcome {
        Outcome {
            utilisation,
            classic_mean_ms: Some(mean_ms),
            classic_p99_ms: Some(4.0 * mean_ms),
            l4s_p99_ms: Some(mean_ms / 10.0),
            jain: Some(jain),
            ..Outcome::default()
        }
    }

    #[test]
    fn a_run_is_compared_with_its_baselines() {
        let (plain, tuned) = (outcome(1.0, 16.0, 0.9), outcome(0.98, 8.0, 0.9));
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
        let same = Judged::of(&tuned, &plain, &tuned).unwrap();
        assert_eq!((same.delay, same.harm), (0.0, 0.0));
        near(same.loss, 0.02);
        let half = Judged::of(&outcome(0.99, 4.0, 0.8), &plain, &tuned).unwrap();
        near(half.delay, 0.5f64.ln());
        near(half.loss, 0.01);
        near(half.harm, 0.15 * 0.5f64.ln() + 4.0 * (0.98 * 0.9 - 0.8));
        // One budget of 1 % is lost, of which 0.6 are free.
        let lost = 5.0 * f64::ln(1.2);
        near(half.moderated_loss(), lost / 100.0);
        near(
            half.cost(0.01, 2.0, 0.6),
            half.delay + half.harm + 2.0 * (lost - 0.6),
        );
        near(half.cost(0.02, 2.0, 0.6), half.delay + half.harm);
        let gained = Judged { loss: -0.1, ..half };
        near(gained.moderated_loss(), -0.1);
        assert_eq!(Judged::of(&Outcome::default(), &plain, &tuned), None);
        near(Judged::mean(&[same, half]).loss, 0.015);
    }
}

//! Costs of training in the loop: of a run, compared with the baselines on the same
//! draws, and of one period.

use l4sllm_abi::Queue;

use crate::{IdleBudget, Outcome, Period};

/// Cost of a doubling, or e-folding, of the L4S queue's 99th percentile,
/// relative to that of the classic queue's delay.
const L4S_WEIGHT: f64 = 0.15;
/// L4S delays below this count as equal, ms.
const L4S_LEAST_MS: f64 = 0.05;
/// Share of tuned DualPI2's fairness that may be lost at no cost.
const FAIR: f64 = 0.98;
/// Cost of losing the rest of Jain's index.
const FAIRNESS_WEIGHT: f64 = 4.0;
/// Delay of the classic queue at which a period costs nothing, ms: the target of tuned
/// DualPI2, which [`Judged::of`] compares with.
const PERIOD_CLASSIC_MS: f64 = 10.0;
/// The same for the L4S queue, ms: its step threshold.
const PERIOD_L4S_MS: f64 = 1.0;
/// Lower bound of a squared delay, ms²: an always empty queue has a delay of 0.
const LEAST_SQUARE: f64 = 1e-4;

/// Loss of utilisation above which the cost grows more slowly, as a share:
/// otherwise a condition with a large loss would outweigh all others.
const LARGE_LOSS: f64 = 0.05;

/// A run compared with plain and tuned DualPI2 on the same draws.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Judged {
    /// ln(√(mean · 99th percentile)) of the classic queue's delay relative to
    /// that of tuned.
    pub delay: f64,
    /// Share of the utilisation of the better of plain and tuned that is lost;
    /// negative if gained.
    pub loss: f64,
    /// Loss of fairness and L4S delay, in units of the delay.
    pub harm: f64,
}

impl Judged {
    /// `None` if no classic packet, or no packet at all, was forwarded.
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

    /// One period, without baselines: the delay is ln(√(mean · maximum) / 10 ms) of the
    /// classic queue, the loss is the link's idle share, and the harm is that of the
    /// maximum of the L4S queue above 1 ms. A queue that forwarded nothing has no delay,
    /// which counts as 0. Fairness cannot be seen in a summary.
    pub fn of_period(period: &Period) -> Judged {
        let delays = |queue: Queue| {
            let queue = period.queue(queue);
            let (_, most_ns) = queue.sojourn_range_ns()?;
            Some((queue.mean_sojourn_ns()? / 1e6, most_ns as f64 / 1e6))
        };
        let classic = delays(Queue::Classic).map(|(mean, most)| {
            0.5 * (mean * most).max(LEAST_SQUARE).ln() - PERIOD_CLASSIC_MS.ln()
        });
        let l4s = delays(Queue::L4s)
            .map(|(_, most)| L4S_WEIGHT * (most.max(L4S_LEAST_MS) / PERIOD_L4S_MS).ln());
        let idle = period.idle_ns as f64 / period.duration_ns().max(1) as f64;
        Judged {
            delay: classic.unwrap_or(0.0),
            loss: idle.min(1.0),
            harm: l4s.unwrap_or(0.0),
        }
    }

    /// Cost under an idle budget, a share of link time: delay and harm, plus
    /// `caution` for each budget lost in excess of the share `margin` of one.
    pub fn cost(&self, budget: f64, caution: f64, margin: f64) -> f64 {
        let over = (self.moderated_loss() / budget - margin).max(0.0);
        self.delay + self.harm + caution * over
    }

    /// The loss as used in costs: s ln(1 + loss / s) with s = 5 %. Gains are
    /// unchanged.
    pub fn moderated_loss(&self) -> f64 {
        match self.loss > 0.0 {
            true => LARGE_LOSS * (self.loss / LARGE_LOSS).ln_1p(),
            false => self.loss,
        }
    }

    /// Mean over repetitions.
    pub fn mean(runs: &[Judged]) -> Judged {
        let mean = |of: fn(&Judged) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        Judged {
            delay: mean(|run| run.delay),
            loss: mean(|run| run.loss),
            harm: mean(|run| run.harm),
        }
    }
}

/// Cost of a period, whose negative is the reward of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeriodCost {
    /// Share of the link's time that may be idle.
    pub budget: IdleBudget,
    /// Cost of each budget lost beyond `margin`.
    pub caution: f64,
    /// Share of the budget that may be lost without cost, 0 to 1.
    pub margin: f64,
}

impl PeriodCost {
    /// The cost of `period`: [`Judged::cost`] of [`Judged::of_period`].
    pub fn of(&self, period: &Period) -> f64 {
        Judged::of_period(period).cost(self.budget.share(), self.caution, self.margin)
    }
}

/// ln(√(mean · 99th percentile in ms²)), which penalises both a long queue with
/// a short tail and a short queue with a long tail.
fn log_delay(run: &Outcome) -> Option<f64> {
    let square = run.classic_mean_ms? * run.classic_p99_ms?;
    Some(0.5 * square.max(LEAST_SQUARE).ln())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use l4sllm_abi::{Summary, header, raw};

    use super::*;
    use crate::Periods;

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
    fn run_is_compared_with_its_baselines() {
        let (plain, tuned) = (outcome(1.0, 16.0, 0.9), outcome(0.98, 8.0, 0.9));
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
        let same = Judged::of(&tuned, &plain, &tuned).unwrap();
        assert_eq!((same.delay, same.harm), (0.0, 0.0));
        near(same.loss, 0.02);
        let half = Judged::of(&outcome(0.99, 4.0, 0.8), &plain, &tuned).unwrap();
        near(half.delay, 0.5f64.ln());
        near(half.loss, 0.01);
        near(half.harm, 0.15 * 0.5f64.ln() + 4.0 * (0.98 * 0.9 - 0.8));
        // The loss is one budget of 1 %, and 0.6 of it is free.
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
    /// A period of 100 ms with an idle link for `idle_ms`; each queue forwarded two
    /// packets with these mean and maximum delays, in ms.
    fn period(idle_ms: u64, delays: [Option<(f64, f64)>; 2]) -> Period {
        let mut s = raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, 0, 100_000_000),
            idle_ns: idle_ms * 1_000_000,
            target_ns: 15_000_000,
            tupdate_ns: 16_000_000,
            ..Default::default()
        };
        for (queue, delay) in s.queue.iter_mut().zip(delays) {
            let Some((mean, most)) = delay else { continue };
            queue.forwarded = 2;
            queue.sojourn_sum_ns = (2.0 * mean * 1e6) as u64;
            queue.sojourn_max_ns = (most * 1e6) as u64;
        }
        let summary = Summary::try_from(s).unwrap();
        Periods::of(100_000_000).add(&summary).unwrap()
    }

    #[test]
    fn period_costs_delay_and_idle_time() {
        let cost = PeriodCost {
            budget: IdleBudget::new(0.01).unwrap(),
            caution: 2.0,
            margin: 0.6,
        };
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got} {want}");
        let tuned = [Some((5.0, 20.0)), Some((0.5, 1.0))];
        near(cost.of(&period(0, tuned)), 0.0);
        let short = [Some((1.0, 4.0)), Some((0.5, 2.0))];
        let want = 0.2f64.ln() + 0.15 * 2.0f64.ln();
        near(cost.of(&period(0, short)), want);
        // 5 % of the time is five budgets, ln 2 of which count.
        let lost = 5.0 * 2.0f64.ln();
        near(cost.of(&period(5, short)), want + 2.0 * (lost - 0.6));
        // An empty queue has no delay.
        near(Judged::of_period(&period(100, [None, None])).delay, 0.0);
        near(Judged::of_period(&period(100, [None, None])).loss, 1.0);
    }
}

//! Weights of a lesson's conditions: the multipliers of the constraints on
//! utilisation, and the weight of the worst cases.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Range of a multiplier.
const MULTIPLIERS: (f64, f64) = (0.25, 4.0);

/// Highest excess of a condition, in budgets: a single large loss does not decide about
/// a family.
const MOST_EXCESS: f64 = 3.0;

/// Mean excess that a family may have, in budgets. It is small, so that few conditions
/// lose more than the budget.
const ALLOWED_EXCESS: f64 = 0.1;

/// How much a condition counts in a lesson.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Emphasis {
    /// Weight in the mean cost; 1 on average.
    pub weight: f64,
    /// Factor on the cost of losses beyond the budget.
    pub multiplier: f64,
}

impl Default for Emphasis {
    fn default() -> Self {
        Emphasis {
            weight: 1.0,
            multiplier: 1.0,
        }
    }
}

/// Result of a policy's own run in a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Family of the condition.
    pub family: String,
    /// Loss of utilisation in budgets ([`Judged::moderated_loss`]).
    ///
    /// [`Judged::moderated_loss`]: super::Judged::moderated_loss
    pub spent: f64,
    /// Cost above the adaptive rule's in the same condition.
    pub excess: f64,
}

/// Lagrange multipliers of the constraint on a family of conditions: the mean of what
/// each loses in excess of its idle budget is at most a tenth of a budget. Unused budgets
/// do not make up for losses elsewhere. Families that are not listed have 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Multipliers(BTreeMap<String, f64>);

impl Multipliers {
    /// The multiplier of a family.
    pub fn of(&self, family: &str) -> f64 {
        self.0.get(family).copied().unwrap_or(1.0)
    }

    /// The multipliers after a step of dual ascent on their logarithm: each changes by
    /// `step` times its family's mean violation, in budgets.
    #[must_use]
    pub fn ascend<'a>(
        &self,
        standings: impl IntoIterator<Item = &'a Standing>,
        step: f64,
    ) -> Multipliers {
        let mut violations: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for standing in standings {
            let (sum, count) = violations.entry(&standing.family).or_default();
            *sum += (standing.spent - 1.0).clamp(0.0, MOST_EXCESS) - ALLOWED_EXCESS;
            *count += 1.0;
        }
        let mut ascended = self.clone();
        for (family, (sum, count)) in violations {
            let multiplier = self.of(family) * (step * sum / count).exp();
            let within = multiplier.clamp(MULTIPLIERS.0, MULTIPLIERS.1);
            ascended.0.insert(family.to_owned(), within);
        }
        ascended
    }

    /// The emphasis of conditions with these standings: the multiplier of the family,
    /// and the weight in (1 − `share`) · mean + `share` · CVaR, the mean over the
    /// `level` with the highest [`Standing::excess`] (Rockafellar and Uryasev 2000).
    /// Conditions without a standing count once.
    pub fn emphasis(
        &self,
        standings: &[Option<Standing>],
        level: f64,
        share: f64,
    ) -> Vec<Emphasis> {
        let known = standings.iter().flatten();
        let mut excesses: Vec<f64> = known.map(|standing| standing.excess).collect();
        excesses.sort_by(|a, b| b.total_cmp(a));
        let worst = (level * excesses.len() as f64).ceil().max(1.0);
        let threshold = excesses.get(worst as usize - 1).copied();
        let in_tail = share * excesses.len() as f64 / worst;
        let weight = |excess: f64| match threshold {
            Some(threshold) if excess >= threshold => 1.0 - share + in_tail,
            _ => 1.0 - share,
        };
        let emphasis = |standing: &Option<Standing>| match standing {
            None => Emphasis::default(),
            Some(standing) => Emphasis {
                weight: weight(standing.excess),
                multiplier: self.of(&standing.family),
            },
        };
        standings.iter().map(emphasis).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(family: &str, spent: f64, excess: f64) -> Standing {
        Standing {
            family: family.to_owned(),
            spent,
            excess,
        }
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn multipliers_follow_the_mean_violation() {
        let standings = [
            standing("over", 3.0, 0.0),
            standing("over", 0.2, 0.0),
            standing("under", 0.5, 0.0),
            standing("even", 1.1, 0.0),
            // The excess counts as three budgets; what is gained does not count.
            standing("uneven", 90.0, 0.0),
            standing("uneven", -50.0, 0.0),
        ];
        let once = Multipliers::default().ascend(&standings, 0.5);
        near(once.of("over"), 0.45f64.exp());
        near(once.of("under"), (-0.05f64).exp());
        near(once.of("even"), 1.0);
        near(once.of("uneven"), 0.7f64.exp());
        near(once.of("unknown"), 1.0);
        let twice = once.ascend(&standings[..2], 0.5);
        near(twice.of("over"), 0.9f64.exp());
        near(twice.of("under"), once.of("under"));
        let bounded = (0..99).fold(twice, |m, _| m.ascend(&standings, 0.5));
        assert_eq!((bounded.of("over"), bounded.of("under")), (4.0, 0.25));
    }

    #[test]
    fn the_worst_share_has_the_weight_of_its_cvar() {
        let mut standings: Vec<_> = (0..10)
            .map(|i| Some(standing("a", 1.0, f64::from(i))))
            .collect();
        standings.insert(3, None);
        let multipliers = Multipliers::default().ascend(standings.iter().flatten(), 1.0);
        let weights = |level, share| -> Vec<f64> {
            let all = multipliers.emphasis(&standings, level, share);
            all.iter().map(|emphasis| emphasis.weight).collect()
        };
        let found = weights(0.2, 0.3);
        assert_eq!(found[3], 1.0);
        for (i, want) in [(0, 0.7), (2, 0.7), (8, 0.7), (9, 2.2), (10, 2.2)] {
            near(found[i], want);
        }
        near(found.iter().sum(), 11.0);
        near(weights(0.2, 0.0).iter().sum(), 11.0);
        assert!(weights(0.2, 0.0).iter().all(|weight| *weight == 1.0));
        assert_eq!(multipliers.emphasis(&[], 0.2, 0.3), []);
    }
}

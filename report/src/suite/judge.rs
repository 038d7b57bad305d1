//! Evaluation of a suite's cells.
//!
//! In a condition, repetitions are compared in pairs: the logarithm of the
//! ratio to `tuned` for delays and completion times, the difference for
//! utilisation and Jain's index. A family is the mean over its conditions, so
//! that ratios become geometric means; its interval is over conditions. Both
//! intervals are Student's t at 95 % ([`crate::verdict`]).

use l4sllm_testbed::published::Source;
use l4sllm_testbed::suite::{
    ArmOutcome, ConditionOutcome, FamilyOutcome, Measures, Outcome, PLAIN, TUNED, TUNED_AGAIN,
};
use serde::Serialize;

use super::frontier::{self, Frontier};
use super::oracle::{self, Choice};
use super::paired::{
    JAIN_KEPT, Ratio, UTILISATION_KEPT, differences, log_ratio, mean, mean_with_interval,
};
use crate::verdict::{Interval, Quantity, Verdict, verdict};

/// An evaluated suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Families, in order.
    pub families: Vec<Family>,
    /// Each arm over the conditions of all families.
    pub all: Vec<Summary>,
    /// Arms over the same conditions at non-default idle budgets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frontier: Vec<Frontier>,
}

/// An evaluated family.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Family {
    /// Name.
    pub name: String,
    /// Description in one sentence.
    pub description: String,
    /// Rates and round-trip times of the conditions that were run.
    pub drawn: String,
    /// Sources of the published numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Each arm over its conditions.
    pub summaries: Vec<Summary>,
    /// Conditions of the family.
    pub conditions: Vec<Condition>,
}

/// An evaluated condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// Name.
    pub name: String,
    /// Short description of the network and its traffic.
    pub facts: String,
    /// Arms, in order, without those of the oracle's grid.
    pub arms: Vec<Arm>,
    /// Arms at non-default idle budgets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at_budgets: Vec<Arm>,
    /// The best fixed setting in this condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oracle: Option<Choice>,
    /// Published measurements of this condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
}

/// A published number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Published {
    /// Name of the quantity, with its unit.
    pub measure: String,
    /// The published value.
    pub theirs: f64,
    /// Name of the source.
    pub source: String,
    /// Place in the source.
    pub place: String,
    /// Reason for the difference from ours, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An arm in a condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arm {
    /// Name.
    pub name: String,
    /// Each repetition; `None` if unfinished.
    pub repetitions: Vec<Option<Measures>>,
    /// Means over the repetitions.
    pub means: Means,
    /// Ratios to tuned.
    pub ratios: Ratios,
    /// Utilisation compared with the better of plain and tuned.
    pub utilisation: Option<Utilisation>,
    /// Jain's index compared with that of tuned.
    pub jain_difference: Option<f64>,
    /// Classic delay compared with the oracle's, on repetitions that were not
    /// used to choose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_oracle: Option<Ratio>,
    /// Our values of the published numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Option<f64>>,
}

/// Means over repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[allow(missing_docs, reason = "as in Measures")]
pub struct Means {
    pub utilisation: Option<f64>,
    pub classic_mean_ms: Option<f64>,
    pub classic_p50_ms: Option<f64>,
    pub classic_p99_ms: Option<f64>,
    pub classic_delay_ms: Option<f64>,
    pub l4s_mean_ms: Option<f64>,
    pub l4s_p99_ms: Option<f64>,
    pub jain: Option<f64>,
    pub drop_share: Option<f64>,
    pub completion_mean_ms: Option<f64>,
    pub completion_p99_ms: Option<f64>,
    pub overrides_applied: Option<f64>,
}

/// Ratios to tuned: geometric means over pairs of repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Ratios {
    /// Ratio of sqrt(mean · p99) of the classic queue's delay.
    pub classic_delay: Option<Ratio>,
    /// Ratio of the classic queue's mean delay.
    pub classic_mean: Option<Ratio>,
    /// Ratio of the classic queue's median delay.
    pub classic_p50: Option<Ratio>,
    /// Ratio of the classic queue's 99th percentile of delay.
    pub classic_p99: Option<Ratio>,
    /// Ratio of the L4S queue's 99th percentile of delay.
    pub l4s_p99: Option<Ratio>,
    /// Ratio of the mean completion time of short flows.
    pub completion_mean: Option<Ratio>,
}

/// Utilisation compared with the better of plain and tuned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Utilisation {
    /// The difference, points.
    pub points: f64,
    /// Whether at least the share [`UTILISATION_KEPT`] is kept.
    pub kept: bool,
    /// Whether the interval excludes keeping that share.
    pub surely_lost: bool,
}

/// An arm over the conditions of a family, or of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the arm.
    pub arm: String,
    /// Ratios to tuned over conditions.
    pub classic_delay: Option<Spread>,
    /// Ratio of the classic queue's mean delay.
    pub classic_mean: Option<Spread>,
    /// Ratio of the classic queue's 99th percentile of delay.
    pub classic_p99: Option<Spread>,
    /// Ratio of the L4S queue's 99th percentile of delay.
    pub l4s_p99: Option<Spread>,
    /// Ratio of the mean completion time.
    pub completion_mean: Option<Spread>,
    /// Ratio of the classic delay to the oracle's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_oracle: Option<Spread>,
    /// Utilisation over conditions.
    pub utilisation: Kept,
    /// Jain's index over conditions that have one.
    pub jain: Kept,
    /// Verdict on the classic delay: `better`, `worse`, `same`, `unclear`, or
    /// `no conclusion`.
    pub delay_verdict: &'static str,
    #[serde(skip)]
    pub(super) verdict: Verdict,
    /// The condition with the greatest loss.
    pub worst: Option<Worst>,
}

/// A ratio over conditions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// Geometric mean over conditions, with the interval over them.
    pub mean: Ratio,
    /// Median condition.
    pub median: f64,
    /// Worst condition: the greatest ratio.
    pub worst: f64,
    /// Name of the worst condition.
    pub worst_condition: String,
    /// Conditions that have one.
    pub conditions: usize,
}

/// A difference over conditions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Kept {
    /// Conditions in which it is kept.
    pub kept: usize,
    /// Conditions in which it is lost with confidence (utilisation only).
    pub surely_lost: usize,
    /// Conditions that have one.
    pub conditions: usize,
    /// Mean difference: points of utilisation, or of the index.
    pub mean: f64,
    /// Worst difference.
    pub worst: f64,
}

/// The greatest loss of an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worst {
    /// Name of the condition.
    pub condition: String,
    /// The loss: `delay ×1.31`.
    pub loss: String,
    /// Its size in units of a severe loss.
    pub weight: f64,
}

/// Evaluates every condition, every family, and all families together.
pub fn judge(outcome: &Outcome) -> Judged {
    let families: Vec<Family> = outcome.families.iter().map(family).collect();
    let conditions: Vec<&Condition> = families.iter().flat_map(|of| &of.conditions).collect();
    Judged {
        all: summaries(&conditions),
        frontier: frontier::curves(outcome, &conditions),
        families,
    }
}

fn family(of: &FamilyOutcome) -> Family {
    let conditions: Vec<Condition> = of.conditions.iter().map(condition).collect();
    Family {
        name: of.name.clone(),
        description: of.description.clone(),
        drawn: of.drawn.clone(),
        sources: of.sources.clone(),
        summaries: summaries(&conditions.iter().collect::<Vec<_>>()),
        conditions,
    }
}

fn condition(of: &ConditionOutcome) -> Condition {
    let choice = oracle::choose(of);
    let named = of.arms.iter().filter(|arm| !oracle::is_setting(&arm.name));
    let judge = |arm: &ArmOutcome| self::arm(of, arm, choice.as_ref());
    let (at_budgets, arms): (Vec<&ArmOutcome>, Vec<&ArmOutcome>) =
        named.partition(|arm| arm.budget.is_some());
    let published = of.figures.iter().map(|figure| Published {
        measure: figure.measure.to_string(),
        theirs: figure.theirs,
        source: figure.source.clone(),
        place: figure.place.clone(),
        why: figure.why.clone(),
    });
    Condition {
        name: of.name.clone(),
        facts: of.facts.clone(),
        arms: arms.into_iter().map(judge).collect(),
        at_budgets: at_budgets.into_iter().map(judge).collect(),
        oracle: choice,
        published: published.collect(),
    }
}

fn arm(condition: &ConditionOutcome, own: &ArmOutcome, choice: Option<&Choice>) -> Arm {
    let reference = condition.arm(TUNED).map_or(&[][..], |arm| &arm.repetitions);
    let ratio = |of: Of| Ratio::of(log_ratio(&own.repetitions, reference, of));
    let figures = condition.figures.iter().enumerate();
    Arm {
        name: own.name.clone(),
        means: Means::of(&own.repetitions),
        ratios: Ratios {
            classic_delay: ratio(Measures::classic_delay_ms),
            classic_mean: ratio(|m| m.outcome.classic_mean_ms),
            classic_p50: ratio(|m| m.outcome.classic_p50_ms),
            classic_p99: ratio(|m| m.outcome.classic_p99_ms),
            l4s_p99: ratio(|m| m.outcome.l4s_p99_ms),
            completion_mean: ratio(|m| Some(m.completions?.mean_ms)),
        },
        utilisation: utilisation(condition, own),
        jain_difference: differences(&own.repetitions, reference, |m| m.outcome.jain)
            .map(|interval| interval.mean),
        to_oracle: choice.and_then(|choice| choice.judge(condition, own)),
        figures: figures
            .map(|(at, _)| mean(&own.repetitions, |m| *m.figures.get(at)?))
            .collect(),
        repetitions: own.repetitions.clone(),
    }
}

/// Selects a number of a cell.
type Of = fn(&Measures) -> Option<f64>;

/// Compares utilisation with the better of plain and tuned. The noise arm, which
/// is tuned itself, is compared with tuned.
fn utilisation(condition: &ConditionOutcome, own: &ArmOutcome) -> Option<Utilisation> {
    let names: &[&str] = match own.name == TUNED_AGAIN {
        true => &[TUNED],
        false => &[TUNED, PLAIN],
    };
    let of = |m: &Measures| Some(m.outcome.utilisation * 100.0);
    let references = names.iter().filter_map(|name| condition.arm(name));
    let (best, reference) = references
        .filter_map(|arm| Some((mean(&arm.repetitions, of)?, arm)))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    let difference = differences(&own.repetitions, &reference.repetitions, of)?;
    let allowed = best * (1.0 - UTILISATION_KEPT);
    let most = difference.mean + difference.half_width.unwrap_or(f64::INFINITY);
    Some(Utilisation {
        points: difference.mean,
        kept: difference.mean >= -allowed,
        surely_lost: most < -allowed,
    })
}

/// Each arm over `conditions`.
fn summaries(conditions: &[&Condition]) -> Vec<Summary> {
    let mut names: Vec<&str> = Vec::new();
    for arm in conditions.iter().flat_map(|of| &of.arms) {
        if !names.contains(&arm.name.as_str()) {
            names.push(&arm.name);
        }
    }
    let noise = noise(conditions);
    names
        .iter()
        .map(|name| summary(name, &arms(conditions, name), noise))
        .collect()
}

/// Difference of tuned from itself on other draws.
pub(super) fn noise(conditions: &[&Condition]) -> Option<Interval> {
    let noise = arms(conditions, TUNED_AGAIN);
    log_interval(&noise, |arm| arm.ratios.classic_delay)
}

/// An arm with the name of its condition.
pub(super) type Own<'a> = (&'a str, &'a Arm);

fn arms<'a>(conditions: &[&'a Condition], name: &str) -> Vec<Own<'a>> {
    let own = |condition: &&'a Condition| {
        let arm = condition.arms.iter().find(|arm| arm.name == name)?;
        Some((condition.name.as_str(), arm))
    };
    conditions.iter().filter_map(own).collect()
}

pub(super) fn summary(name: &str, own: &[Own<'_>], noise: Option<Interval>) -> Summary {
    let verdict = delay_verdict(own, noise);
    let utilisation = own.iter().filter_map(|(_, arm)| arm.utilisation);
    let utilisation = utilisation.map(|of| (of.points, of.kept, of.surely_lost));
    let jain = own.iter().filter_map(|(_, arm)| arm.jain_difference);
    let jain = jain.map(|by| (by, by >= -JAIN_KEPT, false));
    Summary {
        arm: name.to_owned(),
        classic_delay: Spread::of(own, |arm| arm.ratios.classic_delay),
        classic_mean: Spread::of(own, |arm| arm.ratios.classic_mean),
        classic_p99: Spread::of(own, |arm| arm.ratios.classic_p99),
        l4s_p99: Spread::of(own, |arm| arm.ratios.l4s_p99),
        completion_mean: Spread::of(own, |arm| arm.ratios.completion_mean),
        to_oracle: Spread::of(own, |arm| arm.to_oracle),
        utilisation: Kept::of(utilisation),
        jain: Kept::of(jain),
        delay_verdict: verdict.word(),
        verdict,
        worst: worst(own),
    }
}

/// Verdict on the mean logarithm over conditions. Differences smaller than tuned's
/// from itself, including its interval, are irrelevant, so no arm is better than
/// itself.
fn delay_verdict(own: &[Own<'_>], noise: Option<Interval>) -> Verdict {
    let Some(logs) = log_interval(own, |arm| arm.ratios.classic_delay) else {
        return Verdict::NoConclusion;
    };
    let floor = noise.map_or(0.0, |of| of.mean.abs() + of.half_width.unwrap_or(0.0));
    let relevant = floor.max(1.01_f64.ln());
    verdict(logs.negated(), relevant)
}

fn log_interval(own: &[Own<'_>], of: fn(&Arm) -> Option<Ratio>) -> Option<Interval> {
    let ratios = own.iter().filter_map(|(_, arm)| of(arm));
    mean_with_interval(&ratios.map(|ratio| ratio.mean.ln()).collect::<Vec<_>>())
}

/// The greatest loss over conditions, in units of a severe one.
fn worst(own: &[Own<'_>]) -> Option<Worst> {
    let severe_log = 1.5_f64.ln();
    let losses = own.iter().flat_map(|(condition, arm)| {
        let ratio = |what: &str, ratio: Option<Ratio>| {
            let ratio = ratio.filter(|of| of.low.is_some_and(|low| low > 1.01))?;
            let shown = format!("{what} \u{d7}{:.2}", ratio.mean);
            Some((ratio.mean.ln() / severe_log, shown))
        };
        let utilisation = arm.utilisation.filter(|of| !of.kept).map(|of| {
            let severe = Quantity::Utilisation.severe(0.0);
            (
                -of.points / severe,
                format!("use \u{2212}{:.1}", -of.points),
            )
        });
        let jain = arm.jain_difference.filter(|by| *by < -JAIN_KEPT).map(|by| {
            let severe = Quantity::Jain.severe(0.0);
            (-by / severe, format!("Jain \u{2212}{:.2}", -by))
        });
        let all = [
            ratio("delay", arm.ratios.classic_delay),
            ratio("L4S", arm.ratios.l4s_p99),
            ratio("FCT", arm.ratios.completion_mean),
            utilisation,
            jain,
        ];
        all.into_iter().flatten().map(|(weight, loss)| Worst {
            condition: (*condition).to_owned(),
            loss,
            weight,
        })
    });
    losses.max_by(|a, b| a.weight.total_cmp(&b.weight))
}

impl Means {
    fn of(repetitions: &[Option<Measures>]) -> Means {
        let of = |of: Of| mean(repetitions, of);
        Means {
            utilisation: of(|m| Some(m.outcome.utilisation)),
            classic_mean_ms: of(|m| m.outcome.classic_mean_ms),
            classic_p50_ms: of(|m| m.outcome.classic_p50_ms),
            classic_p99_ms: of(|m| m.outcome.classic_p99_ms),
            classic_delay_ms: of(Measures::classic_delay_ms),
            l4s_mean_ms: of(|m| m.outcome.l4s_mean_ms),
            l4s_p99_ms: of(|m| m.outcome.l4s_p99_ms),
            jain: of(|m| m.outcome.jain),
            drop_share: of(|m| m.outcome.drop_share),
            completion_mean_ms: of(|m| Some(m.completions?.mean_ms)),
            completion_p99_ms: of(|m| Some(m.completions?.p99_ms)),
            overrides_applied: of(|m| Some(m.overrides_applied as f64)),
        }
    }
}

impl Spread {
    fn of(own: &[Own<'_>], of: fn(&Arm) -> Option<Ratio>) -> Option<Spread> {
        let with_ratio = own
            .iter()
            .filter_map(|(name, arm)| Some((of(arm)?.mean, *name)));
        let mut sorted: Vec<(f64, &str)> = with_ratio.collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (worst, worst_condition) = *sorted.last()?;
        let (low, high) = (sorted.len().div_ceil(2) - 1, sorted.len() / 2);
        Some(Spread {
            mean: Ratio::of(log_interval(own, of))?,
            median: (sorted[low].0 * sorted[high].0).sqrt(),
            worst,
            worst_condition: worst_condition.to_owned(),
            conditions: sorted.len(),
        })
    }
}

impl Kept {
    /// Computed from differences, whether each is kept, and whether it is
    /// certainly lost.
    fn of(conditions: impl Iterator<Item = (f64, bool, bool)>) -> Kept {
        let all: Vec<(f64, bool, bool)> = conditions.collect();
        let count = |is: fn(&&(f64, bool, bool)) -> bool| all.iter().filter(is).count();
        let sum: f64 = all.iter().map(|of| of.0).sum();
        Kept {
            kept: count(|of| of.1),
            surely_lost: count(|of| of.2),
            conditions: all.len(),
            mean: sum / all.len().max(1) as f64,
            worst: all.iter().map(|of| of.0).fold(0.0, f64::min),
        }
    }
}

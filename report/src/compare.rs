//! Selects the arms to compare, and compares them.

use l4sllm_testbed::result::{Arm, ArmFacts, Facts, Repetition, Statistics, Summary};

use crate::verdict::{Judgement, Quantity, Sample, Verdict, judge};

/// A quantity used to compare arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Utilisation,
    Drops,
    ClassicP50,
    ClassicP99,
    L4sP50,
    L4sP99,
    Jain,
}

/// All metrics, in the order of the table.
pub(super) const METRICS: [Metric; 7] = [
    Metric::Utilisation,
    Metric::Drops,
    Metric::ClassicP50,
    Metric::ClassicP99,
    Metric::L4sP50,
    Metric::L4sP99,
    Metric::Jain,
];

/// Arms compared with baselines, the greatest losses first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison<'a> {
    /// The baselines that have run, in order, followed by the arms with a rule,
    /// the additional references of policies.
    pub baselines: Vec<&'a Arm>,
    pub pairs: Vec<Pair<'a>>,
}

/// One arm compared with one baseline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair<'a> {
    pub arm: &'a Arm,
    pub baseline: &'a Arm,
    /// Differences of every metric that both have.
    pub differences: Vec<Difference>,
}

/// One metric of an arm compared with that of a baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    pub metric: Metric,
    pub judgement: Judgement,
}

/// The comparison of one arm with another over all metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Better,
    Worse,
    Mixed,
    /// No relevant difference.
    Same,
    /// There may be a difference.
    Unclear,
    /// One repetition, or none in common.
    NoConclusion,
}

impl<'a> Comparison<'a> {
    /// Compares the arms with a controller, or all if none has one, with each
    /// baseline; those with a policy also with each that has a rule; and each
    /// baseline with the preceding ones.
    pub(super) fn of(facts: &Facts, summary: &'a Summary) -> Comparison<'a> {
        let find = |name: &String| summary.arms.iter().find(|arm| arm.name == *name);
        let baselines: Vec<&Arm> = facts.baselines.iter().filter_map(find).collect();
        let of_facts = |arm: &Arm, is: fn(&ArmFacts) -> bool| facts.arm(&arm.name).is_some_and(is);
        let is_controlled = |arm: &Arm| of_facts(arm, ArmFacts::is_controlled);
        let is_baseline = |arm: &Arm| baselines.iter().any(|of| of.name == arm.name);
        let all_subjects = !summary.arms.iter().any(is_controlled);
        let mut subjects: Vec<&Arm> = summary.arms.iter().collect();
        subjects.retain(|arm| !is_baseline(arm) && (all_subjects || is_controlled(arm)));
        let (rules, others): (Vec<&Arm>, Vec<&Arm>) = subjects
            .into_iter()
            .partition(|arm| of_facts(arm, |of| of.rule.is_some()));
        let mut pairs = Vec::new();
        let mut compare = |arm, with: &[&'a Arm]| {
            pairs.extend(with.iter().map(|baseline| Pair::of(arm, baseline)));
        };
        let references = [&baselines[..], &rules].concat();
        for arm in others {
            compare(arm, &references);
        }
        for arm in rules {
            compare(arm, &baselines);
        }
        for (index, arm) in baselines.iter().enumerate() {
            compare(arm, &baselines[..index]);
        }
        pairs.sort_by(|a, b| b.loss().total_cmp(&a.loss()));
        Comparison {
            baselines: references,
            pairs,
        }
    }

    /// Whether verdicts are possible: some pair has two repetitions.
    pub(super) fn is_conclusive(&self) -> bool {
        let mut standings = self.pairs.iter().map(Pair::standing);
        standings.any(|standing| standing != Standing::NoConclusion)
    }
}

impl<'a> Pair<'a> {
    pub(super) fn of(arm: &'a Arm, baseline: &'a Arm) -> Pair<'a> {
        let difference = |&metric: &Metric| {
            let (own, reference) = (metric.samples(arm), metric.samples(baseline));
            Some(Difference {
                metric,
                judgement: judge(metric.quantity(), &own, &reference)?,
            })
        };
        Pair {
            arm,
            baseline,
            differences: METRICS.iter().filter_map(difference).collect(),
        }
    }

    /// Number of repetitions compared.
    pub(super) fn count(&self) -> usize {
        let counts = self.differences.iter().map(|of| of.judgement.count);
        counts.max().unwrap_or(0)
    }

    /// The greatest loss, in units of a severe one.
    pub(super) fn loss(&self) -> f64 {
        let losses = self.differences.iter().map(|of| of.judgement.loss());
        losses.fold(0.0, f64::max)
    }

    pub(super) fn find(&self, metric: Metric) -> Option<&Difference> {
        self.differences.iter().find(|of| of.metric == metric)
    }

    /// Metrics with a verdict, the largest difference first.
    pub(super) fn with(&self, verdict: Verdict) -> Vec<&Difference> {
        let own = self.differences.iter();
        let mut own: Vec<&Difference> = own.filter(|of| of.judgement.verdict == verdict).collect();
        own.sort_by(|a, b| b.judgement.weight().total_cmp(&a.judgement.weight()));
        own
    }

    pub(super) fn standing(&self) -> Standing {
        let any = |verdict| !self.with(verdict).is_empty();
        match (any(Verdict::Better), any(Verdict::Worse)) {
            (true, true) => Standing::Mixed,
            (true, false) => Standing::Better,
            (false, true) => Standing::Worse,
            (false, false) if any(Verdict::Unclear) => Standing::Unclear,
            (false, false) if any(Verdict::Same) => Standing::Same,
            (false, false) => Standing::NoConclusion,
        }
    }
}

impl Metric {
    /// Its value in the displayed unit: percent, ms, or the index.
    pub(super) fn of(self, statistics: &Statistics) -> Option<f64> {
        let delay = &statistics.queue_delay_ms;
        match self {
            Metric::Utilisation => Some(statistics.utilisation * 100.0),
            Metric::Drops => statistics.drop_share.map(|share| share * 100.0),
            Metric::ClassicP50 => delay.classic.p50,
            Metric::ClassicP99 => delay.classic.p99,
            Metric::L4sP50 => delay.l4s.p50,
            Metric::L4sP99 => delay.l4s.p99,
            Metric::Jain => statistics.jain,
        }
    }

    pub(super) fn quantity(self) -> Quantity {
        match self {
            Metric::Utilisation => Quantity::Utilisation,
            Metric::Drops => Quantity::Drops,
            Metric::Jain => Quantity::Jain,
            _ => Quantity::Delay,
        }
    }

    /// Its name in files, with the unit of its values.
    pub(super) fn key(self) -> &'static str {
        match self {
            Metric::Utilisation => "utilisation_percent",
            Metric::Drops => "dropped_percent",
            Metric::ClassicP50 => "classic_delay_p50_ms",
            Metric::ClassicP99 => "classic_delay_p99_ms",
            Metric::L4sP50 => "l4s_delay_p50_ms",
            Metric::L4sP99 => "l4s_delay_p99_ms",
            Metric::Jain => "jain",
        }
    }

    /// Its name in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Metric::Utilisation => "utilisation",
            Metric::Drops => "drops",
            Metric::ClassicP50 => "classic median delay",
            Metric::ClassicP99 => "classic p99 delay",
            Metric::L4sP50 => "L4S median delay",
            Metric::L4sP99 => "L4S p99 delay",
            Metric::Jain => "Jain's index",
        }
    }

    /// Its name in a figure.
    pub(super) fn short_name(self) -> &'static str {
        match self {
            Metric::Utilisation => "Utilisation",
            Metric::Drops => "Drops",
            Metric::ClassicP50 => "Classic p50",
            Metric::ClassicP99 => "Classic p99",
            Metric::L4sP50 => "L4S p50",
            Metric::L4sP99 => "L4S p99",
            Metric::Jain => "Fairness",
        }
    }

    pub(super) fn samples(self, arm: &Arm) -> Vec<Sample> {
        let sample = |repetition: &Repetition| {
            Some(Sample {
                seed: repetition.seed,
                value: self.of(&repetition.statistics)?,
            })
        };
        arm.repetitions.iter().filter_map(sample).collect()
    }
}

#[cfg(test)]
pub(super) mod tests;

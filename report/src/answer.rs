//! The question that a report answers first, and its answer.

use super::compare::{Comparison, Difference, METRICS, Metric, Pair, Standing};
use super::conclusion::{list, size};
use super::data::Data;
use crate::verdict::Verdict;
use l4sllm_testbed::result::ArmFacts;

/// Maximum number of pairs in an answer.
const MOST_PAIRS: usize = 6;

/// A question about the arms, with the answer from the pairs.
#[derive(Debug, Clone)]
pub(super) struct Answer<'a> {
    /// "Is the learned queue better?"
    pub question: String,
    /// "In part."; empty if there is no yes or no.
    pub word: &'static str,
    /// A sentence for each arm concerned.
    pub sentences: Vec<String>,
    /// The pairs on which it is based, by arm and reference.
    pub pairs: Vec<&'a Pair<'a>>,
    /// Whether each arm is compared with itself in another result.
    overlaid: bool,
}

/// Whether an arm is of this kind.
type Kind = fn(&ArmFacts) -> bool;

impl<'a> Answer<'a> {
    /// Asks about the arms with a policy; without any, about those with a rule;
    /// otherwise about the arms compared with the baselines. For overlaid
    /// results, asks what changed.
    pub(super) fn of(data: &Data, comparison: &'a Comparison<'a>) -> Answer<'a> {
        let is = |pair: &Pair<'_>, what: Kind| data.facts.arm(&pair.arm.name).is_some_and(what);
        let kinds: [(&str, Kind); 3] = [
            ("Is the learned queue better?", |of| {
                of.policy.is_some() || of.interval.is_some()
            }),
            ("Is the adaptive rule better?", |of| of.rule.is_some()),
            ("How do the queues differ?", |_| true),
        ];
        let (question, what) = match data.sources.as_slice() {
            [first, others @ ..] => {
                let question = format!("What differs between {first} and {}?", list(others));
                (question, kinds[2].1)
            }
            [] => {
                let any = |what| comparison.pairs.iter().any(|pair| is(pair, what));
                let kind = kinds
                    .iter()
                    .find(|(_, what)| any(*what))
                    .unwrap_or(&kinds[2]);
                (kind.0.to_owned(), kind.1)
            }
        };
        let mut pairs: Vec<&Pair<'_>> = comparison.pairs.iter().collect();
        pairs.retain(|pair| is(pair, what));
        let place = |pair: &Pair<'_>| {
            let arms = data.summary.arms.iter();
            let arm = arms.clone().position(|arm| arm.name == pair.arm.name);
            let mut references = comparison.baselines.iter();
            (arm, references.position(|of| of.name == pair.baseline.name))
        };
        pairs.sort_by_key(|pair| place(pair));
        let by_arm = pairs.chunk_by(|a, b| a.arm.name == b.arm.name);
        let sentences = by_arm.map(sentence).collect();
        let closed = question.starts_with("Is ");
        let word = if closed { word(&pairs) } else { "" };
        pairs.truncate(MOST_PAIRS);
        Answer {
            question,
            word,
            sentences,
            pairs,
            overlaid: !data.sources.is_empty(),
        }
    }

    /// Names a comparison: "l4sllm-100 against dualpi2"; for overlaid results,
    /// "dualpi2: after against before".
    pub(super) fn title(&self, pair: &Pair<'_>) -> String {
        let (arm, baseline) = (&pair.arm.name, &pair.baseline.name);
        match (self.overlaid, split(arm), split(baseline)) {
            (true, Some((base, own)), Some((_, reference))) => {
                format!("{base}: {own} against {reference}")
            }
            _ => format!("{arm} against {baseline}"),
        }
    }
    /// Terms with their tone and text: gains, costs, and possible losses.
    pub(super) fn gains_and_losses(&self) -> Vec<(&'static str, &'static str, String)> {
        let certain = |verdict| move |of: &Difference| of.judgement.verdict == verdict;
        let possible = |of: &Difference| {
            let judgement = &of.judgement;
            judgement.verdict == Verdict::Unclear
                && judgement.gain().mean < 0.0
                && judgement.weight() >= 1.0
        };
        let none = || "none with certainty.".to_owned();
        let mut terms = vec![
            (
                "Gain",
                "better",
                self.each(certain(Verdict::Better)).unwrap_or_else(none),
            ),
            (
                "Cost",
                "worse",
                self.each(certain(Verdict::Worse)).unwrap_or_else(none),
            ),
        ];
        terms.extend(
            self.each(possible)
                .map(|list| ("Perhaps", "uncertain", list)),
        );
        terms
    }

    /// Differences of one kind, the largest first: each metric with its sizes
    /// and references.
    fn each(&self, is: impl Fn(&Difference) -> bool) -> Option<String> {
        let mut arms = self.pairs.iter().map(|pair| &pair.arm.name);
        let first = arms.next();
        let several = arms.any(|name| Some(name) != first);
        let own = |metric: Metric| {
            let pairs = self.pairs.iter();
            let own = pairs.filter_map(|pair| Some((*pair, pair.find(metric)?)));
            own.filter(|(_, of)| is(of)).collect::<Vec<_>>()
        };
        let mut metrics: Vec<_> = METRICS
            .iter()
            .map(|&metric| (metric, own(metric)))
            .collect();
        metrics.retain(|(_, own)| !own.is_empty());
        let weight = |own: &[(&Pair<'_>, &Difference)]| {
            let weights = own.iter().map(|(_, of)| of.judgement.weight());
            weights.fold(0.0, f64::max)
        };
        metrics.sort_by(|a, b| weight(&b.1).total_cmp(&weight(&a.1)));
        let sized = |(pair, of): &(&Pair<'_>, &Difference)| match several {
            true => format!("{} ({})", size(of), self.title(pair)),
            false => format!("{} against {}", size(of), pair.baseline.name),
        };
        let metrics: Vec<String> = metrics
            .iter()
            .map(|(metric, own)| {
                let own: Vec<String> = own.iter().map(sized).collect();
                format!("{} {}", metric.name(), list(&own))
            })
            .collect();
        (!metrics.is_empty()).then(|| metrics.join("; ") + ".")
    }
}

/// An arm of overlaid results: its name, and the name of its result.
fn split(name: &str) -> Option<(&str, &str)> {
    name.strip_suffix(')')?.rsplit_once(" (")
}

/// Whether the arms are better.
fn word(pairs: &[&Pair<'_>]) -> &'static str {
    let count = |standing| {
        pairs
            .iter()
            .filter(|pair| pair.standing() == standing)
            .count()
    };
    let better = count(Standing::Better);
    match pairs.len() {
        0 => "Nothing to compare.",
        all if count(Standing::NoConclusion) == all => "No conclusion.",
        all if better == all => "Yes.",
        _ if better + count(Standing::Mixed) > 0 => "In part.",
        _ if count(Standing::Worse) > 0 => "No.",
        _ => "Not measurably.",
    }
}

/// The comparison of one arm with each of its references.
fn sentence(pairs: &[&Pair<'_>]) -> String {
    let than = |standing, words: &str| {
        let own = pairs.iter().filter(|pair| pair.standing() == standing);
        let names: Vec<&str> = own.map(|pair| pair.baseline.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{words} {}", list(&names)))
    };
    let clauses: Vec<String> = [
        than(Standing::Better, "better than"),
        than(
            Standing::Mixed,
            "better in some respects and worse in others than",
        ),
        than(Standing::Worse, "worse than"),
        than(Standing::Same, "not relevantly different from"),
        than(Standing::Unclear, "not certainly different from"),
        than(
            Standing::NoConclusion,
            "not comparable after one repetition with",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let name = pairs.first().map_or("", |pair| pair.arm.name.as_str());
    format!("{name} is {}.", clauses.join("; "))
}

//! States the results in sentences: losses first, each with its size.

use super::compare::{Comparison, Difference, Pair, Standing};
use super::format::{index, number};
use crate::verdict::{Quantity, Verdict};

/// Maximum number of losses and gains that the headline names for a pair.
const LOSSES: usize = 3;
const GAINS: usize = 2;

/// The text if nothing was compared.
const NOTHING: &str = "There is nothing to compare: a baseline or another arm is missing.";

/// The text for arms that have run only once.
const ONE: &str = "One repetition: no conclusion.";

/// The summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Headline {
    /// One sentence on everything.
    All(&'static str),
    /// Clauses on the arms, for each baseline.
    Against(Vec<(String, Vec<String>)>),
}

impl Headline {
    pub(super) fn of(comparison: &Comparison<'_>) -> Headline {
        if comparison.pairs.is_empty() {
            return Headline::All(NOTHING);
        }
        if !comparison.is_conclusive() {
            return Headline::All(ONE);
        }
        let baselines = comparison.baselines.iter().filter_map(|baseline| {
            let pairs = comparison.pairs.iter();
            let own = pairs.filter(|pair| pair.baseline.name == baseline.name);
            let clauses = clauses(&own.collect::<Vec<_>>());
            (!clauses.is_empty()).then(|| (baseline.name.clone(), clauses))
        });
        Headline::Against(baselines.collect())
    }

    /// For a terminal: a line for each clause.
    pub(super) fn text(&self) -> String {
        match self {
            Headline::All(sentence) => format!("{sentence}\n"),
            Headline::Against(baselines) => baselines
                .iter()
                .map(|(baseline, clauses)| {
                    let clauses: String = clauses.iter().map(|of| format!("  {of}\n")).collect();
                    format!("Against {baseline}:\n{clauses}")
                })
                .collect(),
        }
    }
}

/// One sentence for each pair, with all numbers; none if nothing can be
/// concluded.
pub(super) fn conclusions(comparison: &Comparison<'_>) -> Vec<String> {
    let pairs = comparison.pairs.iter();
    let pairs = pairs.filter(|pair| pair.standing() != Standing::NoConclusion);
    pairs.map(sentence).collect()
}

/// A clause for each pair with differences, and one for the others.
fn clauses(pairs: &[&Pair<'_>]) -> Vec<String> {
    let differ = pairs.iter().filter_map(|pair| {
        let (worse, better) = (pair.with(Verdict::Worse), pair.with(Verdict::Better));
        let parts = [
            part("worse in", &worse, LOSSES),
            part("better in", &better, GAINS),
            part("perhaps worse in", &possible_losses(pair), LOSSES),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("{} is {}", pair.arm.name, parts.join(", ")))
    });
    let alike = |standing, text: &str| {
        let own = pairs.iter().filter(|pair| pair.standing() == standing);
        // Those have a separate clause.
        let own = own.filter(|pair| possible_losses(pair).is_empty());
        let names: Vec<&str> = own.map(|pair| pair.arm.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{}: {text}", list(&names)))
    };
    let rest = [
        alike(Standing::Unclear, "no certain difference"),
        alike(Standing::Same, "no relevant difference"),
        alike(Standing::NoConclusion, "one repetition: no conclusion"),
    ];
    differ.chain(rest.into_iter().flatten()).collect()
}

/// Possible severe losses that are not significant: without them the headline
/// would suggest that losses are ruled out.
fn possible_losses<'a>(pair: &'a Pair<'_>) -> Vec<&'a Difference> {
    let mut unclear = pair.with(Verdict::Unclear);
    unclear.retain(|of| of.judgement.gain().mean < 0.0 && of.judgement.weight() >= 1.0);
    unclear
}

/// "worse in utilisation (−49 ± 2 points) and 2 more".
fn part(word: &str, differences: &[&Difference], most: usize) -> Option<String> {
    let shown = differences.iter().take(most);
    let mut phrases: Vec<String> = shown
        .map(|of| format!("{} ({})", of.metric.name(), size(of)))
        .collect();
    if differences.len() > most {
        phrases.push(format!("{} more", differences.len() - most));
    }
    (!phrases.is_empty()).then(|| format!("{word} {}", list(&phrases)))
}

fn sentence(pair: &Pair<'_>) -> String {
    let (name, against) = (&pair.arm.name, &pair.baseline.name);
    let of = |verdict| {
        let phrases: Vec<String> = pair.with(verdict).into_iter().map(phrase).collect();
        (!phrases.is_empty()).then(|| list(&phrases))
    };
    let parts: Vec<String> = [
        ("worse in", of(Verdict::Worse)),
        ("better in", of(Verdict::Better)),
        ("not certain:", of(Verdict::Unclear)),
    ]
    .into_iter()
    .filter_map(|(word, phrases)| Some(format!("{word} {}", phrases?)))
    .collect();
    match pair.standing() {
        Standing::Same => format!("{name} against {against}: no relevant difference."),
        _ => format!("{name} against {against}: {}.", parts.join("; ")),
    }
}

/// "classic median delay (−3.1 ± 0.2 %, 15.0 to 14.5 ms)".
fn phrase(difference: &Difference) -> String {
    let judgement = &difference.judgement;
    let quantity = judgement.quantity;
    let shown = |value| match quantity {
        Quantity::Utilisation => format!("{value:.1}"),
        Quantity::Jain => index(value),
        _ => number(value),
    };
    let (from, to) = (shown(judgement.reference), shown(judgement.value));
    let (name, size, unit) = (difference.metric.name(), size(difference), quantity.unit());
    format!("{name} ({size}, {from} to {to}{unit})")
}

/// As in the table, with "points" spelled out.
pub(super) fn size(difference: &Difference) -> String {
    let shown = difference.judgement.shown();
    shown.replace("\u{a0}pt", "\u{a0}points")
}

/// "a, b and c".
pub(super) fn list<T: AsRef<str>>(phrases: &[T]) -> String {
    let phrases: Vec<&str> = phrases.iter().map(AsRef::as_ref).collect();
    match phrases.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::{arm, results, steady};
    use l4sllm_testbed::result::Arm;

    fn said(arms: Vec<Arm>) -> (String, Vec<String>) {
        let (facts, summary) = results(arms);
        let comparison = Comparison::of(&facts, &summary);
        (Headline::of(&comparison).text(), conclusions(&comparison))
    }

    #[test]
    fn headline_states_costs_with_their_size() {
        let (headline, conclusions) = said(vec![
            steady("dualpi2", None, (0.999, 0.035), 15.0),
            steady("dualpi2-tuned", None, (0.998, 0.075), 11.0),
            steady("l4sllm-10", Some(10), (0.509, 0.075), 11.0),
        ]);
        assert_eq!(
            headline,
            "Against dualpi2:\n  l4sllm-10 is worse in utilisation (\u{2212}49\u{a0}\u{b1}\u{a0}0\u{a0}points) \
             and drops (+4.0\u{a0}\u{b1}\u{a0}0\u{a0}points), better in classic median delay \
             (\u{2212}27\u{a0}\u{b1}\u{a0}0\u{a0}%)\n  dualpi2-tuned is worse in drops \
             (+4.0\u{a0}\u{b1}\u{a0}0\u{a0}points) and utilisation (\u{2212}0.1\u{a0}\u{b1}\u{a0}0\u{a0}points), \
             better in classic median delay (\u{2212}27\u{a0}\u{b1}\u{a0}0\u{a0}%)\nAgainst dualpi2-tuned:\n  \
             l4sllm-10 is worse in utilisation (\u{2212}49\u{a0}\u{b1}\u{a0}0\u{a0}points)\n"
        );
        assert_eq!(
            conclusions[1],
            "l4sllm-10 against dualpi2-tuned: worse in utilisation \
             (\u{2212}49\u{a0}\u{b1}\u{a0}0\u{a0}points, 99.8 to 50.9\u{a0}%)."
        );
    }

    #[test]
    fn one_repetition_gives_no_conclusion() {
        let (headline, conclusions) = said(vec![
            arm("dualpi2", None, &[(0.99, 0.01)], 15.0),
            arm("l4sllm-10", Some(10), &[(0.50, 0.01)], 10.0),
        ]);
        assert_eq!(headline, "One repetition: no conclusion.\n");
        assert!(conclusions.is_empty());
    }

    #[test]
    fn uncertain_differences_are_marked() {
        let runs = [(0.90, 0.01), (0.98, 0.01), (0.95, 0.01)];
        let (headline, conclusions) = said(vec![
            arm(
                "dualpi2",
                None,
                &[(0.92, 0.01), (0.97, 0.01), (0.97, 0.01)],
                10.0,
            ),
            arm("l4sllm-10", Some(10), &runs, 10.0),
            arm(
                "l4sllm-100",
                Some(100),
                &[(0.92, 0.01), (0.97, 0.01), (0.97, 0.01)],
                10.0,
            ),
        ]);
        assert_eq!(
            headline,
            "Against dualpi2:\n  l4sllm-10: no certain difference\n  l4sllm-100: no relevant \
             difference\n"
        );
        assert!(
            conclusions[0].contains("not certain: utilisation (\u{2212}1.0\u{a0}\u{b1}\u{a0}4.3")
        );
    }

    #[test]
    fn a_severe_loss_that_is_not_certain_is_in_the_headline() {
        let (headline, _) = said(vec![
            steady("dualpi2", None, (0.99, 0.035), 15.0),
            arm(
                "l4sllm-10",
                Some(10),
                &[(0.99, 0.10), (0.99, 0.05), (0.99, 0.06)],
                10.0,
            ),
        ]);
        assert_eq!(
            headline,
            "Against dualpi2:\n  l4sllm-10 is better in classic median delay \
             (\u{2212}33\u{a0}\u{b1}\u{a0}0\u{a0}%), perhaps worse in drops \
             (+3.5\u{a0}\u{b1}\u{a0}6.6\u{a0}points)\n"
        );
    }

    #[test]
    fn without_a_policy_the_other_queues_are_compared() {
        let (headline, _) = said(vec![
            steady("dualpi2", None, (0.99, 0.01), 15.0),
            steady("fifo", None, (0.99, 0.01), 80.0),
        ]);
        assert_eq!(
            headline,
            "Against dualpi2:\n  fifo is worse in classic median delay (+433\u{a0}\u{b1}\u{a0}0\u{a0}%)\n"
        );
        let (headline, conclusions) = said(vec![steady("fifo", None, (0.99, 0.01), 80.0)]);
        assert!(headline.starts_with("There is nothing to compare"));
        assert!(conclusions.is_empty());
    }
}

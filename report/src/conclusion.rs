//! Sentences that say what the numbers say, whichever way they fall.

use l4sllm_testbed::result::{Arm, Summary};

use super::compare::{Difference, Metric, Verdict, compare};
use super::format::number;

/// The arms that every comparison shows.
pub(super) const REFERENCES: [&str; 2] = ["dualpi2", "dualpi2-tuned"];

/// The whole in one sentence: which arms do at least as well as each reference
/// everywhere and better somewhere.
pub(super) fn headline(summary: &Summary) -> String {
    let references: Vec<&Arm> = references(summary).collect();
    let subjects: Vec<&Arm> = subjects(summary).collect();
    if references.is_empty() || subjects.is_empty() {
        return "There is nothing to compare: a reference or a subject is missing.".to_owned();
    }
    let sentences = references.iter().map(|reference| {
        let clause = |wanted, one, several| {
            let own = subjects
                .iter()
                .filter(|arm| standing(&compare(arm, reference)) == wanted);
            let names: Vec<&str> = own.map(|arm| arm.name.as_str()).collect();
            let verb = if names.len() == 1 { one } else { several };
            (!names.is_empty()).then(|| format!("{} {verb}", list(&names)))
        };
        let clauses = [
            clause(Standing::Better, "is better", "are better"),
            clause(
                Standing::Mixed,
                "gains in some respects and loses in others",
                "gain in some respects and lose in others",
            ),
            clause(Standing::Same, "is no different", "are no different"),
            clause(Standing::Worse, "is worse", "are worse"),
        ];
        let clauses: Vec<String> = clauses.into_iter().flatten().collect();
        format!("Against {}, {}.", reference.name, clauses.join("; "))
    });
    sentences.collect::<Vec<_>>().join(" ")
}

/// One paragraph for each arm that is compared, with the numbers.
pub(super) fn conclusions(summary: &Summary) -> Vec<String> {
    let references: Vec<&Arm> = references(summary).collect();
    subjects(summary)
        .map(|arm| {
            let against = references.iter().map(|reference| sentence(arm, reference));
            against.collect::<Vec<_>>().join(" ")
        })
        .filter(|paragraph| !paragraph.is_empty())
        .collect()
}

/// The references that were run, in order.
pub(super) fn references(summary: &Summary) -> impl Iterator<Item = &Arm> {
    REFERENCES
        .iter()
        .filter_map(|name| summary.arms.iter().find(|arm| arm.name == *name))
}

/// The arms that are compared with the references.
pub(super) fn subjects(summary: &Summary) -> impl Iterator<Item = &Arm> {
    let any_controller = summary.arms.iter().any(|arm| arm.interval.is_some());
    summary.arms.iter().filter(move |arm| match any_controller {
        true => arm.interval.is_some(),
        false => !REFERENCES.contains(&arm.name.as_str()),
    })
}

/// How one arm does against another, over all metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Better,
    Worse,
    Mixed,
    Same,
}

fn standing(differences: &[Difference]) -> Standing {
    let any = |verdict| {
        differences
            .iter()
            .any(|difference| difference.verdict == verdict)
    };
    match (any(Verdict::Better), any(Verdict::Worse)) {
        (true, true) => Standing::Mixed,
        (true, false) => Standing::Better,
        (false, true) => Standing::Worse,
        (false, false) => Standing::Same,
    }
}

fn sentence(arm: &Arm, reference: &Arm) -> String {
    let differences = compare(arm, reference);
    let of = |verdict| {
        let own = differences
            .iter()
            .filter(|difference| difference.verdict == verdict);
        list(&own.map(phrase).collect::<Vec<_>>())
    };
    let (better, worse) = (of(Verdict::Better), of(Verdict::Worse));
    let (name, against) = (&arm.name, &reference.name);
    match standing(&differences) {
        Standing::Same => format!("{name} is no different from {against} in any metric compared."),
        Standing::Better => format!("{name} is better than {against}: {better}."),
        Standing::Worse => format!("{name} is worse than {against}: {worse}."),
        Standing::Mixed => {
            format!("{name} against {against}: better in {better}; worse in {worse}.")
        }
    }
}

/// "classic median delay (−3.1 %, 15.0 to 14.5 ms)".
fn phrase(difference: &Difference) -> String {
    let (from, to) = (number(difference.reference), number(difference.value));
    let unit = match difference.metric {
        Metric::Utilisation => "\u{a0}%",
        Metric::Jain => "",
        _ => "\u{a0}ms",
    };
    let (name, size) = (difference.metric.name(), difference.shown());
    format!("{name} ({size}, {from} to {to}{unit})")
}

fn list<T: AsRef<str>>(phrases: &[T]) -> String {
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
    use l4sllm_testbed::result::Statistics;

    fn arm(name: &str, interval: Option<u32>, utilisation: f64, classic: f64) -> Arm {
        let mut pooled = Statistics {
            utilisation,
            ..Statistics::default()
        };
        pooled.queue_delay_ms.classic.p50 = Some(classic);
        let (name, aqm) = (name.to_owned(), "dualpi2".to_owned());
        Arm {
            name,
            aqm,
            interval,
            policy: None,
            pooled,
            repetitions: Vec::new(),
        }
    }

    fn summary(arms: Vec<Arm>) -> Summary {
        Summary {
            version: String::new(),
            seed: 0,
            scenario: String::new(),
            policy: None,
            complete: true,
            repetitions: 1,
            arms,
        }
    }

    #[test]
    fn a_policy_that_loses_is_said_to_lose() {
        let summary = summary(vec![
            arm("dualpi2", None, 0.99, 15.0),
            arm("dualpi2-tuned", None, 0.99, 10.0),
            arm("l4sllm-10", Some(10), 0.97, 12.0),
        ]);
        assert_eq!(
            headline(&summary),
            "Against dualpi2, l4sllm-10 gains in some respects and loses in others. \
             Against dualpi2-tuned, l4sllm-10 is worse."
        );
        assert_eq!(
            conclusions(&summary),
            ["l4sllm-10 against dualpi2: better in classic median delay \
              (\u{2212}20\u{a0}%, 15.0 to 12.0\u{a0}ms); worse in utilisation \
              (\u{2212}2.0\u{a0}pt, 99.0 to 97.0\u{a0}%). l4sllm-10 is worse than dualpi2-tuned: \
              utilisation (\u{2212}2.0\u{a0}pt, 99.0 to 97.0\u{a0}%) and classic median delay \
              (+20\u{a0}%, 10.0 to 12.0\u{a0}ms)."]
        );
    }

    #[test]
    fn a_policy_that_wins_is_said_to_win_and_others_are_not_mentioned() {
        let summary = summary(vec![
            arm("dualpi2", None, 0.99, 15.0),
            arm("fifo", None, 0.99, 80.0),
            arm("l4sllm-10", Some(10), 0.99, 9.0),
            arm("l4sllm-100", Some(100), 0.99, 15.0),
        ]);
        assert_eq!(
            headline(&summary),
            "Against dualpi2, l4sllm-10 is better; l4sllm-100 is no different."
        );
    }

    #[test]
    fn without_a_policy_the_other_queues_are_compared() {
        let with_fifo = summary(vec![
            arm("dualpi2", None, 0.99, 15.0),
            arm("fifo", None, 0.99, 80.0),
        ]);
        assert_eq!(headline(&with_fifo), "Against dualpi2, fifo is worse.");
        let alone = summary(vec![arm("fifo", None, 0.99, 80.0)]);
        assert!(headline(&alone).starts_with("There is nothing to compare"));
        assert!(conclusions(&alone).is_empty());
    }
}

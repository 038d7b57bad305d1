//! Sentences that say what the numbers say, whichever way they fall.

use crate::result::{Arm, Summary};

use super::compare::{Difference, Metric, Verdict, compare};
use super::format::{number, signed};

/// The arms that every comparison shows.
pub(super) const REFERENCES: [&str; 2] = ["dualpi2", "dualpi2-tuned"];

/// One paragraph for each arm with a controller; without one, for each arm
/// that is no reference.
pub(super) fn conclusions(summary: &Summary) -> Vec<String> {
    let references: Vec<&Arm> = references(summary).collect();
    if references.is_empty() {
        return vec!["No reference arm was run, so nothing is compared.".to_owned()];
    }
    subjects(summary)
        .map(|arm| {
            let against = references.iter().map(|reference| sentence(arm, reference));
            against.collect::<Vec<_>>().join(" ")
        })
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

fn sentence(arm: &Arm, reference: &Arm) -> String {
    let differences = compare(arm, reference);
    let of = |verdict| -> Vec<String> {
        let own = differences
            .iter()
            .filter(|difference| difference.verdict == verdict);
        own.map(phrase).collect()
    };
    let (better, worse) = (of(Verdict::Better), of(Verdict::Worse));
    let (name, against) = (&arm.name, &reference.name);
    match (better.is_empty(), worse.is_empty()) {
        (true, true) => format!("{name} is no different from {against} in any metric compared."),
        (false, true) => format!("{name} is better than {against}: {}.", list(&better)),
        (true, false) => {
            format!(
                "{name} is worse than {against} and better in nothing: {}.",
                list(&worse)
            )
        }
        (false, false) => format!(
            "Against {against}, {name} gains {} and loses {}.",
            list(&better),
            list(&worse)
        ),
    }
}

/// "classic median delay −3.1 % (15.0 to 14.5 ms)".
fn phrase(difference: &Difference) -> String {
    let name = difference.metric.name();
    let size = difference.size();
    let (from, to) = (number(difference.reference), number(difference.value));
    match difference.metric {
        Metric::Utilisation => {
            format!("{name} {} points ({from} to {to} %)", signed(size))
        }
        Metric::Jain => format!("{name} {} % ({from} to {to})", signed(size)),
        _ => format!("{name} {} % ({from} to {to} ms)", signed(size)),
    }
}

fn list(phrases: &[String]) -> String {
    match phrases {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

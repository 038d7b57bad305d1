//! Meanings of the rows, columns and signs of a suite's table.

use l4sllm_testbed::suite::{
    ADAPTIVE, ADAPTIVE_WEIGHTS, PLAIN, POLICY, STUDENT, TUNED_AGAIN, TUNED_WEIGHTS,
};

use super::judge::Judged;
use super::paired::{JAIN_KEPT, UTILISATION_KEPT};
use crate::table::NOTHING;
use crate::wrapped;

/// A name in the table, and its meaning.
pub(super) struct Entry {
    pub name: &'static str,
    pub meaning: String,
}

/// Marks for better and worse.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub better: &'static str,
    pub worse: &'static str,
}

/// Suffixes in a terminal and in JSON.
pub(super) const SIGNS: Marks = Marks {
    better: "+",
    worse: "!",
};

/// Marks on a page.
pub(super) const COLOURS: Marks = Marks {
    better: "blue",
    worse: "orange",
};

/// Rows, then columns, then signs; missing arms and columns are omitted.
pub(super) fn legend(judged: &Judged, marks: Marks) -> Vec<Entry> {
    let arms: [(&'static str, &str); 7] = [
        (PLAIN, "DualPI2 with the defaults of RFC 9332."),
        (
            ADAPTIVE,
            "The rule that steers DualPI2's set-points by the link's idle time. It is not learned.",
        ),
        (
            TUNED_WEIGHTS,
            "tuned with signals weighted by the rates of flows.",
        ),
        (ADAPTIVE_WEIGHTS, "adaptive with the same weights."),
        (POLICY, "The learned policy."),
        (
            STUDENT,
            "A small network in the queue itself, distilled from a policy.",
        ),
        (
            TUNED_AGAIN,
            "tuned with other random draws. Differences of this size are noise.",
        ),
    ];
    let runs = |name: &str| judged.all.iter().any(|summary| summary.arm == name);
    let arms = arms.into_iter().filter(|(name, _)| runs(name));
    let oracle = judged.all.iter().any(|summary| summary.to_oracle.is_some());
    let oracle = oracle.then_some((
        "Oracle",
        "The same delay, ratio to the best fixed setting of each condition.",
    ));
    let entry = |(name, meaning): (&'static str, &str)| Entry {
        name,
        meaning: meaning.to_owned(),
    };
    let mut entries = vec![entry((
        "NAME (N)",
        "A family and its number of conditions. Its row is the reference: DualPI2 with the profile \
         tuned, in milliseconds (Jain: the index itself), means over conditions. Rows below are \
         relative to it, in the same conditions with the same random draws.",
    ))];
    entries.extend(arms.map(entry));
    entries.push(Entry {
        name: "\u{221a}m\u{b7}p99, mean",
        meaning: format!(
            "Delay of the classic queue, ratio to tuned: the square root of its mean times its 99th \
             percentile, and its mean. 0.80 means a fifth less. Marked {} if better, {} if \
             worse: the \
             95 % interval over conditions excludes 1, by at least 1 % and by more than the \
             difference of tuned from itself with other draws.",
            marks.better, marks.worse
        ),
    });
    entries.extend(oracle.map(entry));
    entries.extend(columns(marks));
    entries
}

fn columns(marks: Marks) -> [Entry; 7] {
    let entry = |name, meaning: String| Entry { name, meaning };
    [
        entry(
            "kept",
            format!(
                "Conditions in which utilisation is at least {UTILISATION_KEPT} of that of plain or \
                 tuned, whichever is higher. Marked {} if it is certainly lower in at least one.",
                marks.worse
            ),
        ),
        entry(
            "worst",
            "Utilisation of the condition with the greatest loss, compared with the better of \
             plain \
             and tuned, in percentage points."
                .to_owned(),
        ),
        entry(
            "L4S",
            "99th percentile of the L4S queue's delay, ratio to tuned.".to_owned(),
        ),
        entry(
            "Jain",
            "Jain's index of fairness, which is 1 for equal rates: mean difference from tuned."
                .to_owned(),
        ),
        entry(
            "FCT",
            "Mean completion time of short flows and chunks, ratio to tuned.".to_owned(),
        ),
        entry(
            "Greatest loss",
            format!(
                "The number of the condition with the greatest loss, and the loss. delay, L4S, \
                 FCT: \
                 ratio to tuned, if its interval over repetitions excludes 1. use: points of \
                 utilisation, if it is not kept. Jain: more than {JAIN_KEPT} of the index."
            ),
        ),
        entry(
            NOTHING,
            "Nothing to compare (no such traffic), or nothing lost.".to_owned(),
        ),
    ]
}

/// For a terminal with 80 columns.
pub(super) fn text(entries: &[Entry]) -> String {
    let width = entries.iter().map(|of| of.name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut out = String::new();
    for Entry { name, meaning } in entries {
        let lines = wrapped(meaning, 78 - width);
        for (number, line) in lines.lines().enumerate() {
            let name = if number == 0 { name } else { "" };
            let space = " ".repeat(width - name.chars().count());
            out += &format!("{name}{space}  {line}\n");
        }
    }
    out
}

/// In one paragraph.
pub(super) fn sentence(entries: &[Entry]) -> String {
    let each = entries
        .iter()
        .map(|of| format!("{}: {}", of.name, of.meaning));
    each.collect::<Vec<_>>().join(" ")
}

//! The answer of a suite, shown before its tables.

use l4sllm_testbed::suite::{ADAPTIVE, PLAIN, POLICY, STUDENT, TUNED};

use super::judge::{Judged, Kept, Summary};
use super::table::{interval, ratio};
use crate::conclusion::list;
use crate::figure::escape;
use crate::format::{counted, signed};
use crate::verdict::Verdict;

/// Whether the policy (or, without one, the rule) is better than tuned, by how
/// much, at what cost, and with which exceptions, and how the other arms compare.
/// Empty if neither ran.
pub(super) fn answer(judged: &Judged) -> String {
    let subjects = [
        (POLICY, "Is the learned policy better?"),
        (STUDENT, "Is the student better?"),
        (ADAPTIVE, "Is the adaptive rule better?"),
    ];
    let ran = |name: &str| judged.all.iter().find(|of| of.arm == name);
    let Some((summary, question)) = subjects
        .iter()
        .find_map(|(name, question)| Some((ran(name)?, *question)))
    else {
        return String::new();
    };
    let entries: String = entries(judged, summary)
        .into_iter()
        .map(|(tone, term, text)| {
            format!(
                "<dt class=\"{tone}\">{term}</dt><dd>{}</dd>\n",
                escape(&text)
            )
        })
        .collect();
    format!(
        "<div class=\"answer\">\n<h2>{question} <span class=\"verdict\">{}</span></h2>\n\
         <dl class=\"gains\">\n{entries}</dl>\n</div>\n",
        word(judged, summary)
    )
}

/// More delay than tuned for utilisation that tuned loses is better in part.
fn word(judged: &Judged, summary: &Summary) -> &'static str {
    let tuned = judged.all.iter().find(|of| of.arm == TUNED);
    let keeps_more = tuned.is_some_and(|tuned| summary.utilisation.kept > tuned.utilisation.kept);
    match (summary.verdict, summary.utilisation.surely_lost) {
        (Verdict::Better, 0) => "Yes.",
        (Verdict::Better, _) => "In part.",
        (Verdict::Worse, _) if keeps_more => "In part.",
        (Verdict::Worse, _) => "No.",
        (Verdict::Same | Verdict::Unclear, _) => "Not measurably.",
        (Verdict::NoConclusion, _) => "No conclusion.",
    }
}

/// Tone, term and text of each line.
fn entries(judged: &Judged, summary: &Summary) -> Vec<(&'static str, &'static str, String)> {
    let mut entries = Vec::new();
    if let Some(delay) = &summary.classic_delay {
        let conditions = counted(delay.conditions, "condition", "conditions");
        let tone = match summary.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Same | Verdict::Unclear | Verdict::NoConclusion => "uncertain",
        };
        let others: String = others(judged, summary)
            .filter_map(|other| {
                let relative = relative_delay(judged, &summary.arm, &other.arm)?;
                Some(format!(", {} times that of {}", ratio(relative), other.arm))
            })
            .collect();
        let text = format!(
            "{} times that of tuned{others}, over {conditions}.",
            interval(&delay.mean)
        );
        entries.push((tone, "Classic delay", text));
    }
    let Kept {
        kept,
        surely_lost,
        conditions,
        worst,
        ..
    } = summary.utilisation;
    if conditions > 0 {
        let others: Vec<String> = judged
            .all
            .iter()
            .filter(|of| of.arm == TUNED)
            .chain(others(judged, summary))
            .map(|of| format!("{} in {}", of.arm, of.utilisation.kept))
            .collect();
        let tone = if surely_lost > 0 {
            "worse"
        } else {
            "uncertain"
        };
        let text = format!(
            "kept in {kept} of {}, certainly lost in {surely_lost}; the worst condition differs \
             by {} \
             points from the better of plain and tuned.{}",
            counted(conditions, "condition", "conditions"),
            signed(worst),
            match others.is_empty() {
                true => String::new(),
                false => format!(" Kept by {}.", list(&others)),
            }
        );
        entries.push((tone, "Utilisation", text));
    }
    for (verdict, tone, term) in [
        (Verdict::Better, "better", "Less delay in"),
        (Verdict::Worse, "worse", "More delay in"),
    ] {
        let families = judged.families.iter().filter(|family| {
            let own = family.summaries.iter().find(|of| of.arm == summary.arm);
            own.is_some_and(|own| own.verdict == verdict)
        });
        let names: Vec<&str> = families.map(|family| family.name.as_str()).collect();
        if !names.is_empty() {
            entries.push((tone, term, format!("{}.", list(&names))));
        }
    }
    if let Some(worst) = &summary.worst {
        let text = format!("{}: {}.", worst.condition, worst.loss);
        entries.push(("worse", "Greatest loss", text));
    }
    entries
}

/// The other arms, except tuned, that an answer names.
fn others<'a>(judged: &'a Judged, summary: &'a Summary) -> impl Iterator<Item = &'a Summary> {
    let named = |of: &&Summary| [PLAIN, ADAPTIVE].contains(&of.arm.as_str());
    judged
        .all
        .iter()
        .filter(named)
        .filter(|of| of.arm != summary.arm)
}

/// Ratio of the classic delays of two arms, geometric mean over the conditions in
/// which both have one; `None` without any.
fn relative_delay(judged: &Judged, arm: &str, other: &str) -> Option<f64> {
    let conditions = judged.families.iter().flat_map(|family| &family.conditions);
    let logs: Vec<f64> = conditions
        .filter_map(|condition| {
            let log = |name: &str| {
                let of = condition.arms.iter().find(|of| of.name == name)?;
                Some(of.ratios.classic_delay?.mean.ln())
            };
            Some(log(arm)? - log(other)?)
        })
        .collect();
    let count = logs.len() as f64;
    (count > 0.0).then(|| (logs.iter().sum::<f64>() / count).exp())
}

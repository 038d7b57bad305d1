//! The answer of a suite, shown before its tables.

use l4sllm_testbed::suite::{ADAPTIVE, POLICY};

use super::judge::{Judged, Kept, Summary};
use super::table::interval;
use crate::conclusion::list;
use crate::figure::escape;
use crate::format::{counted, signed};
use crate::verdict::Verdict;

/// Whether the policy (or, without one, the rule) is better than tuned, by how
/// much, at what cost, and with which exceptions. `None` if neither ran.
pub(super) fn answer(judged: &Judged) -> String {
    let subjects = [
        (POLICY, "Is the learned policy better?"),
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
        word(summary)
    )
}

fn word(summary: &Summary) -> &'static str {
    match (summary.verdict, summary.utilisation.surely_lost) {
        (Verdict::Better, 0) => "Yes.",
        (Verdict::Better, _) => "In part.",
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
        let text = format!(
            "{} times that of tuned, over {conditions}.",
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
        let tone = if surely_lost > 0 {
            "worse"
        } else {
            "uncertain"
        };
        let text = format!(
            "kept in {kept} of {}, certainly lost in {surely_lost}; the worst condition differs \
             by {} \
             points from the better of plain and tuned.",
            counted(conditions, "condition", "conditions"),
            signed(worst)
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

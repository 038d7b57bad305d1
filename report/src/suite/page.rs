//! The page of a suite.

use std::fmt::Write;

use l4sllm_testbed::published::Source;
use l4sllm_testbed::suite::PLAIN;

use super::answer::answer;
use super::judge::{Family, Judged};
use super::legend::{COLOURS, Entry, legend};
use super::{Facts, cautions, frontier, table};
use crate::figure::escape;
use crate::figures::Captioned;
use crate::format::{counted, plain};
use crate::page::{document, html_figure, html_table, slug};

/// Why values may be outside the ranges in a family's description.
const PARTS: &str = "A family\u{2019}s description gives its ranges. Conditions for training are drawn \
     from every other ninth of each range, those for tests from the other ninths and from beyond both \
     ends, by up to a tenth of the range. The drawn values are below each description.";

/// The whole page.
pub(super) fn page(
    judged: &Judged,
    facts: &Facts,
    complete: bool,
    figures: &[(String, Captioned)],
) -> String {
    let mut body = what_was_run(judged, facts, complete);
    body.push_str(&answer(judged));
    body.push_str(&html_table(&table::families(judged)));
    let _ = writeln!(
        body,
        "<p class=\"note\">{}</p>\n{}",
        escape(&table::noise(judged)),
        html_legend(&legend(judged, COLOURS))
    );
    if let Some(table) = frontier::table(judged) {
        let _ = writeln!(
            body,
            "<h2>Idle budgets</h2>\n<p>{}</p>\n{}",
            escape(frontier::MEANING),
            html_table(&table)
        );
    }
    for (svg, captioned) in figures {
        body.push_str(&html_figure(svg, captioned));
    }
    if let Some(published) = table::published(judged) {
        let _ = writeln!(
            body,
            "<h2>Published measurements</h2>\n<p>Published numbers, and results of the \
             same setups under each arm. The published numbers are of plain DualPI2 on Linux; \
             compare them \
             with the arm {PLAIN}.</p>\n{}",
            sources(judged)
        );
        body.push_str(&html_table(&published));
        body.push_str(&places(judged));
    }
    if !judged.families.is_empty() {
        let _ = writeln!(body, "<h2>Families</h2>\n<p>{PARTS}</p>");
    }
    for family in &judged.families {
        body.push_str(&section(family));
    }
    let _ = writeln!(
        body,
        "<h2>How to run it again</h2>\n<pre class=\"command\">{}</pre>\n<p>The same version, seed and policy give the \
         same numbers. <code>{}</code> has every cell.</p>",
        escape(&facts.command),
        super::SUITE_FILE
    );
    document("suite", &body)
}

fn what_was_run(judged: &Judged, facts: &Facts, complete: bool) -> String {
    let conditions: usize = judged.families.iter().map(|f| f.conditions.len()).sum();
    let mut out = format!(
        "<p class=\"lead\">{}.</p>\n<p class=\"key\">{}, {} of the {} part, {} of {} s measured, \
         seed {}, l4sllm {}.</p>\n",
        escape(facts.description.trim_end_matches('.')),
        counted(judged.families.len(), "family", "families"),
        counted(conditions, "condition", "conditions"),
        escape(&facts.part),
        counted(
            facts.protocol.repetitions as usize,
            "repetition",
            "repetitions"
        ),
        plain(facts.protocol.measured_ns as f64 / 1e9),
        facts.seed,
        escape(&facts.version),
    );
    if let Some(policy) = &facts.policy {
        let every = match policy.period_ns {
            Some(ns) => format!("every {} ms", ns / 1_000_000),
            None => format!("after every {} records", facts.interval.unwrap_or(0)),
        };
        let _ = writeln!(
            out,
            "<p class=\"key\">Policy {}, SHA-256 <code>{}</code>, a decision {every}.</p>",
            escape(&policy.name),
            escape(&policy.sha256),
        );
    }
    let cautions = cautions(facts, complete);
    let cautions: String = cautions
        .iter()
        .map(|of| {
            format!(
                "<div class=\"partial\"><b>{}:</b> {}</div>\n",
                of.what,
                escape(&of.why)
            )
        })
        .collect();
    // Shown before any number.
    cautions + &out
}

fn html_legend(legend: &[Entry]) -> String {
    let entry = |of: &Entry| {
        format!(
            "<dt>{}</dt><dd>{}</dd>\n",
            escape(of.name),
            escape(&of.meaning)
        )
    };
    let entries: String = legend.iter().map(entry).collect();
    format!("<dl class=\"legend\">\n{entries}</dl>\n")
}

/// The sources of the published numbers.
fn sources(judged: &Judged) -> String {
    let sources = judged.families.iter().flat_map(|family| &family.sources);
    let entry = |of: &Source| {
        format!(
            "<li>{}: {}, {}</li>\n",
            escape(&of.name),
            escape(&of.title),
            escape(&of.at)
        )
    };
    let entries: String = sources.map(entry).collect();
    format!("<ul class=\"conclusion\">\n{entries}</ul>\n")
}

/// The place of each number in its source, and the reasons for differences.
fn places(judged: &Judged) -> String {
    let mut entries = String::new();
    let conditions = judged.families.iter().flat_map(|family| &family.conditions);
    for condition in conditions {
        for figure in &condition.published {
            let why = figure
                .why
                .as_ref()
                .map_or(String::new(), |why| format!(" {}", escape(why)));
            let _ = writeln!(
                entries,
                "<li>{}, {}: {}, {}.{why}</li>",
                escape(&condition.name),
                escape(&figure.measure),
                escape(&figure.source),
                escape(&figure.place),
            );
        }
    }
    format!(
        "<details>\n<summary>Source of each number, and reasons for differences</summary>\n<ul \
         class=\"conclusion\">\n{entries}</ul>\n</details>\n"
    )
}

/// A family: its conditions, and each of them under all arms.
fn section(family: &Family) -> String {
    let facts: String = family
        .conditions
        .iter()
        .map(|condition| {
            let oracle = condition.oracle.as_ref().map_or(String::new(), |choice| {
                let setting = escape(&choice.setting);
                match choice.holds {
                    true => format!("; best fixed setting: {setting}"),
                    false => format!(
                        "; no fixed setting keeps utilisation and fairness; {setting} is used \
                         instead"
                    ),
                }
            });
            format!(
                "<li>{}: {}{oracle}</li>\n",
                escape(table::short(&condition.name)),
                escape(&condition.facts)
            )
        })
        .collect();
    format!(
        "<section class=\"family\">\n<h2 id=\"{}\">{}</h2>\n<p>{}.</p>\n<p class=\"key\">Drawn: \
         {}.</p>\n<details>\n<summary>The conditions</summary>\n\
         <ul class=\"conclusion\">\n{facts}</ul>\n</details>\n{}</section>\n",
        slug(&family.name),
        escape(&family.name),
        escape(family.description.trim_end_matches('.')),
        escape(&family.drawn),
        html_table(&table::conditions(family)),
    )
}

//! The page of a suite.

use std::fmt::Write;

use super::judge::{Family, Judged};
use super::{Facts, table};
use crate::figure::escape;
use crate::figures::Captioned;
use crate::format::plain;
use crate::page::{document, html_table, slug};

/// The whole page.
pub(super) fn page(
    judged: &Judged,
    facts: &Facts,
    complete: bool,
    figures: &[(String, Captioned)],
) -> String {
    let mut body = what_was_run(judged, facts, complete);
    body.push_str(&html_table(&table::families(judged)));
    let _ = writeln!(
        body,
        "<p class=\"key\">{}</p>\n<p class=\"note\">{}</p>",
        escape(&table::definition()),
        escape(&table::noise(judged))
    );
    for (svg, captioned) in figures {
        let caption = escape(&captioned.caption);
        let _ = writeln!(
            body,
            "<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>"
        );
    }
    if let Some(published) = table::published(judged) {
        body.push_str("<h2>Others' measurements</h2>\n");
        body.push_str(&html_table(&published));
        body.push_str(&sources(judged));
    }
    for family in &judged.families {
        body.push_str(&section(family));
    }
    let _ = writeln!(
        body,
        "<h2>How to run it again</h2>\n<pre>{}</pre>\n<p>The same version, seed and policy give the \
         same numbers. <code>{}</code> has every cell.</p>",
        escape(&facts.command),
        super::SUITE_FILE
    );
    document("suite", &body)
}

fn what_was_run(judged: &Judged, facts: &Facts, complete: bool) -> String {
    let conditions: usize = judged.families.iter().map(|f| f.conditions.len()).sum();
    let mut out = format!(
        "<p class=\"lead\">{}</p>\n<p class=\"lead\">{} families, {conditions} conditions of the {} \
         part, {} repetitions of {} s measured, seed {}, l4sllm {}.</p>\n",
        escape(&facts.description),
        judged.families.len(),
        escape(&facts.part),
        facts.protocol.repetitions,
        plain(facts.protocol.measured_ns as f64 / 1e9),
        facts.seed,
        escape(&facts.version),
    );
    if let Some(policy) = &facts.policy {
        let _ = writeln!(
            out,
            "<p class=\"lead\">Policy {}, SHA-256 <code>{}</code>, a decision after every {} \
             records.</p>",
            escape(&policy.name),
            escape(&policy.sha256),
            facts.interval.unwrap_or(0),
        );
    }
    if !complete {
        out.push_str(
            "<div class=\"partial\"><b>Partial result.</b> Some cells are not finished; the command \
             below continues.</div>\n",
        );
    }
    if facts.protocol.repetitions < 2 {
        out.push_str(
            "<div class=\"partial\"><b>One repetition: no conclusion about single \
             conditions.</b></div>\n",
        );
    }
    out
}

/// Where the published numbers are, and why ours differ.
fn sources(judged: &Judged) -> String {
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
        "<details>\n<summary>Sources</summary>\n<ul class=\"conclusion\">\n{entries}</ul>\n</details>\n"
    )
}

/// A family: what its conditions are, and each of them under all arms.
fn section(family: &Family) -> String {
    let facts: String = family
        .conditions
        .iter()
        .map(|condition| {
            let oracle = condition.oracle.as_ref().map_or(String::new(), |choice| {
                let holds = if choice.holds {
                    ""
                } else {
                    ", which holds no bound"
                };
                format!("; best fixed setting: {}{holds}", escape(&choice.setting))
            });
            format!(
                "<li>{}: {}{oracle}</li>\n",
                escape(table::short(&condition.name)),
                escape(&condition.facts)
            )
        })
        .collect();
    format!(
        "<section>\n<h2 id=\"{}\">{}</h2>\n<p>{}.</p>\n<details>\n<summary>Conditions</summary>\n\
         <ul class=\"conclusion\">\n{facts}</ul>\n</details>\n{}</section>\n",
        slug(&family.name),
        escape(&family.name),
        escape(family.description.trim_end_matches('.')),
        html_table(&table::conditions(family)),
    )
}

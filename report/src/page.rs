//! The page: what was run, the table, what it means, figures, how to run it
//! again. One file, nothing fetched from anywhere, no script.

use std::fmt::Write;

use super::PAPER;
use super::compare::{Comparison, Pair};
use super::conclusion::{Headline, conclusions, list};
use super::data::Data;
use super::figure::escape;
use super::figures::Captioned;
use super::format::{counted, plain, rate};
use super::table::{Table, Tone, differences, results};
use crate::verdict::DEFINITION;
use l4sllm_testbed::result::Floor;

const STYLE: &str = include_str!("page.css");

/// A result on the page.
pub(super) struct Section<'a> {
    pub data: &'a Data,
    /// Figures as SVG, with their captions.
    pub figures: Vec<(String, &'a Captioned)>,
}

/// The page on one result or several, and on scenarios that were not started.
pub(super) fn page(title: &str, sections: &[Section<'_>], missing: &[String]) -> String {
    let mut body = String::new();
    if let Some(sentence) = not_started(missing) {
        let _ = writeln!(
            body,
            "<p class=\"partial\"><b>Partial result.</b> {}</p>",
            prose(&sentence)
        );
    }
    match sections {
        [one] => body.push_str(&section(one)),
        several => {
            body.push_str(&contents(several));
            for one in several {
                let name = escape(&one.data.facts.scenario);
                let _ = writeln!(body, "<section>\n<h2 id=\"{}\">{name}</h2>", slug(&name));
                body.push_str(&section(one));
                body.push_str("</section>\n");
            }
        }
    }
    document(title, &with_paper(&body))
}

/// Says which scenarios of an interrupted run have no result, if any.
pub(super) fn not_started(missing: &[String]) -> Option<String> {
    (!missing.is_empty()).then(|| format!("Not started: {}.\n", list(missing)))
}

/// Names the paper ([`PAPER`]) ahead of a `body` that calls it published.
pub(super) fn with_paper(body: &str) -> String {
    match body.to_lowercase().contains("published") {
        true => format!(
            "<p class=\"key\">Published work on this page: {}.</p>\n{body}",
            escape(PAPER)
        ),
        false => body.to_owned(),
    }
}

/// A page around `body`: one file, nothing fetched, no script.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>l4sllm: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>l4sllm: {title}</h1>\n{body}</body>\n</html>\n",
        title = escape(title)
    )
}

/// Text whose compound words (`l4sllm-10`) stay in one line.
fn prose(text: &str) -> String {
    let word = |word: &str| match word.contains('-') {
        true => format!("<span class=\"word\">{}</span>", escape(word)),
        false => escape(word),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// `name` as an identifier.
pub(super) fn slug(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let slug: String = name.chars().map(plain).collect();
    format!("s-{slug}")
}

/// Links, and the conclusion of each before anyone scrolls; the result with
/// the greatest loss first.
fn contents(sections: &[Section<'_>]) -> String {
    let mut entries: Vec<_> = sections.iter().map(entry).collect();
    entries.sort_by(|a, b| b.0.total_cmp(&a.0));
    let entries: String = entries.into_iter().map(|(_, entry)| entry).collect();
    format!("<ul class=\"conclusion\">\n{entries}</ul>\n")
}

/// The greatest loss in a result, and its entry in the contents.
fn entry(section: &Section<'_>) -> (f64, String) {
    let data = section.data;
    let (name, description) = (
        escape(&data.facts.scenario),
        escape(&data.facts.description),
    );
    let comparison = Comparison::of(&data.facts, &data.summary);
    let loss = comparison.pairs.iter().map(Pair::loss).fold(0.0, f64::max);
    let (finished, all) = data.progress();
    let partial = match data.summary.complete {
        true => String::new(),
        false => format!(" <b>Partial: {finished} of {all} repetitions.</b>"),
    };
    let warning = match data.warnings().as_slice() {
        [] => String::new(),
        warnings => format!(" <b>\u{26a0} {}.</b>", escape(&list(warnings))),
    };
    let entry = format!(
        "<li><a href=\"#{}\">{name}</a>: {description}.{partial}{warning}{}</li>\n",
        slug(&name),
        html_headline(&comparison),
    );
    (loss, entry)
}

fn section(section: &Section<'_>) -> String {
    let data = section.data;
    let mut out = what_was_run(data);
    if !data.summary.complete {
        out.push_str(&partial(data));
    }
    out.push_str(&warnings(data));
    if data.summary.arms.is_empty() {
        return out + &run_again(data);
    }
    let comparison = Comparison::of(&data.facts, &data.summary);
    out.push_str(&html_headline(&comparison));
    out.push_str(&html_table(&results(data)));
    out.push_str(
        "<p class=\"key\">In bold: the best of a column as shown, which need not be a difference \
         (below). Delays are sojourn times of forwarded \
         packets, drops a share of the packets that left the queue; counts are sums over \
         repetitions. Decision: time from the record that completes an interval to the override \
         in force, or what the scenario sets in its place.</p>\n",
    );
    if let Some(table) = differences(data, &comparison) {
        out.push_str("<h3>Differences, greatest loss first</h3>\n");
        out.push_str(&html_table(&table));
        out.push_str(&key());
    }
    let conclusions = conclusions(&comparison);
    if !conclusions.is_empty() {
        out.push_str("<h3>What it means</h3>\n<ul class=\"conclusion\">\n");
        for sentence in conclusions {
            let _ = writeln!(out, "<li>{}</li>", prose(&sentence));
        }
        out.push_str("</ul>\n");
    }
    if let Some(note) = data.facts.floor.as_ref().and_then(floor_note) {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(&note));
    }
    out.push_str("<h3>Figures</h3>\n");
    for (svg, captioned) in &section.figures {
        let caption = escape(&captioned.caption);
        let _ = writeln!(
            out,
            "<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>"
        );
    }
    out + &run_again(data)
}

fn html_headline(comparison: &Comparison<'_>) -> String {
    match Headline::of(comparison) {
        Headline::All(sentence) if !comparison.pairs.is_empty() => format!(
            "<p class=\"partial\"><b>{}</b> What arms differ by cannot be told from what two runs of \
             the same arm differ by. Three repetitions or more (<code>--repetitions</code>) show \
             it.</p>\n",
            escape(sentence)
        ),
        Headline::All(sentence) => format!("<p>{}</p>\n", escape(sentence)),
        Headline::Against(baselines) => baselines
            .iter()
            .map(|(baseline, clauses)| {
                let clauses: String = clauses
                    .iter()
                    .map(|clause| format!("<li>{}</li>\n", prose(clause)))
                    .collect();
                format!(
                    "<p class=\"headline\">Against {}:</p>\n<ul class=\"conclusion\">\n{clauses}</ul>\n",
                    prose(baseline)
                )
            })
            .collect(),
    }
}

/// Why the result shows less than it seems to, if there is a reason.
fn warnings(data: &Data) -> String {
    let entries: String = data
        .warnings()
        .iter()
        .map(|of| format!("<li>{}</li>\n", prose(of)))
        .collect();
    match entries.is_empty() {
        true => String::new(),
        false => format!(
            "<div class=\"partial\"><b>\u{26a0} Warning.</b> This result shows less than it seems \
             to:\n<ul class=\"conclusion\">\n{entries}</ul></div>\n"
        ),
    }
}

/// What an interrupted run lacks.
fn partial(data: &Data) -> String {
    let (finished, all) = data.progress();
    let missing: String = data
        .missing()
        .iter()
        .map(|of| format!("<li>{}</li>\n", prose(&of.to_string())))
        .collect();
    format!(
        "<div class=\"partial\"><b>Partial result.</b> {finished} of {all} repetitions are \
         finished. The table of arms is over these; differences are over pairs of repetitions that \
         both arms have. The command below continues with the rest. Missing, counted from 0:\n\
         <ul class=\"conclusion\">\n{missing}</ul></div>\n"
    )
}

/// What colours and signs of the differences mean.
fn key() -> String {
    format!(
        "<p class=\"key\"><span class=\"better\">Blue: better</span>, \
         <span class=\"worse\">orange: worse</span>, on dark ground: \
         <span class=\"much-better\">much better</span> or \
         <span class=\"much-worse\">much worse</span> (at least 5 points of utilisation, 2 of drops, \
         half of a delay or 0.1 of Jain's index), <span class=\"uncertain\">grey: not certain</span>. \
         {}</p>\n",
        escape(DEFINITION)
    )
}

fn what_was_run(data: &Data) -> String {
    let facts = &data.facts;
    format!(
        "<p class=\"lead\">{}</p>\n<p class=\"lead\">{}, {} of {} s virtual time each, seed {}, \
         l4sllm {}.</p>\n",
        escape(&facts.description),
        counted(facts.arms.len(), "arm", "arms"),
        counted(facts.repetitions as usize, "repetition", "repetitions"),
        plain(facts.duration_ns as f64 / 1e9),
        facts.seed,
        escape(&facts.version),
    )
}

/// Says which queue no marking removes; none where the path holds the windows.
fn floor_note(floor: &Floor) -> Option<String> {
    let delay_ms = floor.delay_ns() as f64 / 1e6;
    (delay_ms > 0.0).then(|| {
        let packet_bits = f64::from(floor.packet_bytes) * 8.0;
        let rtt_s = floor.base_rtt_ns as f64 / 1e9;
        format!(
            "This cell has a floor. Each of its {} flows keeps at least {} packets of {} bytes in \
             flight, {} together; {} and {} ms hold {} of them. The rest waits at the bottleneck: \
             about {} ms of queue, whatever is marked. Less than that takes losses: flows that time out send less than their \
             window.",
            floor.flows,
            floor.min_window_packets,
            floor.packet_bytes,
            u64::from(floor.flows) * u64::from(floor.min_window_packets),
            rate(floor.bits_per_s),
            plain(rtt_s * 1e3),
            plain(floor.bits_per_s as f64 * rtt_s / packet_bits),
            delay_ms.round(),
        )
    })
}

pub(super) fn html_table(table: &Table) -> String {
    let mut out = format!(
        "<div class=\"scroll\"><table>\n<thead>\n<tr><th class=\"name\" rowspan=\"2\">{}</th>",
        escape(table.corner)
    );
    for (group, columns) in &table.groups {
        let (group, span) = (escape(group), columns.len());
        let _ = write!(out, "<th class=\"group\" colspan=\"{span}\">{group}</th>");
    }
    out.push_str("</tr>\n<tr>");
    let firsts: Vec<bool> = table
        .groups
        .iter()
        .flat_map(|(_, columns)| (0..columns.len()).map(|i| i == 0))
        .collect();
    let names = table.groups.iter().flat_map(|(_, columns)| columns);
    for (name, first) in names.zip(&firsts) {
        let _ = write!(
            out,
            "<th{}>{}</th>",
            class(*first, Tone::Plain),
            escape(name)
        );
    }
    out.push_str("</tr>\n</thead>\n<tbody>\n");
    for row in &table.rows {
        let _ = write!(
            out,
            "<tr><th class=\"name\" scope=\"row\">{}</th>",
            escape(&row.shown())
        );
        for (cell, first) in row.cells.iter().zip(&firsts) {
            let _ = write!(
                out,
                "<td{}>{}</td>",
                class(*first, cell.tone),
                escape(&cell.text)
            );
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody>\n</table></div>\n"
}

fn class(first: bool, tone: Tone) -> String {
    let tone = match tone {
        Tone::Plain => "",
        Tone::Best => "best",
        Tone::Better => "better",
        Tone::MuchBetter => "much-better",
        Tone::Worse => "worse",
        Tone::MuchWorse => "much-worse",
        Tone::Uncertain => "uncertain",
    };
    let names: Vec<&str> = [if first { "group" } else { "" }, tone]
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" class=\"{}\"", names.join(" "))
    }
}

fn run_again(data: &Data) -> String {
    let facts = &data.facts;
    let arms: Vec<&str> = facts.arms.iter().map(|arm| arm.name.as_str()).collect();
    let policy = facts.arms.iter().find_map(|arm| arm.policy.as_ref());
    let policy = policy.map_or(String::new(), |policy| {
        let engine = policy.runs_on.as_ref().map_or(String::new(), |on| {
            let (engine, precision) = (on.engine.name(), on.precision.name());
            format!(
                " \\\n    --engine {engine} --accelerator {} --precision {precision}",
                on.device
            )
        });
        format!(" --policy policies/{}{engine}", policy.name)
    });
    let command = format!(
        "l4sllm run scenario/{}.toml --out DIR \\\n    --arms {}{policy} \\\n    \
         --repetitions {} --duration {}s --seed {}",
        facts.scenario,
        arms.join(","),
        facts.repetitions,
        plain(facts.duration_ns as f64 / 1e9),
        facts.seed,
    );
    let mut out = format!(
        "<h3>How to run it again</h3>\n<pre>{}</pre>\n<p>The scenario file is in the result \
         directory and below. The same version, seed, scenario and policy give the same packets; \
         times that were measured differ.</p>\n",
        escape(&command)
    );
    let policies = facts
        .arms
        .iter()
        .filter_map(|arm| Some((&arm.name, arm.policy.as_ref()?)));
    let policies: Vec<String> = policies
        .map(|(arm, policy)| {
            let (arm, name, sha256) = (escape(arm), escape(&policy.name), escape(&policy.sha256));
            format!("<li>{arm}: policy {name}, SHA-256 <code>{sha256}</code></li>")
        })
        .collect();
    if !policies.is_empty() {
        let _ = writeln!(
            out,
            "<ul class=\"conclusion\">\n{}\n</ul>",
            policies.join("\n")
        );
    }
    let _ = writeln!(
        out,
        "<details>\n<summary>scenario/{}.toml</summary>\n<pre>{}</pre>\n</details>",
        escape(&facts.scenario),
        escape(&facts.scenario_toml)
    );
    out
}

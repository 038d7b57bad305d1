//! The page: what was run, the table, its meaning, figures, and how to run it
//! again. One self-contained file without scripts.

use std::fmt::Write;

use super::PAPER;
use super::answer::Answer;
use super::compare::Comparison;
use super::conclusion::{Headline, conclusions, list};
use super::data::Data;
use super::figure::{dark_rules, escape};
use super::figures::{Captioned, among_scenarios};
use super::format::{counted, plain, rate};
use super::glossary::glossary;
use super::run_again::run_again;
use super::table::{Row, Table, Tone, differences, results};
use crate::verdict::DEFINITION;
use l4sllm_testbed::result::{Facts, Floor};

const STYLE: &str = include_str!("page.css");

/// A result on the page.
pub(super) struct Section<'a> {
    pub data: &'a Data,
    /// The figure of the differences that answer the question, if any.
    pub overview: Option<(String, &'a Captioned)>,
    /// The other figures, drawn for a page, with captions.
    pub figures: Vec<(String, &'a Captioned)>,
}

/// The page for one or several results, and for scenarios that were not
/// started.
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
        [one] => body.push_str(&section(one, 2)),
        several => {
            body.push_str(&contents(several));
            for one in several {
                let name = escape(&one.data.facts.scenario);
                let _ = writeln!(body, "<section>\n<h2 id=\"{}\">{name}</h2>", slug(&name));
                body.push_str(&section(one, 3));
                body.push_str("</section>\n");
            }
        }
    }
    document(title, &with_paper(&body))
}

/// Lists the scenarios of an interrupted run without a result, if any.
pub(super) fn not_started(missing: &[String]) -> Option<String> {
    (!missing.is_empty()).then(|| format!("Not started: {}.\n", list(missing)))
}

/// Names the paper ([`PAPER`]) before a `body` that calls it published.
pub(super) fn with_paper(body: &str) -> String {
    match body.to_lowercase().contains("published") {
        true => format!(
            "<p class=\"key\">Published work on this page: {}.</p>\n{body}",
            escape(PAPER)
        ),
        false => body.to_owned(),
    }
}

/// A page around `body`: one self-contained file without scripts.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>l4sllm: {title}</title>\n<style>\n{STYLE}@media screen and \
         (prefers-color-scheme: dark) {{\n{}}}\n</style>\n</head>\n<body>\n\
         <h1>l4sllm: {title}</h1>\n{body}</body>\n</html>\n",
        dark_rules(),
        title = escape(title)
    )
}

/// Text with compound words (`l4sllm-10`) that must not be broken.
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

/// Links with the conclusion of each result, to be visible without scrolling;
/// the result with the greatest loss comes first.
fn contents(sections: &[Section<'_>]) -> String {
    let comparisons: Vec<_> = sections.iter().map(|of| of.data.comparison()).collect();
    let answers: Vec<_> = (sections.iter().zip(&comparisons))
        .map(|(of, comparison)| Answer::of(of.data, comparison))
        .collect();
    let names = sections.iter().map(|of| of.data.facts.scenario.as_str());
    let named: Vec<(&str, &Answer<'_>)> = names.zip(&answers).collect();
    let overview = among_scenarios(&named).map_or(String::new(), |captioned| {
        html_figure(&captioned.figure.html("all"), &captioned)
    });
    let mut entries: Vec<_> = (sections.iter().zip(&answers)).map(entry).collect();
    entries.sort_by(|a, b| b.0.total_cmp(&a.0));
    let entries: String = entries.into_iter().map(|(_, entry)| entry).collect();
    format!("{overview}<ul class=\"conclusion contents\">\n{entries}</ul>\n")
}

/// The greatest loss of a result, and its entry in the contents.
fn entry((section, answer): (&Section<'_>, &Answer<'_>)) -> (f64, String) {
    let data = section.data;
    let (name, description) = (
        escape(&data.facts.scenario),
        escape(&data.facts.description),
    );
    let loss = answer
        .pairs
        .iter()
        .map(|pair| pair.loss())
        .fold(0.0, f64::max);
    let (finished, all) = data.progress();
    let partial = match data.summary.complete {
        true => String::new(),
        false => format!(" <b>Partial: {finished} of {all} repetitions.</b>"),
    };
    let warning = match data.warnings().as_slice() {
        [] => String::new(),
        warnings => format!(" <b>\u{26a0} {}.</b>", escape(&list(warnings))),
    };
    let sentences: String = answer.sentences.iter().map(|of| prose(of) + " ").collect();
    let entry = format!(
        "<li><a href=\"#{}\">{name}</a>: {description}.{partial}{warning}<p>{} <b>{}</b> \
         {sentences}</p></li>\n",
        slug(&name),
        escape(&answer.question),
        escape(answer.word),
    );
    (loss, entry)
}

fn section(section: &Section<'_>, level: u8) -> String {
    let data = section.data;
    let mut out = what_was_run(data);
    if !data.summary.complete {
        out.push_str(&partial(data));
    }
    out.push_str(&warnings(data));
    if data.summary.arms.is_empty() {
        return out + &again(data);
    }
    let comparison = data.comparison();
    let answer = Answer::of(data, &comparison);
    out.push_str(&html_answer(&answer, &comparison, level));
    if let Some((svg, captioned)) = &section.overview {
        out.push_str(&html_figure(svg, captioned));
    }
    out.push_str("<h3>The arms</h3>\n");
    out.push_str(&html_table(&results(data)));
    out.push_str(
        "<p class=\"key\">In bold: better than every other arm, with confidence. Counts are sums over \
         repetitions.</p>\n",
    );
    out.push_str(&glossary(data));
    if let Some(table) = differences(data, &comparison) {
        out.push_str("<h3>Differences, greatest loss first</h3>\n");
        out.push_str(&html_table(&table));
        out.push_str(&key());
    }
    let conclusions = conclusions(&comparison);
    if !conclusions.is_empty() {
        out.push_str("<details>\n<summary>In words</summary>\n<ul class=\"conclusion\">\n");
        for sentence in conclusions {
            let _ = writeln!(out, "<li>{}</li>", prose(&sentence));
        }
        out.push_str("</ul>\n</details>\n");
    }
    if let Some(note) = data.facts.floor.as_ref().and_then(floor_note) {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(&note));
    }
    out.push_str("<h3>Figures</h3>\n");
    for (svg, captioned) in &section.figures {
        out.push_str(&html_figure(svg, captioned));
    }
    out + &again(data)
}

/// A figure with its caption.
pub(super) fn html_figure(drawn: &str, captioned: &Captioned) -> String {
    let title = captioned.figure.title.rsplit_once(", ");
    let title = title.map_or(captioned.figure.title.as_str(), |(title, _)| title);
    format!(
        "<figure>\n<h4>{}</h4>\n{drawn}<figcaption>{}</figcaption>\n</figure>\n",
        escape(title),
        escape(&captioned.caption)
    )
}

/// The question, its answer, and the gains and costs.
fn html_answer(answer: &Answer<'_>, comparison: &Comparison<'_>, level: u8) -> String {
    let mut out = format!(
        "<div class=\"answer\">\n<h{level}>{} <span class=\"verdict\">{}</span></h{level}>\n",
        escape(&answer.question),
        escape(answer.word),
    );
    match Headline::of(comparison) {
        Headline::All(sentence) if !comparison.pairs.is_empty() => {
            let _ = writeln!(
                out,
                "<p><b>{}</b> One repetition cannot show whether arms differ by more than two \
                 runs of the same arm. Use at least three (<code>--repetitions</code>).</p>",
                escape(sentence)
            );
        }
        Headline::All(sentence) => {
            let _ = writeln!(out, "<p>{}</p>", escape(sentence));
        }
        Headline::Against(_) => {
            for sentence in &answer.sentences {
                let _ = writeln!(out, "<p>{}</p>", prose(sentence));
            }
            out.push_str("<dl class=\"gains\">\n");
            for (term, tone, list) in answer.gains_and_losses() {
                let _ = writeln!(
                    out,
                    "<dt class=\"{tone}\">{term}</dt><dd>{}</dd>",
                    prose(&list)
                );
            }
            out.push_str("</dl>\n");
        }
    }
    out + "</div>\n"
}

/// How to run it again; for overlaid results, each of them.
fn again(data: &Data) -> String {
    match data.results.as_slice() {
        [] => run_again(&data.facts),
        results => results
            .iter()
            .zip(&data.sources)
            .map(|(facts, name)| format!("<h3>{}</h3>\n{}", escape(name), run_again(facts)))
            .collect(),
    }
}

/// Warnings that limit the meaning of the result, if any.
fn warnings(data: &Data) -> String {
    let entries: String = data
        .warnings()
        .iter()
        .map(|of| format!("<li>{}</li>\n", prose(of)))
        .collect();
    match entries.is_empty() {
        true => String::new(),
        false => format!(
            "<div class=\"partial\"><b>\u{26a0} Warning.</b> This result is less meaningful \
             than it seems:\n<ul class=\"conclusion\">\n{entries}</ul></div>\n"
        ),
    }
}

/// The missing parts of an interrupted run.
fn partial(data: &Data) -> String {
    let (finished, all) = data.progress();
    let missing: String = data
        .missing()
        .iter()
        .map(|of| format!("<li>{}</li>\n", prose(&of.to_string())))
        .collect();
    format!(
        "<div class=\"partial\"><b>Partial result.</b> {finished} of {all} repetitions are \
         finished. The table of arms covers these; differences are over complete pairs of \
         repetitions. The command below runs the missing ones. Missing, counted from 0:\n\
         <ul class=\"conclusion\">\n{missing}</ul></div>\n"
    )
}

/// Explains the colours and signs of the differences.
fn key() -> String {
    format!(
        "<p class=\"key\"><span class=\"better\">Blue: better</span>, \
         <span class=\"worse\">orange: worse</span>, on a dark background: \
         <span class=\"much-better\">much better</span> or \
         <span class=\"much-worse\">much worse</span> (at least 5 points of utilisation, 2 of drops, \
         half of a delay or 0.1 of Jain's index), <span class=\"uncertain\">grey: not certain</span>. \
         {}</p>\n",
        escape(DEFINITION)
    )
}

fn what_was_run(data: &Data) -> String {
    let lead = |text: &str| format!("<p class=\"lead\">{}</p>\n", escape(text));
    if data.results.is_empty() {
        return lead(&data.facts.description)
            + &format!("<p class=\"key\">{}.</p>\n", run(&data.facts));
    }
    let mut out = String::new();
    for (name, facts) in data.sources.iter().zip(&data.results) {
        let _ = writeln!(
            out,
            "<p class=\"lead\"><b>{}:</b> {}.</p>\n<p class=\"key\">{}.</p>",
            escape(name),
            escape(facts.description.trim_end_matches('.')),
            run(facts),
        );
    }
    let same = |facts: &Facts| facts.scenario_toml == data.results[0].scenario_toml;
    if !data.results.iter().all(same) {
        out.push_str(
            "<p class=\"note\">Their scenario files differ, so arms of the same name may differ by \
             more than chance.</p>\n",
        );
    }
    out
}

/// The amount of runs.
fn run(facts: &Facts) -> String {
    format!(
        "{} under the same traffic, {} of {} s virtual time each, seed {}, l4sllm {}",
        counted(facts.arms.len(), "queue (arm)", "queues (arms)"),
        counted(facts.repetitions as usize, "repetition", "repetitions"),
        plain(facts.duration_ns as f64 / 1e9),
        facts.seed,
        escape(&facts.version),
    )
}

/// Explains the queue that no marking can remove; none if the path can hold the
/// windows.
fn floor_note(floor: &Floor) -> Option<String> {
    let delay_ms = floor.delay_ns() as f64 / 1e6;
    (delay_ms > 0.0).then(|| {
        let packet_bits = f64::from(floor.packet_bytes) * 8.0;
        let rtt_s = floor.base_rtt_ns as f64 / 1e9;
        format!(
            "This cell has a minimum queue. Each of its {} flows keeps at least {} packets of \
             {} bytes in \
             flight, {} together; {} and {} ms hold {} of them. The other packets wait at the \
             bottleneck: about {} ms of queue, regardless of marking. Only losses make it \
             shorter, because flows that time out send less than their window.",
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
    let grouped = table.rows.iter().any(Row::continues);
    for (at, row) in table.rows.iter().enumerate() {
        // In print, a row and its continuations stay on one page.
        if at > 0 && grouped && !row.continues() {
            out.push_str("</tbody>\n<tbody>\n");
        }
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
        Tone::Set => "set",
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

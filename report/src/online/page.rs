//! The page on a training in the loop, its table and its conclusion.

use std::fmt::Write;
use std::path::Path;

use super::{Lesson, Training};
use crate::figure::escape;
use crate::figures::Captioned;
use crate::format::{count, counted, number, seconds, signed};
use crate::page::{document, html_figure, html_table};
use crate::table::{Cell, NOTHING, Row, Table, Tone};
use crate::verdict::Interval;

/// Meaning of the columns.
const MEANING: &str = "Cost: ln of classic delay relative to tuned, losses of fairness and of \
L4S delay, and a penalty for utilisation lost beyond the idle budget; with its 95 % interval \
    over the conditions of the evaluation. Lost: share of the utilisation of the better of plain and \
    tuned. Within: conditions that lose at most the budget, for the policy and for the adaptive \
    rule. \
    Regret and agreement are those of the policy before a round. Bold: the policy in best/.";

/// The page: one self-contained file without scripts.
pub(super) fn html(training: &Training, dir: &Path, figures: &[(String, Captioned)]) -> String {
    let mut body = format!(
        "<p class=\"lead\">{}</p>\n<div class=\"answer\">\n<h2>Did the training help? <span \
         class=\"verdict\">{}</span></h2>\n<p>{}</p>\n</div>\n",
        escape(&lead(training)),
        word(training),
        escape(&answer(training)),
    );
    body.push_str(&html_table(&table(training)));
    let _ = writeln!(body, "<p class=\"key\">{}</p>", escape(MEANING));
    for (svg, captioned) in figures {
        body.push_str(&html_figure(svg, captioned));
    }
    let _ = writeln!(
        body,
        "<h2>How to draw it again</h2>\n<pre>l4sllm report {}</pre>",
        escape(&dir.display().to_string())
    );
    document(&training.name, &body)
}

/// The table for a terminal, and its conclusion.
pub(super) fn text(training: &Training) -> String {
    format!(
        "{}{}\n{}\n",
        table(training).text(),
        lead(training),
        answer(training)
    )
}

fn lead(training: &Training) -> String {
    let of_kind = |kind: &str| {
        let own = training.lessons.iter();
        own.filter(|of| of.stage.starts_with(kind)).count()
    };
    let last = training.lessons.last();
    let mut lead = format!(
        "Trained in the loop: {}, {}, {} optimiser steps, {}.",
        counted(of_kind("round-"), "round", "rounds"),
        counted(of_kind("improvement-"), "improvement", "improvements"),
        count(last.map_or(0, |of| of.steps)),
        seconds(last.map_or(0.0, |of| of.seconds)),
    );
    if training.bad_lines > 0 {
        let _ = write!(
            lead,
            " Unreadable lines of its metrics: {}.",
            training.bad_lines
        );
    }
    lead
}

/// Excess cost of the best policy over the first one, that of the imitation.
fn gain(training: &Training) -> Option<Interval> {
    training.best().more_than(training.lessons.first()?)
}

fn word(training: &Training) -> &'static str {
    match gain(training).and_then(|of| Some((of.mean, of.half_width?))) {
        _ if training.lessons.len() < 2 => "One lesson so far.",
        Some((mean, half)) if mean + half < 0.0 => "Yes.",
        _ => "Not measurably.",
    }
}

fn answer(training: &Training) -> String {
    let best = training.best();
    let against = match gain(training) {
        Some(of) if training.lessons.len() > 1 => format!(
            ", {} compared with the imitation, in the same conditions",
            with_interval(&of, signed_cost(of.mean))
        ),
        _ => String::new(),
    };
    format!(
        "The best policy is that after {}: cost {}{against}. It has {} times the adaptive rule\u{2019}s \
         delay, loses {} % of utilisation (the rule {} %), and keeps within the idle budget in {} of {} \
         conditions (the rule in {}).",
        best.stage,
        signed_cost(best.cost),
        number(best.delay_over_adaptive),
        signed(best.mean_loss * 100.0),
        signed(best.adaptive_mean_loss * 100.0),
        best.kept,
        best.conditions,
        best.adaptive_kept,
    )
}

/// "−0.312", to thousandths.
fn signed_cost(value: f64) -> String {
    let sign = if value < 0.0 { "\u{2212}" } else { "" };
    format!("{sign}{:.3}", value.abs())
}

fn with_interval(of: &Interval, mean: String) -> String {
    match of.half_width {
        Some(half) => format!("{mean} \u{b1} {half:.3}"),
        None => mean,
    }
}

/// A row for each lesson.
fn table(training: &Training) -> Table {
    let best = training.best();
    let optional = |value: Option<f64>, shown: fn(f64) -> String| {
        Cell::plain(value.map_or(NOTHING.to_owned(), shown))
    };
    let row = |of: &Lesson| {
        let judged = of.judged();
        Row {
            name: of.stage.clone(),
            doubtful: false,
            cells: vec![
                Cell {
                    text: with_interval(&judged, signed_cost(judged.mean)),
                    tone: match std::ptr::eq(of, best) {
                        true => Tone::Best,
                        false => Tone::Plain,
                    },
                },
                Cell::plain(number(of.delay_over_adaptive)),
                Cell::plain(signed(of.mean_loss * 100.0)),
                Cell::plain(format!("{}/{}", of.kept, of.conditions)),
                Cell::plain(of.adaptive_kept.to_string()),
                optional(of.own_runs.regret, number),
                optional(of.own_runs.agreement, |share| {
                    format!("{:.0}", share * 100.0)
                }),
                Cell::plain(signed_cost(of.training_cost)),
                Cell::plain(count(of.steps)),
                Cell::plain(seconds(of.seconds)),
            ],
        }
    };
    Table {
        corner: "Lesson",
        groups: vec![
            ("Evaluation", vec!["cost", "delay", "lost, %"]),
            ("Within", vec!["policy", "rule"]),
            ("Own runs", vec!["regret", "agreement, %"]),
            ("Training", vec!["cost", "steps", "time"]),
        ],
        rows: training.lessons.iter().map(row).collect(),
    }
}

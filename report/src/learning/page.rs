//! The page on training runs and costs of models, its tables and sentences.

use std::fmt::Write;
use std::path::PathBuf;

use l4sllm_model::text::shell_word;

use super::model_costs::{Backbones, Costs};
use super::published::{PUBLISHED_DECISION_MS, published};
use super::training::{Evaluation, Training};
use crate::figure::escape;
use crate::figures::Captioned;
use crate::format::{bytes, count, number, plain, quantity, seconds};
use crate::page::{document, html_figure, html_table, with_paper};
use crate::table::{Cell, NOTHING, Row, Table, Tone};

/// Minimum difference from the majority-class baseline that is mentioned,
/// points.
const LEAST: f64 = 0.5;

/// Content of the page and the terminal output.
pub(super) struct Shown<'a> {
    pub title: &'a str,
    pub sources: &'a [PathBuf],
    pub trainings: &'a [Training],
    pub backbones: &'a [Backbones],
    /// Figures as SVG, with captions.
    pub figures: &'a [(String, Captioned)],
}

impl Shown<'_> {
    /// The page: one self-contained file without scripts.
    pub(super) fn html(&self) -> String {
        let mut body = String::new();
        if !self.trainings.is_empty() {
            let _ = writeln!(body, "<p class=\"lead\">{}</p>", escape(&self.lead()));
            body.push_str(&answer(self.trainings));
            body.push_str("<h3>The trainings</h3>\n");
            body.push_str(&html_table(&trainings_table(self.trainings)));
            body.push_str(
                "<p class=\"key\">Best of each column in bold. Scores are those of the \
                 evaluation with the least loss, on held-out windows. Majority: the \
                 majority-class baseline there.</p>\n",
            );
        }
        for backbones in self.backbones {
            body.push_str("<h3>Costs of the backbones</h3>\n");
            let _ = writeln!(
                body,
                "<p class=\"lead\">{}</p>",
                escape(&conditions(backbones))
            );
            body.push_str(&html_table(&costs_table(&backbones.measured)));
            for skipped in &backbones.skipped {
                let (name, reason) = (escape(&skipped.name), escape(&skipped.reason));
                let _ = writeln!(
                    body,
                    "<p class=\"note\">{name} was not measured: {reason}</p>"
                );
            }
        }
        if let Some(table) = self.compared_with_published() {
            body.push_str("<h3>Compared with the published figures</h3>\n");
            body.push_str(&html_table(&table));
            let _ = writeln!(body, "<p class=\"key\">{}</p>", escape(THEIRS));
        }
        body.push_str("<h3>Figures</h3>\n");
        for (svg, captioned) in self.figures {
            body.push_str(&html_figure(svg, captioned));
        }
        let sources: Vec<String> = self
            .sources
            .iter()
            .map(|p| shell_word(&p.to_string_lossy()))
            .collect();
        let _ = writeln!(
            body,
            "<h3>How to draw it again</h3>\n<pre class=\"command\">l4sllm report {} --out DIR</pre>",
            escape(&sources.join(" "))
        );
        document(self.title, &with_paper(&body))
    }

    /// The tables for a terminal, with their meaning.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        if !self.trainings.is_empty() {
            out.push_str(&trainings_table(self.trainings).text());
            for training in self.trainings {
                let _ = writeln!(out, "{}", conclusion(training));
            }
        }
        for backbones in self.backbones {
            out.push_str(&backbones.text());
        }
        if let Some(table) = self.compared_with_published() {
            let _ = writeln!(out, "{}{THEIRS}", table.text());
        }
        out
    }

    /// Trained models, compared with the published figures.
    fn compared_with_published(&self) -> Option<Table> {
        let trained = self.trainings.iter().filter_map(|of| of.costs.as_ref());
        let measured = self.backbones.iter().flat_map(|of| &of.measured);
        let rows: Vec<Row> = trained
            .chain(measured)
            .filter_map(compared_with_published)
            .collect();
        (!rows.is_empty()).then(|| Table {
            corner: "Model",
            groups: vec![
                ("Weights trained", vec!["here", "published"]),
                ("Memory", vec!["here", "published"]),
                ("Decision, ms", vec!["here", "published"]),
                ("Training", vec!["here", "published"]),
                ("Here", vec!["computed by"]),
            ],
            rows,
        })
    }

    fn lead(&self) -> String {
        let counts = self.trainings.iter().map(|training| {
            let steps = training.last().map_or(0, |step| step.step);
            let epochs = training.last().and_then(|step| step.epoch);
            let epochs = epochs.map_or(String::new(), |n| format!(" ({} epochs)", plain(n)));
            format!("{}: {} steps{epochs}", training.name, count(steps))
        });
        format!("{}.", counts.collect::<Vec<_>>().join("; "))
    }
}

impl Backbones {
    /// The table for a terminal.
    pub fn text(&self) -> String {
        let mut out = format!(
            "{}\n{}",
            conditions(self),
            costs_table(&self.measured).text()
        );
        for skipped in &self.skipped {
            let _ = writeln!(out, "{} was not measured: {}", skipped.name, skipped.reason);
        }
        out
    }
}

/// The note below the published figures.
const THEIRS: &str = "Published: by Satish, Pokhrel, Kua and Walid (arXiv:2501.16734), on an \
unnamed GPU, 80 epochs on pretrained weights, GPT-2 and T5 with all weights trained; means for \
decision times, where this page gives medians. The published accuracy of OPT, GPT-2 and T5, 82 \
to 83 %, is about the share of the most frequent action.";

fn compared_with_published(costs: &Costs) -> Option<Row> {
    let theirs = published(costs)?;
    let plain = |text: String| Cell {
        text,
        tone: Tone::Plain,
    };
    let cells = vec![
        plain(quantity(costs.trainable_parameters)),
        plain(quantity(theirs.trainable_parameters)),
        optional(costs.memory_bytes.map(|b| b as f64), |b| bytes(b as u64)),
        plain(format!("{}\u{a0}GB", number(theirs.memory_gb))),
        optional(costs.decision_ms.map(|ms| ms.p50), number),
        plain(number(theirs.decision_ms)),
        optional(costs.training_s, seconds),
        plain(seconds(theirs.training_h * 3600.0)),
        plain(format!("{}, {}", costs.device, computed_in(costs))),
    ];
    Some(Row {
        doubtful: false,
        name: costs.name.clone(),
        cells,
    })
}

/// Precision, and the number of threads if relevant.
fn computed_in(costs: &Costs) -> String {
    match costs.threads {
        0 => costs.precision.clone(),
        1 => format!("{}, 1 thread", costs.precision),
        n => format!("{}, {n} threads", costs.precision),
    }
}

/// The question that a training must answer, and the answer of each training.
fn answer(trainings: &[Training]) -> String {
    let gains = trainings.iter().filter_map(|of| Some(gain(of.best()?.1)));
    let gains: Vec<f64> = gains.collect();
    let better = gains.iter().filter(|gain| **gain >= LEAST).count();
    let word = match (gains.len(), better) {
        (0, _) => "Not judged.".to_owned(),
        (_, 0) => "No.".to_owned(),
        (all, better) if all == better => "Yes.".to_owned(),
        (all, better) => format!("{better} of {all} do."),
    };
    let sentences = trainings.iter().map(conclusion);
    let sentences: String = sentences
        .map(|sentence| format!("<p>{}</p>\n", escape(&sentence)))
        .collect();
    format!(
        "<div class=\"answer\">\n<h2>Is the policy better than the majority-class baseline? \
         <span class=\"verdict\">{word}</span></h2>\n{sentences}</div>\n"
    )
}

/// Points of accuracy above the share of the most frequent action.
fn gain(scores: &Evaluation) -> f64 {
    (scores.accuracy - scores.majority_share) * 100.0
}

/// One sentence on the results of training.
fn conclusion(training: &Training) -> String {
    let name = &training.name;
    let mut sentence = match training.best() {
        None => format!("{name}: no held-out rows to evaluate it on."),
        Some((step, scores)) => {
            let judged = match gain(scores) {
                gain if gain >= LEAST => format!("{} points above", number(gain)),
                gain if gain <= -LEAST => format!("{} points below", number(-gain)),
                _ => "no better than".to_owned(),
            };
            format!(
                "{name}: {} % accuracy on held-out rows, {judged} the majority-class baseline \
                 of {} %; \
                 macro-F1 {}, at step {}.",
                plain(scores.accuracy * 100.0),
                plain(scores.majority_share * 100.0),
                number(scores.macro_f1),
                count(step.step),
            )
        }
    };
    if training.bad_lines > 0 {
        let _ = write!(
            sentence,
            " Unreadable lines of its metrics: {}.",
            training.bad_lines
        );
    }
    sentence
}

fn conditions(backbones: &Backbones) -> String {
    let mut devices: Vec<&str> = Vec::new();
    for costs in &backbones.measured {
        if !devices.contains(&costs.device.as_str()) {
            devices.push(&costs.device);
        }
    }
    format!(
        "{}; windows of {} records, {} tokens; on {}; l4sllm {}. Published: {} ms a decision.",
        backbones.adaptation,
        backbones.window,
        backbones.tokens,
        if devices.is_empty() {
            "no device".to_owned()
        } else {
            devices.join(", ")
        },
        backbones.version,
        PUBLISHED_DECISION_MS,
    )
}

fn trainings_table(trainings: &[Training]) -> Table {
    let best = |value: &dyn Fn(&Training) -> Option<f64>| {
        let values = trainings.iter().filter_map(value);
        let best = values.fold(f64::NEG_INFINITY, f64::max);
        (trainings.len() > 1).then_some(best)
    };
    let accuracy = |of: &Training| of.best().map(|(_, scores)| scores.accuracy);
    let macro_f1 = |of: &Training| of.best().map(|(_, scores)| scores.macro_f1);
    let balanced = |of: &Training| of.best().map(|(_, scores)| scores.balanced_accuracy);
    let (best_accuracy, best_f1, best_balanced) =
        (best(&accuracy), best(&macro_f1), best(&balanced));
    let percent = |value: Option<f64>, best: Option<f64>| Cell {
        text: value.map_or(NOTHING.to_owned(), |v| format!("{:.2}", v * 100.0)),
        tone: match value.is_some() && value == best {
            true => Tone::Best,
            false => Tone::Plain,
        },
    };
    let row = |of: &Training| {
        let mut cells = cost_cells(of.costs.as_ref());
        cells.push(optional(
            of.costs.as_ref().and_then(|costs| costs.training_s),
            seconds,
        ));
        let rate = of.last().and_then(|step| step.tokens_per_s);
        cells.push(optional(rate, |rate| count(rate.round() as u64)));
        cells.extend([
            percent(accuracy(of), best_accuracy),
            percent(of.best().map(|(_, s)| s.majority_share), None),
            percent(balanced(of), best_balanced),
            percent(macro_f1(of), best_f1),
        ]);
        Row {
            doubtful: false,
            name: of.name.clone(),
            cells,
        }
    };
    let mut groups = cost_groups();
    groups.push(("Training", vec!["time", "tokens/s"]));
    groups.push((
        "Kept out, %",
        vec!["accuracy", "majority", "balanced", "macro-F1"],
    ));
    Table {
        corner: "Training",
        groups,
        rows: trainings.iter().map(row).collect(),
    }
}

fn costs_table(costs: &[Costs]) -> Table {
    let row = |of: &Costs| {
        let mut cells = cost_cells(Some(of));
        let ratio = of.decision_ms.map(|ms| PUBLISHED_DECISION_MS / ms.p50);
        cells.insert(
            cells.len(),
            optional(ratio, |ratio| format!("{}\u{d7}", number(ratio))),
        );
        cells.push(optional(of.step_ms, |ms| seconds(ms / 1e3)));
        cells.push(optional(of.step_windows.map(|n| n as f64), |n| {
            count(n as u64)
        }));
        cells.push(Cell {
            text: computed_in(of),
            tone: Tone::Plain,
        });
        Row {
            doubtful: false,
            name: of.name.clone(),
            cells,
        }
    };
    let mut groups = cost_groups();
    if let Some((_, columns)) = groups.last_mut() {
        columns.push("39 ms / p50");
    }
    groups.push(("Training step", vec!["time", "windows"]));
    groups.push(("Computed", vec!["in"]));
    Table {
        corner: "Backbone",
        groups,
        rows: costs.iter().map(row).collect(),
    }
}

fn cost_groups() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("Weights", vec!["trained", "% of all", "all"]),
        ("Memory", vec![""]),
        ("Decision, ms", vec!["p50", "p99"]),
    ]
}

fn cost_cells(costs: Option<&Costs>) -> Vec<Cell> {
    let of = |value: &dyn Fn(&Costs) -> Option<f64>| costs.and_then(value);
    let quantities = |value: f64| quantity(value as u64);
    vec![
        optional(of(&|c| Some(c.trainable_parameters as f64)), quantities),
        optional(of(&|c| Some(c.trainable_share() * 100.0)), number),
        optional(of(&|c| Some(c.parameters as f64)), quantities),
        optional(of(&|c| c.memory_bytes.map(|b| b as f64)), |b| {
            bytes(b as u64)
        }),
        optional(of(&|c| Some(c.decision_ms?.p50)), number),
        optional(of(&|c| Some(c.decision_ms?.p99)), number),
    ]
}

fn optional(value: Option<f64>, shown: impl Fn(f64) -> String) -> Cell {
    Cell {
        text: value.map_or(NOTHING.to_owned(), shown),
        tone: Tone::Plain,
    }
}

//! The table that readers see first, as cells, for the page and for a terminal.

use std::fmt::Write;

use l4sllm_testbed::result::{Arm, ArmFacts, Statistics, Summary};

use super::compare::{Comparison, METRICS, Metric, Pair};
use super::data::Data;
use super::format::{count, index, number};
use crate::verdict::{Judgement, Verdict, judge};

/// Shown for a missing value.
pub(super) const NOTHING: &str = "\u{2013}";

/// Suffix of a name with a warning.
const DOUBTFUL: char = '\u{26a0}';

/// Explanation of the signs in a terminal.
pub(super) const SIGNS: &str = "Starred: better than every other arm, with confidence. ! worse, !! much worse, + better, ++ much better";

/// Indentation of the name of a row that continues another, such as an arm's
/// below that of its family.
pub(super) const INDENT: &str = "\u{a0}\u{a0}";

/// A table: columns under group names, and rows with a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// Meaning of the rows.
    pub corner: &'static str,
    /// Groups with their columns.
    pub groups: Vec<(&'static str, Vec<&'static str>)>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub name: String,
    /// Whether there is a warning about this row.
    pub doubtful: bool,
    pub cells: Vec<Cell>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub text: String,
    pub tone: Tone,
}

/// Emphasis of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Better than all others in its column.
    Best,
    Better,
    MuchBetter,
    Worse,
    MuchWorse,
    /// No conclusion possible.
    Uncertain,
    /// Set by the scenario, not measured.
    Set,
}

/// The arms and their numbers.
pub(super) fn results(data: &Data) -> Table {
    let summary = &data.summary;
    // With unequal numbers of runs, no arm is marked best.
    let complete = data.missing().is_empty();
    let best: Vec<Option<&str>> = METRICS
        .iter()
        .map(|&metric| complete.then(|| best(metric, summary)).flatten())
        .collect();
    let row = |arm: &Arm| {
        let metrics = METRICS.iter().zip(&best).map(|(&metric, best)| Cell {
            text: shown(metric, &arm.pooled),
            tone: match *best == Some(arm.name.as_str()) {
                true => Tone::Best,
                false => Tone::Plain,
            },
        });
        let facts = data.facts.arm(&arm.name);
        let mut cells: Vec<Cell> = metrics.chain(counters(arm, facts)).collect();
        // The number of drops next to their share.
        cells.insert(2, Cell::plain(count(arm.pooled.drops)));
        Row {
            name: arm.name.clone(),
            doubtful: data.is_doubtful(&arm.name),
            cells,
        }
    };
    Table {
        corner: "Arm",
        groups: vec![
            ("Utilisation", vec!["%"]),
            ("Dropped", vec!["%", "packets"]),
            ("Classic delay, ms", vec!["p50", "p99"]),
            ("L4S delay, ms", vec!["p50", "p99"]),
            ("Fairness", vec!["Jain"]),
            ("Marked", vec!["packets"]),
            ("Overrides", vec!["applied", "refused"]),
            ("Decision, \u{b5}s", vec!["p50", "p99"]),
        ],
        rows: summary.arms.iter().map(row).collect(),
    }
}

/// Arms compared with baselines, the greatest losses first; none if there is
/// nothing to compare.
pub(super) fn differences(data: &Data, comparison: &Comparison<'_>) -> Option<Table> {
    let row = |pair: &Pair<'_>| {
        let cells = METRICS.iter().map(|metric| match pair.find(*metric) {
            Some(found) => verdict_cell(&found.judgement),
            None => Cell::plain(NOTHING.to_owned()),
        });
        Row {
            name: format!("{} vs {}", pair.arm.name, pair.baseline.name),
            doubtful: [pair.arm, pair.baseline]
                .iter()
                .any(|arm| data.is_doubtful(&arm.name)),
            cells: std::iter::once(Cell::plain(pair.count().to_string()))
                .chain(cells)
                .collect(),
        }
    };
    (!comparison.pairs.is_empty()).then(|| Table {
        corner: "Difference",
        groups: vec![
            ("Pairs", vec!["n"]),
            ("Utilisation", vec!["points"]),
            ("Dropped", vec!["points"]),
            ("Classic delay", vec!["p50", "p99"]),
            ("L4S delay", vec!["p50", "p99"]),
            ("Fairness", vec!["Jain"]),
        ],
        rows: comparison.pairs.iter().map(row).collect(),
    })
}

fn verdict_cell(judgement: &Judgement) -> Cell {
    // The columns' names state that the unit is points.
    let shown = judgement.shown().trim_end_matches("\u{a0}pt").to_owned();
    let severe = judgement.weight() >= 1.0;
    let (text, tone) = match (judgement.verdict, severe) {
        (Verdict::Same, _) => ("\u{2248}".to_owned(), Tone::Plain),
        (Verdict::Better, false) => (shown, Tone::Better),
        (Verdict::Better, true) => (shown, Tone::MuchBetter),
        (Verdict::Worse, false) => (shown, Tone::Worse),
        (Verdict::Worse, true) => (shown, Tone::MuchWorse),
        (Verdict::Unclear | Verdict::NoConclusion, _) => (shown, Tone::Uncertain),
    };
    Cell { text, tone }
}

impl Row {
    /// Whether it belongs to the row above.
    pub(super) fn continues(&self) -> bool {
        self.name.starts_with(INDENT)
    }

    /// The name, with a sign if there is a warning.
    pub(super) fn shown(&self) -> String {
        match self.doubtful {
            true => format!("{}\u{a0}{DOUBTFUL}", self.name),
            false => self.name.clone(),
        }
    }
}

impl Cell {
    /// For a terminal, with signs for tones ([`SIGNS`]).
    fn signed(&self) -> String {
        let text = &self.text;
        match self.tone {
            Tone::Plain | Tone::Set => format!("{text} "),
            Tone::Best => format!("{text}*"),
            Tone::Better => format!("{text} +"),
            Tone::MuchBetter => format!("{text} ++"),
            Tone::Worse => format!("{text} !"),
            Tone::MuchWorse => format!("{text} !!"),
            Tone::Uncertain => format!("({text})"),
        }
    }

    /// A cell without emphasis.
    pub(super) fn plain(text: String) -> Cell {
        Cell {
            text,
            tone: Tone::Plain,
        }
    }
}

impl Table {
    /// For a terminal: columns aligned, tones as signs.
    pub(super) fn text(&self) -> String {
        let mut lines: Vec<Vec<String>> = vec![vec![String::new()], vec![self.corner.to_owned()]];
        for (group, columns) in &self.groups {
            for (index, column) in columns.iter().enumerate() {
                lines[0].push(if index == 0 {
                    (*group).to_owned()
                } else {
                    String::new()
                });
                lines[1].push((*column).to_owned());
            }
        }
        for row in &self.rows {
            let cells = row.cells.iter().map(Cell::signed);
            lines.push(std::iter::once(row.shown()).chain(cells).collect());
        }
        let widths = self.widths(&lines);
        let mut out = String::new();
        for (number, line) in lines.iter().enumerate() {
            out.push_str(&self.line(line, &widths, number == 0));
            out.push('\n');
        }
        out
    }

    /// Width of each column: that of its widest cell; a group is as wide as its
    /// name.
    fn widths(&self, lines: &[Vec<String>]) -> Vec<usize> {
        let count = lines[1].len();
        let mut widths: Vec<usize> = (0..count)
            .map(|column| {
                lines[1..]
                    .iter()
                    .map(|line| length(&line[column]))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut first = 1;
        for (group, columns) in &self.groups {
            let own = first..first + columns.len();
            let width: usize = widths[own.clone()].iter().sum::<usize>() + 2 * (columns.len() - 1);
            widths[own.end - 1] += length(group).saturating_sub(width);
            first = own.end;
        }
        widths
    }

    fn line(&self, cells: &[String], widths: &[usize], groups: bool) -> String {
        let mut out = pad(&cells[0], widths[0], false);
        let mut first = 1;
        for (_, columns) in &self.groups {
            let own = first..first + columns.len();
            if groups {
                let width = widths[own.clone()].iter().sum::<usize>() + 2 * (columns.len() - 1);
                let _ = write!(out, "  {}", pad(&cells[first], width, true));
            } else {
                for column in own.clone() {
                    let _ = write!(out, "  {}", pad(&cells[column], widths[column], true));
                }
            }
            first = own.end;
        }
        out.trim_end().to_owned()
    }
}

fn counters(arm: &Arm, facts: Option<&ArmFacts>) -> [Cell; 5] {
    let of = &arm.pooled;
    let decides = facts.is_some_and(ArmFacts::is_controlled);
    let override_count = |value| {
        Cell::plain(match decides {
            true => count(value),
            false => NOTHING.to_owned(),
        })
    };
    let set = facts.is_some_and(|facts| facts.set_latency_ns.is_some());
    let latency = |us: Option<f64>| match us {
        Some(us) if set => Cell {
            text: format!("{}\u{a0}set", number(us)),
            tone: Tone::Set,
        },
        us => Cell::plain(us.map_or_else(|| NOTHING.to_owned(), number)),
    };
    [
        Cell::plain(count(of.marks)),
        override_count(of.overrides.applied),
        override_count(of.overrides.refused),
        latency(of.decision_latency_us.p50),
        latency(of.decision_latency_us.p99),
    ]
}

/// The arm that is better than every other, significantly and relevantly; none
/// if two are equal, or a value is missing.
fn best(metric: Metric, summary: &Summary) -> Option<&str> {
    let samples: Vec<_> = summary.arms.iter().map(|arm| metric.samples(arm)).collect();
    let is_better = |own: usize, other: usize| {
        let judgement = judge(metric.quantity(), &samples[own], &samples[other]);
        judgement.is_some_and(|of| of.verdict == Verdict::Better)
    };
    let arms = 0..samples.len();
    let mut best = arms.clone().filter(|&own| {
        let mut others = arms.clone().filter(|&other| other != own);
        samples.len() > 1 && others.all(|other| is_better(own, other))
    });
    Some(&summary.arms[best.next()?].name)
}

fn shown(metric: Metric, statistics: &Statistics) -> String {
    let Some(value) = metric.of(statistics) else {
        return NOTHING.to_owned();
    };
    match metric {
        Metric::Utilisation => format!("{value:.1}"),
        Metric::Jain => index(value),
        _ => number(value),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, width: usize, right: bool) -> String {
    let space = " ".repeat(width.saturating_sub(length(text)));
    if right {
        space + text
    } else {
        text.to_owned() + &space
    }
}

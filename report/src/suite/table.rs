//! Tables of a suite, for the page and for a terminal of 80 columns.

use l4sllm_testbed::suite::{TUNED, TUNED_AGAIN};

use super::judge::{Condition, Family, Judged, Kept, Spread, Summary};
use super::paired::Ratio;
use crate::format::{counted, index, number, signed};
use crate::table::{Cell, INDENT, NOTHING, Row, Table, Tone};
use crate::verdict::Verdict;

/// Name of the rows for all families together.
const ALL: &str = "all";

/// How often tuned keeps its own utilisation, which shows the losses caused by
/// noise.
pub(super) fn noise(judged: &Judged) -> String {
    let own = judged.all.iter().find(|of| of.arm == TUNED_AGAIN);
    own.map_or(String::new(), |own| {
        let Kept {
            kept,
            conditions,
            worst,
            ..
        } = own.utilisation;
        let delay = own.classic_delay.as_ref().map_or(String::new(), |of| {
            format!("; its delay differs by a factor of {}", interval(&of.mean))
        });
        format!(
            "Noise: against itself with other draws, tuned keeps utilisation in {kept} of {} \
             (worst: {} points){delay}.",
            counted(conditions, "condition", "conditions"),
            signed(worst)
        )
    })
}

/// A block for each family, with a row for each arm.
pub(super) fn families(judged: &Judged) -> Table {
    let all = judged.families.iter().flat_map(|family| &family.conditions);
    let all: Vec<&Condition> = all.collect();
    let oracle = judged.all.iter().any(|summary| summary.to_oracle.is_some());
    let mut rows = Vec::new();
    for family in &judged.families {
        let conditions: Vec<&Condition> = family.conditions.iter().collect();
        rows.extend(block(&family.name, &family.summaries, &conditions, oracle));
    }
    if judged.families.len() > 1 {
        rows.extend(block(ALL, &judged.all, &all, oracle));
    }
    let mut groups = vec![
        ("Delay", vec!["\u{221a}m\u{b7}p99", "mean"]),
        ("Utilisation", vec!["kept", "worst"]),
        ("L4S", vec!["p99"]),
        ("Jain", vec!["\u{394}"]),
        ("FCT", vec!["mean"]),
        ("Greatest loss", vec!["condition"]),
    ];
    if oracle {
        groups.insert(1, ("Oracle", vec!["\u{221a}m\u{b7}p99"]));
    }
    Table {
        corner: "Family",
        groups,
        rows,
    }
}

/// The rows of a family: tuned in absolute numbers, then the other arms.
fn block(name: &str, summaries: &[Summary], conditions: &[&Condition], oracle: bool) -> Vec<Row> {
    let family = name != ALL;
    let row = |summary: &Summary| {
        let reference = summary.arm == TUNED;
        let (name, first) = match reference {
            true => (
                format!("{name} ({})", conditions.len()),
                absolute(conditions),
            ),
            false => (format!("{INDENT}{}", summary.arm), relative(summary)),
        };
        let [delay, mean, l4s, jain, fct] = first;
        let mut cells = vec![delay, mean];
        if oracle {
            cells.push(Cell::plain(spread(summary.to_oracle.as_ref())));
        }
        cells.extend(kept(&summary.utilisation));
        cells.extend([l4s, jain, fct, Cell::plain(worst(summary, family))]);
        Row {
            name,
            doubtful: false,
            cells,
        }
    };
    summaries.iter().map(row).collect()
}

/// The row of tuned: geometric means of delays over conditions, and the mean of
/// Jain's index.
fn absolute(conditions: &[&Condition]) -> [Cell; 5] {
    let own = || {
        let arms = conditions.iter().flat_map(|condition| &condition.arms);
        arms.filter(|arm| arm.name == TUNED)
    };
    let geometric = |values: Vec<f64>| {
        // An empty queue has delay 0 without a logarithm, and so no ratio
        // either.
        let logs: Vec<f64> = values
            .iter()
            .filter(|v| **v > 0.0)
            .map(|v| v.ln())
            .collect();
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    };
    let ms = |values: Vec<f64>| geometric(values).map_or(NOTHING.to_owned(), number);
    let jain: Vec<f64> = own().filter_map(|arm| arm.means.jain).collect();
    let jain = match jain.is_empty() {
        true => NOTHING.to_owned(),
        false => index(jain.iter().sum::<f64>() / jain.len() as f64),
    };
    [
        ms(own().filter_map(|arm| arm.means.classic_delay_ms).collect()),
        ms(own().filter_map(|arm| arm.means.classic_mean_ms).collect()),
        ms(own().filter_map(|arm| arm.means.l4s_p99_ms).collect()),
        jain,
        ms(own()
            .filter_map(|arm| arm.means.completion_mean_ms)
            .collect()),
    ]
    .map(Cell::plain)
}

pub(super) fn relative(summary: &Summary) -> [Cell; 5] {
    let delay = Cell {
        text: spread(summary.classic_delay.as_ref()),
        tone: match summary.verdict {
            Verdict::Better => Tone::Better,
            Verdict::Worse => Tone::Worse,
            Verdict::Same | Verdict::Unclear | Verdict::NoConclusion => Tone::Plain,
        },
    };
    let jain = match summary.jain.conditions {
        0 => NOTHING.to_owned(),
        _ => signed_index(summary.jain.mean),
    };
    [
        delay,
        Cell::plain(spread(summary.classic_mean.as_ref())),
        Cell::plain(spread(summary.l4s_p99.as_ref())),
        Cell::plain(jain),
        Cell::plain(spread(summary.completion_mean.as_ref())),
    ]
}

pub(super) fn kept(utilisation: &Kept) -> [Cell; 2] {
    let Kept {
        kept,
        surely_lost,
        conditions,
        worst,
        ..
    } = *utilisation;
    let tone = match surely_lost {
        0 => Tone::Plain,
        _ => Tone::Worse,
    };
    let text = match conditions {
        0 => NOTHING.to_owned(),
        _ => format!("{kept}/{conditions}"),
    };
    let worst = match conditions {
        0 => NOTHING.to_owned(),
        _ => signed(worst),
    };
    [Cell { text, tone }, Cell::plain(worst)]
}

fn spread(of: Option<&Spread>) -> String {
    of.map_or(NOTHING.to_owned(), |of| ratio(of.mean.mean))
}

/// "7 delay ×1.31" for condition `stationary-00007`; without the number if it
/// does not belong to the row's family.
fn worst(summary: &Summary, family: bool) -> String {
    summary.worst.as_ref().map_or(NOTHING.to_owned(), |of| {
        let name = short(&of.condition);
        match name.chars().count() {
            0..=3 if family => format!("{name} {}", of.loss),
            _ => of.loss.clone(),
        }
    })
}

/// For a terminal: one space between columns, and tone signs directly after the
/// numbers.
pub(super) fn compact(table: &Table) -> String {
    let columns = table.groups.iter().flat_map(|(group, columns)| {
        let alone = columns.len() == 1;
        columns
            .iter()
            .map(move |name| if alone { group } else { name })
    });
    let head = std::iter::once(table.corner).chain(columns.copied());
    let mut lines: Vec<Vec<String>> = vec![head.map(str::to_owned).collect()];
    let signed = |column: usize| {
        let mut cells = table.rows.iter().map(|row| &row.cells[column]);
        cells.any(|cell| sign(cell.tone) != ' ')
    };
    let signed: Vec<bool> = (0..lines[0].len() - 1).map(signed).collect();
    for (name, signed) in lines[0].iter_mut().skip(1).zip(&signed) {
        name.extend(signed.then_some(' '));
    }
    for row in &table.rows {
        let cells = row
            .cells
            .iter()
            .zip(&signed)
            .map(|(cell, signed)| match signed {
                true => format!("{}{}", cell.text, sign(cell.tone)),
                false => cell.text.clone(),
            });
        lines.push(std::iter::once(row.name.clone()).chain(cells).collect());
    }
    let last = lines[0].len() - 1;
    let widths: Vec<usize> = (0..=last)
        .map(|at| {
            lines
                .iter()
                .map(|line| line[at].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |cells: &Vec<String>| {
        let mut out = String::new();
        for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - cell.chars().count());
            out += &match at {
                0 => format!("{cell}{space}"),
                at if at == last => format!(" {cell}"),
                _ => format!(" {space}{cell}"),
            };
        }
        out.trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

fn sign(tone: Tone) -> char {
    match tone {
        Tone::Better | Tone::MuchBetter => '+',
        Tone::Worse | Tone::MuchWorse => '!',
        Tone::Plain | Tone::Best | Tone::Uncertain | Tone::Set => ' ',
    }
}

/// The number of a condition drawn by a curriculum; otherwise its name.
pub(super) fn short(condition: &str) -> &str {
    let number = condition.rsplit_once('-').map(|(_, number)| number);
    let number = number.filter(|n| n.len() == 5 && n.chars().all(|c| c.is_ascii_digit()));
    number.map_or(condition, |number| match number.trim_start_matches('0') {
        "" => "0",
        number => number,
    })
}

/// Three digits: 0.712, 1.84, 12.3.
pub(super) fn ratio(value: f64) -> String {
    number(value)
}

fn signed_index(value: f64) -> String {
    match index(value.abs()) {
        text if text == "0.000" => "0".to_owned(),
        text if value < 0.0 => format!("\u{2212}{text}"),
        text => format!("+{text}"),
    }
}

/// "0.712 (0.690 to 0.735)".
pub(super) fn interval(of: &Ratio) -> String {
    match of.low.zip(of.high) {
        Some((low, high)) => format!("{} ({} to {})", ratio(of.mean), ratio(low), ratio(high)),
        None => ratio(of.mean),
    }
}

/// Each condition of a family, with a row for each arm.
pub(super) fn conditions(family: &Family) -> Table {
    let mut rows = Vec::new();
    for condition in &family.conditions {
        for (at, arm) in condition.arms.iter().enumerate() {
            let means = &arm.means;
            let ms = |value: Option<f64>| Cell::plain(value.map_or(NOTHING.to_owned(), number));
            let percent = |value: Option<f64>| {
                Cell::plain(value.map_or(NOTHING.to_owned(), |v| format!("{:.1}", v * 100.0)))
            };
            let points = arm
                .utilisation
                .map_or(NOTHING.to_owned(), |of| signed(of.points));
            let tone = match arm.utilisation {
                Some(of) if of.surely_lost => Tone::Worse,
                Some(of) if !of.kept => Tone::Uncertain,
                _ => Tone::Plain,
            };
            let name = match at {
                0 => format!("{}: {}", short(&condition.name), arm.name),
                _ => format!("{INDENT}{}", arm.name),
            };
            rows.push(Row {
                name,
                doubtful: false,
                cells: vec![
                    ms(means.classic_mean_ms),
                    ms(means.classic_p50_ms),
                    ms(means.classic_p99_ms),
                    ms(means.classic_delay_ms),
                    ratio_cell(arm.ratios.classic_delay.filter(|_| arm.name != TUNED)),
                    percent(means.utilisation),
                    Cell { text: points, tone },
                    ms(means.l4s_p99_ms),
                    Cell::plain(means.jain.map_or(NOTHING.to_owned(), index)),
                    ms(means.completion_mean_ms),
                    ms(means.completion_p99_ms),
                    percent(means.drop_share),
                ],
            });
        }
    }
    Table {
        corner: "Condition: arm",
        groups: vec![
            (
                "Classic delay, ms",
                vec!["mean", "p50", "p99", "\u{221a}m\u{b7}p99"],
            ),
            ("to tuned", vec!["\u{221a}m\u{b7}p99"]),
            ("Utilisation", vec!["%", "points"]),
            ("L4S, ms", vec!["p99"]),
            ("Fairness", vec!["Jain"]),
            ("Completion, ms", vec!["mean", "p99"]),
            ("Dropped", vec!["%"]),
        ],
        rows,
    }
}

/// A ratio with its interval over repetitions, coloured if the interval
/// excludes 1.
fn ratio_cell(of: Option<Ratio>) -> Cell {
    let Some(of) = of else {
        return Cell::plain(NOTHING.to_owned());
    };
    let tone = match of.low.zip(of.high) {
        Some((_, high)) if high < 0.99 => Tone::Better,
        Some((low, _)) if low > 1.01 => Tone::Worse,
        _ => Tone::Plain,
    };
    Cell {
        text: interval(&of),
        tone,
    }
}

/// Authors and titles of published sources.
pub(super) fn titles(judged: &Judged) -> String {
    let sources = judged.families.iter().flat_map(|family| &family.sources);
    sources
        .map(|of| of.title.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}

/// Published numbers and the emulator's, with a row for each arm; none if there
/// are none.
pub(super) fn published(judged: &Judged) -> Option<Table> {
    let mut rows = Vec::new();
    let conditions = judged.families.iter().flat_map(|family| &family.conditions);
    for condition in conditions {
        for (at, figure) in condition.published.iter().enumerate() {
            rows.push(Row {
                name: format!("{}: {}", condition.name, figure.measure),
                doubtful: false,
                cells: [
                    number(figure.theirs),
                    NOTHING.to_owned(),
                    NOTHING.to_owned(),
                ]
                .map(Cell::plain)
                .to_vec(),
            });
            let arms = condition.arms.iter().filter(|arm| arm.name != TUNED_AGAIN);
            rows.extend(arms.map(|arm| {
                let ours = arm.figures.get(at).copied().flatten();
                let shown = |value: Option<f64>| value.map_or(NOTHING.to_owned(), number);
                Row {
                    name: format!("{INDENT}{}", arm.name),
                    doubtful: false,
                    cells: [
                        NOTHING.to_owned(),
                        shown(ours),
                        shown(ours.map(|ours| ours / figure.theirs)),
                    ]
                    .map(Cell::plain)
                    .to_vec(),
                }
            }));
        }
    }
    (!rows.is_empty()).then(|| Table {
        corner: "Case: measure",
        groups: vec![
            ("Published", vec!["value"]),
            ("Ours", vec!["value", "ratio"]),
        ],
        rows,
    })
}

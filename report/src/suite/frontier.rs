//! Arms at several idle budgets: the trade-off between delay and utilisation.

use l4sllm_testbed::suite::{ADAPTIVE, AtBudget, Outcome, PLAIN, POLICY, STUDENT, TUNED};
use serde::Serialize;

use super::judge::{Arm, Condition, Judged, Own, Summary, noise, summary};
use super::table::{kept, relative};
use crate::figure::{Axis, DOT, Figure, INK, Key, MUTED, Mark, Panel, Scale, Sign, series_styles};
use crate::figures::Captioned;
use crate::format::signed;
use crate::table::{Cell, NOTHING, Row, Table};

/// An arm at several idle budgets instead of its default, over the conditions of
/// all families.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frontier {
    /// Name of the arm.
    pub arm: String,
    /// Sorted by budget, the smallest first.
    pub points: Vec<Point>,
}

/// An arm with one idle budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Share of link time that may be idle.
    pub idle_budget: f64,
    /// Its numbers over all conditions.
    #[serde(flatten)]
    pub summary: Summary,
}

/// The curves of `outcome`, from its evaluated conditions.
pub(super) fn curves(outcome: &Outcome, conditions: &[&Condition]) -> Vec<Frontier> {
    let mut found: Vec<(&str, &AtBudget)> = Vec::new();
    let all = outcome.families.iter().flat_map(|of| &of.conditions);
    for arm in all.flat_map(|of| &of.arms) {
        let known = found.iter().any(|(name, _)| *name == arm.name);
        found.extend(
            arm.budget
                .as_ref()
                .filter(|_| !known)
                .map(|at| (arm.name.as_str(), at)),
        );
    }
    let noise = noise(conditions);
    let point = |(name, at): &(&str, &AtBudget)| {
        let own = conditions.iter().filter_map(|condition| {
            let arm: &Arm = condition.at_budgets.iter().find(|arm| arm.name == *name)?;
            Some((condition.name.as_str(), arm))
        });
        Point {
            idle_budget: at.share,
            summary: summary(name, &own.collect::<Vec<Own<'_>>>(), noise),
        }
    };
    let curve = |arm: &str| {
        let own = found.iter().filter(|(_, at)| at.arm == arm);
        let mut points: Vec<Point> = own.map(point).collect();
        points.sort_by(|a, b| a.idle_budget.total_cmp(&b.idle_budget));
        (!points.is_empty()).then(|| Frontier {
            arm: arm.to_owned(),
            points,
        })
    };
    [ADAPTIVE, POLICY, STUDENT]
        .into_iter()
        .filter_map(curve)
        .collect()
}

/// A share as a percentage: "0.5 %".
fn percent(share: f64) -> String {
    // Without the rounding error of the multiplication by 100.
    format!("{}\u{a0}%", (share * 1e8).round() / 1e6)
}

/// One row for each arm and budget, below the arms with their default budgets;
/// `None` without curves.
pub(super) fn table(judged: &Judged) -> Option<Table> {
    let row = |name: String, summary: &Summary| {
        let [delay, mean, l4s, jain, _] = relative(summary);
        let [kept, worst] = kept(&summary.utilisation);
        let points = match summary.utilisation.conditions {
            0 => NOTHING.to_owned(),
            _ => signed(summary.utilisation.mean),
        };
        Row {
            name,
            doubtful: false,
            cells: vec![delay, mean, kept, Cell::plain(points), worst, l4s, jain],
        }
    };
    let own = |name: &str| judged.all.iter().find(|of| of.arm == name);
    let mut rows: Vec<Row> = [PLAIN, TUNED]
        .into_iter()
        .filter_map(|name| Some(row(name.to_owned(), own(name)?)))
        .collect();
    for curve in &judged.frontier {
        rows.extend(own(&curve.arm).map(|summary| row(curve.arm.clone(), summary)));
        rows.extend(curve.points.iter().map(|point| {
            let name = format!("\u{a0}\u{a0}{}", percent(point.idle_budget));
            row(name, &point.summary)
        }));
    }
    (!judged.frontier.is_empty()).then(|| Table {
        corner: "Idle budget",
        groups: vec![
            ("Delay", vec!["\u{221a}m\u{b7}p99", "mean"]),
            ("Utilisation", vec!["kept", "mean", "worst"]),
            ("L4S", vec!["p99"]),
            ("Jain", vec!["\u{394}"]),
        ],
        rows,
    })
}

/// Explanation of the table and the figure.
pub(super) const MEANING: &str = "Each arm over all conditions, with its default idle budget \
(the share of the link's time that it may leave idle for less delay) and then with others. Columns \
     are those of the table above; the second of utilisation is the mean difference from the better of \
     plain and tuned, in percentage points.";

/// Delay against utilisation, and against the number of conditions that keep it;
/// `None` without curves.
pub(super) fn figure(judged: &Judged) -> Option<Captioned> {
    let styles = series_styles(judged.frontier.len());
    let references: Vec<(&Summary, &'static str)> = [(PLAIN, INK), (TUNED, MUTED)]
        .into_iter()
        .filter_map(|(name, colour)| Some((judged.all.iter().find(|of| of.arm == name)?, colour)))
        .collect();
    let summaries = || {
        let curves = judged.frontier.iter().flat_map(|curve| &curve.points);
        let references = references.iter().map(|(summary, _)| *summary);
        references.chain(curves.map(|point| &point.summary))
    };
    let delays: Vec<f64> = summaries().filter_map(delay).collect();
    let y = Axis {
        label: "Classic delay, ratio to tuned".to_owned(),
        scale: around(&delays),
    };
    let panel = |title: &str, label: &str, across: fn(&Summary) -> Option<f64>| {
        let place = |of: &Summary| Some((across(of)?, delay(of)?));
        let dot = |of: &Summary, colour, radius, hollow| {
            Some(Mark::Dot {
                at: place(of)?,
                radius,
                colour,
                hollow,
            })
        };
        let mut marks: Vec<Mark> = Vec::new();
        for (curve, style) in judged.frontier.iter().zip(&styles) {
            marks.push(Mark::Line {
                points: curve.points.iter().map(|of| place(&of.summary)).collect(),
                colour: style.colour,
                width: 2.0,
                dash: style.dash,
            });
            let dots = curve.points.iter().enumerate();
            marks.extend(dots.filter_map(|(at, of)| dot(&of.summary, style.colour, 4.0, at == 0)));
        }
        marks.extend(
            references
                .iter()
                .filter_map(|(of, colour)| dot(of, colour, DOT, false)),
        );
        let values: Vec<f64> = summaries().filter_map(across).collect();
        Panel {
            title: title.to_owned(),
            x: Axis {
                label: label.to_owned(),
                scale: around(&values),
            },
            y: y.clone(),
            marks,
        }
    };
    let key = |label: &str, sign| Key {
        label: label.to_owned(),
        sign,
    };
    let curves = judged.frontier.iter().zip(&styles).map(|(of, style)| {
        let sign = Sign::Line {
            colour: style.colour,
            width: 2.4,
            dash: style.dash,
        };
        key(&of.arm, sign)
    });
    let points = references.iter().map(|&(of, colour)| {
        let sign = Sign::Dot {
            colour,
            hollow: false,
        };
        key(&of.arm, sign)
    });
    let figure = Figure {
        name: "suite-frontier".to_owned(),
        title: "Delay at each idle budget".to_owned(),
        columns: 2,
        panel_height: 240.0,
        legend: curves.chain(points).collect(),
        panels: vec![
            panel(
                "Utilisation",
                "Difference to the better of plain and tuned, points",
                |of| (of.utilisation.conditions > 0).then_some(of.utilisation.mean),
            ),
            panel("Conditions that keep it", "%", kept_share),
        ],
        ..Figure::default()
    };
    let budgets = judged.frontier.first()?.points.iter();
    let budgets: Vec<String> = budgets.map(|of| percent(of.idle_budget)).collect();
    let caption = format!(
        "Classic delay, geometric mean over all conditions, against its cost. Each dot of a \
         curve is an idle budget: {}; the ring is the smallest. Lower is less delay, further \
         right is a busier link.",
        budgets.join(", ")
    );
    Some(Captioned { figure, caption })
}

fn delay(of: &Summary) -> Option<f64> {
    Some(of.classic_delay.as_ref()?.mean.mean)
}

fn kept_share(of: &Summary) -> Option<f64> {
    let kept = &of.utilisation;
    (kept.conditions > 0).then(|| kept.kept as f64 * 100.0 / kept.conditions as f64)
}

/// A linear axis with margins around the values.
fn around(values: &[f64]) -> Scale {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !(least.is_finite() && most.is_finite()) {
        return Scale::from_zero(1.0);
    }
    let space = ((most - least) * 0.08).max(0.05);
    Scale::Linear {
        min: least - space,
        max: most + space,
    }
}

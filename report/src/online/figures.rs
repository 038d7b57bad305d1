//! Figures of a training in the loop, lesson by lesson.

use super::{Lesson, Settings};
use crate::figure::{Axis, BETTER, Figure, INK, Key, L4S, MUTED, Mark, Panel, Scale, Sign, WORSE};
use crate::figures::Captioned;
use crate::verdict::Interval;

/// Points of a line.
type Points = Vec<Option<(f64, f64)>>;

/// Colours of the policy and of the adaptive rule.
const OWN: &str = BETTER;
const RULE: &str = MUTED;

/// All figures, in order, except those without data.
pub(super) fn figures(lessons: &[Lesson]) -> Vec<Captioned> {
    [
        Some(evaluation(lessons)),
        loss(lessons),
        own_runs(lessons),
        settings(lessons),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Lessons along the axis, from 0.
fn lessons_axis(lessons: &[Lesson]) -> Axis {
    Axis {
        label: "Lesson".to_owned(),
        scale: Scale::Linear {
            min: -0.3,
            max: (lessons.len().max(2) - 1) as f64 + 0.3,
        },
    }
}

fn line(points: Points, colour: &'static str) -> Mark {
    Mark::Line {
        points,
        colour,
        width: 2.0,
        dash: "",
    }
}

fn key(label: &str, colour: &'static str) -> Key {
    Key {
        label: label.to_owned(),
        sign: Sign::Line {
            colour,
            width: 2.4,
            dash: "",
        },
    }
}

/// A line through values with a dot at each, so that a single value is visible.
fn dotted(points: Points, colour: &'static str) -> Vec<Mark> {
    let dots = points.iter().flatten().map(|at| Mark::Dot {
        at: *at,
        radius: 3.0,
        colour,
        hollow: false,
    });
    let dots: Vec<Mark> = dots.collect();
    std::iter::once(line(points, colour)).chain(dots).collect()
}

/// Means with their intervals as a band.
fn banded(values: &[(f64, Option<Interval>)], colour: &'static str) -> Vec<Mark> {
    let band = values.iter().map(|(x, of)| {
        let of = (*of)?;
        let half = of.half_width?;
        Some((*x, of.mean - half, of.mean + half))
    });
    let means = values.iter().map(|(x, of)| Some((*x, (*of)?.mean)));
    let mut marks = vec![Mark::Band {
        points: band.collect(),
        colour,
    }];
    marks.extend(dotted(means.collect(), colour));
    marks
}

fn numbered(lessons: &[Lesson]) -> impl Iterator<Item = (f64, &Lesson)> {
    lessons.iter().enumerate().map(|(at, of)| (at as f64, of))
}

fn of_each(lessons: &[Lesson], value: impl Fn(&Lesson) -> Option<f64>) -> Points {
    let point = |(at, of): (f64, &Lesson)| Some((at, value(of)?));
    numbered(lessons).map(point).collect()
}

/// A linear axis around all drawn values and, with `zero`, around 0.
fn around(marks: &[Mark], zero: bool) -> Scale {
    let mut values: Vec<f64> = Vec::from_iter(zero.then_some(0.0));
    for mark in marks {
        match mark {
            Mark::Line { points, .. } => values.extend(points.iter().flatten().map(|p| p.1)),
            Mark::Band { points, .. } => {
                values.extend(points.iter().flatten().flat_map(|p| [p.1, p.2]));
            }
            _ => {}
        }
    }
    let values = || values.iter().copied().filter(|value| value.is_finite());
    let (least, most) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    if least > most {
        return Scale::from_zero(1.0);
    }
    let space = ((most - least) * 0.08).max(most.abs() * 1e-3).max(1e-6);
    Scale::Linear {
        min: if zero && least >= 0.0 {
            0.0
        } else {
            least - space
        },
        max: most + space,
    }
}

fn panel(title: &str, x: Axis, label: &str, zero: bool, marks: Vec<Mark>) -> Panel {
    Panel {
        title: title.to_owned(),
        x,
        y: Axis {
            label: label.to_owned(),
            scale: around(&marks, zero),
        },
        marks,
    }
}

/// Results of the evaluation after each lesson.
fn evaluation(lessons: &[Lesson]) -> Captioned {
    let costs: Vec<_> = numbered(lessons)
        .map(|(at, of)| (at, Some(of.judged())))
        .collect();
    let constant = |value: fn(&Lesson) -> f64| of_each(lessons, |of| Some(value(of)));
    let both = |own: fn(&Lesson) -> f64, rule: fn(&Lesson) -> f64| {
        let mut marks = dotted(constant(rule), RULE);
        marks.extend(dotted(constant(own), OWN));
        marks
    };
    let mut delay = vec![line(constant(|_| 1.0), RULE)];
    delay.extend(dotted(constant(|of| of.delay_over_adaptive), OWN));
    let x = || lessons_axis(lessons);
    let figure = Figure {
        name: "evaluation".to_owned(),
        title: "Evaluation after each lesson".to_owned(),
        columns: 2,
        panel_height: 200.0,
        legend: vec![key("policy", OWN), key("adaptive rule", RULE)],
        panels: vec![
            panel("Cost", x(), "Cost", false, banded(&costs, OWN)),
            panel(
                "Classic delay",
                x(),
                "Ratio to the adaptive rule's",
                false,
                delay,
            ),
            panel(
                "Utilisation lost",
                x(),
                "% of the better of plain and tuned",
                true,
                both(
                    |of| of.mean_loss * 100.0,
                    |of| of.adaptive_mean_loss * 100.0,
                ),
            ),
            panel(
                "Conditions within the budget",
                x(),
                "Conditions",
                true,
                both(|of| of.kept as f64, |of| of.adaptive_kept as f64),
            ),
        ],
        ..Figure::default()
    };
    let caption = "The policy after each lesson, in conditions that are not used for training: \
    mean cost with its \
                   95 % interval over conditions, classic delay, the share of utilisation lost (below \
                   0: gained), and conditions that lose at most the idle budget. Lesson 0 is the \
                   imitation.";
    Captioned {
        figure,
        caption: caption.to_owned(),
    }
}

/// The cost of optimiser steps, a line for each lesson; none if it was not
/// recorded.
fn loss(lessons: &[Lesson]) -> Option<Captioned> {
    let mut marks = Vec::new();
    for (number, of) in lessons.iter().enumerate() {
        let first = of
            .steps
            .saturating_sub(of.losses.last().map_or(0, |of| of.0));
        let points = of.losses.iter();
        let points: Points = points
            .map(|(step, cost)| Some(((first + step) as f64, *cost)))
            .collect();
        if !points.is_empty() {
            marks.push(line(points, [OWN, L4S][number % 2]));
        }
    }
    let steps = lessons.iter().map(|of| of.steps).max()?;
    let x = Axis {
        label: "Optimiser steps".to_owned(),
        scale: Scale::from_zero(steps as f64),
    };
    let drawn = !marks.is_empty();
    let figure = Figure {
        name: "loss".to_owned(),
        title: "Cost of the optimiser's steps".to_owned(),
        columns: 1,
        panel_height: 220.0,
        panels: vec![panel("", x, "Cost", false, marks)],
        ..Figure::default()
    };
    let caption = "Expected cost of the network's settings, as means over parts of each lesson; \
    colours alternate between lessons. Lessons have different states, and costs of improvements \
    are relative to the previous policy, so levels of different lessons are not comparable.";
    drawn.then(|| Captioned {
        figure,
        caption: caption.to_owned(),
    })
}

/// Results of the policy's own runs, before rounds and before improvements.
fn own_runs(lessons: &[Lesson]) -> Option<Captioned> {
    let x = || lessons_axis(lessons);
    let (mut panels, mut said) = (Vec::new(), Vec::new());
    if lessons.iter().any(|of| of.own_runs.regret.is_some()) {
        let regret = dotted(of_each(lessons, |of| of.own_runs.regret), OWN);
        panels.push(panel("Regret before a round", x(), "Cost", true, regret));
        let percent = |of: &Lesson| Some(of.own_runs.agreement? * 100.0);
        let agreement = dotted(of_each(lessons, percent), OWN);
        panels.push(panel(
            "Agreement before a round",
            x(),
            "% of periods",
            true,
            agreement,
        ));
        said.push(
            "On the states that the policy reaches: excess cost of its settings over the best \
             fixed setting of the condition, and share of periods in which both target and gain \
             are within a grid step of that.",
        );
    }
    if lessons.iter().any(|of| !of.own_runs.costs.is_empty()) {
        let mean = |values: fn(&Lesson) -> &[f64]| -> Vec<_> {
            numbered(lessons)
                .map(|(at, of)| (at, Interval::of(values(of))))
                .collect()
        };
        let mut marks = banded(&mean(|of| &of.own_runs.costs), OWN);
        let offsets = mean(|of| &of.own_runs.best_offset_costs);
        let offsets = offsets.iter().map(|(x, of)| Some((*x, (*of)?.mean)));
        marks.extend(dotted(offsets.collect(), WORSE));
        panels.push(panel(
            "Cost before an improvement",
            x(),
            "Cost",
            false,
            marks,
        ));
        said.push(
            "In an improvement\u{2019}s new conditions: the policy\u{2019}s mean cost with its 95 % \
             interval over conditions (blue), and with the cheapest offset in each condition \
             (orange), which is biased by chance.",
        );
    }
    let figure = Figure {
        name: "own-runs".to_owned(),
        title: "The policy\u{2019}s own runs".to_owned(),
        columns: 2,
        panel_height: 200.0,
        panels,
        ..Figure::default()
    };
    (!said.is_empty()).then(|| Captioned {
        figure,
        caption: said.join(" "),
    })
}

/// Spread of the applied settings in the evaluation's runs.
fn settings(lessons: &[Lesson]) -> Option<Captioned> {
    let panel = |title: &str, label: &str, of: fn(&Settings) -> [f64; 5]| {
        let known = numbered(lessons).map(|(at, lesson)| {
            let of = of(lesson.settings.as_ref()?);
            // A lesson without periods has no percentiles.
            of.iter().all(|value| *value > 0.0).then_some((at, of))
        });
        let known: Vec<Option<(f64, [f64; 5])>> = known.collect();
        let band = |low: usize, high: usize| Mark::Band {
            points: (known.iter())
                .map(|of| of.map(|(at, q)| (at, q[low], q[high])))
                .collect(),
            colour: OWN,
        };
        let median = known.iter().map(|of| of.map(|(at, q)| (at, q[2])));
        let mut marks = vec![band(0, 4), band(1, 3)];
        marks.extend(dotted(median.collect(), INK));
        let all = || known.iter().flatten().flat_map(|(_, q)| q.iter().copied());
        let (least, most) = (
            all().fold(f64::INFINITY, f64::min),
            all().fold(0.0, f64::max),
        );
        Panel {
            title: title.to_owned(),
            x: lessons_axis(lessons),
            y: Axis {
                label: label.to_owned(),
                scale: Scale::spanning(least, most),
            },
            marks,
        }
    };
    let figure = Figure {
        name: "settings".to_owned(),
        title: "Settings chosen by the policy".to_owned(),
        columns: 2,
        panel_height: 220.0,
        panels: vec![
            panel("Target", "ms", |of| of.target_ms),
            panel("Gain", "Factor on RFC 9332\u{2019}s", |of| of.gain),
        ],
        ..Figure::default()
    };
    let known = lessons.iter().any(|of| of.settings.is_some());
    let caption = "Active settings over all periods of the evaluation\u{2019}s runs: the \
    median, half of \
                   the periods (darker) and nine tenths of them (lighter).";
    known.then(|| Captioned {
        figure,
        caption: caption.to_owned(),
    })
}

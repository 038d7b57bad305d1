//! Loss and accuracy of training runs side by side, and costs of models.

use super::model_costs::Costs;
use super::published::PUBLISHED_DECISION_MS;
use super::training::{Evaluation, Step, Training};
use crate::figure::{ArmStyle, Axis, Figure, Key, MUTED, Mark, Panel, Scale, Sign, series_styles};
use crate::figures::{Captioned, percent_scale};
use crate::format::{bytes, number, quantity, seconds};

/// Approximate maximum number of points of a line: the loss of a single step is
/// noise, means form a curve.
const POINTS: usize = 200;

/// Position within a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Across {
    Epochs,
    Steps,
}

/// Figures of training runs, in order.
pub(super) fn of_trainings(trainings: &[Training]) -> Vec<Captioned> {
    if trainings.is_empty() {
        return Vec::new();
    }
    let known = trainings.iter().flat_map(|t| &t.steps);
    let across = match known.clone().all(|step| step.epoch.is_some()) {
        true => Across::Epochs,
        false => Across::Steps,
    };
    vec![
        loss(trainings, across),
        accuracy(trainings, across),
        scores(trainings, across),
    ]
}

/// Costs of each model; none if nothing was measured.
pub(super) fn of_costs(costs: &[Costs]) -> Option<Captioned> {
    let memory = |of: &Costs| of.memory_bytes.map(|bytes| bytes as f64 / GIB);
    let decision = |of: &Costs| of.decision_ms.map(|ms| ms.p50);
    let slowest = costs.iter().filter_map(decision).fold(0.0, f64::max);
    let mut panels = vec![
        bars(costs, "Weights that are trained", "Millions", &|of| {
            let value = of.trainable_parameters;
            Some((value as f64 / 1e6, quantity(value)))
        }),
        bars(costs, "Memory", "GiB", &|of| {
            Some((memory(of)?, bytes(of.memory_bytes?)))
        }),
        bars(costs, "One decision, median", "ms", &|of| {
            let ms = of.decision_ms?;
            let label = format!("{} (p99 {})", number(ms.p50), number(ms.p99));
            Some((ms.p50, label))
        }),
    ];
    // A reference far to the right would compress the measured values.
    if slowest > PUBLISHED_DECISION_MS / 4.0 {
        panels[2].marks.push(Mark::Upright {
            value: PUBLISHED_DECISION_MS,
        });
        widen(&mut panels[2], PUBLISHED_DECISION_MS * 1.1);
    }
    panels.push(match costs.iter().any(|of| of.training_s.is_some()) {
        true => whole_training(costs),
        false => bars(costs, "One training step", "s", &|of| {
            let s = of.step_ms? / 1e3;
            let windows = of.step_windows.map(|n| format!(" ({n} windows)"));
            Some((s, format!("{}{}", number(s), windows.unwrap_or_default())))
        }),
    });
    if costs.is_empty() {
        return None;
    }
    let longest = costs.iter().map(|of| of.name.chars().count()).max();
    let figure = Figure {
        name: "costs".to_owned(),
        title: "Costs of each model".to_owned(),
        columns: 2,
        panel_height: 20.0 + 34.0 * costs.len() as f64,
        name_width: (24.0 + 7.6 * longest.unwrap_or(0) as f64).clamp(66.0, 240.0),
        panels,
        ..Figure::default()
    };
    let published = match slowest > PUBLISHED_DECISION_MS / 4.0 {
        true => format!(" Dashed: the published {PUBLISHED_DECISION_MS} ms."),
        false => String::new(),
    };
    let caption = format!(
        "Costs of each model on this machine: trained weights, peak memory, time of a \
         decision, time of training.{published}"
    );
    Some(Captioned { figure, caption })
}

/// How long trainings took, in a unit whose numbers are short.
fn whole_training(costs: &[Costs]) -> Panel {
    let longest_s = costs.iter().filter_map(|of| of.training_s);
    let (unit, unit_s) = match longest_s.fold(0.0, f64::max) {
        s if s < 300.0 => ("s", 1.0),
        s if s < 7200.0 => ("minutes", 60.0),
        _ => ("hours", 3600.0),
    };
    bars(costs, "Whole training", unit, &|of| {
        let s = of.training_s?;
        Some((s / unit_s, seconds(s)))
    })
}

const GIB: f64 = (1u64 << 30) as f64;

fn loss(trainings: &[Training], across: Across) -> Captioned {
    let held_out = |_: &Step, of: &Evaluation| of.loss;
    let lines = |of: &Training| {
        [
            means(&of.steps, across, |step| Some(step.loss)),
            evaluated(of, across, held_out),
        ]
    };
    let all: Vec<_> = trainings.iter().map(lines).collect();
    let most = quantile_of(&all, 0.995);
    let y = Axis {
        label: "Cross-entropy (nats)".to_owned(),
        scale: Scale::from_zero(most),
    };
    let figure = two_panels(trainings, across, "loss", "Loss over the training", &all, y);
    let caption = "Training loss (means over short ranges of steps, weighted as in training) \
    and loss on held-out windows (unweighted).";
    Captioned {
        figure,
        caption: caption.to_owned(),
    }
}

fn accuracy(trainings: &[Training], across: Across) -> Captioned {
    let held_out = |_: &Step, of: &Evaluation| of.accuracy * 100.0;
    let lines = |of: &Training| {
        [
            means(&of.steps, across, |step| Some(step.accuracy? * 100.0)),
            evaluated(of, across, held_out),
        ]
    };
    let all: Vec<_> = trainings.iter().map(lines).collect();
    // Training and held-out windows differ, so each has its own line.
    let majorities = [
        distinct(trainings, |of| of.last()?.majority_share),
        distinct(trainings, |of| {
            Some(of.evaluations().last()?.1.majority_share)
        }),
    ];
    let values = all
        .iter()
        .flatten()
        .flatten()
        .flatten()
        .map(|point| point.1);
    let least = values
        .chain(majorities.iter().flatten().copied())
        .fold(100.0, f64::min);
    let y = Axis {
        label: "Accuracy (%)".to_owned(),
        scale: percent_scale(least / 100.0),
    };
    let title = "Accuracy over the training";
    let mut figure = two_panels(trainings, across, "accuracy", title, &all, y);
    add_majority(&mut figure, &majorities);
    let caption = "Share of actions predicted correctly, on training windows and on held-out \
    windows. Dashed: majority-class baseline of those rows; only accuracy above it was learned.";
    Captioned {
        figure,
        caption: caption.to_owned(),
    }
}

/// Scores that a majority-class predictor cannot inflate.
fn scores(trainings: &[Training], across: Across) -> Captioned {
    let lines = |of: &Training| {
        [
            evaluated(of, across, |_, of| of.balanced_accuracy * 100.0),
            evaluated(of, across, |_, of| of.macro_f1 * 100.0),
        ]
    };
    let all: Vec<_> = trainings.iter().map(lines).collect();
    let values = all
        .iter()
        .flatten()
        .flatten()
        .flatten()
        .map(|point| point.1);
    let y = Axis {
        label: "Score (%)".to_owned(),
        scale: percent_scale(values.fold(100.0, f64::min) / 100.0),
    };
    let title = "Balanced accuracy and macro-F1 over the training";
    let mut figure = two_panels(trainings, across, "scores", title, &all, y);
    for (panel, title) in figure
        .panels
        .iter_mut()
        .zip(["Balanced accuracy", "Macro-F1"])
    {
        panel.title = title.to_owned();
    }
    let caption = "Scores with equal weight for each action, on held-out windows: mean recall \
    (balanced accuracy) and mean F1 over actions.";
    Captioned {
        figure,
        caption: caption.to_owned(),
    }
}

type Line = Vec<Option<(f64, f64)>>;

/// One panel for training windows and one for held-out windows, with the same
/// axes.
fn two_panels(
    trainings: &[Training],
    across: Across,
    name: &str,
    title: &str,
    lines: &[[Line; 2]],
    y: Axis,
) -> Figure {
    let styles = series_styles(trainings.len());
    let panel = |index: usize, title: &str| {
        let drawn = lines.iter().zip(&styles).flat_map(|(lines, style)| {
            let line = &lines[index];
            let few = line.iter().flatten().count() < 2;
            // A single evaluation is drawn as a short dash, so that it is
            // visible.
            let points = match (few, line.iter().flatten().next()) {
                (true, Some(&(x, y))) => vec![Some((x * 0.97, y)), Some((x, y))],
                _ => line.clone(),
            };
            (!points.is_empty()).then_some(Mark::Line {
                points,
                colour: style.colour,
                width: 1.8,
                dash: style.dash,
            })
        });
        let mut marks: Vec<Mark> = drawn.collect();
        if marks.is_empty() {
            let text = "not recorded".to_owned();
            marks.push(Mark::Note { text });
        }
        Panel {
            title: title.to_owned(),
            x: x_axis(trainings, across),
            y: y.clone(),
            marks,
        }
    };
    Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        columns: 2,
        panel_height: 240.0,
        legend: legend(trainings, &styles),
        panels: vec![panel(0, "Training windows"), panel(1, "Held-out windows")],
        ..Figure::default()
    }
}

fn legend(trainings: &[Training], styles: &[ArmStyle]) -> Vec<Key> {
    let keys = trainings.iter().zip(styles).map(|(training, style)| Key {
        label: training.name.clone(),
        sign: Sign::Line {
            colour: style.colour,
            width: 2.4,
            dash: style.dash,
        },
    });
    keys.collect()
}

/// Each value of a share among training runs, %; usually one.
fn distinct(trainings: &[Training], share: impl Fn(&Training) -> Option<f64>) -> Vec<f64> {
    let shares = trainings.iter().filter_map(share);
    let mut shares: Vec<f64> = shares.map(|s| s * 100.0).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup_by(|a, b| (*a - *b).abs() < 0.05);
    shares
}

/// A line for each of them in its panel.
fn add_majority(figure: &mut Figure, majorities: &[Vec<f64>; 2]) {
    const DASH: &str = "5 4";
    for (panel, majorities) in figure.panels.iter_mut().zip(majorities) {
        let Scale::Linear { min, max } = panel.x.scale else {
            continue;
        };
        panel
            .marks
            .extend(majorities.iter().map(|&share| Mark::Line {
                points: vec![Some((min, share)), Some((max, share))],
                colour: MUTED,
                width: 1.4,
                dash: DASH,
            }));
    }
    if majorities.iter().any(|shares| !shares.is_empty()) {
        figure.legend.push(Key {
            label: "majority class".to_owned(),
            sign: Sign::Line {
                colour: MUTED,
                width: 1.4,
                dash: DASH,
            },
        });
    }
}

fn x_axis(trainings: &[Training], across: Across) -> Axis {
    let ends = trainings.iter().filter_map(|of| across.of(of.last()?));
    let end = ends.fold(0.0, f64::max);
    Axis {
        label: match across {
            Across::Epochs => "Epochs",
            Across::Steps => "Optimiser steps",
        }
        .to_owned(),
        scale: Scale::Linear {
            min: 0.0,
            max: if end > 0.0 { end } else { 1.0 },
        },
    }
}

impl Across {
    fn of(self, step: &Step) -> Option<f64> {
        match self {
            Across::Epochs => step.epoch,
            Across::Steps => Some(step.step as f64),
        }
    }
}

/// Means over equal ranges of steps, at their midpoints.
fn means(steps: &[Step], across: Across, value: impl Fn(&Step) -> Option<f64>) -> Line {
    let group = steps.len().div_ceil(POINTS).max(1);
    let mean = |steps: &[Step]| {
        let values: Vec<f64> = steps
            .iter()
            .filter_map(&value)
            .filter(|value| value.is_finite())
            .collect();
        let x = across.of(&steps[steps.len() / 2])?;
        (!values.is_empty()).then(|| (x, values.iter().sum::<f64>() / values.len() as f64))
    };
    let means: Line = steps.chunks(group).map(mean).collect();
    match means.iter().any(Option::is_some) {
        true => means,
        false => Vec::new(),
    }
}

fn evaluated(of: &Training, across: Across, value: impl Fn(&Step, &Evaluation) -> f64) -> Line {
    of.evaluations()
        .map(|(step, evaluation)| Some((across.of(step)?, value(step, evaluation))))
        .collect()
}

/// Nearly the largest value of all lines, because the losses of the first steps
/// would otherwise dominate the figure.
fn quantile_of(lines: &[[Line; 2]], q: f64) -> f64 {
    let points = lines.iter().flatten().flatten().flatten();
    let mut values: Vec<f64> = points.map(|p| p.1).filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(1.0)
}

fn bars(
    costs: &[Costs],
    title: &str,
    unit: &str,
    value: &dyn Fn(&Costs) -> Option<(f64, String)>,
) -> Panel {
    let styles = series_styles(costs.len());
    let all = costs.iter().zip(&styles).enumerate();
    let bars = all.filter_map(|(index, (of, style))| {
        let (value, label) = value(of)?;
        Some(Mark::Bar {
            at: index as f64,
            value,
            label,
            colour: style.colour,
        })
    });
    let mut marks: Vec<Mark> = bars.collect();
    let most = marks.iter().map(|mark| match mark {
        Mark::Bar { value, .. } => *value,
        _ => 0.0,
    });
    let most = most.fold(0.0, f64::max);
    if marks.is_empty() {
        let text = "not measured".to_owned();
        marks.push(Mark::Note { text });
    }
    Panel {
        title: title.to_owned(),
        // Space for the text next to the longest bar.
        x: Axis {
            label: unit.to_owned(),
            scale: Scale::from_zero(most * 1.4),
        },
        y: Axis {
            label: String::new(),
            scale: Scale::Names(costs.iter().map(|of| of.name.clone()).collect()),
        },
        marks,
    }
}

/// Extends a panel of bars to show `value`.
fn widen(panel: &mut Panel, value: f64) {
    if let Scale::Linear { max, .. } = panel.x.scale {
        panel.x.scale = Scale::from_zero(max.max(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_panels_show_their_own_majority_share() {
        let training = Training {
            name: "gpt2".to_owned(),
            steps: vec![Step {
                step: 3,
                epoch: Some(1.0),
                loss: 0.5,
                accuracy: Some(0.8),
                majority_share: Some(0.83),
                tokens_per_s: None,
                evaluation: Some(Evaluation {
                    loss: 0.6,
                    accuracy: 0.9,
                    majority_share: 0.94,
                    balanced_accuracy: 0.5,
                    macro_f1: 0.4,
                }),
            }],
            costs: None,
            bad_lines: 0,
        };
        let figure = accuracy(&[training], Across::Epochs).figure;
        for (panel, want) in figure.panels.iter().zip([83.0, 94.0]) {
            let heights = panel.marks.iter().filter_map(|mark| match mark {
                Mark::Line { points, colour, .. } if *colour == MUTED => points[0],
                _ => None,
            });
            let heights: Vec<f64> = heights.map(|point| point.1).collect();
            assert_eq!(heights, [want], "{}", panel.title);
        }
    }
}

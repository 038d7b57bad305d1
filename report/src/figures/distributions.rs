//! Distributions of delays, utilisation and completion times.

use super::{
    Captioned, LEAST_MS, QUEUES, Shown, arm_legend, arm_name_width, names_axis, or_note,
    percent_scale, repetitions, shown, side_by_side,
};
use crate::data::Data;
use crate::figure::{ArmStyle, Axis, BoxPlot, Figure, Mark, Panel, Scale, nearest_rank};
use l4sllm_testbed::result::Histogram;

/// Number of points of a distribution function.
const CDF_POINTS: usize = 250;
/// Maximum number of flows with a separate panel of transfers.
const MOST_FLOWS: usize = 6;

/// Box plots of sojourn times.
pub(super) fn delay_boxes(data: &Data) -> Captioned {
    let arms = shown(data);
    let panel = |queue: usize| {
        let plots: Vec<Option<BoxPlot>> = (data.arms.iter())
            .map(|arm| delay_box(&arm.sojourn_ns[queue]))
            .collect();
        let known = || plots.iter().flatten();
        let least = known().map(|plot| plot.p1).fold(f64::INFINITY, f64::min);
        let most = known().map(|plot| plot.p99).fold(0.0, f64::max);
        Panel {
            title: QUEUES[queue].0.to_owned(),
            x: delay_axis(least, most),
            y: names_axis(data),
            marks: boxes(&plots, &arms),
        }
    };
    let panels = vec![panel(0), panel(1)];
    let figure = Figure {
        panel_height: boxes_height(data),
        name_width: arm_name_width(data),
        ..side_by_side(data, "queue-delay-box", "Queue delay of each arm", panels)
    };
    let caption = format!(
        "All packets of {}. Box: 25th to 75th percentile; thick line: \
         median; circle: mean; whiskers: 1st and 99th percentile.",
        repetitions(data)
    );
    Captioned { figure, caption }
}

/// Distribution functions of sojourn times.
pub(super) fn delay_cdf(data: &Data) -> Captioned {
    let arms = shown(data);
    let panel = |queue: usize| {
        let ms = |q: f64| {
            let arms = data.arms.iter();
            arms.filter_map(move |arm| arm.sojourn_ns[queue].quantile(q))
                .map(|ns| ns as f64 / 1e6)
        };
        let lines = arms.iter().filter_map(|own| {
            let waited = &own.data.sojourn_ns[queue];
            let at = |q: f64| waited.quantile(q).map(|ns| (ns as f64 / 1e6, q));
            (!waited.is_empty()).then(|| cdf(at, &own.style))
        });
        Panel {
            title: QUEUES[queue].0.to_owned(),
            x: delay_axis(
                ms(0.01).fold(f64::INFINITY, f64::min),
                ms(0.999).fold(0.0, f64::max),
            ),
            y: share_axis("Share of packets"),
            marks: or_note(lines.collect()),
        }
    };
    let panels = vec![panel(0), panel(1)];
    let figure = Figure {
        panel_height: 260.0,
        legend: arm_legend(&arms),
        ..side_by_side(
            data,
            "queue-delay-cdf",
            "Distribution of queue delay",
            panels,
        )
    };
    let caption = format!(
        "Share of packets with at most this delay, all packets of {}.",
        repetitions(data)
    );
    Captioned { figure, caption }
}

/// Box plots and distribution functions of utilisation.
pub(super) fn utilisation(data: &Data) -> Captioned {
    let arms = shown(data);
    let plots: Vec<Option<BoxPlot>> = (data.arms.iter())
        .map(|arm| BoxPlot::of_sorted(&arm.utilisation_percent))
        .collect();
    let least = plots.iter().flatten().map(|plot| plot.p1);
    let x = Axis {
        label: "Utilisation in 100 ms (%)".to_owned(),
        scale: percent_scale(least.fold(100.0, f64::min) / 100.0),
    };
    let lines = arms
        .iter()
        .filter_map(|own| sorted_cdf(&own.data.utilisation_percent, &own.style));
    let cdf = Panel {
        title: "Distribution".to_owned(),
        x: x.clone(),
        y: share_axis("Share of time"),
        marks: or_note(lines.collect()),
    };
    let boxes = Panel {
        title: "Quantiles".to_owned(),
        x,
        y: names_axis(data),
        marks: boxes(&plots, &arms),
    };
    let (name, title) = ("utilisation-distribution", "Distribution of utilisation");
    let figure = Figure {
        panel_height: boxes_height(data).max(220.0),
        name_width: arm_name_width(data),
        legend: arm_legend(&arms),
        ..side_by_side(data, name, title, vec![boxes, cdf])
    };
    let caption = format!(
        "Of the bottleneck in each 100 ms of {}; boxes as above.",
        repetitions(data)
    );
    Captioned { figure, caption }
}

/// Completion times of transfers, with a panel for each flow that has any; none
/// without transfers.
pub(super) fn completions(data: &Data) -> Option<Captioned> {
    let arms = shown(data);
    let mut names: Vec<&str> = Vec::new();
    for (name, took_ms) in data.arms.iter().flat_map(|arm| &arm.completions) {
        if !names.contains(&name.as_str()) && !took_ms.is_empty() {
            names.push(name);
        }
    }
    let all = names.len();
    names.truncate(MOST_FLOWS);
    let panel = |name: &str| {
        let took_ms = |own: &Shown<'_>| {
            let mut flows = own.data.completions.iter();
            flows
                .find(|(of, _)| of == name)
                .map(|(_, took_ms)| took_ms.clone())
        };
        let known: Vec<(Vec<f64>, ArmStyle)> = arms
            .iter()
            .filter_map(|own| Some((took_ms(own)?, own.style)))
            .collect();
        let at = |q: f64| {
            known
                .iter()
                .filter_map(move |(took, _)| nearest_rank(took, q))
        };
        let lines = known
            .iter()
            .filter_map(|(took, style)| sorted_cdf(took, style));
        Panel {
            title: name.to_owned(),
            x: Axis {
                label: "Completion time (ms)".to_owned(),
                scale: Scale::spanning(
                    at(0.01).fold(f64::INFINITY, f64::min),
                    at(0.999).fold(0.0, f64::max),
                ),
            },
            y: share_axis("Share of transfers"),
            marks: or_note(lines.collect()),
        }
    };
    let rest = match all > names.len() {
        true => format!(" The first {MOST_FLOWS} of {all} flows."),
        false => String::new(),
    };
    let panels = names.iter().map(|name| panel(name)).collect();
    let figure = Figure {
        panel_height: 220.0,
        legend: arm_legend(&arms),
        ..side_by_side(
            data,
            "completion-cdf",
            "Completion times of short flows",
            panels,
        )
    };
    let caption = format!(
        "Share of transfers that took at most this time, from their start to the arrival of \
         their last byte; finished transfers that began in the measured time, of {}.{rest}",
        repetitions(data)
    );
    (all > 0).then_some(Captioned { figure, caption })
}

/// Height of a panel with a box for each arm.
fn boxes_height(data: &Data) -> f64 {
    30.0 + 36.0 * data.arms.len() as f64
}

fn boxes(plots: &[Option<BoxPlot>], arms: &[Shown<'_>]) -> Vec<Mark> {
    let boxes = plots.iter().zip(arms).enumerate();
    let boxes = boxes.filter_map(|(index, (plot, own))| {
        Some(Mark::Box {
            at: index as f64,
            half_height: 0.3,
            of: (*plot)?,
            colour: own.style.colour,
        })
    });
    or_note(boxes.collect())
}

/// The distribution function of sorted values; none without any.
fn sorted_cdf(sorted: &[f64], style: &ArmStyle) -> Option<Mark> {
    (!sorted.is_empty()).then(|| cdf(|q| Some((nearest_rank(sorted, q)?, q)), style))
}

/// A line through the points given by `at` for shares from 0 to 1.
fn cdf(at: impl Fn(f64) -> Option<(f64, f64)>, style: &ArmStyle) -> Mark {
    let share = |index: usize| index as f64 / CDF_POINTS as f64;
    Mark::Line {
        points: (0..=CDF_POINTS).map(share).map(at).collect(),
        colour: style.colour,
        width: 2.0,
        dash: style.dash,
    }
}

fn delay_axis(least: f64, most: f64) -> Axis {
    Axis {
        label: "Queue delay (ms)".to_owned(),
        scale: Scale::spanning(least.max(LEAST_MS), most),
    }
}

fn share_axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        scale: Scale::Linear { min: 0.0, max: 1.0 },
    }
}

fn delay_box(waited: &Histogram) -> Option<BoxPlot> {
    let ms = |share| waited.quantile(share).map(|ns| ns as f64 / 1e6);
    BoxPlot::new(ms, waited.mean().map(|ns| ns / 1e6))
}

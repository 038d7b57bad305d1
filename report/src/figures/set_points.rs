//! The figure of set-points over time.

use super::data::{ArmData, Data, SetPoint};
use super::figure::{ArmStyle, Axis, Figure, Mark, Panel, Scale, arm_styles};
use super::figures::{Captioned, arm_legend, first_repetition, time_axis};
use l4sllm_testbed::result::Arm;

/// A set-point: its name with unit, and its value.
type SetPointAxis = (&'static str, fn(&SetPoint) -> f64);

const AXES: [SetPointAxis; 4] = [
    ("Target delay (ms)", |of| of.target_ms),
    ("Coupling factor k", |of| of.coupling),
    ("Integral gain \u{3b1} (Hz)", |of| of.alpha_hz),
    ("Proportional gain \u{3b2} (Hz)", |of| of.beta_hz),
];

/// A panel for each set-point, a line for each arm that steers; none where no
/// arm does.
pub(super) fn set_points(data: &Data) -> Option<Captioned> {
    let styles = arm_styles(&data.summary.arms, &data.facts);
    let arms = data.summary.arms.iter().zip(&data.arms).zip(styles);
    let steered: Vec<(&Arm, &ArmData, ArmStyle)> = arms
        .map(|((arm, data), style)| (arm, data, style))
        .filter(|(_, data, _)| !data.set_points.is_empty())
        .collect();
    if steered.is_empty() {
        return None;
    }
    let panel = |(label, value): SetPointAxis| {
        let values = || {
            let points = steered.iter().flat_map(|(_, data, _)| &data.set_points);
            points.map(value)
        };
        let least = values().fold(f64::INFINITY, f64::min);
        let most = values().fold(0.0, f64::max);
        let lines = steered.iter().map(|(_, data, style)| Mark::Line {
            points: (data.set_points.iter())
                .map(|of| Some((of.time_s, value(of))))
                .collect(),
            colour: style.colour,
            width: 1.6,
            dash: style.dash,
        });
        Panel {
            title: String::new(),
            x: time_axis(data.arms.iter().flat_map(|arm| &arm.series)),
            y: Axis {
                label: label.to_owned(),
                // With space above, so that no line is on the frame.
                scale: Scale::spanning(least, most * 1.05),
            },
            marks: lines.collect(),
        }
    };
    let figure = Figure {
        name: "set-points-time".to_owned(),
        title: format!("Set-points over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: 150.0,
        name_width: 0.0,
        legend: arm_legend(steered.iter().map(|(arm, _, style)| (*arm, style))),
        panels: AXES.map(panel).to_vec(),
    };
    let caption = format!(
        "DualPI2's set-points over time in the arms that steer them, at intervals of {} ms; {} of \
         each arm.",
        data.series_ns / 1_000_000,
        first_repetition(data),
    );
    Some(Captioned { figure, caption })
}

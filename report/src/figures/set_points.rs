//! The figure of set-points over time.

use super::{Captioned, Shown, arm_legend, first_repetition, over_time, shown};
use crate::data::{Data, SetPoint};
use crate::figure::{Axis, Figure, Mark, Scale};

/// A set-point: its name with unit, and its value.
type SetPointAxis = (&'static str, fn(&SetPoint) -> f64);

const AXES: [SetPointAxis; 4] = [
    ("Target delay (ms)", |of| of.target_ms),
    ("Coupling factor k", |of| of.coupling),
    ("Integral gain \u{3b1} (Hz)", |of| of.alpha_hz),
    ("Proportional gain \u{3b2} (Hz)", |of| of.beta_hz),
];

/// A panel for each set-point, with a line for each arm that steers; none
/// without such arms.
pub(super) fn set_points(data: &Data) -> Option<Captioned> {
    let mut steered = shown(data);
    steered.retain(|own| !own.data.set_points.is_empty());
    if steered.is_empty() {
        return None;
    }
    let panel = |(label, value): SetPointAxis| {
        let values = || {
            let points = steered.iter().flat_map(|own| &own.data.set_points);
            points.map(value)
        };
        let least = values().fold(f64::INFINITY, f64::min);
        let most = values().fold(0.0, f64::max);
        let line = |own: &Shown<'_>| Mark::Line {
            points: (own.data.set_points.iter())
                .map(|of| Some((of.time_s, value(of))))
                .collect(),
            colour: own.style.colour,
            width: 1.6,
            dash: own.style.dash,
        };
        let y = Axis {
            label: label.to_owned(),
            // With space above, so that lines do not touch the frame.
            scale: Scale::spanning(least, most * 1.05),
        };
        over_time::panel(data, "", y, steered.iter().map(line).collect())
    };
    let figure = Figure {
        name: "set-points-time".to_owned(),
        title: format!("Set-points over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: 150.0,
        legend: over_time::legend(data, arm_legend(&steered)),
        panels: AXES.map(panel).to_vec(),
        ..Figure::default()
    };
    let caption = format!(
        "DualPI2's set-points in the arms that steer them, at intervals of {} ms; {} of \
         each arm.",
        data.series_ns / 1_000_000,
        first_repetition(data),
    );
    Some(Captioned { figure, caption })
}

//! The figures of every report: the overview, the published ones, and those of
//! each flow.

mod distributions;
mod flows;
mod over_time;
mod overview;
mod set_points;

pub(super) use overview::{among_scenarios, overview};

use super::data::{ArmData, Data};
use super::figure::{
    ArmStyle, Axis, CLASSIC, DASHES, Figure, Key, L4S, Mark, Panel, Scale, Sign, arm_styles,
};
use l4sllm_testbed::result::{Arm, ArmFacts};

/// Delays below this are drawn at the edge of a logarithmic axis, ms.
const LEAST_MS: f64 = 0.05;

const QUEUES: [(&str, &str); 2] = [("Classic traffic", CLASSIC), ("L4S traffic", L4S)];

/// A figure with its caption.
#[derive(Debug, Clone)]
pub(super) struct Captioned {
    pub figure: Figure,
    pub caption: String,
}

/// The figures of a report below its tables, in order.
pub(super) fn figures(data: &Data) -> Vec<Captioned> {
    if data.arms.is_empty() {
        return Vec::new();
    }
    let mut figures = vec![overview::trade_off(data)];
    figures.push(over_time::rate(data));
    figures.push(over_time::delay(data));
    figures.push(distributions::delay_boxes(data));
    figures.push(distributions::delay_cdf(data));
    figures.push(over_time::utilisation(data));
    figures.push(distributions::utilisation(data));
    figures.push(flows::goodput(data));
    figures.extend(flows::over_time(data));
    figures.extend(distributions::completions(data));
    figures.extend(set_points::set_points(data));
    figures
}

/// An arm with its data and style.
#[derive(Debug, Clone, Copy)]
struct Shown<'a> {
    arm: &'a Arm,
    data: &'a ArmData,
    style: ArmStyle,
}

/// All arms. In overlaid results, an arm has the same colour in all of them,
/// and each result has its dash pattern.
fn shown(data: &Data) -> Vec<Shown<'_>> {
    let is_controlled = |arm: &Arm| {
        data.facts
            .arm(&arm.name)
            .is_some_and(ArmFacts::is_controlled)
    };
    let arms = || data.summary.arms.iter().zip(&data.arms);
    let names: Vec<(&str, bool)> = arms()
        .map(|(arm, own)| (own.base.as_str(), is_controlled(arm)))
        .collect();
    let styles = arm_styles(&names);
    let overlaid = !data.sources.is_empty();
    let styled = arms().zip(styles).map(|((arm, data), style)| Shown {
        arm,
        data,
        style: ArmStyle {
            dash: if overlaid { dash(data) } else { style.dash },
            ..style
        },
    });
    styled.collect()
}

/// The dash pattern of an arm's result.
fn dash(data: &ArmData) -> &'static str {
    DASHES[data.source % DASHES.len()]
}

/// Arms drawn in the same axes: an arm of overlaid results, or a single one.
fn together(data: &Data) -> Vec<(&str, Vec<Shown<'_>>)> {
    let mut groups: Vec<(&str, Vec<Shown<'_>>)> = Vec::new();
    for own in shown(data) {
        match groups.iter_mut().find(|(base, _)| *base == own.data.base) {
            Some((_, group)) => group.push(own),
            None => groups.push((&own.data.base, vec![own])),
        }
    }
    groups
}

/// The legend of the dash patterns of overlaid results; empty for a single
/// result.
fn source_legend(data: &Data) -> Vec<Key> {
    let key = |(source, name): (usize, &String)| Key {
        label: name.clone(),
        sign: Sign::Line {
            colour: super::figure::INK,
            width: 2.0,
            dash: DASHES[source % DASHES.len()],
        },
    };
    data.sources.iter().enumerate().map(key).collect()
}

fn arm_legend<'a>(arms: impl IntoIterator<Item = &'a Shown<'a>>) -> Vec<Key> {
    let key = |of: &Shown<'_>| Key {
        label: of.arm.name.clone(),
        sign: Sign::Line {
            colour: of.style.colour,
            width: 2.4,
            dash: of.style.dash,
        },
    };
    arms.into_iter().map(key).collect()
}

/// A figure of a result with two panels in a row, without a key.
fn side_by_side(data: &Data, name: &str, title: &str, panels: Vec<Panel>) -> Figure {
    Figure {
        name: name.to_owned(),
        title: format!("{title}, {}", data.facts.scenario),
        columns: 2,
        panels,
        ..Figure::default()
    }
}

fn or_note(marks: Vec<Mark>) -> Vec<Mark> {
    match marks.is_empty() {
        true => vec![Mark::Note {
            text: "no packets".to_owned(),
        }],
        false => marks,
    }
}

fn names_axis(data: &Data) -> Axis {
    let names = data.summary.arms.iter().map(|arm| arm.name.clone());
    Axis {
        label: String::new(),
        scale: Scale::Names(names.collect()),
    }
}

fn name_width(names: impl Iterator<Item = impl AsRef<str>>) -> f64 {
    let longest = names.map(|name| name.as_ref().chars().count()).max();
    (24.0 + 7.4 * longest.unwrap_or(0) as f64).clamp(66.0, 250.0)
}

fn arm_name_width(data: &Data) -> f64 {
    name_width(data.summary.arms.iter().map(|arm| &arm.name))
}

/// A scale up to 100 %, from a round value at or below `least`.
pub(super) fn percent_scale(least: f64) -> Scale {
    let step = if least > 0.9 {
        2.0
    } else if least > 0.5 {
        10.0
    } else {
        20.0
    };
    let min = ((least * 100.0 / step).floor() * step).clamp(0.0, 100.0 - step);
    Scale::Linear { min, max: 100.5 }
}

fn repetitions(data: &Data) -> String {
    let counts = data.summary.arms.iter().map(|arm| arm.repetitions.len());
    match counts.max().unwrap_or(0) {
        1 => "one repetition".to_owned(),
        most => format!("{most} repetitions together"),
    }
}

fn first_repetition(data: &Data) -> &'static str {
    let mut arms = data.summary.arms.iter();
    match arms.all(|arm| arm.repetitions.len() == 1) {
        true => "the only repetition",
        false => "the first repetition",
    }
}

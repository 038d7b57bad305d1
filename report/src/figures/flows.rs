//! Throughput of each flow, in total and over time.

use super::{
    Captioned, QUEUES, Shown, first_repetition, name_width, or_note, over_time, repetitions, shown,
};
use crate::data::Data;
use crate::figure::{
    Axis, CLASSIC, CLASSIC_FLOWS, DASHES, Figure, Key, L4S, L4S_FLOWS, Mark, Panel, Scale, Sign,
};
use crate::flow_lines::{FlowLine, FlowPoint, MOST_LINES, named};
use crate::format::number;
use l4sllm_testbed::result::FlowSummary;

/// Maximum number of flows with a separate bar.
const MOST_FLOWS: usize = 24;

/// Bars of goodput, a panel for each arm.
pub(super) fn goodput(data: &Data) -> Captioned {
    let arms = &data.summary.arms;
    let most = arms.iter().flat_map(|arm| &arm.pooled.flows);
    let most = most.map(|flow| flow.goodput_mbps).fold(0.0, f64::max);
    let all = arms
        .iter()
        .map(|arm| arm.pooled.flows.len())
        .max()
        .unwrap_or(0);
    let bars = all.min(MOST_FLOWS);
    let names = arms.iter().flat_map(|arm| &arm.pooled.flows).take(bars);
    let figure = Figure {
        name: "throughput".to_owned(),
        title: format!("Goodput of each flow, {}", data.facts.scenario),
        columns: 2,
        panel_height: 16.0 + 22.0 * bars.max(2) as f64,
        name_width: name_width(names.map(|flow| named(&flow.name, &flow.cc))),
        legend: QUEUES
            .iter()
            .map(|&(name, colour)| Key {
                label: name.to_owned(),
                sign: Sign::Area {
                    colour,
                    opacity: 0.85,
                },
            })
            .collect(),
        panels: shown(data)
            .iter()
            .map(|own| goodput_panel(own, most))
            .collect(),
        ..Figure::default()
    };
    let rest = match all > bars {
        true => format!(" The first {bars} of {all} flows."),
        false => String::new(),
    };
    let caption = format!(
        "Over {}. Dashed: equal shares of the long-lived responsive flows.{rest}",
        repetitions(data)
    );
    Captioned { figure, caption }
}

fn goodput_panel(own: &Shown<'_>, most: f64) -> Panel {
    let flows: Vec<&FlowSummary> = own.arm.pooled.flows.iter().take(MOST_FLOWS).collect();
    let fair: Vec<f64> = flows
        .iter()
        .filter(|flow| own.data.fair.contains(&flow.name))
        .map(|flow| flow.goodput_mbps)
        .collect();
    let bars = flows.iter().enumerate().map(|(index, flow)| Mark::Bar {
        at: index as f64,
        value: flow.goodput_mbps,
        label: number(flow.goodput_mbps),
        colour: if flow.queue == "l4s" { L4S } else { CLASSIC },
    });
    let mut marks: Vec<Mark> = bars.collect();
    if fair.len() > 1 {
        marks.push(Mark::Upright {
            value: fair.iter().sum::<f64>() / fair.len() as f64,
        });
    }
    let names = flows.iter().map(|flow| named(&flow.name, &flow.cc));
    Panel {
        title: own.arm.name.clone(),
        // Space for the number next to the longest bar.
        x: Axis {
            label: "Goodput (Mbit/s)".to_owned(),
            scale: Scale::from_zero(most * 1.15),
        },
        y: Axis {
            label: String::new(),
            scale: Scale::Names(names.collect()),
        },
        marks: or_note(marks),
    }
}

/// Throughput and window of each sender over time; none if senders were not
/// sampled.
pub(super) fn over_time(data: &Data) -> Vec<Captioned> {
    if data.arms.iter().all(|arm| arm.flows.is_empty()) {
        return Vec::new();
    }
    let rest = data
        .arms
        .iter()
        .map(|arm| arm.flow_count)
        .max()
        .unwrap_or(0);
    let shown = data
        .arms
        .iter()
        .map(|arm| arm.flows.len())
        .max()
        .unwrap_or(0);
    let rest = match rest > shown {
        true => format!(" At most {MOST_LINES} flows of each queue, of {rest}."),
        false => String::new(),
    };
    let of = first_repetition(data);
    let throughput = Captioned {
        figure: figure(
            data,
            "flow-throughput-time",
            "Throughput",
            "Mbit/s",
            |point| point.mbps,
        ),
        caption: format!(
            "Payload received between two samples; \
             {of} of each arm.{rest}"
        ),
    };
    let window = Captioned {
        figure: figure(data, "flow-window-time", "Window", "kB", |point| {
            Some(point.window_kb)
        }),
        caption: format!(
            "Congestion window; of a rate-based sender, rate times RTT; {of} \
             of each arm.{rest}"
        ),
    };
    vec![throughput, window]
}

/// A panel for each arm, a line for each flow.
fn figure(
    data: &Data,
    name: &str,
    what: &str,
    unit: &str,
    value: fn(&FlowPoint) -> Option<f64>,
) -> Figure {
    let points = data.arms.iter().flat_map(|arm| &arm.flows);
    let points = points.flat_map(|flow| flow.points.iter().flatten());
    let most = points.filter_map(value).fold(0.0, f64::max);
    let y = Axis {
        label: format!("{what} ({unit})"),
        scale: Scale::from_zero(most * 1.02),
    };
    let panel = |own: &Shown<'_>| {
        let styles = styles(&own.data.flows);
        let lines = own.data.flows.iter().zip(styles);
        let marks = lines.map(|(flow, (colour, dash))| Mark::Line {
            points: (flow.points.iter())
                .map(|point| point.and_then(|point| Some((point.time_s, value(&point)?))))
                .collect(),
            colour,
            width: 1.3,
            dash,
        });
        over_time::panel(data, &own.arm.name, y.clone(), marks.collect())
    };
    Figure {
        name: name.to_owned(),
        title: format!("{what} of each flow over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: 170.0,
        legend: over_time::legend(data, legend(data)),
        panels: shown(data).iter().map(panel).collect(),
        ..Figure::default()
    }
}

/// The flows of the arm with the most flows.
fn legend(data: &Data) -> Vec<Key> {
    let arms = data.arms.iter();
    let Some(most) = arms.max_by_key(|arm| arm.flows.len()) else {
        return Vec::new();
    };
    let keys = most.flows.iter().zip(styles(&most.flows));
    keys.map(|(flow, (colour, dash))| Key {
        label: flow.name.clone(),
        sign: Sign::Line {
            colour,
            width: 2.0,
            dash,
        },
    })
    .collect()
}

/// Colour and dashes of each flow: shades of its queue, then dashes.
fn styles(flows: &[FlowLine]) -> Vec<(&'static str, &'static str)> {
    let mut counts = [0, 0];
    let style = |flow: &FlowLine| {
        let queue = usize::from(flow.queue.min(1));
        let number = counts[queue];
        counts[queue] += 1;
        let colours = [CLASSIC_FLOWS, L4S_FLOWS][queue];
        let dash = DASHES[number / colours.len() % DASHES.len()];
        (colours[number % colours.len()], dash)
    };
    flows.iter().map(style).collect()
}

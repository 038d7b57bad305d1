//! Which figures every report has: the published ones, and what each flow got.

use super::data::{ArmData, Data, Point};
use super::figure::{
    ArmStyle, Axis, BoxPlot, CLASSIC, Figure, Key, L4S, Mark, Panel, Scale, Sign, arm_styles,
    nearest_rank,
};
use super::format::number;
use l4sllm_testbed::result::{Arm, FlowSummary, Histogram};

/// Delays below this are drawn at the edge of a logarithmic axis, ms.
const LEAST_MS: f64 = 0.05;
/// Points of a distribution function.
const CDF_POINTS: usize = 250;
/// Flows that have a bar of their own.
const MOST_FLOWS: usize = 24;

const QUEUES: [(&str, &str); 2] = [("Classic traffic", CLASSIC), ("L4S traffic", L4S)];

/// A figure and what stands below it.
#[derive(Debug, Clone)]
pub(super) struct Captioned {
    pub figure: Figure,
    pub caption: String,
}

/// The figures of a report, in order.
pub(super) fn figures(data: &Data) -> Vec<Captioned> {
    if data.arms.is_empty() {
        return Vec::new();
    }
    let styles = arm_styles(&data.summary.arms, &data.facts);
    vec![
        delay_over_time(data),
        delay_boxes(data, &styles),
        delay_cdf(data, &styles),
        utilisation_over_time(data, &styles),
        utilisation_distribution(data, &styles),
        throughput(data),
    ]
}

fn delay_over_time(data: &Data) -> Captioned {
    let points = || data.arms.iter().flat_map(|arm| &arm.series);
    let delays = || points().flat_map(|point| point.delay_ms.iter().flatten());
    let least = delays()
        .map(|delay| delay.0)
        .fold(f64::INFINITY, f64::min)
        .max(LEAST_MS);
    let most = delays().map(|delay| delay.1).fold(0.0, f64::max);
    let y = Axis {
        label: "Queue delay (ms)".to_owned(),
        scale: Scale::spanning(least, most),
    };
    let panel = |arm: &Arm, data: &ArmData| {
        let mut marks = Vec::new();
        for (queue, (_, colour)) in QUEUES.into_iter().enumerate() {
            let at = |point: &Point| point.delay_ms[queue].map(|delay| (point.time_s, delay));
            let band = data
                .series
                .iter()
                .map(|point| at(point).map(|(x, y)| (x, y.0, y.1)));
            let line = data
                .series
                .iter()
                .map(|point| at(point).map(|(x, y)| (x, y.0)));
            marks.push(Mark::Band {
                points: band.collect(),
                colour,
            });
            marks.push(Mark::Line {
                points: line.collect(),
                colour,
                width: 1.5,
                dash: "",
            });
        }
        Panel {
            title: arm.name.clone(),
            x: time_axis(points()),
            y: y.clone(),
            marks,
        }
    };
    let key = |label: String, sign| Key { label, sign };
    let legend = QUEUES.iter().flat_map(|&(name, colour)| {
        [
            key(
                format!("{name}: median"),
                Sign::Line {
                    colour,
                    width: 2.0,
                    dash: "",
                },
            ),
            key(
                "to 99th percentile".to_owned(),
                Sign::Area {
                    colour,
                    opacity: 0.22,
                },
            ),
        ]
    });
    let figure = Figure {
        name: "queue-delay-time".to_owned(),
        title: format!("Queue delay over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: 190.0,
        name_width: 0.0,
        legend: legend.collect(),
        panels: panels(data, panel),
    };
    let caption = format!(
        "Queue delay over time. Sojourn times of forwarded packets in bins of {} ms; {} of each arm.",
        data.series_ns / 1_000_000,
        first_repetition(data),
    );
    Captioned { figure, caption }
}

fn delay_boxes(data: &Data, styles: &[ArmStyle]) -> Captioned {
    let panel = |queue: usize| {
        let plots: Vec<Option<BoxPlot>> = data
            .arms
            .iter()
            .map(|arm| delay_box(&arm.sojourn_ns[queue]))
            .collect();
        let least = plots
            .iter()
            .flatten()
            .map(|plot| plot.p1)
            .fold(f64::INFINITY, f64::min);
        let most = plots
            .iter()
            .flatten()
            .map(|plot| plot.p99)
            .fold(0.0, f64::max);
        Panel {
            title: QUEUES[queue].0.to_owned(),
            x: delay_axis(least, most),
            y: names_axis(data),
            marks: boxes(&plots, styles),
        }
    };
    let figure = Figure {
        name: "queue-delay-box".to_owned(),
        title: format!("Queue delay of each arm, {}", data.facts.scenario),
        columns: 2,
        panel_height: 30.0 + 36.0 * data.arms.len() as f64,
        name_width: name_width(data),
        legend: Vec::new(),
        panels: vec![panel(0), panel(1)],
    };
    let caption = format!(
        "Queue delay of each arm, all packets of {}. Box: 25th to 75th percentile; thick line: \
         median; circle: mean; whiskers: 1st and 99th percentile.",
        repetitions(data)
    );
    Captioned { figure, caption }
}

fn delay_cdf(data: &Data, styles: &[ArmStyle]) -> Captioned {
    let panel = |queue: usize| {
        let ms = |q: f64| {
            let arms = data.arms.iter();
            arms.filter_map(move |arm| arm.sojourn_ns[queue].quantile(q))
                .map(|ns| ns as f64 / 1e6)
        };
        let lines = data.arms.iter().zip(styles).filter_map(|(arm, style)| {
            let waited = &arm.sojourn_ns[queue];
            let at = |q: f64| waited.quantile(q).map(|ns| (ns as f64 / 1e6, q));
            (!waited.is_empty()).then(|| line((0..=CDF_POINTS).map(share).map(at), style))
        });
        let marks: Vec<Mark> = lines.collect();
        Panel {
            title: QUEUES[queue].0.to_owned(),
            x: delay_axis(
                ms(0.01).fold(f64::INFINITY, f64::min),
                ms(0.999).fold(0.0, f64::max),
            ),
            y: share_axis("Share of packets"),
            marks: or_note(marks),
        }
    };
    let figure = Figure {
        name: "queue-delay-cdf".to_owned(),
        title: format!("Distribution of queue delay, {}", data.facts.scenario),
        columns: 2,
        panel_height: 260.0,
        name_width: 0.0,
        legend: arm_legend(data.summary.arms.iter().zip(styles)),
        panels: vec![panel(0), panel(1)],
    };
    let caption = format!(
        "Distribution of queue delay: the share of packets that waited no longer, all packets of {}.",
        repetitions(data)
    );
    Captioned { figure, caption }
}

fn utilisation_over_time(data: &Data, styles: &[ArmStyle]) -> Captioned {
    let points = || data.arms.iter().flat_map(|arm| &arm.series);
    let least = points().map(|point| point.utilisation).fold(1.0, f64::min);
    let y = Axis {
        label: "Utilisation (%)".to_owned(),
        scale: percent_scale(least),
    };
    let mut styles = styles.iter();
    let panel = |arm: &Arm, data: &ArmData| {
        let at = |point: &Point| Some((point.time_s, point.utilisation * 100.0));
        let colour = styles.next().map_or(CLASSIC, |style| style.colour);
        let points_of = data.series.iter().map(at).collect();
        let marks = vec![Mark::Line {
            points: points_of,
            colour,
            width: 1.4,
            dash: "",
        }];
        Panel {
            title: arm.name.clone(),
            x: time_axis(points()),
            y: y.clone(),
            marks,
        }
    };
    let figure = Figure {
        name: "utilisation-time".to_owned(),
        title: format!("Utilisation over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: 150.0,
        name_width: 0.0,
        legend: Vec::new(),
        panels: panels(data, panel),
    };
    let caption = format!(
        "Utilisation of the bottleneck over time, in bins of {} ms; {} of each arm.",
        data.series_ns / 1_000_000,
        first_repetition(data),
    );
    Captioned { figure, caption }
}

fn utilisation_distribution(data: &Data, styles: &[ArmStyle]) -> Captioned {
    let plots: Vec<Option<BoxPlot>> = data
        .arms
        .iter()
        .map(|arm| BoxPlot::of_sorted(&arm.utilisation_percent))
        .collect();
    let least = plots
        .iter()
        .flatten()
        .map(|plot| plot.p1)
        .fold(100.0, f64::min)
        / 100.0;
    let x = Axis {
        label: "Utilisation in 100 ms (%)".to_owned(),
        scale: percent_scale(least),
    };
    let lines = data.arms.iter().zip(styles).filter_map(|(arm, style)| {
        let sorted = &arm.utilisation_percent;
        let at = |q: f64| Some((nearest_rank(sorted, q)?, q));
        (!sorted.is_empty()).then(|| line((0..=CDF_POINTS).map(share).map(at), style))
    });
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
        marks: boxes(&plots, styles),
    };
    let figure = Figure {
        name: "utilisation-distribution".to_owned(),
        title: format!("Distribution of utilisation, {}", data.facts.scenario),
        columns: 2,
        panel_height: (30.0 + 36.0 * data.arms.len() as f64).max(220.0),
        name_width: name_width(data),
        legend: arm_legend(data.summary.arms.iter().zip(styles)),
        panels: vec![boxes, cdf],
    };
    let caption = format!(
        "Utilisation of the bottleneck in each 100 ms of {}: quantiles (as above) and distribution.",
        repetitions(data)
    );
    Captioned { figure, caption }
}

fn throughput(data: &Data) -> Captioned {
    let most = data.summary.arms.iter().flat_map(|arm| &arm.pooled.flows);
    let most = most.map(|flow| flow.goodput_mbps).fold(0.0, f64::max);
    let mut shown = 0;
    let panel = |arm: &Arm, data: &ArmData| {
        let flows: Vec<_> = arm.pooled.flows.iter().take(MOST_FLOWS).collect();
        shown = shown.max(flows.len());
        let fair: Vec<f64> = flows
            .iter()
            .filter(|flow| data.fair.contains(&flow.name))
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
        let label = |flow: &&FlowSummary| match flow.name.contains(&flow.cc) {
            true => flow.name.clone(),
            false => format!("{} ({})", flow.name, flow.cc),
        };
        Panel {
            title: arm.name.clone(),
            // Space for the number next to the longest bar.
            x: Axis {
                label: "Goodput (Mbit/s)".to_owned(),
                scale: Scale::from_zero(most * 1.15),
            },
            y: Axis {
                label: String::new(),
                scale: Scale::Names(flows.iter().map(label).collect()),
            },
            marks: or_note(marks),
        }
    };
    let panels = panels(data, panel);
    let longest = panels.iter().flat_map(|panel| match &panel.y.scale {
        Scale::Names(names) => names.iter().map(|name| name.chars().count()).max(),
        _ => None,
    });
    let name_width = 26.0 + 7.4 * longest.max().unwrap_or(0) as f64;
    let figure = Figure {
        name: "throughput".to_owned(),
        title: format!("Goodput of each flow, {}", data.facts.scenario),
        columns: 2,
        panel_height: 16.0 + 22.0 * shown.max(2) as f64,
        name_width: name_width.min(260.0),
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
        panels,
    };
    let all = data
        .summary
        .arms
        .iter()
        .map(|arm| arm.pooled.flows.len())
        .max()
        .unwrap_or(0);
    let rest = if all > shown {
        format!(" The first {shown} of {all} flows.")
    } else {
        String::new()
    };
    let caption = format!(
        "Goodput of each flow over {}. Dashed: what each long-lived responsive flow would have if \
         all had the same.{rest}",
        repetitions(data)
    );
    Captioned { figure, caption }
}

fn panels(data: &Data, panel: impl FnMut(&Arm, &ArmData) -> Panel) -> Vec<Panel> {
    let mut panel = panel;
    let arms = data.summary.arms.iter().zip(&data.arms);
    arms.map(|(arm, data)| panel(arm, data)).collect()
}

pub(super) fn arm_legend<'a>(arms: impl Iterator<Item = (&'a Arm, &'a ArmStyle)>) -> Vec<Key> {
    arms.map(|(arm, style)| Key {
        label: arm.name.clone(),
        sign: Sign::Line {
            colour: style.colour,
            width: 2.4,
            dash: style.dash,
        },
    })
    .collect()
}

fn boxes(plots: &[Option<BoxPlot>], styles: &[ArmStyle]) -> Vec<Mark> {
    let boxes = plots
        .iter()
        .zip(styles)
        .enumerate()
        .filter_map(|(index, (plot, style))| {
            let of = (*plot)?;
            Some(Mark::Box {
                at: index as f64,
                half_height: 0.3,
                of,
                colour: style.colour,
            })
        });
    or_note(boxes.collect())
}

fn line(points: impl Iterator<Item = Option<(f64, f64)>>, style: &ArmStyle) -> Mark {
    Mark::Line {
        points: points.collect(),
        colour: style.colour,
        width: 2.0,
        dash: style.dash,
    }
}

fn or_note(marks: Vec<Mark>) -> Vec<Mark> {
    if marks.is_empty() {
        vec![Mark::Note {
            text: "no packets".to_owned(),
        }]
    } else {
        marks
    }
}

pub(super) fn time_axis<'a>(points: impl Iterator<Item = &'a Point>) -> Axis {
    let end = points.map(|point| point.time_s).fold(0.0, f64::max);
    Axis {
        label: "Time (s)".to_owned(),
        scale: Scale::Linear {
            min: 0.0,
            max: end.max(1.0).ceil(),
        },
    }
}

fn delay_axis(least: f64, most: f64) -> Axis {
    let scale = Scale::spanning(least.max(LEAST_MS), most);
    Axis {
        label: "Queue delay (ms)".to_owned(),
        scale,
    }
}

fn share_axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        scale: Scale::Linear { min: 0.0, max: 1.0 },
    }
}

fn names_axis(data: &Data) -> Axis {
    let names = data.summary.arms.iter().map(|arm| arm.name.clone());
    Axis {
        label: String::new(),
        scale: Scale::Names(names.collect()),
    }
}

fn name_width(data: &Data) -> f64 {
    let longest = data
        .summary
        .arms
        .iter()
        .map(|arm| arm.name.chars().count())
        .max();
    (24.0 + 7.6 * longest.unwrap_or(0) as f64).clamp(66.0, 240.0)
}

/// Up to 100 %, from a round value at or below `least`.
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

fn delay_box(waited: &Histogram) -> Option<BoxPlot> {
    let ms = |share| waited.quantile(share).map(|ns| ns as f64 / 1e6);
    BoxPlot::new(ms, waited.mean().map(|ns| ns / 1e6))
}

fn share(index: usize) -> f64 {
    index as f64 / CDF_POINTS as f64
}

fn repetitions(data: &Data) -> String {
    let most = data
        .summary
        .arms
        .iter()
        .map(|arm| arm.repetitions.len())
        .max()
        .unwrap_or(0);
    if most == 1 {
        "one repetition".to_owned()
    } else {
        format!("{most} repetitions together")
    }
}

pub(super) fn first_repetition(data: &Data) -> &'static str {
    let single = data
        .summary
        .arms
        .iter()
        .all(|arm| arm.repetitions.len() == 1);
    if single {
        "the only repetition"
    } else {
        "the first repetition"
    }
}

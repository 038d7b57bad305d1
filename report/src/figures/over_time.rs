//! Figures over the time of a run, including the warm-up.

use super::{Captioned, LEAST_MS, QUEUES, Shown, dash, first_repetition, source_legend, together};
use crate::data::{Data, Point};
use crate::figure::{Axis, Figure, Ground, Key, MUTED, Mark, Panel, Scale, Sign, WARMUP};

/// Heights as in the published figures, px.
const TALL: f64 = 190.0;
const LOW: f64 = 150.0;

/// A panel over the time of a run; the only constructor of such panels.
pub(super) fn panel(data: &Data, title: &str, y: Axis, marks: Vec<Mark>) -> Panel {
    let warmup = Mark::Range {
        from: 0.0,
        to: data.warmup_s,
        ground: Ground::Warmup,
    };
    Panel {
        title: title.to_owned(),
        x: Axis {
            label: "Time (s)".to_owned(),
            scale: Scale::Linear {
                min: 0.0,
                max: data.end_s.max(0.1),
            },
        },
        y,
        marks: [vec![warmup], marks].concat(),
    }
}

/// Legend entries common to all panels over time.
pub(super) fn legend(data: &Data, mut own: Vec<Key>) -> Vec<Key> {
    if data.warmup_s > 0.0 {
        own.push(Key {
            label: "warm-up, not measured".to_owned(),
            sign: Sign::Area {
                colour: WARMUP,
                opacity: 1.0,
            },
        });
    }
    own
}

/// A panel for each arm, shared by overlaid results.
fn by_arm(data: &Data, y: &Axis, marks: impl Fn(&Shown<'_>) -> Vec<Mark>) -> Vec<Panel> {
    let groups = together(data).into_iter();
    groups
        .map(|(name, arms)| {
            panel(
                data,
                name,
                y.clone(),
                arms.iter().flat_map(&marks).collect(),
            )
        })
        .collect()
}

fn line(own: &Shown<'_>, colour: &'static str, at: impl Fn(&Point) -> Option<f64>) -> Mark {
    let at = |point: &Point| at(point).map(|y| (point.time_s, y));
    Mark::Line {
        points: own.data.series.iter().map(at).collect(),
        colour,
        width: 1.5,
        dash: dash(own.data),
    }
}

fn key(label: &str, colour: &'static str, dash: &'static str) -> Key {
    Key {
        label: label.to_owned(),
        sign: Sign::Line {
            colour,
            width: 2.0,
            dash,
        },
    }
}

fn area_key(label: &str, colour: &'static str) -> Key {
    Key {
        label: label.to_owned(),
        sign: Sign::Area {
            colour,
            opacity: 0.22,
        },
    }
}

fn series_ms(data: &Data) -> u64 {
    data.series_ns / 1_000_000
}

/// Rates of the queues and of the link.
pub(super) fn rate(data: &Data) -> Captioned {
    let points = || data.arms.iter().flat_map(|arm| &arm.series);
    let most = points()
        .map(|point| point.capacity_mbps.max(point.sent_mbps.iter().sum()))
        .fold(0.0, f64::max);
    let y = Axis {
        label: "Rate (Mbit/s)".to_owned(),
        scale: Scale::from_zero(most * 1.02),
    };
    let overlaid = !data.sources.is_empty();
    let marks = |own: &Shown<'_>| {
        let queue = |queue: usize| {
            line(own, QUEUES[queue].1, move |point| {
                Some(point.sent_mbps[queue])
            })
        };
        let link = |point: &Point| Some((point.time_s, 0.0, point.capacity_mbps));
        let mut marks = Vec::new();
        if own.data.source == 0 {
            marks.push(Mark::Band {
                points: own.data.series.iter().map(link).collect(),
                colour: MUTED,
            });
        }
        marks.extend([queue(0), queue(1)]);
        if !overlaid {
            let sum = |point: &Point| Some(point.sent_mbps.iter().sum());
            marks.push(line(own, crate::figure::INK, sum));
        }
        marks
    };
    let mut keys = vec![area_key("Link\u{2019}s rate", MUTED)];
    if !overlaid {
        keys.push(key("Both queues", crate::figure::INK, ""));
    }
    keys.extend(QUEUES.map(|(name, colour)| key(name, colour, "")));
    keys.extend(source_legend(data));
    let figure = Figure {
        name: "rate-time".to_owned(),
        title: format!("Rate over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: TALL,
        legend: legend(data, keys),
        panels: by_arm(data, &y, marks),
        ..Figure::default()
    };
    let caption = format!(
        "Rate sent from each queue, and rate of the link, in bins of {} ms; {} \
         of each arm.",
        series_ms(data),
        first_repetition(data),
    );
    Captioned { figure, caption }
}

/// Sojourn times; bands only for a single result.
pub(super) fn delay(data: &Data) -> Captioned {
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
    let overlaid = !data.sources.is_empty();
    let marks = |own: &Shown<'_>| {
        let mut marks = Vec::new();
        for (queue, (_, colour)) in QUEUES.into_iter().enumerate() {
            let band = |point: &Point| {
                point.delay_ms[queue].map(|(median, p99)| (point.time_s, median, p99))
            };
            if !overlaid {
                marks.push(Mark::Band {
                    points: own.data.series.iter().map(band).collect(),
                    colour,
                });
            }
            let median = |point: &Point| point.delay_ms[queue].map(|(median, _)| median);
            marks.push(line(own, colour, median));
        }
        marks
    };
    let mut keys = Vec::new();
    for (name, colour) in QUEUES {
        keys.push(key(&format!("{name}: median"), colour, ""));
        if !overlaid {
            keys.push(area_key("to 99th percentile", colour));
        }
    }
    keys.extend(source_legend(data));
    let figure = Figure {
        name: "queue-delay-time".to_owned(),
        title: format!("Queue delay over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: TALL,
        legend: legend(data, keys),
        panels: by_arm(data, &y, marks),
        ..Figure::default()
    };
    let caption = format!(
        "Sojourn times of forwarded packets in bins of {} ms; {} of each \
         arm.",
        series_ms(data),
        first_repetition(data),
    );
    Captioned { figure, caption }
}

/// Utilisation of the bottleneck.
pub(super) fn utilisation(data: &Data) -> Captioned {
    let points = || data.arms.iter().flat_map(|arm| &arm.series);
    let least = points()
        .filter(|point| point.time_s >= data.warmup_s)
        .map(|point| point.utilisation)
        .fold(1.0, f64::min);
    let y = Axis {
        label: "Utilisation (%)".to_owned(),
        scale: super::percent_scale(least),
    };
    let marks = |own: &Shown<'_>| {
        vec![line(own, own.style.colour, |point| {
            Some(point.utilisation * 100.0)
        })]
    };
    let figure = Figure {
        name: "utilisation-time".to_owned(),
        title: format!("Utilisation over time, {}", data.facts.scenario),
        columns: 2,
        panel_height: LOW,
        legend: legend(data, source_legend(data)),
        panels: by_arm(data, &y, marks),
        ..Figure::default()
    };
    let caption = format!(
        "Of the bottleneck, in bins of {} ms; {} of each arm.",
        series_ms(data),
        first_repetition(data),
    );
    Captioned { figure, caption }
}

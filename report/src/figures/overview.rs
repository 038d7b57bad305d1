//! The overview: sizes of gains and losses, and delay against utilisation.

use super::{Captioned, Shown, name_width, shown};
use crate::answer::Answer;
use crate::compare::{Difference, METRICS, Pair};
use crate::data::Data;
use crate::figure::{
    Axis, BETTER, DOT, Figure, Ground, Key, MUTED, Mark, Panel, Scale, Sign, WORSE,
};
use crate::verdict::Verdict;
use l4sllm_testbed::result::Statistics;

/// End of the axis of differences, in units of a severe one.
const MOST: f64 = 1.5;

/// Label of the axis of differences.
const SIZES: &[(f64, &str)] = &[(-1.0, "worse"), (0.0, "0"), (1.0, "better")];

/// Explanation of the axis of differences.
const SIZES_CAPTION: &str = "Right of 0 is better. The shaded ends are much better and much worse: at least \
     5 points of utilisation, 2 points of drops, half of a delay or 0.1 of Jain\u{2019}s index. \
     Lines are 95 % confidence intervals; arrows are values outside the axis; grey differences \
     are not certain or not relevant.";

/// Every difference of the pairs of an answer, a panel per pair; none without
/// pairs.
pub(crate) fn overview(data: &Data, answer: &Answer<'_>) -> Option<Captioned> {
    let panels: Vec<Panel> = (answer.pairs.iter())
        .map(|pair| pair_panel(answer.title(pair), pair))
        .collect();
    let figure = Figure {
        name: "overview".to_owned(),
        title: format!("Differences, {}", data.facts.scenario),
        columns: panels.len().clamp(2, 3),
        panel_height: 22.0 * METRICS.len() as f64,
        name_width: 92.0,
        word_width: 74.0,
        panels,
        ..Figure::default()
    };
    (!figure.panels.is_empty()).then(|| Captioned {
        figure,
        caption: SIZES_CAPTION.to_owned(),
    })
}

fn pair_panel(title: String, pair: &Pair<'_>) -> Panel {
    let known = METRICS.iter().filter_map(|metric| pair.find(*metric));
    let known: Vec<&Difference> = known.collect();
    let names = known.iter().map(|of| of.metric.short_name().to_owned());
    let intervals = known.iter().enumerate();
    let marks = intervals.map(|(at, of)| interval(of, at as f64, of.judgement.mean_shown()));
    panel(title, names.collect(), marks.collect())
}

fn panel(title: String, names: Vec<String>, marks: Vec<Mark>) -> Panel {
    let zone = |from, to, ground| Mark::Range { from, to, ground };
    let frame = vec![
        zone(1.0, MOST, Ground::Better),
        zone(-MOST, -1.0, Ground::Worse),
        Mark::Upright { value: 0.0 },
    ];
    Panel {
        title,
        x: Axis {
            label: String::new(),
            scale: Scale::Marked {
                min: -MOST,
                max: MOST,
                marks: SIZES,
            },
        },
        y: Axis {
            label: String::new(),
            scale: Scale::Names(names),
        },
        marks: [frame, marks].concat(),
    }
}

fn interval(of: &Difference, at: f64, words: String) -> Mark {
    let judgement = &of.judgement;
    let gain = judgement.gain();
    let unit = judgement.quantity.severe(judgement.reference);
    let half = gain.half_width.unwrap_or(0.0);
    Mark::Interval {
        at,
        value: gain.mean / unit,
        low: (gain.mean - half) / unit,
        high: (gain.mean + half) / unit,
        colour: match judgement.verdict {
            Verdict::Better => BETTER,
            Verdict::Worse => WORSE,
            Verdict::Same | Verdict::Unclear | Verdict::NoConclusion => MUTED,
        },
        words,
    }
}

/// The greatest gain and the greatest loss in each of several scenarios, with a
/// panel for each reference arm; none without any.
pub(crate) fn among_scenarios(answers: &[(&str, &Answer<'_>)]) -> Option<Captioned> {
    let pairs = || answers.iter().flat_map(|(_, answer)| &answer.pairs);
    let mut references: Vec<&str> = Vec::new();
    for pair in pairs() {
        let name = pair.baseline.name.as_str();
        if !references.contains(&name) {
            references.push(name);
        }
    }
    let of = |reference: &str| {
        let mut marks = Vec::new();
        for (at, (_, answer)) in answers.iter().enumerate() {
            let pair = answer.pairs.iter().find(|of| of.baseline.name == reference);
            let most = |verdict| pair.and_then(|pair| pair.with(verdict).first().copied());
            let named = |of: &Difference| {
                format!("{} {}", of.metric.short_name(), of.judgement.mean_shown())
            };
            let two = [(most(Verdict::Better), -0.2), (most(Verdict::Worse), 0.2)];
            for (of, shift) in two {
                marks.extend(of.map(|of| interval(of, at as f64 + shift, named(of))));
            }
        }
        let names = answers.iter().map(|(name, _)| (*name).to_owned());
        panel(format!("Against {reference}"), names.collect(), marks)
    };
    let names = answers.iter().map(|(name, _)| *name);
    let figure = Figure {
        name: "overview".to_owned(),
        title: "Greatest gain and greatest loss in each scenario".to_owned(),
        // Three would be too narrow for the marks of the axis.
        columns: 2,
        panel_height: 46.0 * answers.len() as f64,
        name_width: name_width(names),
        word_width: 148.0,
        panels: references.iter().map(|reference| of(reference)).collect(),
        ..Figure::default()
    };
    (!figure.panels.is_empty()).then(|| Captioned {
        figure,
        caption: format!(
            "The greatest certain gain (blue) and loss (orange) in each scenario. {SIZES_CAPTION}"
        ),
    })
}

/// Whether an arm's dots are rings: those of every other overlaid result.
fn hollow(of: &Shown<'_>) -> bool {
    of.data.source % 2 == 1
}

fn dot_key(of: &Shown<'_>) -> Key {
    Key {
        label: of.arm.name.clone(),
        sign: Sign::Dot {
            colour: of.style.colour,
            hollow: hollow(of),
        },
    }
}

/// Delay on one axis and utilisation on the other: a large dot per arm, and
/// small ones for its repetitions.
pub(super) fn trade_off(data: &Data) -> Captioned {
    let arms = shown(data);
    let everything = || {
        let pooled = arms.iter().map(|own| &own.arm.pooled);
        let single = arms.iter().flat_map(|own| &own.arm.repetitions);
        pooled.chain(single.map(|repetition| &repetition.statistics))
    };
    let shares = || everything().map(|of| of.utilisation);
    let (least, most) = (shares().fold(1.0, f64::min), shares().fold(0.0, f64::max));
    let percent = |share: f64| share * 100.0;
    let y = Axis {
        label: "Utilisation (%)".to_owned(),
        scale: Scale::around(percent(least), percent(most)),
    };
    let delay = |queue: usize| {
        move |of: &Statistics| {
            let delay = &of.queue_delay_ms;
            [delay.classic.p99, delay.l4s.p99][queue]
        }
    };
    let panel = |(queue, title): (usize, &str)| {
        let delay = delay(queue);
        let values = || everything().filter_map(delay);
        let dot = |of: &Statistics, own: &Shown<'_>, radius| {
            Some(Mark::Dot {
                at: (delay(of)?, of.utilisation * 100.0),
                radius,
                colour: own.style.colour,
                hollow: hollow(own),
            })
        };
        let single = arms.iter().flat_map(|own| {
            let repetitions = own.arm.repetitions.iter();
            repetitions.filter_map(move |of| dot(&of.statistics, own, 3.0))
        });
        let pooled = arms.iter().filter_map(|own| dot(&own.arm.pooled, own, DOT));
        Panel {
            title: title.to_owned(),
            x: Axis {
                label: "99th percentile of queue delay (ms)".to_owned(),
                scale: Scale::around(
                    values().fold(f64::INFINITY, f64::min),
                    values().fold(0.0, f64::max),
                ),
            },
            y: y.clone(),
            marks: super::or_note(single.chain(pooled).collect()),
        }
    };
    let panels = [(0, "Classic traffic"), (1, "L4S traffic")].map(panel);
    let (name, title) = ("delay-utilisation", "Delay and utilisation of each arm");
    let figure = Figure {
        panel_height: 220.0,
        legend: arms.iter().map(dot_key).collect(),
        ..super::side_by_side(data, name, title, panels.to_vec())
    };
    let caption = "Higher is a busier link, further left is less delay. Large dots: all \
    repetitions together; small dots: single repetitions.";
    Captioned {
        figure,
        caption: caption.to_owned(),
    }
}

//! The figure of a suite: the distribution of classic delays over conditions.

use l4sllm_testbed::suite::TUNED;

use super::judge::{Family, Judged};
use crate::figure::{Axis, BoxPlot, CLASSIC, Figure, Mark, Panel, Scale};
use crate::figures::Captioned;

/// Range of the drawn ratios.
const LEAST: f64 = 0.1;
const MOST: f64 = 10.0;

/// One panel for each arm except the reference; none without conditions.
pub(super) fn figures(judged: &Judged) -> Vec<Captioned> {
    let names = judged.all.iter().map(|summary| summary.arm.as_str());
    let arms: Vec<&str> = names.filter(|name| *name != TUNED).collect();
    let ratios = |arm: &str, family: &Family| -> Vec<f64> {
        let own = family
            .conditions
            .iter()
            .flat_map(|condition| &condition.arms);
        let own = own.filter(|of| of.name == arm);
        let mut ratios: Vec<f64> = own
            .filter_map(|of| Some(of.ratios.classic_delay?.mean.clamp(LEAST, MOST)))
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    };
    let all = || {
        arms.iter()
            .flat_map(|arm| judged.families.iter().map(move |f| ratios(arm, f)))
    };
    let least = all().flatten().fold(0.5, f64::min);
    let most = all().flatten().fold(2.0, f64::max);
    if all().flatten().next().is_none() {
        return Vec::new();
    }
    let panel = |arm: &&str| {
        let boxes = judged
            .families
            .iter()
            .enumerate()
            .filter_map(|(at, family)| {
                Some(Mark::Box {
                    at: at as f64,
                    half_height: 0.3,
                    of: BoxPlot::of_sorted(&ratios(arm, family))?,
                    colour: CLASSIC,
                })
            });
        let mut marks = vec![Mark::Upright { value: 1.0 }];
        marks.extend(boxes);
        Panel {
            title: (*arm).to_owned(),
            x: Axis {
                label: "Classic delay, ratio to tuned".to_owned(),
                scale: Scale::spanning(least, most),
            },
            y: Axis {
                label: String::new(),
                scale: Scale::Names(judged.families.iter().map(|f| f.name.clone()).collect()),
            },
            marks,
        }
    };
    let panels: Vec<Panel> = arms.iter().map(panel).collect();
    let figure = Figure {
        name: "suite-delay".to_owned(),
        title: "Classic delay of each arm relative to tuned, by family".to_owned(),
        columns: panels.len().min(2),
        panel_height: 26.0 * judged.families.len() as f64 + 20.0,
        name_width: 130.0,
        panels,
        ..Figure::default()
    };
    let caption = "Ratio of the classic delay, sqrt(mean \u{b7} p99), to that of tuned over the \
                   conditions of a family: 1st, 25th, 50th, 75th and 99th percentile, and the mean \
                   as a dot. Points left of the line have less delay.";
    vec![Captioned {
        figure,
        caption: caption.to_owned(),
    }]
}

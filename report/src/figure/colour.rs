//! Colours. Those of arms are from Okabe and Ito's palette, which keeps its
//! distances under the common colour-vision deficiencies; the reference arms
//! are greys. Queues have a dark and a light colour of their own, so that no
//! queue is mistaken for an arm.

use l4sllm_testbed::result::{Arm, ArmFacts, Facts};

/// Text.
pub(crate) const INK: &str = "#1c2127";
/// Text that steps back.
pub(crate) const MUTED: &str = "#5c6470";
/// The classic queue.
pub(crate) const CLASSIC: &str = "#5e3c99";
/// The L4S queue.
pub(crate) const L4S: &str = "#1b9e8a";

/// How an arm is drawn everywhere in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArmStyle {
    /// Line colour.
    pub colour: &'static str,
    /// Line pattern; empty for solid.
    pub dash: &'static str,
}

const BASE: ArmStyle = ArmStyle {
    colour: "#1c2127",
    dash: "",
};
const TUNED: ArmStyle = ArmStyle {
    colour: "#7d8590",
    dash: "7 3",
};
const CONTROLLED: [&str; 4] = ["#0072b2", "#d55e00", "#cc79a7", "#009e73"];
const OTHER: [&str; 4] = ["#b58900", "#56b4e9", "#8c564b", "#6b8e23"];
const DASHES: [&str; 3] = ["", "7 3", "2 3"];

/// A style for each arm, in order: the two references, arms with a
/// controller, and other queue disciplines.
pub(crate) fn arm_styles(arms: &[Arm], facts: &Facts) -> Vec<ArmStyle> {
    let (mut controlled, mut other) = (0, 0);
    let is_controlled = |arm: &Arm| facts.arm(&arm.name).is_some_and(ArmFacts::is_controlled);
    let pick = |colours: &[&'static str], count: &mut usize, first: usize| {
        let index = *count;
        *count += 1;
        let dash = DASHES[(first + index / colours.len()) % DASHES.len()];
        ArmStyle {
            colour: colours[index % colours.len()],
            dash,
        }
    };
    arms.iter()
        .map(|arm| match arm.name.as_str() {
            "dualpi2" => BASE,
            "dualpi2-tuned" => TUNED,
            _ if is_controlled(arm) => pick(&CONTROLLED, &mut controlled, 0),
            _ => pick(&OTHER, &mut other, 2),
        })
        .collect()
}

/// A style for each of several things that are compared with one another.
pub(crate) fn series_styles(count: usize) -> Vec<ArmStyle> {
    let style = |index: usize| ArmStyle {
        colour: CONTROLLED[index % CONTROLLED.len()],
        dash: DASHES[(index / CONTROLLED.len()) % DASHES.len()],
    };
    (0..count).map(style).collect()
}

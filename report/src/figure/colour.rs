//! Colours. Those of arms are from Okabe and Ito's palette, which stays
//! distinguishable with common colour-vision deficiencies, darkened where they
//! would be pale on white; the reference arms are grey. Queues have separate
//! colours, so that no queue is mistaken for an arm.

use std::fmt::Write;

/// Text.
pub(crate) const INK: &str = "#1c2127";
/// Secondary text.
pub(crate) const MUTED: &str = "#5c6470";
/// Background.
pub(crate) const PAPER: &str = "#ffffff";
/// Grid lines behind the data.
pub(super) const GRID: &str = "#e4e6ea";
/// Frame around the data.
pub(super) const FRAME: &str = "#868c95";
/// The classic queue.
pub(crate) const CLASSIC: &str = "#5e3c99";
/// The L4S queue.
pub(crate) const L4S: &str = "#178a78";
/// Better.
pub(crate) const BETTER: &str = "#005a9c";
/// Worse.
pub(crate) const WORSE: &str = "#b34700";

/// Colours of a queue's flows, which are also distinguished by [`DASHES`].
pub(crate) const CLASSIC_FLOWS: [&str; 3] = [CLASSIC, "#a0458f", "#7f86d6"];
pub(crate) const L4S_FLOWS: [&str; 3] = [L4S, "#7a8b1f", "#3490a8"];

/// Style of an arm throughout a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArmStyle {
    /// Line colour.
    pub colour: &'static str,
    /// Line pattern; empty for solid.
    pub dash: &'static str,
}

const BASE: ArmStyle = ArmStyle {
    colour: INK,
    dash: "",
};
const TUNED: ArmStyle = ArmStyle {
    colour: "#7d8590",
    dash: "7 3",
};
const CONTROLLED: [&str; 4] = ["#0072b2", "#d55e00", "#bc5a92", "#00875f"];
const OTHER: [&str; 4] = ["#a67c00", "#2f8fc9", "#8c564b", "#6b8e23"];
/// Patterns of lines.
pub(crate) const DASHES: [&str; 3] = ["", "7 3", "2 3"];

/// Every colour on a light background, with its replacement on a dark one.
const DARK: [(&str, &str); 25] = [
    (INK, "#e6e8eb"),
    (MUTED, "#a3abb6"),
    (PAPER, DARK_PAPER),
    (GRID, "#2b3037"),
    (FRAME, "#6b737e"),
    (CLASSIC, "#b79cf0"),
    (L4S, "#3fc4ae"),
    (BETTER, "#6cb6f5"),
    (WORSE, "#ff9a57"),
    ("#a0458f", "#e08fd0"),
    ("#7f86d6", "#8e96ea"),
    ("#7a8b1f", "#b3c44e"),
    ("#3490a8", "#63bfd8"),
    ("#7d8590", "#99a1ac"),
    ("#0072b2", "#4ba6e8"),
    ("#d55e00", "#ff8a3d"),
    ("#bc5a92", "#e38fbd"),
    ("#00875f", "#2fc195"),
    ("#a67c00", "#d9ab2b"),
    ("#2f8fc9", "#86ccf2"),
    ("#8c564b", "#c99085"),
    ("#6b8e23", "#a2c552"),
    // Backgrounds for better and worse.
    (BETTER_GROUND, "#16283a"),
    (WORSE_GROUND, "#38241a"),
    (WARMUP, "#22272e"),
];

/// Background of the page in dark mode.
const DARK_PAPER: &str = "#15181c";
/// Much better differences.
pub(super) const BETTER_GROUND: &str = "#e3effa";
/// Much worse differences.
pub(super) const WORSE_GROUND: &str = "#fbeadf";
/// Time that is not measured.
pub(crate) const WARMUP: &str = "#eceef1";

/// CSS rules that draw the figures of a page on a dark background.
pub(crate) fn dark_rules() -> String {
    let mut rules = String::new();
    for (light, dark) in DARK {
        let _ = writeln!(
            rules,
            "svg [fill=\"{light}\"] {{ fill: {dark}; }} svg [stroke=\"{light}\"] {{ stroke: {dark}; }}"
        );
    }
    rules
}

/// A style for each arm, given by name and whether it has a controller, in
/// order: the two references, arms with a controller, and other queue
/// disciplines. Arms with the same name have the same style.
pub(crate) fn arm_styles(arms: &[(&str, bool)]) -> Vec<ArmStyle> {
    let (mut controlled, mut other) = (0, 0);
    let pick = |colours: &[&'static str], count: &mut usize, first: usize| {
        let index = *count;
        *count += 1;
        let dash = DASHES[(first + index / colours.len()) % DASHES.len()];
        ArmStyle {
            colour: colours[index % colours.len()],
            dash,
        }
    };
    let mut styles: Vec<ArmStyle> = Vec::new();
    for (index, &(name, is_controlled)) in arms.iter().enumerate() {
        let earlier = arms[..index].iter().position(|(known, _)| *known == name);
        styles.push(match (earlier, name) {
            (Some(earlier), _) => styles[earlier],
            (None, "dualpi2") => BASE,
            (None, "dualpi2-tuned") => TUNED,
            (None, _) if is_controlled => pick(&CONTROLLED, &mut controlled, 0),
            (None, _) => pick(&OTHER, &mut other, 2),
        });
    }
    styles
}

/// A style for each of several compared things.
pub(crate) fn series_styles(count: usize) -> Vec<ArmStyle> {
    let style = |index: usize| ArmStyle {
        colour: CONTROLLED[index % CONTROLLED.len()],
        dash: DASHES[(index / CONTROLLED.len()) % DASHES.len()],
    };
    (0..count).map(style).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance (WCAG 2.1).
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = u8::from_str_radix(&colour[at..at + 2], 16).unwrap();
            let value = f64::from(value) / 255.0;
            match value {
                low if low <= 0.040_45 => low / 12.92,
                high => ((high + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_lines_have_contrast_in_light_and_dark() {
        for (light, dark) in DARK {
            let least = match light {
                PAPER | GRID | BETTER_GROUND | WORSE_GROUND | WARMUP => continue,
                // Text must meet WCAG 2.1's 1.4.3; graphics are covered by
                // 1.4.11.
                INK | MUTED | BETTER | WORSE => 4.5,
                _ => 3.0,
            };
            let on = [contrast(light, PAPER), contrast(dark, DARK_PAPER)];
            assert!(on.iter().all(|of| *of >= least), "{light}, {dark}: {on:?}");
        }
    }

    #[test]
    fn every_colour_has_a_dark_variant() {
        let flows = CLASSIC_FLOWS.iter().chain(&L4S_FLOWS);
        let arms = CONTROLLED.iter().chain(&OTHER).chain([&TUNED.colour]);
        for colour in flows.chain(arms) {
            assert!(DARK.iter().any(|(light, _)| light == colour), "{colour}");
        }
    }
}

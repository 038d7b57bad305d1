//! Compared quantities: direction, relevant and severe differences, and
//! display.

use super::Interval;
use crate::format::{index, number, signed};

/// Delay differences below this do not matter, ms: a fifth of a packet's
/// transmission time at 50 Mbit/s.
const LEAST_DELAY_MS: f64 = 0.05;

/// The quantity that a number measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Utilisation, %: more is better.
    Utilisation,
    /// Share of dropped packets among all that left the bottleneck's queue, %.
    Drops,
    /// A delay, ms.
    Delay,
    /// Jain's index, 0 to 1: more is better.
    Jain,
}

impl Quantity {
    /// A difference as a gain: positive is better.
    pub fn gain(self, difference: &Interval) -> Interval {
        match self {
            Quantity::Utilisation | Quantity::Jain => *difference,
            Quantity::Drops | Quantity::Delay => difference.negated(),
        }
    }

    /// Whether more is better.
    pub fn rising(self) -> bool {
        matches!(self, Quantity::Utilisation | Quantity::Jain)
    }

    /// The minimum relevant difference from `reference`.
    pub fn relevant(self, reference: f64) -> f64 {
        match self {
            Quantity::Utilisation | Quantity::Drops => 0.1,
            Quantity::Delay => (reference.abs() * 0.01).max(LEAST_DELAY_MS),
            Quantity::Jain => 0.01,
        }
    }

    /// A severe difference from `reference`: the unit in which different
    /// quantities are ranked.
    pub fn severe(self, reference: f64) -> f64 {
        match self {
            Quantity::Utilisation => 5.0,
            Quantity::Drops => 2.0,
            Quantity::Delay => (reference.abs() * 0.5).max(1.0),
            Quantity::Jain => 0.1,
        }
    }

    /// A difference with sign, half-width and unit: points of a share, and
    /// percent or, if large, multiples of a reference delay.
    pub fn shown(self, difference: &Interval, reference: f64) -> String {
        let mean = difference.mean;
        match self {
            Quantity::Utilisation | Quantity::Drops => {
                with_width(difference, 1.0, signed, width) + "\u{a0}pt"
            }
            Quantity::Jain => with_width(difference, 1.0, signed_index, index),
            Quantity::Delay if reference == 0.0 => format!("from 0 to {}", number(mean)),
            Quantity::Delay if mean / reference >= 9.0 => {
                format!("\u{d7}\u{a0}{:.0}", mean / reference + 1.0)
            }
            Quantity::Delay => {
                let percent = 100.0 / reference;
                with_width(difference, percent, signed, width) + "\u{a0}%"
            }
        }
    }

    /// The unit to append to a number, with the space before it.
    pub fn unit(self) -> &'static str {
        match self {
            Quantity::Utilisation | Quantity::Drops => "\u{a0}%",
            Quantity::Delay => "\u{a0}ms",
            Quantity::Jain => "",
        }
    }
}

fn with_width(
    of: &Interval,
    factor: f64,
    mean: fn(f64) -> String,
    width: fn(f64) -> String,
) -> String {
    let shown = mean(of.mean * factor);
    match of.half_width {
        Some(half) => format!("{shown}\u{a0}\u{b1}\u{a0}{}", width(half * factor.abs())),
        None => shown,
    }
}

fn signed_index(value: f64) -> String {
    let text = index(value.abs());
    match value {
        _ if text.chars().all(|c| matches!(c, '0' | '.')) => "0".to_owned(),
        value if value < 0.0 => format!("\u{2212}{text}"),
        _ => format!("+{text}"),
    }
}

/// Half of an interval, with the digits of the mean, and two decimals if one
/// would show 0.
fn width(value: f64) -> String {
    match value {
        value if value < 0.005 => "0".to_owned(),
        value if value < 0.095 => format!("{value:.2}"),
        value if value < 9.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

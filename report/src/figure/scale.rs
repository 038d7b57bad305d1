//! Maps values to positions on an axis, and selects the labelled values.

/// The mapping of values to an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scale {
    /// Linear: equal differences have equal distances.
    Linear {
        /// Value at the beginning.
        min: f64,
        /// Value at the end.
        max: f64,
    },
    /// Logarithmic: equal ratios have equal distances; both ends above 0.
    Log {
        /// Value at the beginning.
        min: f64,
        /// Value at the end.
        max: f64,
    },
    /// Linear, with labels at some values.
    Marked {
        /// Value at the beginning.
        min: f64,
        /// Value at the end.
        max: f64,
        /// Values and their labels.
        marks: &'static [(f64, &'static str)],
    },
    /// Labelled places, each one unit wide, the first centred on 0.
    Names(Vec<String>),
}

/// A tick of an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub value: f64,
    /// Empty: a tick without a label.
    pub label: String,
}

impl Scale {
    /// From 0 to at least `max`, ending on a tick.
    pub(crate) fn from_zero(max: f64) -> Scale {
        let max = if max.is_finite() && max > 0.0 {
            max
        } else {
            1.0
        };
        let step = step(max);
        Scale::Linear {
            min: 0.0,
            max: (max / step).ceil() * step,
        }
    }

    /// Around values above 0, with space at both ends, so that values close to
    /// each other can be distinguished.
    pub(crate) fn around(min: f64, max: f64) -> Scale {
        if !(min > 0.0 && min <= max && max.is_finite()) || max / min > 30.0 {
            return Scale::spanning(min, max * 1.05);
        }
        let space = match max - min {
            span if span > max * 1e-6 => span * 0.12,
            _ => max * 0.05,
        };
        let (min, max) = ((min - space).max(0.0), max + space);
        let step = step(max - min) / 2.0;
        Scale::Linear {
            min: (min / step).floor() * step,
            max: (max / step).ceil() * step,
        }
    }

    /// Around values above 0: linear from 0 if they are of similar size,
    /// otherwise logarithmic between whole tenths of decades.
    pub(crate) fn spanning(min: f64, max: f64) -> Scale {
        if !(min > 0.0 && max.is_finite()) || max / min < 30.0 {
            return Scale::from_zero(max);
        }
        let floor = 10f64.powf((min.log10() * 2.0).floor() / 2.0);
        let ceil = 10f64.powf((max.log10() * 5.0).ceil() / 5.0);
        Scale::Log {
            min: floor,
            max: ceil,
        }
    }

    /// Position of `value`: 0 at the beginning, 1 at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self {
            Scale::Linear { min, max } | Scale::Marked { min, max, .. } => {
                (value - min) / (max - min)
            }
            // Non-positive values are drawn left of all others.
            Scale::Log { min, max } => {
                (value.max(min * 1e-3).log10() - min.log10()) / (max.log10() - min.log10())
            }
            Scale::Names(names) => (value + 0.5) / names.len().max(1) as f64,
        }
    }

    pub(super) fn ticks(&self) -> Vec<Tick> {
        match self {
            Scale::Linear { min, max } => linear_ticks(*min, *max),
            Scale::Log { min, max } => log_ticks(*min, *max),
            Scale::Marked { marks, .. } => (marks.iter())
                .map(|&(value, name)| Tick {
                    value,
                    label: name.to_owned(),
                })
                .collect(),
            Scale::Names(names) => names
                .iter()
                .enumerate()
                .map(|(index, name)| Tick {
                    value: index as f64,
                    label: name.clone(),
                })
                .collect(),
        }
    }
}

fn linear_ticks(min: f64, max: f64) -> Vec<Tick> {
    let step = step(max - min);
    let decimals = decimals(step);
    // A tolerance for rounding, so that an end on a tick counts.
    let (first, last) = (
        (min / step - 1e-6).ceil() as i64,
        (max / step + 1e-6).floor() as i64,
    );
    (first..=last)
        .map(|index| {
            let value = index as f64 * step;
            Tick {
                value,
                label: format!("{value:.decimals$}"),
            }
        })
        .collect()
}

/// The 1 of each decade; also 2 and 5 if there are few decades; the others have
/// no label.
fn log_ticks(min: f64, max: f64) -> Vec<Tick> {
    let few = max / min < 2000.0;
    let decades = min.log10().floor() as i32..=max.log10().ceil() as i32;
    let mut ticks = Vec::new();
    for decade in decades {
        for digit in 1..10 {
            let value = f64::from(digit) * 10f64.powi(decade);
            if value < min * (1.0 - 1e-9) || value > max * (1.0 + 1e-9) {
                continue;
            }
            let named = digit == 1 || (few && (digit == 2 || digit == 5));
            let decimals = usize::try_from(-decade).unwrap_or(0);
            let label = if named {
                format!("{value:.decimals$}")
            } else {
                String::new()
            };
            ticks.push(Tick { value, label });
        }
    }
    ticks
}

/// 1, 2 or 5 times a power of ten: four to nine steps in `span`.
fn step(span: f64) -> f64 {
    let rough = span / 5.5;
    let power = 10f64.powf(rough.log10().floor());
    let factor = match rough / power {
        ratio if ratio < 1.5 => 1.0,
        ratio if ratio < 3.5 => 2.0,
        ratio if ratio < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * power
}

fn decimals(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<String> {
        scale
            .ticks()
            .into_iter()
            .map(|tick| tick.label)
            .filter(|label| !label.is_empty())
            .collect()
    }

    #[test]
    fn linear_axes_count_in_ones_twos_and_fives() {
        assert_eq!(
            labels(&Scale::from_zero(60.0)),
            ["0", "10", "20", "30", "40", "50", "60"]
        );
        assert_eq!(
            labels(&Scale::from_zero(0.83)),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            labels(&Scale::Linear {
                min: 90.0,
                max: 100.0
            })
            .len(),
            6
        );
    }

    #[test]
    fn every_span_has_a_readable_number_of_ticks() {
        for exponent in -40..40 {
            for mantissa in [1.0, 1.3, 1.9, 2.7, 4.2, 6.6, 9.9] {
                let scale = Scale::from_zero(mantissa * 10f64.powf(f64::from(exponent) / 10.0));
                let count = scale.ticks().len();
                assert!((4..=10).contains(&count), "{scale:?}: {count}");
            }
        }
    }

    #[test]
    fn delays_over_decades_get_a_logarithmic_axis() {
        let scale = Scale::spanning(0.06, 180.0);
        assert!(matches!(scale, Scale::Log { .. }));
        assert_eq!(labels(&scale), ["0.1", "1", "10", "100"]);
        assert!(matches!(
            Scale::spanning(10.0, 40.0),
            Scale::Linear { min: 0.0, .. }
        ));
        let places: Vec<f64> = scale
            .ticks()
            .iter()
            .map(|tick| scale.place(tick.value))
            .collect();
        assert!(
            places
                .iter()
                .all(|place| (-1e-9..=1.0 + 1e-9).contains(place)),
            "{places:?}"
        );
    }

    #[test]
    fn close_values_have_distinct_positions() {
        for (low, high) in [
            (81.9, 83.5),
            (99.98, 100.0),
            (5.0, 5.0),
            (0.0, 3.0),
            (0.1, 90.0),
        ] {
            let scale = Scale::around(low, high);
            let (first, last) = (scale.place(low), scale.place(high));
            assert!(0.0 <= first && last <= 1.0, "{scale:?}");
            assert!(low == high || last - first > 0.3, "{scale:?}");
            assert!((3..=12).contains(&labels(&scale).len()), "{scale:?}");
        }
    }

    #[test]
    fn empty_and_invalid_ranges_have_an_axis() {
        for max in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Scale::spanning(0.0, max), Scale::from_zero(1.0));
        }
    }
}

//! Values to draw: constants, choices and ranges.

use super::part::{Part, bands, whole_bands};
use crate::sim::Random;
use l4sllm_model::strict_toml::{Field, TomlError};

type Result<T> = std::result::Result<T, TomlError>;

/// Distribution of a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// A constant.
    Fixed(f64),
    /// One of these, with equal probability.
    Choice(Vec<f64>),
    /// Uniform between the two, inclusive.
    Uniform(f64, f64),
    /// Log-uniform between the two, above 0.
    LogUniform(f64, f64),
    /// One of a list, with equal probability; each part has its own list.
    Parts {
        /// Values of the training part.
        training: Vec<f64>,
        /// Values of the test part.
        test: Vec<f64>,
    },
    /// Uniform within one of the bands, which include their lower but not their
    /// upper end: a part of a range.
    Bands {
        /// Bands in ascending order; none is empty.
        bands: Vec<(f64, f64)>,
        /// Whether the logarithm is uniform.
        log: bool,
    },
}

impl Range {
    /// Draws a number.
    pub fn draw(&self, random: &mut Random) -> f64 {
        match self {
            Range::Fixed(value) => *value,
            Range::Choice(values) => pick(values, random),
            Range::Uniform(least, most) => least + (most - least) * random.unit(),
            Range::LogUniform(least, most) => least * (most / least).powf(random.unit()),
            Range::Parts { training, test } => pick(&[training.as_slice(), test].concat(), random),
            Range::Bands { bands, log } => draw_within(bands, *log, random),
        }
    }

    /// Draws a whole number; in a uniform range, each with equal probability.
    pub fn draw_whole(&self, random: &mut Random) -> u64 {
        match self {
            Range::Uniform(least, most) => {
                let (least, most) = (*least as u64, *most as u64);
                least + random.below(most - least + 1)
            }
            Range::Bands { bands, log } => {
                let bands = whole_bands(bands);
                // A uniform range as wide as its count of numbers.
                let value = draw_within(&bands, *log, random);
                let inside = bands.iter().find(|band| value < band.1);
                let (first, end) = inside.copied().unwrap_or((value, value + 1.0));
                let nearest = if *log { value.round() } else { value.floor() };
                nearest.clamp(first, end - 1.0) as u64
            }
            other => other.draw(random).round() as u64,
        }
    }

    /// The maximum.
    pub fn most(&self) -> f64 {
        let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self {
            Range::Choice(values) => most(values),
            Range::Fixed(most) | Range::Uniform(_, most) | Range::LogUniform(_, most) => *most,
            Range::Parts { training, test } => most(training).max(most(test)),
            Range::Bands { bands, .. } => bands.last().map_or(f64::NEG_INFINITY, |band| band.1),
        }
    }

    /// The minimum.
    pub fn least(&self) -> f64 {
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        match self {
            Range::Choice(values) => least(values),
            Range::Fixed(least) | Range::Uniform(least, _) | Range::LogUniform(least, _) => *least,
            Range::Parts { training, test } => least(training).min(least(test)),
            Range::Bands { bands, .. } => bands.first().map_or(f64::INFINITY, |band| band.0),
        }
    }

    /// The range multiplied by `factor`, above 0.
    pub fn scaled(&self, factor: f64) -> Range {
        let scaled = |values: &[f64]| values.iter().map(|value| value * factor).collect();
        match self {
            Range::Fixed(value) => Range::Fixed(value * factor),
            Range::Choice(values) => Range::Choice(scaled(values)),
            Range::Uniform(least, most) => Range::Uniform(least * factor, most * factor),
            Range::LogUniform(least, most) => Range::LogUniform(least * factor, most * factor),
            Range::Parts { training, test } => Range::Parts {
                training: scaled(training),
                test: scaled(test),
            },
            Range::Bands { bands, log } => Range::Bands {
                bands: bands
                    .iter()
                    .map(|(from, to)| (from * factor, to * factor))
                    .collect(),
                log: *log,
            },
        }
    }

    /// Restricts it to `part`: bands of a range, the part's list, and
    /// everything else unchanged.
    pub fn part(&self, part: Part) -> Range {
        match self {
            Range::Uniform(least, most) if least < most => Range::Bands {
                bands: bands(*least, *most, false, part),
                log: false,
            },
            Range::LogUniform(least, most) if least < most => Range::Bands {
                bands: bands(*least, *most, true, part),
                log: true,
            },
            Range::Parts { training, test } => Range::Choice(part.of(training, test).clone()),
            other => other.clone(),
        }
    }

    /// Reads a value as `one` does, or a table with `choice`, `uniform` or
    /// `log_uniform`, or with `training` and `test`.
    pub(super) fn read(field: Field<'_>, one: impl Fn(&Field<'_>) -> Result<f64>) -> Result<Range> {
        if !field.is_table() {
            return Ok(Range::Fixed(one(&field)?));
        }
        let kinds = field.error(
            "expected one of choice, uniform and log_uniform in the table, or training and test",
        );
        let mut section = field.section()?;
        let (choice, uniform, log) = (
            section.field("choice"),
            section.field("uniform"),
            section.field("log_uniform"),
        );
        let (training, test) = (section.field("training"), section.field("test"));
        let range = match (choice, uniform, log, training, test) {
            (Some(field), None, None, None, None) => Range::Choice(items(&field, one)?),
            (None, Some(field), None, None, None) => {
                let (least, most) = ends(&field, one)?;
                Range::Uniform(least, most)
            }
            (None, None, Some(field), None, None) => {
                let (least, most) = ends(&field, one)?;
                if least <= 0.0 {
                    return Err(field.error("the minimum must be above 0 for a logarithm"));
                }
                Range::LogUniform(least, most)
            }
            (None, None, None, Some(training), Some(test)) => {
                let (training, test) = apart(&training, &test, one)?;
                Range::Parts { training, test }
            }
            (None, None, None, None, None) => {
                section.finish()?; // a misspelt key is named
                return Err(kinds);
            }
            _ => return Err(kinds),
        };
        section.finish()?;
        Ok(range)
    }
}

/// A name or boolean: a constant, choices, or a list for each part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names<T> {
    /// One of these, with equal probability.
    All(Vec<T>),
    /// One of a list, with equal probability; each part has its own list.
    Parts {
        /// Values of the training part.
        training: Vec<T>,
        /// Values of the test part.
        test: Vec<T>,
    },
}

impl<T: Copy + PartialEq> Names<T> {
    /// Draws a value.
    pub fn draw(&self, random: &mut Random) -> T {
        pick(&self.iter().collect::<Vec<T>>(), random)
    }

    /// All possible values.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let (first, second) = match self {
            Names::All(all) => (all.as_slice(), [].as_slice()),
            Names::Parts { training, test } => (training.as_slice(), test.as_slice()),
        };
        first.iter().chain(second).copied()
    }

    /// Restricts it to `part`.
    pub fn part(&self, part: Part) -> Names<T> {
        match self {
            Names::All(all) => Names::All(all.clone()),
            Names::Parts { training, test } => Names::All(part.of(training, test).clone()),
        }
    }

    /// Reads a value as `one` does, or a table with `choice`, or with
    /// `training` and `test`.
    pub(super) fn read(field: Field<'_>, one: impl Fn(&Field<'_>) -> Result<T>) -> Result<Self> {
        if !field.is_table() {
            return Ok(Names::All(vec![one(&field)?]));
        }
        let mut section = field.section()?;
        let names = if section.has("training") || section.has("test") {
            let (training, test) = (section.require("training")?, section.require("test")?);
            let (training, test) = apart(&training, &test, one)?;
            Names::Parts { training, test }
        } else {
            Names::All(items(&section.require("choice")?, one)?)
        };
        section.finish()?;
        Ok(names)
    }
}

/// Names to choose from: one, or a table with `choice`.
pub(super) fn read_choice<T: Copy>(field: Field<'_>, names: &[(&str, T)]) -> Result<Vec<T>> {
    if !field.is_table() {
        return Ok(vec![field.choice(names)?]);
    }
    let mut section = field.section()?;
    let choice = section.require("choice")?;
    let chosen = items(&choice, |field| field.choice(names))?;
    section.finish()?;
    Ok(chosen)
}

/// One of `values`, which has at least one.
pub(super) fn pick<T: Copy>(values: &[T], random: &mut Random) -> T {
    values[random.below(values.len() as u64) as usize]
}

/// A value within one of `bands`, weighted by width, on a linear or logarithmic
/// scale.
fn draw_within(bands: &[(f64, f64)], log: bool, random: &mut Random) -> f64 {
    let width = |(from, to): (f64, f64)| if log { (to / from).ln() } else { to - from };
    let all: f64 = bands.iter().copied().map(width).sum();
    let mut left = random.unit() * all;
    let (mut from, mut to) = (0.0, 0.0);
    for band in bands {
        (from, to) = *band;
        if left < width(*band) {
            break;
        }
        left -= width(*band);
    }
    let value = if log { from * left.exp() } else { from + left };
    // The upper end is reached only by rounding.
    let below: f64 = to - to.abs() * f64::EPSILON;
    value.min(below).max(from)
}

/// Checks that two lists have no value in common.
fn apart<T: PartialEq>(
    training: &Field<'_>,
    test: &Field<'_>,
    one: impl Fn(&Field<'_>) -> Result<T>,
) -> Result<(Vec<T>, Vec<T>)> {
    let trained = items(training, &one)?;
    let tested = items(test, &one)?;
    if let Some(at) = tested.iter().position(|value| trained.contains(value)) {
        return Err(test.error(format_args!("value {} is in training too", at + 1)));
    }
    Ok((trained, tested))
}

fn items<T>(field: &Field<'_>, one: impl Fn(&Field<'_>) -> Result<T>) -> Result<Vec<T>> {
    let items = field.items()?;
    if items.is_empty() {
        return Err(field.error("expected at least one value"));
    }
    items.iter().map(one).collect()
}

fn ends(field: &Field<'_>, one: impl Fn(&Field<'_>) -> Result<f64>) -> Result<(f64, f64)> {
    match items(field, one)?[..] {
        [least, most] if least <= most => Ok((least, most)),
        [_, _] => Err(field.error("the first is greater than the second")),
        _ => Err(field.error("expected two values: minimum and maximum")),
    }
}

//! What is drawn: a value, some to choose from, or a range.

use crate::sim::Random;
use l4sllm_model::strict_toml::{Field, TomlError};

type Result<T> = std::result::Result<T, TomlError>;

/// Where a number comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// It is always this.
    Fixed(f64),
    /// One of these, each as likely.
    Choice(Vec<f64>),
    /// Any between the two, both included.
    Uniform(f64, f64),
    /// Any between the two, above 0, its logarithm being uniform: each
    /// doubling is as likely.
    LogUniform(f64, f64),
}

impl Range {
    /// Draws.
    pub fn draw(&self, random: &mut Random) -> f64 {
        match self {
            Range::Fixed(value) => *value,
            Range::Choice(values) => pick(values, random),
            Range::Uniform(least, most) => least + (most - least) * random.unit(),
            Range::LogUniform(least, most) => least * (most / least).powf(random.unit()),
        }
    }

    /// Draws a whole number; of a uniform range, each is as likely.
    pub fn draw_whole(&self, random: &mut Random) -> u64 {
        match self {
            Range::Uniform(least, most) => {
                let (least, most) = (*least as u64, *most as u64);
                least + random.below(most - least + 1)
            }
            other => other.draw(random).round() as u64,
        }
    }

    /// The most that it can be.
    pub fn most(&self) -> f64 {
        match self {
            Range::Choice(values) => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Range::Fixed(most) | Range::Uniform(_, most) | Range::LogUniform(_, most) => *most,
        }
    }

    /// The same range of numbers that are `factor` times as large, above 0.
    pub fn scaled(&self, factor: f64) -> Range {
        match self {
            Range::Fixed(value) => Range::Fixed(value * factor),
            Range::Choice(values) => Range::Choice(values.iter().map(|v| v * factor).collect()),
            Range::Uniform(least, most) => Range::Uniform(least * factor, most * factor),
            Range::LogUniform(least, most) => Range::LogUniform(least * factor, most * factor),
        }
    }

    /// Reads a value as `one` does, or a table with `choice`, `uniform` or
    /// `log_uniform`.
    pub(super) fn read(field: Field<'_>, one: impl Fn(&Field<'_>) -> Result<f64>) -> Result<Range> {
        if !field.is_table() {
            return Ok(Range::Fixed(one(&field)?));
        }
        let kinds = field.error("expected one of choice, uniform and log_uniform in the table");
        let mut section = field.section()?;
        let (choice, uniform, log) = (
            section.field("choice"),
            section.field("uniform"),
            section.field("log_uniform"),
        );
        let range = match (choice, uniform, log) {
            (Some(field), None, None) => Range::Choice(items(&field, one)?),
            (None, Some(field), None) => {
                let (least, most) = ends(&field, one)?;
                Range::Uniform(least, most)
            }
            (None, None, Some(field)) => {
                let (least, most) = ends(&field, one)?;
                if least <= 0.0 {
                    return Err(field.error("the least has to be above 0, for its logarithm"));
                }
                Range::LogUniform(least, most)
            }
            (None, None, None) => {
                section.finish()?; // a misspelt key is named
                return Err(kinds);
            }
            _ => return Err(kinds),
        };
        section.finish()?;
        Ok(range)
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
        [_, _] => Err(field.error("the first is more than the second")),
        _ => Err(field.error("expected two values: the least and the most")),
    }
}

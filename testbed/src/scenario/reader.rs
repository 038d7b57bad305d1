//! Reads TOML strictly: every key is asked for, has a range, and an error
//! names file, line and key.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ScenarioError;
use super::units::{DURATION, Quantity, RATE, SIZE};

type Result<T> = std::result::Result<T, ScenarioError>;

/// A file and its text, to tell where an error is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    }

    fn error(&self, offset: usize, key: &str, message: impl Display) -> ScenarioError {
        ScenarioError::Key {
            path: self.path.to_owned(),
            line: self.line(offset),
            key: key.to_owned(),
            message: message.to_string(),
        }
    }

    /// Parses the whole file; `read` gets its top section.
    pub(super) fn read<T>(&self, read: impl FnOnce(Section<'_>) -> Result<T>) -> Result<T> {
        let table = DeTable::parse(self.text).map_err(|error| ScenarioError::Syntax {
            path: self.path.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        read(Section::new(*self, String::new(), table.get_ref(), 0..0))
    }
}

/// A table: keys that have been asked for and keys that are left.
#[derive(Debug)]
pub(super) struct Section<'a> {
    source: Source<'a>,
    path: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn new(source: Source<'a>, path: String, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Section {
            source,
            path,
            span,
            table,
            asked: Vec::new(),
        }
    }

    /// The value of `key`, if it is given.
    pub(super) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Field {
            source: self.source,
            path: join(&self.path, key),
            value,
        })
    }

    /// The value of `key`, which has to be given.
    pub(super) fn require(&mut self, key: &'static str) -> Result<Field<'a>> {
        self.field(key).ok_or_else(|| {
            let mut names = self.table.iter().map(|(name, _)| name.get_ref());
            let message = match names.find(|name| strsim::damerau_levenshtein(name, key) == 1) {
                Some(name) => format!("missing, but required; is \"{name}\" meant for it?"),
                None => "missing, but required".to_owned(),
            };
            self.source
                .error(self.span.start, &join(&self.path, key), message)
        })
    }

    /// The sections of an array of tables; none given is none.
    pub(super) fn sections(&mut self, key: &'static str) -> Result<Vec<Section<'a>>> {
        self.field(key).map_or(Ok(Vec::new()), Field::sections)
    }

    /// Whether `key` is given; does not count as asking for it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// An error about `key`, or about the section where it is not given.
    pub(super) fn error(&self, key: &str, message: impl Display) -> ScenarioError {
        let entry = self.table.iter().find(|(name, _)| name.get_ref() == key);
        let offset = entry.map_or(self.span.start, |(name, _)| name.span().start);
        self.source.error(offset, &join(&self.path, key), message)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<()> {
        for (name, _) in self.table {
            let key: &str = name.get_ref();
            if !self.asked.contains(&key) {
                let message = unknown("key", key, &self.asked);
                return Err(self.error(key, message));
            }
        }
        Ok(())
    }
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Field<'a> {
    source: Source<'a>,
    path: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    /// An error about this value.
    pub(super) fn error(&self, message: impl Display) -> ScenarioError {
        self.source
            .error(self.value.span().start, &self.path, message)
    }

    fn expected(&self, what: impl Display) -> ScenarioError {
        let got = &self.source.text[self.value.span()];
        let got = got.lines().next().unwrap_or_default();
        self.error(format_args!("{got} is not {what}"))
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        self.value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.expected("a string"))
    }

    pub(super) fn boolean(&self) -> Result<bool> {
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.expected("true or false"))
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Result<u64> {
        let wanted = || {
            self.expected(format_args!(
                "a whole number of {} to {}",
                range.start(),
                range.end()
            ))
        };
        let number = self.value.get_ref().as_integer().ok_or_else(wanted)?;
        let digits = number.as_str().replace('_', "");
        let value = u64::from_str_radix(&digits, number.radix()).map_err(|_| wanted())?;
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(wanted())
        }
    }

    /// As [`Field::integer`], within `u32`.
    pub(super) fn count(&self, range: RangeInclusive<u32>) -> Result<u32> {
        let value = self.integer(u64::from(*range.start())..=u64::from(*range.end()))?;
        Ok(u32::try_from(value).unwrap_or(*range.end()))
    }

    /// As [`Field::count`], from 1.
    pub(super) fn positive(&self, most: u32) -> Result<NonZeroU32> {
        let value = self.count(1..=most)?;
        Ok(NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN))
    }

    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Result<f64> {
        let wanted = || {
            self.expected(format_args!(
                "a number of {} to {}",
                range.start(),
                range.end()
            ))
        };
        let value = self.value.get_ref();
        let digits = value
            .as_float()
            .map(|float| float.as_str().to_owned())
            .or_else(|| {
                value
                    .as_integer()
                    .map(|integer| integer.as_str().to_owned())
            })
            .ok_or_else(wanted)?;
        let value: f64 = digits.replace('_', "").parse().map_err(|_| wanted())?;
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(wanted())
        }
    }

    /// Nanoseconds.
    pub(super) fn duration(&self, range: RangeInclusive<u64>) -> Result<u64> {
        self.quantity(&DURATION, range)
    }

    /// Bits per second.
    pub(super) fn rate(&self, range: RangeInclusive<u64>) -> Result<u64> {
        self.quantity(&RATE, range)
    }

    /// Bytes.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Result<u64> {
        self.quantity(&SIZE, range)
    }

    /// One of the names given.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let got = self.text()?;
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let found = choices.iter().find(|(name, _)| *name == got);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| self.error(unknown("value", got, &names)))
    }

    /// Whether it is a table, which [`Field::section`] then gives.
    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// The values of an array.
    pub(super) fn items(&self) -> Result<Vec<Field<'a>>> {
        let array = self.value.get_ref().as_array();
        let array = array.ok_or_else(|| self.expected("an array"))?;
        let item = |(at, value)| Field {
            source: self.source,
            path: format!("{}[{at}]", self.path),
            value,
        };
        Ok(array.iter().enumerate().map(item).collect())
    }

    pub(super) fn section(self) -> Result<Section<'a>> {
        let table = self
            .value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.expected("a table"))?;
        Ok(Section::new(
            self.source,
            self.path,
            table,
            self.value.span(),
        ))
    }

    pub(super) fn sections(self) -> Result<Vec<Section<'a>>> {
        if self.value.get_ref().as_array().is_none() {
            return Err(self.expected("an array of tables"));
        }
        self.items()?.into_iter().map(Field::section).collect()
    }

    fn quantity(&self, quantity: &Quantity, range: RangeInclusive<u64>) -> Result<u64> {
        let text = self.value.get_ref().as_str().unwrap_or_default();
        let value = quantity
            .parse(text)
            .map_err(|expected| self.expected(expected))?;
        if range.contains(&value) {
            return Ok(value);
        }
        let (least, most) = (quantity.show(*range.start()), quantity.show(*range.end()));
        Err(self.expected(format_args!("a {} of {least} to {most}", quantity.what)))
    }
}

/// What to say of a name that is not among those known.
pub(super) fn unknown(what: &str, got: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(got, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min();
    match near {
        Some((_, name)) => format!("unknown {what} \"{got}\", did you mean \"{name}\"?"),
        None => {
            let mut known = known.to_vec();
            known.sort_unstable();
            known.dedup();
            format!(
                "unknown {what} \"{got}\", expected one of: {}",
                known.join(", ")
            )
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

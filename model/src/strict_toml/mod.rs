//! Strict TOML reader: every key is requested explicitly and has a range, and
//! errors name file, line, key and the expected value. It reads all
//! user-written configuration: the daemon's, scenarios and curricula.

mod quantity;

pub use quantity::{DURATION, Quantity, RATE, SIZE};

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::text::{line, shown};

type Result<T, E = TomlError> = std::result::Result<T, E>;

/// Maximum number of characters repeated from a parser's message.
const MESSAGE: usize = 300;

/// Error in a file, with its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TomlError {
    /// The file is not TOML.
    #[error("{}:{line}: not TOML: {message}", shown(path))]
    Syntax {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Description of the error.
        message: String,
    },
    /// A key is unknown, missing or out of range.
    #[error("{}:{line}: {}: {message}", shown(path), shown(key))]
    Key {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key with its tables.
        key: String,
        /// The error and the expected value.
        message: String,
    },
}

/// A file and its text.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Name, for errors.
    pub path: &'a Path,
    /// Contents.
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

    fn error(&self, offset: usize, key: &str, message: impl Display) -> TomlError {
        TomlError::Key {
            path: self.path.to_owned(),
            line: self.line(offset),
            key: key.to_owned(),
            message: message.to_string(),
        }
    }

    /// Parses the whole file and calls `read` with its top section. A
    /// byte-order mark is skipped.
    ///
    /// # Errors
    /// [`TomlError::Syntax`], and the errors of `read`.
    pub fn read<T, E: From<TomlError>>(
        &self,
        read: impl FnOnce(Section<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let source = Source {
            text: self.text.strip_prefix('\u{feff}').unwrap_or(self.text),
            ..*self
        };
        let table = DeTable::parse(source.text).map_err(|error| TomlError::Syntax {
            path: source.path.to_owned(),
            line: source.line(error.span().map_or(0, |span| span.start)),
            message: line(error.message(), MESSAGE),
        })?;
        read(Section::new(
            source,
            String::new(),
            Some(table.get_ref()),
            0..0,
        ))
    }
}

/// A table that tracks which keys were requested.
#[derive(Debug)]
pub struct Section<'a> {
    source: Source<'a>,
    path: String,
    span: Range<usize>,
    /// `None` if the table is absent.
    table: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn new(
        source: Source<'a>,
        path: String,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
    ) -> Self {
        Section {
            source,
            path,
            span,
            table,
            asked: Vec::new(),
        }
    }

    fn entries(
        &self,
    ) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        self.table.into_iter().flatten()
    }

    /// The value of `key`, if present.
    pub fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let (_, value) = self.entries().find(|(name, _)| name.get_ref() == key)?;
        Some(Field {
            source: self.source,
            path: join(&self.path, key),
            value,
        })
    }

    /// The value of `key`, which is required.
    ///
    /// # Errors
    /// The key is missing.
    pub fn require(&mut self, key: &'static str) -> Result<Field<'a>> {
        self.field(key).ok_or_else(|| {
            let mut names = self.entries().map(|(name, _)| name.get_ref());
            let message = match names.find(|name| strsim::damerau_levenshtein(name, key) == 1) {
                Some(name) => {
                    let name = shown(name.as_ref());
                    format!("missing, but required; is \"{name}\" meant for it?")
                }
                None => "missing, but required".to_owned(),
            };
            self.source
                .error(self.span.start, &join(&self.path, key), message)
        })
    }

    /// The sections of an array of tables; empty if absent.
    ///
    /// # Errors
    /// The value is not an array of tables.
    pub fn sections(&mut self, key: &'static str) -> Result<Vec<Section<'a>>> {
        self.field(key).map_or(Ok(Vec::new()), Field::sections)
    }

    /// The table `key`; an empty one if absent.
    ///
    /// # Errors
    /// The value is not a table.
    pub fn table(&mut self, key: &'static str) -> Result<Section<'a>> {
        match self.field(key) {
            Some(field) => field.section(),
            None => Ok(Section::new(
                self.source,
                join(&self.path, key),
                None,
                self.span.clone(),
            )),
        }
    }

    /// Whether `key` is present; does not count as a request.
    pub fn has(&self, key: &str) -> bool {
        self.entries().any(|(name, _)| name.get_ref() == key)
    }

    /// An error about `key`, or about the section if the key is absent.
    pub fn error(&self, key: &str, message: impl Display) -> TomlError {
        let entry = self.entries().find(|(name, _)| name.get_ref() == key);
        let offset = entry.map_or(self.span.start, |(name, _)| name.span().start);
        self.source.error(offset, &join(&self.path, key), message)
    }

    /// Refuses keys that were not requested.
    ///
    /// # Errors
    /// There is such a key.
    pub fn finish(self) -> Result<()> {
        for (name, _) in self.entries() {
            let key: &str = name.get_ref();
            if !self.asked.contains(&key) {
                let message = unknown("key", key, &self.asked);
                return Err(self.error(key, message));
            }
        }
        Ok(())
    }
}

/// A value and its position.
#[derive(Debug)]
pub struct Field<'a> {
    source: Source<'a>,
    path: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    /// An error about this value.
    pub fn error(&self, message: impl Display) -> TomlError {
        self.source
            .error(self.value.span().start, &self.path, message)
    }

    fn expected(&self, what: impl Display) -> TomlError {
        let got = &self.source.text[self.value.span()];
        let got = shown(got.lines().next().unwrap_or_default());
        self.error(format_args!("{got} is not {what}"))
    }

    /// Reads a string.
    ///
    /// # Errors
    /// The value is not a string.
    pub fn text(&self) -> Result<&'a str> {
        self.value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.expected("a string"))
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// The value is not a boolean.
    pub fn boolean(&self) -> Result<bool> {
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.expected("true or false"))
    }

    /// Reads an integer within `range`.
    ///
    /// # Errors
    /// The value is not an integer, or is out of range.
    pub fn integer(&self, range: RangeInclusive<u64>) -> Result<u64> {
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
    ///
    /// # Errors
    /// As [`Field::integer`].
    pub fn count(&self, range: RangeInclusive<u32>) -> Result<u32> {
        let value = self.integer(u64::from(*range.start())..=u64::from(*range.end()))?;
        Ok(u32::try_from(value).unwrap_or(*range.end()))
    }

    /// As [`Field::count`], from 1.
    ///
    /// # Errors
    /// As [`Field::integer`].
    pub fn positive(&self, most: u32) -> Result<NonZeroU32> {
        let value = self.count(1..=most)?;
        Ok(NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN))
    }

    /// Reads a number within `range`.
    ///
    /// # Errors
    /// The value is not a number, or is out of range.
    pub fn number(&self, range: RangeInclusive<f64>) -> Result<f64> {
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

    /// Reads a duration, ns.
    ///
    /// # Errors
    /// The value is not a string with a number and a unit of time, or is out
    /// of range.
    pub fn duration(&self, range: RangeInclusive<u64>) -> Result<u64> {
        self.quantity(&DURATION, range)
    }

    /// Reads a rate, bit/s.
    ///
    /// # Errors
    /// The value is not a string with a number and a unit of rate, or is out
    /// of range.
    pub fn rate(&self, range: RangeInclusive<u64>) -> Result<u64> {
        self.quantity(&RATE, range)
    }

    /// Reads a size, bytes.
    ///
    /// # Errors
    /// The value is not a string with a number and a unit of size, or is out
    /// of range.
    pub fn size(&self, range: RangeInclusive<u64>) -> Result<u64> {
        self.quantity(&SIZE, range)
    }

    /// Reads one of the given names.
    ///
    /// # Errors
    /// The value is not one of them.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let got = self.text()?;
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let found = choices.iter().find(|(name, _)| *name == got);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| self.error(unknown("value", got, &names)))
    }

    /// Whether the value is a table, for which [`Field::section`] is the
    /// accessor.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// The value is not an array.
    pub fn items(&self) -> Result<Vec<Field<'a>>> {
        let array = self.value.get_ref().as_array();
        let array = array.ok_or_else(|| self.expected("an array"))?;
        let item = |(at, value)| Field {
            source: self.source,
            path: format!("{}[{at}]", self.path),
            value,
        };
        Ok(array.iter().enumerate().map(item).collect())
    }

    /// Reads a table.
    ///
    /// # Errors
    /// The value is not a table.
    pub fn section(self) -> Result<Section<'a>> {
        let table = self
            .value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.expected("a table"))?;
        Ok(Section::new(
            self.source,
            self.path,
            Some(table),
            self.value.span(),
        ))
    }

    /// Reads an array of tables.
    ///
    /// # Errors
    /// The value is not an array of tables.
    pub fn sections(self) -> Result<Vec<Section<'a>>> {
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

/// Message for an unknown name.
pub fn unknown(what: &str, got: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .filter(|name| got.len() <= 2 * name.len())
        .map(|name| (strsim::damerau_levenshtein(got, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min();
    let got = shown(got);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let path = Path::new("x.toml");
        let read = |mut section: Section<'_>| {
            section.require("interval")?.count(1..=10)?;
            section.finish()
        };
        Source { path, text }.read(read).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_line_key_and_expected_value() {
        for (text, want) in [
            (
                "\ninterval = 11",
                "x.toml:2: interval: 11 is not a whole number of 1 to 10",
            ),
            (
                "interval = 1\nintervall = 1",
                "x.toml:2: intervall: unknown key \"intervall\", did you mean \"interval\"?",
            ),
            (
                "intervl = 1",
                "x.toml:1: interval: missing, but required; is \"intervl\" meant for it?",
            ),
            (
                "interval = 1\nx = 1",
                "x.toml:2: x: unknown key \"x\", expected one of: interval",
            ),
        ] {
            assert_eq!(read(text), want);
        }
        assert!(read("interval = \n").starts_with("x.toml:1: not TOML: "));
    }

    /// Long or hostile content does not reach the terminal.
    #[test]
    fn errors_truncate_quoted_input() {
        let long = "x".repeat(5000);
        for text in [
            format!("interval = \"{long}\""),
            format!("interval = 1\n{long} = 1"),
            format!("interval = {long}"),
            "interval = \"\u{202e}\"".to_owned(),
            "interval = 1\n\"\\u001b[2J\" = 1".to_owned(),
        ] {
            let error = read(&text);
            assert!(error.chars().count() < 600, "{error}");
            assert!(
                !error.chars().any(|c| c.is_control() || c == '\u{202e}'),
                "{error}"
            );
        }
    }
}

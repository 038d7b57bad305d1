//! Reads pools from Parquet, one row group at a time and only the requested
//! columns.
//!
//! Columns written by other programs are accepted as stored: integers and
//! floats of any width, times of any unit, flags as numbers, nullable columns
//! without nulls. Unknown columns are ignored ([`Pool::ignored`]).

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use super::columns::{ACTION, BASE_ACTION, DONE, EPISODE, FIXED, REASON, REWARD, SCENARIO, TIME};
use super::domain::Domain;
use super::values::{Unit, Unread, Values};
use super::{PoolError, Rows, Schema, Source, arrow_schema};
use crate::Feature;
use crate::files::open_regular;
use crate::text::shown;
use crate::unwind::caught;

/// Number of column names listed in a message.
const LISTED: usize = 40;

/// A pool opened for reading.
pub struct Pool {
    path: PathBuf,
    file: SerializedFileReader<File>,
    columns: Vec<Column>,
    starts: Vec<u64>, // first row of each row group
}

/// A column of the file.
struct Column {
    name: String, // at the top level
    nested: bool, // or a list
}

/// Rows of one row group, by column.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Number of the episode.
    pub episode: Vec<u32>,
    /// Time of the decision, ns; empty where the pool has no times.
    pub time_ns: Vec<u64>,
    /// Code of the action, below [`crate::ACTIONS`].
    pub action: Vec<u8>,
    /// Reward, bytes per µs.
    pub reward: Vec<f64>,
    /// Whether the row is the last of its episode.
    pub done: Vec<bool>,
    /// The requested features, one column each.
    pub features: Vec<Vec<f64>>,
}

impl Pool {
    /// Opens a pool and reads its metadata.
    ///
    /// # Errors
    /// The file cannot be read or is not Parquet.
    pub fn open(path: &Path) -> Result<Pool, PoolError> {
        let file = open_regular(path).map_err(PoolError::io("open", path))?;
        let file = caught(|| SerializedFileReader::new(file))
            .unwrap_or_else(|panic| Err(ParquetError::External(Box::new(panic))))
            .map_err(PoolError::parquet("read", path))?;
        let metadata = file.metadata();
        let columns = metadata.file_metadata().schema_descr().columns().iter();
        let columns = columns.map(|column| Column {
            name: column.path().parts().first().cloned().unwrap_or_default(),
            nested: column.path().parts().len() > 1 || column.max_rep_level() > 0,
        });
        let groups = metadata.row_groups().iter();
        let starts = groups.scan(0, |start, group| {
            let first = *start;
            *start += u64::try_from(group.num_rows()).unwrap_or(0);
            Some(first)
        });
        Ok(Pool {
            path: path.to_owned(),
            columns: columns.collect(),
            starts: starts.collect(),
            file,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.file.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Number of row groups.
    pub fn groups(&self) -> usize {
        self.file.num_row_groups()
    }

    /// Schema of the pool.
    ///
    /// # Errors
    /// The pool has one of `base_action` and `reason` without the other.
    pub fn schema(&self) -> Result<Schema, PoolError> {
        let (base, reason) = (self.has(BASE_ACTION), self.has(REASON));
        if base != reason {
            let missing = if base { REASON } else { BASE_ACTION };
            return Err(self.wrong(None, missing, "missing".to_owned()));
        }
        let features = self.columns.iter().filter_map(|c| Feature::named(&c.name));
        Ok(Schema::new(features, self.has(TIME), base))
    }

    /// Columns that are ignored.
    pub fn ignored(&self) -> Vec<String> {
        let known = |name: &str| FIXED.contains(&name) || Feature::named(name).is_some();
        let names = self.columns.iter().map(|column| &column.name);
        let mut ignored: Vec<String> = names.filter(|name| !known(name)).cloned().collect();
        ignored.dedup(); // a nested one has several parts
        ignored
    }

    /// Reads a row group: the fixed columns and those of `features`.
    ///
    /// # Errors
    /// A column is missing, has the wrong type, or holds an invalid value.
    pub fn group(&self, index: usize, features: &[Feature]) -> Result<Group, PoolError> {
        let group = Columns::new(self, index)?;
        Ok(Group {
            episode: group.episodes()?,
            time_ns: if self.has(TIME) {
                group.times()?
            } else {
                Vec::new()
            },
            action: group.codes(ACTION, Domain::ACTION)?,
            reward: group.numbers(REWARD, None)?,
            done: group.flags(DONE)?,
            features: features
                .iter()
                .map(|f| group.numbers(f.name(), Some(Domain::of(*f))))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The distinct scenarios of the pool, sorted.
    ///
    /// # Errors
    /// As [`Pool::scenario_runs`].
    pub fn scenarios(&self) -> Result<Vec<String>, PoolError> {
        let mut names = BTreeSet::new();
        for index in 0..self.groups() {
            names.extend(self.scenario_runs(index)?.into_iter().map(|(name, _)| name));
        }
        Ok(names.into_iter().collect())
    }

    /// Scenarios of a row group's rows, with the number of consecutive rows
    /// of each.
    ///
    /// # Errors
    /// The row group cannot be read, or its scenarios are missing or not
    /// UTF-8.
    pub fn scenario_runs(&self, index: usize) -> Result<Vec<(String, usize)>, PoolError> {
        let group = Columns::new(self, index)?;
        let mut runs = Vec::new();
        let mut last: Option<ByteArray> = None;
        for name in group.texts(SCENARIO)? {
            if last.as_ref() != Some(&name) {
                let text = name.as_utf8();
                let text = text.map_err(|e| self.wrong(None, SCENARIO, e.to_string()))?;
                runs.push((text.to_owned(), 0));
                last = Some(name);
            }
            if let Some((_, count)) = runs.last_mut() {
                *count += 1;
            }
        }
        Ok(runs)
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|c| c.name == name)
    }

    fn wrong(&self, row: Option<u64>, column: &str, reason: String) -> PoolError {
        PoolError::Column {
            path: self.path.clone(),
            row,
            column: column.to_owned(),
            reason,
        }
    }

    fn missing(&self, name: &str) -> PoolError {
        let names = self.columns.iter().take(LISTED);
        let names: Vec<String> = names.map(|c| shown(&c.name).to_string()).collect();
        let more = self.columns.len() - names.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let reason = format!("missing; the file has: {}{more}", names.join(" "));
        self.wrong(None, name, reason)
    }

    /// Unit of an integer time column whose type has none.
    fn duration(&self, name: &str) -> Option<Unit> {
        let metadata = self.file.metadata().file_metadata();
        let mut pairs = metadata.key_value_metadata()?.iter();
        let schema = pairs.find(|pair| pair.key == "ARROW:schema")?;
        arrow_schema::duration(schema.value.as_ref()?, name)
    }
}

/// Columns of one row group.
struct Columns<'a> {
    pool: &'a Pool,
    group: Box<dyn RowGroupReader + 'a>,
    index: usize, // its number
    start: u64,   // its first row
}

impl<'a> Columns<'a> {
    fn new(pool: &'a Pool, index: usize) -> Result<Columns<'a>, PoolError> {
        let group = pool.file.get_row_group(index);
        let group = group.map_err(PoolError::parquet("read", &pool.path))?;
        let start = pool.starts.get(index).copied().unwrap_or(0);
        Ok(Columns {
            pool,
            group,
            index,
            start,
        })
    }

    fn episodes(&self) -> Result<Vec<u32>, PoolError> {
        let episodes = self.whole(EPISODE, Domain::EPISODE)?;
        Ok(episodes.into_iter().map(|e| e as u32).collect())
    }

    fn times(&self) -> Result<Vec<u64>, PoolError> {
        let index = self.index(TIME)?;
        let descriptor = self.group.metadata().column(index).column_descr_ptr();
        let unit = Unit::of(&descriptor).or_else(|| self.pool.duration(TIME));
        let mut times = self.whole(TIME, Domain::TIME)?;
        let unit = unit.unwrap_or(Unit::Nano);
        for (i, time) in times.iter_mut().enumerate() {
            let ns = unit.ns(*time);
            let want = "at most 584 years in ns";
            *time = ns.ok_or_else(|| self.refused(TIME, i, *time, want))?;
        }
        Ok(times)
    }

    /// Reads 8-bit codes.
    fn codes(&self, name: &str, domain: Domain) -> Result<Vec<u8>, PoolError> {
        let codes = self.whole(name, domain)?;
        Ok(codes.into_iter().map(|c| c as u8).collect())
    }

    fn flags(&self, name: &str) -> Result<Vec<bool>, PoolError> {
        match self.values(name)? {
            Values::Flags(flags) => Ok(flags),
            other => {
                let numbers = self.whole_of(name, other, Domain::DONE)?;
                Ok(numbers.into_iter().map(|n| n == 1).collect())
            }
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<ByteArray>, PoolError> {
        match self.values(name)? {
            Values::Texts(texts) => Ok(texts),
            other => Err(self.wrong(name, format!("{}, expected texts", other.kind()))),
        }
    }

    fn whole(&self, name: &str, domain: Domain) -> Result<Vec<u64>, PoolError> {
        self.whole_of(name, self.values(name)?, domain)
    }

    fn whole_of(&self, name: &str, values: Values, domain: Domain) -> Result<Vec<u64>, PoolError> {
        let exact = |value: u64| Some(value).filter(|v| domain.has_exact(*v));
        match values {
            Values::Signed(values) => self.convert(name, &values, domain, |value| {
                exact(u64::try_from(*value).ok()?)
            }),
            Values::Unsigned(values) => self.convert(name, &values, domain, |value| exact(*value)),
            Values::Floats(values) => {
                self.convert(name, &values, domain, |value| domain.take(*value))
            }
            other => Err(self.wrong(name, format!("{}, expected whole numbers", other.kind()))),
        }
    }

    /// Reads numbers within `domain`, or all finite numbers.
    fn numbers(&self, name: &str, domain: Option<Domain>) -> Result<Vec<f64>, PoolError> {
        let numbers: Vec<f64> = match self.values(name)? {
            Values::Floats(values) => values,
            // As for records: exact up to 2^53.
            Values::Signed(values) => values.into_iter().map(|v| v as f64).collect(),
            Values::Unsigned(values) => values.into_iter().map(|v| v as f64).collect(),
            other => return Err(self.wrong(name, format!("{}, expected numbers", other.kind()))),
        };
        let good = |value: &f64| domain.map_or(value.is_finite(), |domain| domain.has(*value));
        match numbers.iter().position(|value| !good(value)) {
            Some(row) => {
                let want = domain.map_or("a finite number".to_owned(), |d| d.to_string());
                Err(self.refused(name, row, numbers[row], want))
            }
            None => Ok(numbers),
        }
    }

    fn convert<T: Display, U>(
        &self,
        name: &str,
        values: &[T],
        domain: Domain,
        convert: impl Fn(&T) -> Option<U>,
    ) -> Result<Vec<U>, PoolError> {
        let values = values.iter().enumerate();
        values
            .map(|(row, value)| {
                convert(value).ok_or_else(|| self.refused(name, row, value, domain))
            })
            .collect()
    }

    fn values(&self, name: &str) -> Result<Values, PoolError> {
        let index = self.index(name)?;
        let damaged = |reason: &dyn Display| {
            let reason = format!("damaged in row group {}: {reason}", self.index);
            self.wrong(name, reason)
        };
        let values = caught(|| Values::read(&*self.group, index));
        let values = values.map_err(|panic| damaged(&panic))?;
        values.map_err(|unread| match unread {
            Unread::Parquet(error) => damaged(&error),
            Unread::Column(reason) => self.wrong(name, reason),
            Unread::Null(row) => {
                let row = self.start + row as u64;
                self.pool.wrong(Some(row), name, "no value".to_owned())
            }
        })
    }

    fn index(&self, name: &str) -> Result<usize, PoolError> {
        let mut columns = self.pool.columns.iter();
        let index = columns.position(|column| column.name == name);
        let index = index.ok_or_else(|| self.pool.missing(name))?;
        match self.pool.columns[index].nested {
            true => Err(self.wrong(
                name,
                "nested or a list, expected one value per row".to_owned(),
            )),
            false => Ok(index),
        }
    }

    fn refused(
        &self,
        name: &str,
        row: usize,
        value: impl Display,
        want: impl Display,
    ) -> PoolError {
        let row = self.start + row as u64;
        self.pool
            .wrong(Some(row), name, format!("{value}, expected {want}"))
    }

    fn wrong(&self, column: &str, reason: String) -> PoolError {
        self.pool.wrong(None, column, reason)
    }
}

/// Iterates over the rows of a Parquet pool.
pub struct PoolReader {
    pool: Pool,
    schema: Schema,
    ignored: Vec<String>,
    next_group: usize,
    waiting: VecDeque<Rows>,
    episode: Option<u32>,
    scenario: String,
    position: u64,
}

impl PoolReader {
    /// Opens a pool.
    ///
    /// # Errors
    /// The pool cannot be read or lacks a required column.
    pub fn open(path: &Path) -> Result<PoolReader, PoolError> {
        let pool = Pool::open(path)?;
        let needed = [EPISODE, SCENARIO, ACTION, REWARD, DONE];
        if let Some(name) = needed.iter().find(|name| !pool.has(name)) {
            return Err(pool.missing(name));
        }
        Ok(PoolReader {
            schema: pool.schema()?,
            ignored: pool.ignored(),
            pool,
            next_group: 0,
            waiting: VecDeque::new(),
            episode: None,
            scenario: String::new(),
            position: 0,
        })
    }

    /// Reads a row group and splits it at the beginnings of episodes.
    fn read_group(&mut self, index: usize) -> Result<(), PoolError> {
        let pool = &self.pool;
        let group = Columns::new(pool, index)?;
        let episodes = group.episodes()?;
        let mut runs = pool.scenario_runs(index)?.into_iter();
        let features = self.schema.features().iter();
        let optional = |name: &str, domain| match self.schema.base() {
            true => group.codes(name, domain),
            false => Ok(Vec::new()),
        };
        let all = Rows {
            scenario: String::new(),
            first: false,
            time_ns: if self.schema.time() {
                group.times()?
            } else {
                Vec::new()
            },
            action: group.codes(ACTION, Domain::ACTION)?,
            base_action: optional(BASE_ACTION, Domain::ACTION)?,
            reason: optional(REASON, Domain::REASON)?,
            reward: group.numbers(REWARD, None)?,
            done: group.flags(DONE)?,
            features: features
                .map(|f| group.numbers(f.name(), Some(Domain::of(*f))))
                .collect::<Result<_, _>>()?,
        };
        let (mut scenario, mut left) = (String::new(), 0);
        let mut from = 0;
        while from < all.len() {
            if left == 0 {
                (scenario, left) = runs.next().unwrap_or_default();
            }
            let number = episodes[from];
            let last = self.episode.replace(number);
            let want = last.map_or(0, |last| last.wrapping_add(1));
            if last != Some(number) && number != want {
                let follows = last.map_or("first".to_owned(), |last| format!("after {last}"));
                let reason = format!("{number} {follows}, expected {want}: episodes count from 0");
                let row = Some(group.start + from as u64);
                return Err(pool.wrong(row, EPISODE, reason));
            }
            if last == Some(number) && scenario != self.scenario {
                let reason = format!(
                    "\"{}\" after \"{}\" in episode {number}, expected one for an episode",
                    shown(&scenario),
                    shown(&self.scenario)
                );
                let row = Some(group.start + from as u64);
                return Err(pool.wrong(row, SCENARIO, reason));
            }
            self.scenario.clone_from(&scenario);
            let more = episodes[from..].iter().take_while(|e| **e == number);
            let count = more.count().min(left.max(1));
            let mut rows = Rows::new(&self.schema, &scenario, last != Some(number));
            rows.extend(&all, from..from + count);
            self.waiting.push_back(rows);
            from += count;
            left = left.saturating_sub(count);
        }
        let size = group.group.metadata().compressed_size();
        self.position += u64::try_from(size).unwrap_or(0);
        Ok(())
    }
}

impl Source for PoolReader {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        while self.waiting.is_empty() && self.next_group < self.pool.groups() {
            self.read_group(self.next_group)?;
            self.next_group += 1;
        }
        Ok(self.waiting.pop_front())
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

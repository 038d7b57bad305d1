//! Pools from Parquet, a row group at a time, only the columns asked for.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type,
};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use super::columns::{ACTION, BASE_ACTION, DONE, EPISODE, FIXED, REASON, REWARD, SCENARIO, TIME};
use super::{PoolError, Rows, Schema, Source};
use crate::{ACTIONS, Feature};

/// A pool that is open for reading.
pub struct Pool {
    path: PathBuf,
    file: SerializedFileReader<File>,
    columns: Vec<String>,
}

/// Rows of one row group, as columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Number of the episode.
    pub episode: Vec<u32>,
    /// Time of the decision, ns; empty where the pool has no times.
    pub time_ns: Vec<u64>,
    /// Code of what was done, below [`ACTIONS`].
    pub action: Vec<u8>,
    /// Bytes per µs.
    pub reward: Vec<f64>,
    /// Last of its episode.
    pub done: Vec<bool>,
    /// The features asked for, a column each.
    pub features: Vec<Vec<f64>>,
}

impl Pool {
    /// Opens a pool and reads its table of contents.
    pub fn open(path: &Path) -> Result<Pool, PoolError> {
        let file = File::open(path).map_err(PoolError::io("open", path))?;
        let file = SerializedFileReader::new(file).map_err(PoolError::parquet("read", path))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let columns = schema.columns().iter().map(|c| c.path().string()).collect();
        Ok(Pool {
            path: path.to_owned(),
            file,
            columns,
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

    /// What its rows have.
    ///
    /// # Errors
    /// A column that pools do not have, or one of `base_action` and `reason`
    /// without the other.
    pub fn schema(&self) -> Result<Schema, PoolError> {
        let known = |name: &str| FIXED.contains(&name) || Feature::named(name).is_some();
        if let Some(other) = self.columns.iter().find(|name| !known(name)) {
            return Err(self.wrong(None, other, "not a column of pools".to_owned()));
        }
        let (base, reason) = (self.has(BASE_ACTION), self.has(REASON));
        if base != reason {
            let missing = if base { REASON } else { BASE_ACTION };
            return Err(self.wrong(None, missing, "missing".to_owned()));
        }
        let features = self.columns.iter().filter_map(|name| Feature::named(name));
        Ok(Schema::new(features, self.has(TIME), base))
    }

    /// Reads a row group: the fixed columns and those of `features`.
    ///
    /// # Errors
    /// A column that is missing, of another type, or with a value that it may
    /// not hold.
    pub fn group(&self, index: usize, features: &[Feature]) -> Result<Group, PoolError> {
        let group = Columns::new(self, index)?;
        Ok(Group {
            episode: group.episodes()?,
            time_ns: if self.has(TIME) {
                group.times()?
            } else {
                Vec::new()
            },
            action: group.codes(ACTION, ACTIONS)?,
            reward: group.numbers(REWARD)?,
            done: group.read::<BoolType>(DONE)?,
            features: features
                .iter()
                .map(|f| group.numbers(f.name()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The distinct scenarios of the pool, sorted.
    pub fn scenarios(&self) -> Result<Vec<String>, PoolError> {
        let mut names = BTreeSet::new();
        for index in 0..self.groups() {
            names.extend(self.scenario_runs(index)?.into_iter().map(|(name, _)| name));
        }
        Ok(names.into_iter().collect())
    }

    /// The scenarios of a row group's rows, and how many rows in a row each.
    pub fn scenario_runs(&self, index: usize) -> Result<Vec<(String, usize)>, PoolError> {
        let group = Columns::new(self, index)?;
        let mut runs = Vec::new();
        let mut last: Option<ByteArray> = None;
        for name in group.read::<ByteArrayType>(SCENARIO)? {
            if last.as_ref() != Some(&name) {
                let text = name.as_utf8();
                let text = text.map_err(|e| group.wrong(SCENARIO, e.to_string()))?;
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
        self.columns.iter().any(|c| c == name)
    }

    fn failed(&self, source: parquet::errors::ParquetError) -> PoolError {
        PoolError::parquet("read", &self.path)(source)
    }

    fn wrong(&self, group: Option<usize>, column: &str, reason: String) -> PoolError {
        PoolError::Column {
            path: self.path.clone(),
            group,
            column: column.to_owned(),
            reason,
        }
    }
}

/// The columns of one row group.
struct Columns<'a> {
    pool: &'a Pool,
    index: usize,
    group: Box<dyn RowGroupReader + 'a>,
}

impl<'a> Columns<'a> {
    fn new(pool: &'a Pool, index: usize) -> Result<Columns<'a>, PoolError> {
        let group = pool.file.get_row_group(index);
        let group = group.map_err(|e| pool.failed(e))?;
        Ok(Columns { pool, index, group })
    }

    fn episodes(&self) -> Result<Vec<u32>, PoolError> {
        let episodes = self.read::<Int32Type>(EPISODE)?;
        Ok(episodes.into_iter().map(|e| e as u32).collect())
    }

    fn times(&self) -> Result<Vec<u64>, PoolError> {
        let times = self.read::<Int64Type>(TIME)?;
        Ok(times.into_iter().map(|t| t as u64).collect())
    }

    /// Codes below `count`.
    fn codes(&self, name: &str, count: usize) -> Result<Vec<u8>, PoolError> {
        let codes = self.read::<Int32Type>(name)?;
        match codes.iter().find(|c| !(0..count as i32).contains(*c)) {
            Some(bad) => Err(self.wrong(name, format!("{bad}, want 0..{}", count - 1))),
            None => Ok(codes.into_iter().map(|c| c as u8).collect()),
        }
    }

    fn numbers(&self, name: &str) -> Result<Vec<f64>, PoolError> {
        let values = self.read::<DoubleType>(name)?;
        match values.iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(self.wrong(name, format!("{bad}, want a finite number"))),
            None => Ok(values),
        }
    }

    fn read<T: DataType>(&self, name: &str) -> Result<Vec<T::T>, PoolError> {
        let index = self.pool.columns.iter().position(|c| c == name);
        let index = index.ok_or_else(|| self.missing(name))?;
        let metadata = self.group.metadata();
        let column = metadata.column(index);
        let found = column.column_type();
        if found != T::get_physical_type() {
            let want = T::get_physical_type();
            return Err(self.wrong(name, format!("type {found}, want {want}")));
        }
        let descriptor = column.column_descr();
        if descriptor.max_rep_level() > 0 {
            return Err(self.wrong(name, "a list, want one value a row".to_owned()));
        }
        let present = descriptor.max_def_level();
        let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
        let reader = self.group.get_column_reader(index);
        let reader = reader.map_err(|e| self.pool.failed(e))?;
        let mut reader = get_typed_column_reader::<T>(reader);
        let mut values = Vec::new();
        let mut levels = Vec::new();
        let mut read = 0;
        while read < rows {
            // Other writers let every column be null.
            let levels = (present > 0).then_some(&mut levels);
            let (records, _, _) = reader
                .read_records(rows - read, levels, None, &mut values)
                .map_err(|e| self.pool.failed(e))?;
            if records == 0 {
                let reason = format!("{} values in a group of {rows} rows", values.len());
                return Err(self.wrong(name, reason));
            }
            read += records;
        }
        if let Some(row) = levels.iter().position(|level| *level < present) {
            return Err(self.wrong(name, format!("row {row} has no value")));
        }
        Ok(values)
    }

    fn missing(&self, name: &str) -> PoolError {
        let has = self.pool.columns.join(" ");
        self.pool
            .wrong(None, name, format!("missing; there are: {has}"))
    }

    fn wrong(&self, column: &str, reason: String) -> PoolError {
        self.pool.wrong(Some(self.index), column, reason)
    }
}

/// Every row of a Parquet pool in turn.
pub struct PoolReader {
    pool: Pool,
    schema: Schema,
    next_group: usize,
    waiting: VecDeque<Rows>,
    episode: Option<u32>,
    scenario: String,
    position: u64,
}

impl PoolReader {
    /// Opens a pool of whose columns all are known.
    pub fn open(path: &Path) -> Result<PoolReader, PoolError> {
        let pool = Pool::open(path)?;
        Ok(PoolReader {
            schema: pool.schema()?,
            pool,
            next_group: 0,
            waiting: VecDeque::new(),
            episode: None,
            scenario: String::new(),
            position: 0,
        })
    }

    /// Reads a row group, cut where episodes begin.
    fn read_group(&mut self, index: usize) -> Result<(), PoolError> {
        let pool = &self.pool;
        let group = Columns::new(pool, index)?;
        let episodes = group.episodes()?;
        let mut runs = pool.scenario_runs(index)?.into_iter();
        let features = self.schema.features().iter();
        let optional = |name: &str, count| match self.schema.base() {
            true => group.codes(name, count),
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
            action: group.codes(ACTION, ACTIONS)?,
            base_action: optional(BASE_ACTION, ACTIONS)?,
            reason: optional(REASON, 1 << 8)?,
            reward: group.numbers(REWARD)?,
            done: group.read::<BoolType>(DONE)?,
            features: features
                .map(|f| group.numbers(f.name()))
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
                let reason = format!("{number} {follows}, want {want}: episodes count from 0");
                return Err(group.wrong(EPISODE, reason));
            }
            if last == Some(number) && scenario != self.scenario {
                let reason = format!(
                    "{scenario:?} after {:?} in episode {number}, want one for an episode",
                    self.scenario
                );
                return Err(group.wrong(SCENARIO, reason));
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
}

//! Pools from Parquet, a row group at a time, only the columns asked for.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use super::PoolError;
use super::columns::{ACTION, DONE, EPISODE, REWARD, SCENARIO, TIME};
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
    /// Time of the decision, ns.
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
        let file = File::open(path).map_err(|source| PoolError::Io {
            operation: "open",
            path: path.to_owned(),
            source,
        })?;
        let file = SerializedFileReader::new(file).map_err(|source| PoolError::Parquet {
            operation: "read",
            path: path.to_owned(),
            source,
        })?;
        let schema = file.metadata().file_metadata().schema_descr();
        let columns = schema
            .columns()
            .iter()
            .map(|c| c.name().to_owned())
            .collect();
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

    /// Reads a row group: the fixed columns and those of `features`.
    pub fn group(&self, index: usize, features: &[Feature]) -> Result<Group, PoolError> {
        let group = self.file.get_row_group(index).map_err(|e| self.failed(e))?;
        let group = group.as_ref();
        let action = self.column::<Int32Type>(group, ACTION)?;
        if let Some(bad) = action.iter().find(|a| !(0..ACTIONS as i32).contains(*a)) {
            return Err(self.wrong(ACTION, format!("{bad}, want 0..{}", ACTIONS - 1)));
        }
        let numbers = |name: &str| -> Result<Vec<f64>, PoolError> {
            let values = self.column::<DoubleType>(group, name)?;
            match values.iter().find(|v| !v.is_finite()) {
                Some(bad) => Err(self.wrong(name, format!("{bad}, want a finite number"))),
                None => Ok(values),
            }
        };
        let episode = self.column::<Int32Type>(group, EPISODE)?;
        let time_ns = self.column::<Int64Type>(group, TIME)?;
        Ok(Group {
            episode: episode.into_iter().map(|e| e as u32).collect(),
            time_ns: time_ns.into_iter().map(|t| t as u64).collect(),
            action: action.into_iter().map(|a| a as u8).collect(),
            reward: numbers(REWARD)?,
            done: self.column::<BoolType>(group, DONE)?,
            features: features
                .iter()
                .map(|f| numbers(f.name()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The distinct scenarios of the pool, sorted.
    pub fn scenarios(&self) -> Result<Vec<String>, PoolError> {
        let mut names = std::collections::BTreeSet::new();
        for index in 0..self.groups() {
            let group = self.file.get_row_group(index).map_err(|e| self.failed(e))?;
            let mut last = None;
            for name in self.column::<ByteArrayType>(group.as_ref(), SCENARIO)? {
                if last.as_ref() != Some(&name) {
                    let text = name
                        .as_utf8()
                        .map_err(|e| self.wrong(SCENARIO, e.to_string()))?;
                    names.insert(text.to_owned());
                    last = Some(name);
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    fn column<T: DataType>(
        &self,
        group: &dyn RowGroupReader,
        name: &str,
    ) -> Result<Vec<T::T>, PoolError> {
        let index = self.columns.iter().position(|c| c == name);
        let index = index.ok_or_else(|| self.wrong(name, "missing".to_owned()))?;
        let found = group.metadata().column(index).column_type();
        if found != T::get_physical_type() {
            let want = T::get_physical_type();
            return Err(self.wrong(name, format!("type {found}, want {want}")));
        }
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let reader = group.get_column_reader(index).map_err(|e| self.failed(e))?;
        let mut reader = get_typed_column_reader::<T>(reader);
        let mut values = Vec::new();
        while values.len() < rows {
            let (records, _, _) = reader
                .read_records(rows - values.len(), None, None, &mut values)
                .map_err(|e| self.failed(e))?;
            if records == 0 {
                let reason = format!("{} values in a group of {rows} rows", values.len());
                return Err(self.wrong(name, reason));
            }
        }
        Ok(values)
    }

    fn failed(&self, source: parquet::errors::ParquetError) -> PoolError {
        PoolError::Parquet {
            operation: "read",
            path: self.path.clone(),
            source,
        }
    }

    fn wrong(&self, column: &str, reason: String) -> PoolError {
        PoolError::Column {
            path: self.path.clone(),
            column: column.to_owned(),
            reason,
        }
    }
}

//! Writes pools as Parquet.

use std::path::{Path, PathBuf};

use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::columns::{message, properties};
use super::{PoolError, Row, Rows, Schema};
use crate::files::{AtomicFile, Existing};

/// Rows per row group, the unit that a reader holds in memory.
const GROUP_ROWS: usize = 1 << 18;

/// Writes a pool. The file appears under its name when complete.
pub struct PoolWriter {
    path: PathBuf,
    schema: Schema,
    file: SerializedFileWriter<AtomicFile>,
    rows: u64,
    episodes: u32,
    waiting: Rows,                      // not yet in a row group
    stretches: Vec<(ByteArray, usize)>, // their scenarios, and how many rows of each
    numbers: Vec<i32>,                  // their episodes
}

impl PoolWriter {
    /// Creates a writer of records; an existing file is kept until
    /// [`PoolWriter::finish`].
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> Result<PoolWriter, PoolError> {
        PoolWriter::with_schema(path, &Schema::of_records(), Existing::Replace)
    }

    /// Creates a writer for rows with the columns of `schema`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn with_schema(
        path: &Path,
        schema: &Schema,
        existing: Existing,
    ) -> Result<PoolWriter, PoolError> {
        let file = AtomicFile::create(path, existing).map_err(PoolError::io("create", path))?;
        let file = message(schema)
            .and_then(|message| SerializedFileWriter::new(file, message, properties()))
            .map_err(PoolError::parquet("write", path))?;
        Ok(PoolWriter {
            path: path.to_owned(),
            schema: schema.clone(),
            file,
            rows: 0,
            episodes: 0,
            waiting: Rows::new(schema, "", true),
            stretches: Vec::new(),
            numbers: Vec::new(),
        })
    }

    /// Sets the number of the next episode; later ones count up from it.
    pub fn number_from(&mut self, episode: u32) {
        self.episodes = episode;
    }

    /// Appends a whole episode, in order of time. An empty one is skipped.
    ///
    /// # Errors
    /// As [`PoolWriter::append`].
    pub fn episode(&mut self, scenario: &str, rows: Vec<Row>) -> Result<(), PoolError> {
        let mut columns = Rows::new(&self.schema, scenario, true);
        for (i, row) in rows.iter().enumerate() {
            columns.push(&self.schema, row, i + 1 == rows.len());
        }
        drop(rows);
        self.append(&columns)
    }

    /// Appends rows of the pool's schema: a new episode or the continuation
    /// of the last.
    ///
    /// # Errors
    /// A number is not finite; no row was written.
    pub fn append(&mut self, rows: &Rows) -> Result<(), PoolError> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.check(&self.schema, &self.path, self.rows)?;
        if rows.first || self.rows == 0 {
            self.episodes += 1;
        }
        let scenario = ByteArray::from(rows.scenario.as_str());
        let mut from = 0;
        while from < rows.len() {
            let room = GROUP_ROWS - self.waiting.len();
            let to = rows.len().min(from + room);
            self.waiting.extend(rows, from..to);
            self.stretches.push((scenario.clone(), to - from));
            // A uint32 stored in Parquet's int32.
            let number = (self.episodes - 1) as i32;
            self.numbers.resize(self.waiting.len(), number);
            from = to;
            if self.waiting.len() == GROUP_ROWS {
                self.flush()?;
            }
        }
        self.rows += rows.len() as u64;
        Ok(())
    }

    /// Number of rows and episodes so far.
    pub fn size(&self) -> (u64, u32) {
        (self.rows, self.episodes)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), PoolError> {
        self.flush()?;
        let file = self
            .file
            .into_inner()
            .map_err(PoolError::parquet("write", &self.path))?;
        file.commit().map_err(PoolError::io("write", &self.path))
    }

    fn flush(&mut self) -> Result<(), PoolError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut write = || {
            let mut group = self.file.next_row_group()?;
            write_group(
                &mut group,
                &self.schema,
                &self.waiting,
                &self.stretches,
                &self.numbers,
            )?;
            group.close()
        };
        write().map_err(PoolError::parquet("write", &self.path))?;
        self.waiting.clear();
        self.stretches.clear();
        self.numbers.clear();
        Ok(())
    }
}

/// Columns in the order of the schema.
fn write_group(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    schema: &Schema,
    rows: &Rows,
    stretches: &[(ByteArray, usize)],
    episodes: &[i32],
) -> Result<(), ParquetError> {
    let codes = |codes: &[u8]| codes.iter().map(|c| i32::from(*c)).collect::<Vec<_>>();
    column::<Int32Type>(group, episodes)?;
    let scenarios: Vec<ByteArray> = stretches
        .iter()
        .flat_map(|(scenario, count)| std::iter::repeat_n(scenario.clone(), *count))
        .collect();
    column::<ByteArrayType>(group, &scenarios)?;
    if schema.time() {
        let times: Vec<i64> = rows.time_ns.iter().map(|t| *t as i64).collect();
        column::<Int64Type>(group, &times)?;
    }
    column::<Int32Type>(group, &codes(&rows.action))?;
    if schema.base() {
        column::<Int32Type>(group, &codes(&rows.base_action))?;
        column::<Int32Type>(group, &codes(&rows.reason))?;
    }
    column::<DoubleType>(group, &rows.reward)?;
    column::<BoolType>(group, &rows.done)?;
    for feature in &rows.features {
        column::<DoubleType>(group, feature)?;
    }
    Ok(())
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General(
            "fewer columns than in the schema".to_owned(),
        ));
    };
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

//! Pools to Parquet, an episode at a time.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::columns::{properties, schema};
use super::{PoolError, Row};
use crate::Feature;

/// Rows after which a row group is written: what a reader holds at a time.
const GROUP_ROWS: usize = 1 << 18;

/// Writes a pool.  The file appears under its name when it is complete.
pub struct PoolWriter {
    path: PathBuf,
    part: PathBuf,
    file: SerializedFileWriter<File>,
    episodes: u32,
    waiting: Vec<Waiting>,
    waiting_rows: usize,
    rows: u64,
}

/// An episode that is not yet in a row group.
struct Waiting {
    episode: u32,
    scenario: String,
    rows: Vec<Row>,
}

impl PoolWriter {
    /// Starts a pool; an existing file stays until [`PoolWriter::finish`].
    pub fn create(path: &Path) -> Result<PoolWriter, PoolError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|source| PoolError::Io {
            operation: "create",
            path: part.clone(),
            source,
        })?;
        let file = schema()
            .and_then(|schema| SerializedFileWriter::new(file, schema, properties()))
            .map_err(failed(path))?;
        Ok(PoolWriter {
            path: path.to_owned(),
            part,
            file,
            episodes: 0,
            waiting: Vec::new(),
            waiting_rows: 0,
            rows: 0,
        })
    }

    /// Has the next episode bear this number, and those after it count on.
    pub fn number_from(&mut self, episode: u32) {
        self.episodes = episode;
    }

    /// Appends an episode, in the order of time.  One without rows is left out.
    pub fn episode(&mut self, scenario: &str, rows: Vec<Row>) -> Result<(), PoolError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.rows += rows.len() as u64;
        self.waiting_rows += rows.len();
        self.waiting.push(Waiting {
            episode: self.episodes,
            scenario: scenario.to_owned(),
            rows,
        });
        self.episodes += 1;
        if self.waiting_rows >= GROUP_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// Rows and episodes so far.
    pub fn size(&self) -> (u64, u32) {
        (self.rows, self.episodes)
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<(), PoolError> {
        self.flush()?;
        let file = self.file.into_inner().map_err(failed(&self.path))?;
        file.sync_all()
            .and_then(|()| std::fs::rename(&self.part, &self.path))
            .map_err(|source| PoolError::Io {
                operation: "rename",
                path: self.part.clone(),
                source,
            })
    }

    fn flush(&mut self) -> Result<(), PoolError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        let group = |file: &mut SerializedFileWriter<File>| {
            let mut group = file.next_row_group()?;
            write_group(&mut group, &waiting)?;
            group.close()
        };
        if !waiting.is_empty() {
            group(&mut self.file).map_err(failed(&self.path))?;
        }
        Ok(())
    }
}

/// Columns in the order of the schema.
fn write_group(
    group: &mut SerializedRowGroupWriter<'_, File>,
    episodes: &[Waiting],
) -> Result<(), ParquetError> {
    let rows = || episodes.iter().flat_map(|e| e.rows.iter());
    let each = |value: fn(&Waiting, usize) -> i32| -> Vec<i32> {
        episodes
            .iter()
            .flat_map(|e| (0..e.rows.len()).map(move |i| value(e, i)))
            .collect()
    };
    column::<Int32Type>(group, &each(|e, _| e.episode as i32))?;
    let scenarios: Vec<ByteArray> = episodes
        .iter()
        .flat_map(|e| std::iter::repeat_n(ByteArray::from(e.scenario.as_str()), e.rows.len()))
        .collect();
    column::<ByteArrayType>(group, &scenarios)?;
    column::<Int64Type>(group, &rows().map(|r| r.time_ns as i64).collect::<Vec<_>>())?;
    column::<Int32Type>(group, &each(|e, i| e.rows[i].action.into()))?;
    column::<Int32Type>(group, &each(|e, i| e.rows[i].base_action.into()))?;
    column::<Int32Type>(group, &each(|e, i| e.rows[i].reason.into()))?;
    column::<DoubleType>(group, &rows().map(|r| r.reward).collect::<Vec<_>>())?;
    let done: Vec<bool> = episodes
        .iter()
        .flat_map(|e| (0..e.rows.len()).map(|i| i + 1 == e.rows.len()))
        .collect();
    column::<BoolType>(group, &done)?;
    for i in 0..Feature::ALL.len() {
        column::<DoubleType>(group, &rows().map(|r| r.values[i]).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
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

fn failed(path: &Path) -> impl Fn(ParquetError) -> PoolError + '_ {
    |source| PoolError::Parquet {
        operation: "write",
        path: path.to_owned(),
        source,
    }
}

//! Reads and writes pools of either format.

use std::path::Path;

use super::json::{JsonReader, JsonWriter};
use super::{Format, PoolError, PoolReader, PoolWriter, Rows, Schema};
use crate::files::Existing;

/// A source of rows, in order of time within an episode and one episode after
/// the other.
pub trait Source {
    /// Columns of every row.
    fn schema(&self) -> &Schema;

    /// The next rows, at least one and all of one episode; `None` after the
    /// last.
    fn next(&mut self) -> Result<Option<Rows>, PoolError>;

    /// Approximate number of bytes read from the files.
    fn position(&self) -> u64;

    /// Ignored columns of the files.
    fn ignored(&self) -> &[String] {
        &[]
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn schema(&self) -> &Schema {
        (**self).schema()
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        (**self).next()
    }

    fn position(&self) -> u64 {
        (**self).position()
    }

    fn ignored(&self) -> &[String] {
        (**self).ignored()
    }
}

/// Opens a Parquet or JSON pool, detected from its first bytes.
///
/// # Errors
/// The file cannot be read or has another format, which the error names.
pub fn open(path: &Path) -> Result<Box<dyn Source>, PoolError> {
    let found = match Format::of(path)? {
        Format::Parquet => return Ok(Box::new(PoolReader::open(path)?)),
        Format::Json => return Ok(Box::new(JsonReader::open(path)?)),
        Format::Capture => "a device's capture: see l4sllm pool import".to_owned(),
        Format::Table => "a table: see l4sllm pool import".to_owned(),
        Format::Text(what) | Format::Foreign(what) => what,
    };
    let reason = format!("not a pool (Parquet or JSON) but {found}");
    Err(PoolError::text(path, 1, reason))
}

/// A writer of either format.
pub enum Sink {
    /// Parquet.
    Parquet(Box<PoolWriter>),
    /// JSON.
    Json(Box<JsonWriter>),
}

impl Sink {
    /// Creates a JSON pool if the name ends in `.json`, otherwise a Parquet
    /// pool. An existing file is kept until [`Sink::finish`].
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, schema: &Schema, existing: Existing) -> Result<Sink, PoolError> {
        Ok(if path.extension().is_some_and(|e| e == "json") {
            Sink::Json(Box::new(JsonWriter::create(path, schema, existing)?))
        } else {
            Sink::Parquet(Box::new(PoolWriter::with_schema(path, schema, existing)?))
        })
    }

    /// Appends rows of the schema.
    ///
    /// # Errors
    /// A number is not finite, or the file cannot be written.
    pub fn append(&mut self, rows: &Rows) -> Result<(), PoolError> {
        match self {
            Sink::Parquet(pool) => pool.append(rows),
            Sink::Json(pool) => pool.append(rows),
        }
    }

    /// Number of rows and episodes so far.
    pub fn size(&self) -> (u64, u32) {
        match self {
            Sink::Parquet(pool) => pool.size(),
            Sink::Json(pool) => pool.size(),
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<(), PoolError> {
        match self {
            Sink::Parquet(pool) => pool.finish(),
            Sink::Json(pool) => pool.finish(),
        }
    }
}

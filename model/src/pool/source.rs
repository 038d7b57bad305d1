//! Rows from anywhere, to either kind of pool.

use std::path::Path;

use super::json::{JsonReader, JsonWriter};
use super::{Format, PoolError, PoolReader, PoolWriter, Rows, Schema};
use crate::files::Existing;

/// Rows in the order of time within an episode, episodes one after the other.
pub trait Source {
    /// What every row has.
    fn schema(&self) -> &Schema;

    /// The next rows, of one episode and at least one; `None` after the last.
    fn next(&mut self) -> Result<Option<Rows>, PoolError>;

    /// Bytes of the files that were read so far, about.
    fn position(&self) -> u64;

    /// Columns of the files that pools do not have.
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

/// Opens a pool, Parquet or JSON by its first bytes.
///
/// # Errors
/// It cannot be read, or is something else, which is named.
pub fn open(path: &Path) -> Result<Box<dyn Source>, PoolError> {
    let found = match Format::of(path)? {
        Format::Parquet => return Ok(Box::new(PoolReader::open(path)?)),
        Format::Json => return Ok(Box::new(JsonReader::open(path)?)),
        Format::Capture => "a device's capture: see l4sllm pool import".to_owned(),
        Format::Table => "a table: see l4sllm pool import".to_owned(),
        Format::Text(what) | Format::Foreign(what) => what,
    };
    let reason = format!("neither Parquet nor JSON, as pools are, but {found}");
    Err(PoolError::text(path, 1, reason))
}

/// A pool in the making, of either kind.
pub enum Sink {
    /// Parquet.
    Parquet(Box<PoolWriter>),
    /// JSON.
    Json(Box<JsonWriter>),
}

impl Sink {
    /// JSON where the name ends in `.json`, else Parquet.  A file that is to be
    /// replaced stays until [`Sink::finish`].
    pub fn create(path: &Path, schema: &Schema, existing: Existing) -> Result<Sink, PoolError> {
        Ok(if path.extension().is_some_and(|e| e == "json") {
            Sink::Json(Box::new(JsonWriter::create(path, schema, existing)?))
        } else {
            Sink::Parquet(Box::new(PoolWriter::with_schema(path, schema, existing)?))
        })
    }

    /// Appends rows of the schema.
    pub fn append(&mut self, rows: &Rows) -> Result<(), PoolError> {
        match self {
            Sink::Parquet(pool) => pool.append(rows),
            Sink::Json(pool) => pool.append(rows),
        }
    }

    /// Rows and episodes so far.
    pub fn size(&self) -> (u64, u32) {
        match self {
            Sink::Parquet(pool) => pool.size(),
            Sink::Json(pool) => pool.size(),
        }
    }

    /// Completes the file.
    pub fn finish(self) -> Result<(), PoolError> {
        match self {
            Sink::Parquet(pool) => pool.finish(),
            Sink::Json(pool) => pool.finish(),
        }
    }
}

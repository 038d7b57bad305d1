//! Joins several pools without decoding them.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

use super::columns::{message, properties};
use super::{PoolError, Schema};
use crate::files::{AtomicFile, Existing};
use crate::unwind::caught;

/// Joins `parts` into the pool `to`, which appears under its name when
/// complete. Episodes are numbered consecutively across the parts
/// ([`super::PoolWriter::number_from`]). Row groups are copied unchanged.
///
/// # Errors
/// A part cannot be read or has other columns, or the pool cannot be written.
pub fn join(parts: &[PathBuf], to: &Path, existing: Existing) -> Result<(), PoolError> {
    let file = AtomicFile::create(to, existing).map_err(PoolError::io("create", to))?;
    let mut writer = message(&Schema::of_records())
        .and_then(|message| SerializedFileWriter::new(file, message, properties()))
        .map_err(PoolError::parquet("write", to))?;
    for path in parts {
        let file = File::open(path).map_err(PoolError::io("open", path))?;
        caught(|| append(&mut writer, file))
            .unwrap_or_else(|panic| Err(ParquetError::External(Box::new(panic))))
            .map_err(PoolError::parquet("join", path))?;
    }
    let file = writer
        .into_inner()
        .map_err(PoolError::parquet("write", to))?;
    file.commit().map_err(PoolError::io("write", to))
}

fn append(writer: &mut SerializedFileWriter<AtomicFile>, file: File) -> Result<(), ParquetError> {
    let source = file.try_clone()?;
    let reader = SerializedFileReader::new(file)?;
    for group in reader.metadata().row_groups() {
        let mut to = writer.next_row_group()?;
        for column in group.columns() {
            let close = ColumnCloseResult {
                bytes_written: column.compressed_size().try_into().unwrap_or(0),
                rows_written: group.num_rows().try_into().unwrap_or(0),
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            to.append_column(&source, close)?;
        }
        to.close()?;
    }
    Ok(())
}

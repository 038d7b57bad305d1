//! Several pools into one, without decoding them.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

use super::columns::{message, properties};
use super::{PoolError, Schema};

/// Joins `parts`, whose episodes count on from one to the next
/// ([`super::PoolWriter::number_from`]), into the pool `to`, which appears
/// under its name when it is complete.  Row groups are copied as they are.
///
/// # Errors
/// A part cannot be read or has other columns, or the pool not be written.
pub fn join(parts: &[PathBuf], to: &Path) -> Result<(), PoolError> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let temporary = PathBuf::from(part);
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| PoolError::Io {
            operation,
            path,
            source,
        }
    };
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| PoolError::Parquet {
            operation,
            path,
            source,
        }
    };
    let file = File::create(&temporary).map_err(io("create", &temporary))?;
    let mut writer = message(&Schema::of_records())
        .and_then(|message| SerializedFileWriter::new(file, message, properties()))
        .map_err(failed("write", to))?;
    for path in parts {
        let file = File::open(path).map_err(io("open", path))?;
        append(&mut writer, file).map_err(failed("join", path))?;
    }
    let file = writer.into_inner().map_err(failed("write", to))?;
    file.sync_all().map_err(io("write", &temporary))?;
    std::fs::rename(&temporary, to).map_err(io("rename", &temporary))
}

fn append(writer: &mut SerializedFileWriter<File>, file: File) -> Result<(), ParquetError> {
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

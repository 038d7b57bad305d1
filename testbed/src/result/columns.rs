//! Converts rows to Parquet and back, column by column. Snappy is used because
//! every reader supports it and it needs no C; otherwise only the format's unsigned
//! integers are used.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use l4sllm_model::files::open_regular;
use l4sllm_model::unwind::caught;
use parquet::basic::{Compression, Encoding};
use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::error::ResultError;
use super::rows::{DecisionRow, FlowRow, PacketRow, SetPointRow};

/// Rows per row group, which writers and readers keep in memory: 5 MB of packets.
const GROUP_ROWS: usize = 1 << 17;

/// A column: its name, its width and its accessors.
pub(super) enum Column<R> {
    /// At most 32 bits; `bits` is the logical width.
    Narrow {
        name: &'static str,
        bits: u8,
        value: fn(&R) -> u32,
        set: fn(&mut R, u32),
    },
    /// 64 bits.
    Wide {
        name: &'static str,
        value: fn(&R) -> u64,
        set: fn(&mut R, u64),
    },
}

/// A row type with its own file.
pub(super) trait Row: Default + Clone + 'static {
    /// File name.
    const FILE: &'static str;
    /// Columns, in order.
    fn columns() -> Vec<Column<Self>>;
}

macro_rules! narrow {
    ($field:ident: $type:ty) => {
        Column::Narrow {
            name: stringify!($field),
            bits: <$type>::BITS as u8,
            value: |row| u32::from(row.$field),
            // This file writes only values of this type; values from other
            // programs are truncated.
            set: |row, value| row.$field = value as $type,
        }
    };
}

macro_rules! wide {
    ($field:ident) => {
        Column::Wide {
            name: stringify!($field),
            value: |row| row.$field,
            set: |row, value| row.$field = value,
        }
    };
}

impl Row for PacketRow {
    const FILE: &'static str = "packets.parquet";
    fn columns() -> Vec<Column<Self>> {
        vec![
            wide!(time_ns),
            narrow!(flow: u32),
            narrow!(queue: u8),
            narrow!(action: u8),
            narrow!(ecn: u8),
            narrow!(bytes: u32),
            wide!(sojourn_ns),
        ]
    }
}

impl Row for FlowRow {
    const FILE: &'static str = "flows.parquet";
    fn columns() -> Vec<Column<Self>> {
        vec![
            wide!(time_ns),
            narrow!(flow: u32),
            wide!(cwnd_bytes),
            wide!(srtt_ns),
            wide!(delivered_bytes),
        ]
    }
}

impl Row for DecisionRow {
    const FILE: &'static str = "decisions.parquet";
    fn columns() -> Vec<Column<Self>> {
        vec![wide!(time_ns), wide!(latency_ns), narrow!(action: u8)]
    }
}

impl Row for SetPointRow {
    const FILE: &'static str = "setpoints.parquet";
    fn columns() -> Vec<Column<Self>> {
        vec![
            wide!(time_ns),
            wide!(target_ns),
            wide!(tupdate_ns),
            narrow!(alpha_uhz: u32),
            narrow!(beta_uhz: u32),
            narrow!(coupling_q8: u32),
        ]
    }
}

/// A file of rows that grows by appending. It is complete and readable after
/// [`RowFile::finish`].
pub(super) struct RowFile<R: Row> {
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    columns: Vec<Column<R>>,
    /// Of the next group.
    rows: Vec<R>,
}

impl<R: Row> RowFile<R> {
    /// Creates the file in `dir`.
    pub(super) fn create(dir: &Path) -> Result<RowFile<R>, ResultError> {
        let path = dir.join(R::FILE);
        let file = File::create_new(&path).map_err(ResultError::io("create", &path))?;
        let columns = R::columns();
        let writer = parse_message_type(&schema(&columns)).and_then(|schema| {
            SerializedFileWriter::new(file, Arc::new(schema), properties(&columns))
        });
        Ok(RowFile {
            writer: writer.map_err(encode(&path))?,
            path,
            columns,
            rows: Vec::new(),
        })
    }

    /// Adds rows.
    pub(super) fn add(&mut self, mut rows: &[R]) -> Result<(), ResultError> {
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(GROUP_ROWS - self.rows.len()));
            self.rows.extend_from_slice(now);
            if self.rows.len() == GROUP_ROWS {
                self.write_group()?;
            }
            rows = later;
        }
        Ok(())
    }

    /// Writes the remaining rows and syncs to disk.
    pub(super) fn finish(mut self) -> Result<(), ResultError> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        let mut file = self.writer.into_inner().map_err(encode(&self.path))?;
        file.flush().map_err(ResultError::io("write", &self.path))?;
        file.sync_all()
            .map_err(ResultError::io("write", &self.path))
    }

    fn write_group(&mut self) -> Result<(), ResultError> {
        let written = write_group(&mut self.writer, &self.columns, &self.rows);
        written.map_err(encode(&self.path))?;
        self.rows.clear();
        Ok(())
    }
}

fn encode(path: &Path) -> impl FnOnce(ParquetError) -> ResultError {
    let path = path.to_owned();
    move |source| ResultError::Parquet {
        operation: "write",
        path,
        source,
    }
}

/// Reads the rows of the file in `dir`.
pub(super) fn read<R: Row>(dir: &Path) -> Result<Vec<R>, ResultError> {
    let mut rows = Vec::new();
    for_each_group(dir, |group: &[R]| rows.extend_from_slice(group))?;
    Ok(rows)
}

/// Reads the rows of the file in `dir`; none if the file does not exist.
pub(super) fn read_if_present<R: Row>(dir: &Path) -> Result<Vec<R>, ResultError> {
    match dir.join(R::FILE).exists() {
        true => read(dir),
        false => Ok(Vec::new()),
    }
}

/// Reads the rows of the file in `dir`, a group at a time.
pub(super) fn for_each_group<R: Row>(
    dir: &Path,
    mut visit: impl FnMut(&[R]),
) -> Result<(), ResultError> {
    let path = dir.join(R::FILE);
    let file = open_regular(&path).map_err(ResultError::io("open", &path))?;
    let decode = |source| ResultError::Parquet {
        operation: "read",
        path: path.clone(),
        source,
    };
    let damaged = |panic| Err(ParquetError::External(Box::new(panic)));
    let reader = caught(|| SerializedFileReader::new(file)).unwrap_or_else(damaged);
    let reader = reader.map_err(decode)?;
    let names: Vec<String> = {
        let schema = reader.metadata().file_metadata().schema_descr();
        schema
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect()
    };
    let mut rows = Vec::new();
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number).map_err(decode)?;
        let count = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        if count > GROUP_ROWS {
            let reason = format!("{count} rows in row group {number}, expected {GROUP_ROWS}");
            return Err(decode(ParquetError::General(reason)));
        }
        rows.clear();
        rows.resize(count, R::default());
        for column in R::columns() {
            let name = match column {
                Column::Narrow { name, .. } | Column::Wide { name, .. } => name,
            };
            let missing = || ResultError::Column {
                path: path.clone(),
                column: name,
            };
            let index = names
                .iter()
                .position(|known| known == name)
                .ok_or_else(missing)?;
            let read = caught(|| read_column(group.as_ref(), index, &column, &mut rows));
            let damaged = |reason: &dyn Display| ResultError::Damaged {
                path: path.clone(),
                column: name,
                group: number,
                reason: reason.to_string(),
            };
            let read = read.map_err(|panic| damaged(&panic))?;
            if !read.map_err(|error| damaged(&error))? {
                return Err(missing());
            }
        }
        visit(&rows);
    }
    Ok(())
}

fn write_group<R: Row>(
    writer: &mut SerializedFileWriter<File>,
    columns: &[Column<R>],
    rows: &[R],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for column in columns {
        let Some(mut out) = group.next_column()? else {
            return Err(ParquetError::General(
                "fewer columns than in the schema".to_owned(),
            ));
        };
        match (out.untyped(), column) {
            (ColumnWriter::Int32ColumnWriter(out), Column::Narrow { value, .. }) => {
                let values: Vec<i32> = rows.iter().map(|row| value(row) as i32).collect();
                out.write_batch(&values, None, None)?;
            }
            (ColumnWriter::Int64ColumnWriter(out), Column::Wide { value, .. }) => {
                let values: Vec<i64> = rows.iter().map(|row| value(row) as i64).collect();
                out.write_batch(&values, None, None)?;
            }
            _ => {
                return Err(ParquetError::General(
                    "schema and columns differ".to_owned(),
                ));
            }
        }
        out.close()?;
    }
    group.close()?;
    Ok(())
}

/// Fills one column of `rows`; false if the file has another type there.
fn read_column<R: Row>(
    group: &dyn RowGroupReader,
    index: usize,
    column: &Column<R>,
    rows: &mut [R],
) -> Result<bool, ParquetError> {
    match (group.get_column_reader(index)?, column) {
        (ColumnReader::Int32ColumnReader(mut reader), Column::Narrow { set, .. }) => {
            let mut values: Vec<i32> = Vec::with_capacity(rows.len());
            reader.read_records(rows.len(), None, None, &mut values)?;
            let complete = values.len() == rows.len();
            rows.iter_mut()
                .zip(values)
                .for_each(|(row, value)| set(row, value as u32));
            Ok(complete)
        }
        (ColumnReader::Int64ColumnReader(mut reader), Column::Wide { set, .. }) => {
            let mut values: Vec<i64> = Vec::with_capacity(rows.len());
            reader.read_records(rows.len(), None, None, &mut values)?;
            let complete = values.len() == rows.len();
            rows.iter_mut()
                .zip(values)
                .for_each(|(row, value)| set(row, value as u64));
            Ok(complete)
        }
        _ => Ok(false),
    }
}

fn schema<R>(columns: &[Column<R>]) -> String {
    let fields: String = columns
        .iter()
        .map(|column| match column {
            Column::Narrow { name, bits, .. } => {
                format!("  REQUIRED INT32 {name} (INTEGER({bits},false));\n")
            }
            Column::Wide { name, .. } => {
                format!("  REQUIRED INT64 {name} (INTEGER(64,false));\n")
            }
        })
        .collect();
    format!("message rows {{\n{fields}}}")
}

/// Times and counters that grow are stored as differences; the rest as a
/// dictionary, the writer's default.
fn properties<R>(columns: &[Column<R>]) -> WriterPropertiesPtr {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("l4sllm ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    for column in columns {
        if let Column::Wide { name, .. } = column {
            let column = ColumnPath::from(*name);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    Arc::new(properties.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<R: Row>(dir: &Path, rows: &[R]) -> Result<(), ResultError> {
        let mut file = RowFile::create(dir)?;
        // In parts that are not whole groups.
        rows.chunks(1000).try_for_each(|part| file.add(part))?;
        file.finish()
    }

    fn round_trip<R: Row + PartialEq + std::fmt::Debug>(rows: Vec<R>) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &rows).unwrap();
        assert_eq!(read::<R>(dir.path()).unwrap(), rows);
        std::fs::metadata(dir.path().join(R::FILE)).unwrap().len()
    }

    fn packets(count: u64) -> Vec<PacketRow> {
        let row = |i: u64| PacketRow {
            time_ns: i * 1_500_000,
            flow: (i % 9) as u32,
            queue: (i % 2) as u8,
            action: (i % 3) as u8,
            ecn: (i % 4) as u8,
            bytes: 1500 - (i % 7) as u32,
            sojourn_ns: 15_000_000 + (i * i) % 3_000_000,
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn rows_round_trip() {
        round_trip(packets(1000));
        round_trip::<PacketRow>(Vec::new());
        round_trip(vec![FlowRow {
            time_ns: u64::MAX,
            flow: u32::MAX,
            cwnd_bytes: 1 << 63,
            srtt_ns: 0,
            delivered_bytes: u64::MAX - 1,
        }]);
        round_trip(vec![
            DecisionRow {
                time_ns: 1,
                latency_ns: 2,
                action: 3
            };
            3
        ]);
    }

    /// As in results of older versions without them.
    #[test]
    fn set_points_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_if_present::<SetPointRow>(dir.path()).unwrap(), []);
        let rows = [SetPointRow {
            time_ns: 100_000_000,
            target_ns: 7_500_000,
            tupdate_ns: 4_000_000,
            alpha_uhz: 160_000,
            beta_uhz: u32::MAX,
            coupling_q8: 512,
        }];
        write(dir.path(), &rows).unwrap();
        assert_eq!(read_if_present::<SetPointRow>(dir.path()).unwrap(), rows);
    }

    #[test]
    fn rows_span_several_groups() {
        let count = GROUP_ROWS as u64 + 5;
        let rows: Vec<DecisionRow> = (0..count)
            .map(|i| DecisionRow {
                time_ns: i,
                latency_ns: 50_000,
                action: (i % 3) as u8,
            })
            .collect();
        round_trip(rows);
    }

    #[test]
    fn packet_rows_are_compact() {
        let size = round_trip(packets(40_000));
        assert!(size < 40_000 * 8, "{size} bytes for 40000 rows");
    }

    #[test]
    fn names_the_mismatched_column() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[FlowRow::default()]).unwrap();
        std::fs::rename(
            dir.path().join("flows.parquet"),
            dir.path().join("packets.parquet"),
        )
        .unwrap();
        let error = read::<PacketRow>(dir.path()).unwrap_err();
        assert!(
            matches!(
                error,
                ResultError::Column {
                    column: "queue",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_torn_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &packets(100)).unwrap();
        let path = dir.path().join("packets.parquet");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(
            read::<PacketRow>(dir.path()),
            Err(ResultError::Parquet { .. })
        ));
    }
}

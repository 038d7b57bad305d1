//! Damaged Parquet files.

use std::path::Path;
use std::sync::Arc;

use l4sllm_model::pool::{PoolReader, Source};
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::common::Noise;

const ROWS: i32 = 200;

/// A pool of two row groups, with numbers in this encoding.
fn pool(path: &Path, encoding: Option<Encoding>, version: WriterVersion) {
    let schema = "message pool { REQUIRED INT32 episode; REQUIRED BYTE_ARRAY scenario (STRING);
        OPTIONAL INT64 time_ns; REQUIRED INT32 action; REQUIRED DOUBLE reward;
        REQUIRED BOOLEAN done; REQUIRED DOUBLE packet_length; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_writer_version(version);
    if let Some(encoding) = encoding {
        properties = properties.set_dictionary_enabled(false);
        for name in ["reward", "packet_length", "episode", "action", "time_ns"] {
            let fits = match encoding {
                Encoding::DELTA_BINARY_PACKED => !["reward", "packet_length"].contains(&name),
                _ => true,
            };
            if fits {
                properties = properties.set_column_encoding(name.into(), encoding);
            }
        }
        properties = properties.set_column_encoding("scenario".into(), Encoding::DELTA_BYTE_ARRAY);
    }
    let file = std::fs::File::create(path).unwrap();
    let mut file = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
    for group in 0..2 {
        let mut to = file.next_row_group().unwrap();
        macro_rules! column {
            ($type:ty, $levels:expr, $value:expr) => {{
                let values: Vec<_> = (0..ROWS).map($value).collect();
                let mut column = to.next_column().unwrap().unwrap();
                let typed = column.typed::<$type>();
                typed.write_batch(&values, $levels, None).unwrap();
                column.close().unwrap();
            }};
        }
        let present = vec![1; ROWS as usize];
        column!(Int32Type, None, |_| group);
        column!(ByteArrayType, None, |_| ByteArray::from("wire"));
        column!(Int64Type, Some(&present), |row| i64::from(row) * 1_000_003);
        column!(Int32Type, None, |row| row * row % 3);
        column!(DoubleType, None, |row| f64::from(row).sqrt());
        column!(BoolType, None, |row| row + 1 == ROWS);
        column!(DoubleType, None, |row| f64::from(40 + row * 7));
        to.close().unwrap();
    }
    file.close().unwrap();
}

fn read(path: &Path) -> Result<usize, String> {
    let mut reader = PoolReader::open(path).map_err(|error| error.to_string())?;
    let mut rows = 0;
    while let Some(some) = reader.next().map_err(|error| error.to_string())? {
        rows += some.len();
    }
    Ok(rows)
}

/// For any corrupted byte, the file is read or an error names it: the reader
/// never panics, not even in the Parquet library.
#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.parquet");
    let mut noise = Noise::new(7);
    let (mut errors, mut panics) = (0, 0);
    for (encoding, version) in [
        (None, WriterVersion::PARQUET_1_0),
        (None, WriterVersion::PARQUET_2_0),
        (Some(Encoding::PLAIN), WriterVersion::PARQUET_1_0),
        (
            Some(Encoding::BYTE_STREAM_SPLIT),
            WriterVersion::PARQUET_2_0,
        ),
        (
            Some(Encoding::DELTA_BINARY_PACKED),
            WriterVersion::PARQUET_2_0,
        ),
    ] {
        pool(&path, encoding, version);
        assert_eq!(read(&path), Ok(2 * ROWS as usize), "{encoding:?}");
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..600 {
            let mut bytes = whole.clone();
            for _ in 0..=noise.below(3) {
                let at = noise.below(bytes.len() as u64) as usize;
                bytes[at] = match noise.below(3) {
                    0 => 0xff,
                    1 => bytes[at] ^ 1 << noise.below(8),
                    _ => noise.below(256) as u8,
                };
            }
            if noise.below(16) == 0 {
                bytes.truncate(noise.below(bytes.len() as u64) as usize);
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read(&path) {
                assert!(error.contains("damaged.parquet"), "{error}");
                errors += 1;
                panics += usize::from(error.contains("its decoder failed"));
            }
        }
    }
    assert!(errors > 900, "{errors}");
    // The cases include panics of the library; otherwise they would not be
    // tested.
    assert!(panics > 0);
}

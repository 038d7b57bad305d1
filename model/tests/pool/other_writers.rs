//! Pools written by other programs: `fixtures/make.py` wrote them with
//! pandas, pyarrow and DuckDB.

use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pool/fixtures");
    dir.join(format!("{name}.parquet"))
}

/// The error of reading a pool.
fn refused(name: &str) -> String {
    let mut source = match open(&fixture(name)) {
        Ok(source) => source,
        Err(error) => return error.to_string(),
    };
    loop {
        match source.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("{name} was read"),
            Err(error) => break error.to_string(),
        }
    }
}

/// All four rows are those of `ROWS`.
fn assert_rows(name: &str) -> Box<dyn Source> {
    let mut source = open(&fixture(name)).unwrap();
    let episodes = drain(&mut source);
    assert_eq!(episodes.len(), 1, "{name}");
    let rows = &episodes[0];
    assert_eq!(rows.scenario, "s", "{name}");
    assert_eq!(rows.time_ns, [0, 1_000_000, 2_000_000, 3_000_000], "{name}");
    assert_eq!(rows.action, [0, 1, 2, 0], "{name}");
    assert_eq!(rows.reward, [1.5, 0.5, 0.25, 1.0], "{name}");
    assert_eq!(rows.done, [false, false, false, true], "{name}");
    assert_eq!(rows.features, [[1500.0, 52.0, 1280.0, 64.0]], "{name}");
    source
}

#[test]
fn times_of_any_unit_become_ns() {
    for name in [
        "timestamp_ms",
        "timestamp_us",
        "timestamp_ns",
        "duration_ms",
        "duration_us",
        "time32_ms",
        "time64_us",
        "int96",
        "duckdb",
    ] {
        assert_rows(name);
    }
}

#[test]
fn every_codec_is_read() {
    for name in ["gzip", "brotli", "lz4", "zstd", "snappy", "none"] {
        assert_rows(name);
    }
}

#[test]
fn columns_of_any_width_are_read_and_unknown_ones_ignored() {
    assert_eq!(assert_rows("widths").ignored(), [""; 0]);
    assert_eq!(assert_rows("extra").ignored(), ["note", "list"]);
    assert_eq!(assert_rows("pandas").ignored(), ["__index__"]);
}

#[test]
fn decimals_are_read_from_any_storage_type() {
    for name in ["decimal", "decimal_integers"] {
        assert_rows(name);
    }
}

#[test]
fn mismatched_values_are_refused_by_column_and_row() {
    for (name, says) in [
        ("null", "row 1, column packet_length: no value"),
        (
            "nested",
            "column packet_length: nested or a list, expected one value per row",
        ),
        (
            "range",
            "row 2, column packet_length: -1, expected 1 to 65535",
        ),
        (
            "decimal256",
            "column packet_length: type DECIMAL of 26 bytes, expected at most 16",
        ),
        // A damaged page with fewer values than it declares.
        ("short", "column queue_type: 0 values in a group of 4 rows"),
        (
            "table",
            "column episode: missing; the file has: packet_length reward dequeue_action",
        ),
    ] {
        let error = refused(name);
        assert!(
            error.contains(says) && error.contains(name),
            "{name}: {error}"
        );
    }
}

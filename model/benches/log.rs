//! Speed of the kernel log's reader, in MB/s of uncompressed text.
//!
//! `cargo bench -p l4sllm-model --features pool --bench log`

#![allow(clippy::unwrap_used, reason = "a program for developers")]

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use l4sllm_model::log::{Entry, LogReader, LogWriter};

#[path = "../tests/common/mod.rs"]
mod common;

const LINES: usize = 1 << 20;
const PREFIX: &[u8] = b"Nov 20 10:11:12 router kernel: ";

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<Entry> = common::records(4096, 1)
        .iter()
        .map(|r| Entry::try_from(r).unwrap())
        .collect();
    let mut text = Vec::new();
    let start = Instant::now();
    for entry in entries.iter().cycle().take(LINES) {
        text.write_all(PREFIX).unwrap();
        LogWriter::new(&mut text).write(entry).unwrap();
    }
    let took = start.elapsed().as_secs_f64();
    let size = text.len() as f64 / 1e6;
    println!("{:<12} {LINES} lines, {size:.0} MB", "log");
    println!("{:<12} {:>6.0} MB/s", "write", size / took);

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
    for (name, content) in [("read", &text), ("read gzip", &gzip), ("read zstd", &zstd)] {
        let path = dir.path().join("log");
        std::fs::write(&path, content).unwrap();
        let took = (0..3).map(|_| read(&path)).fold(f64::MAX, f64::min);
        println!("{name:<12} {:>6.0} MB/s", size / took);
    }
}

/// Seconds.
fn read(path: &Path) -> f64 {
    let start = Instant::now();
    let mut reader = LogReader::new(vec![path.to_owned()]);
    let mut out = Vec::new();
    while reader.read(&mut out).unwrap() {
        out.clear();
    }
    assert_eq!(reader.tally().entries as usize, LINES);
    start.elapsed().as_secs_f64()
}

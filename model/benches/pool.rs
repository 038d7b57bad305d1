//! Memory and time of writing, reading and training on pools.
//!
//! `cargo bench -p l4sllm-model --features pool --bench pool [-- ROWS]`, ten
//! million rows by default. Peaks are the process's (Linux), 0 elsewhere.

#![allow(clippy::unwrap_used, reason = "a program for developers")]

use std::path::Path;
use std::time::Instant;

use l4sllm_model::files::Existing;
use l4sllm_model::pool::{Dataset, Pool, PoolWriter, Row, Sink, Source, Split, open};
use l4sllm_model::{Feature, PolicyConfig, Reward};

#[path = "../tests/common/mod.rs"]
mod common;

/// Rows per episode.
const EPISODE: usize = 50_000;

fn main() {
    let rows = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let rows: usize = rows.unwrap_or(10_000_000);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.parquet");
    println!("{:<24} {:>8} {:>10}", "", "s", "peak MiB");

    measure("write Parquet", || write(&path, rows));
    let size = std::fs::metadata(&path).unwrap().len() >> 20;
    println!("{rows} rows, {size} MiB");
    measure("read Parquet", || {
        let pool = Pool::open(&path).unwrap();
        for index in 0..pool.groups() {
            pool.group(index, Feature::ALL).unwrap();
        }
    });
    let json = dir.path().join("pool.json");
    measure("convert to JSON", || {
        let mut source = open(&path).unwrap();
        let mut sink = Sink::create(&json, source.schema(), Existing::Replace).unwrap();
        while let Some(rows) = source.next().unwrap() {
            sink.append(&rows).unwrap();
        }
        sink.finish().unwrap();
    });
    measure("read JSON", || {
        let mut source = open(&json).unwrap();
        while source.next().unwrap().is_some() {}
    });
    std::fs::remove_file(&json).unwrap();

    let paths = [path];
    let mut config = PolicyConfig::new("bench", &Feature::PAPER7);
    let episodes = measure("Dataset::episodes", || Dataset::episodes(&paths).unwrap());
    let split = Split::of(&episodes, 0.1, &[]);
    measure("Dataset::fit", || {
        Dataset::fit(&mut config, &paths, &split, 0, 0.9).unwrap();
    });
    let data = measure("Dataset::load", || {
        Dataset::load(&config, &paths, &episodes, &split).unwrap()
    });
    assert_eq!(data.rows(), rows);
}

fn write(path: &Path, rows: usize) {
    let mut writer = PoolWriter::create(path).unwrap();
    let mut left = rows;
    let mut seed = 0;
    while left > 0 {
        let count = left.min(EPISODE);
        let records = common::records(count as u64, seed);
        let rows = records.iter().map(|r| Row::new(r, &Reward::default()));
        writer.episode("bench", rows.collect()).unwrap();
        left -= count;
        seed += 1;
    }
    writer.finish().unwrap();
}

fn measure<T>(name: &str, work: impl FnOnce() -> T) -> T {
    // Resets the peak memory on Linux.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let start = Instant::now();
    let result = work();
    let took = start.elapsed().as_secs_f64();
    println!("{name:<24} {took:>8.1} {:>10}", peak_kib() >> 10);
    result
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

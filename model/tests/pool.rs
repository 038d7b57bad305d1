//! Pools come back as they were written, and are scaled as sessions scale.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Noise, records};
use l4sllm_model::pool::{Dataset, Pool, PoolError, PoolWriter, Row, Split, Windows};
use l4sllm_model::{Feature, PolicyConfig, Reward, returns_to_go};

fn rows(count: u64, seed: u64) -> Vec<Row> {
    records(count, seed)
        .iter()
        .map(|r| Row::new(r, &Reward::default()))
        .collect()
}

#[test]
fn rows_come_back_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.parquet");
    // More rows than one row group takes.
    let (first, second, third) = (rows(200_000, 1), rows(100_000, 2), rows(7, 3));
    let mut writer = PoolWriter::create(&path).unwrap();
    writer.episode("paper", first.clone()).unwrap();
    writer.episode("none", Vec::new()).unwrap();
    writer.episode("paper", second.clone()).unwrap();
    assert!(!path.exists(), "half a pool has the pool's name");
    writer.episode("other", third.clone()).unwrap();
    assert_eq!(writer.size(), (300_007, 3));
    writer.finish().unwrap();

    let pool = Pool::open(&path).unwrap();
    assert_eq!((pool.rows(), pool.groups()), (300_007, 2));
    assert_eq!(pool.scenarios().unwrap(), ["other", "paper"]);
    let want: Vec<Row> = [first, second, third].concat();
    let mut at = 0;
    for index in 0..pool.groups() {
        let group = pool.group(index, Feature::ALL).unwrap();
        for i in 0..group.action.len() {
            let row = &want[at];
            assert_eq!(group.time_ns[i], row.time_ns);
            assert_eq!(group.action[i], row.action);
            assert_eq!(group.reward[i], row.reward);
            assert!(
                group
                    .features
                    .iter()
                    .zip(row.values)
                    .all(|(column, v)| column[i] == v)
            );
            assert_eq!(group.done[i], [199_999, 299_999, 300_006].contains(&at));
            assert_eq!(
                group.episode[i],
                [200_000, 300_000].iter().filter(|e| at >= **e).count() as u32
            );
            at += 1;
        }
    }
    assert_eq!(at, want.len());
}

#[test]
fn a_dataset_is_what_a_session_would_see() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..2)
        .map(|i| dir.path().join(format!("{i}.parquet")))
        .collect();
    for (i, path) in paths.iter().enumerate() {
        let mut writer = PoolWriter::create(path).unwrap();
        for episode in 0..3 {
            writer
                .episode("s", rows(50, 10 * i as u64 + episode))
                .unwrap();
        }
        writer.finish().unwrap();
    }
    let episodes = Dataset::episodes(&paths).unwrap();
    assert_eq!(
        episodes,
        [0..50, 50..100, 100..150, 150..200, 200..250, 250..300]
    );
    let split = Split::new(&episodes, 0.2);
    let mut config = PolicyConfig::new("test", &Feature::PAPER7);
    Dataset::fit(&mut config, &paths, &episodes, &split.train, 0.9).unwrap();
    config.check().unwrap();
    let data = Dataset::load(&config, &paths, &episodes).unwrap();
    assert_eq!(data.rows(), 300);

    let second = records(50, 1);
    for (i, record) in second.iter().enumerate() {
        let want: Vec<f32> = config
            .features
            .iter()
            .map(|f| f.scaling.apply(f.name.value(record)))
            .collect();
        assert_eq!(data.features(50 + i), want);
        assert_eq!(data.action(50 + i), record.action() as u8);
    }
    let mut returns: Vec<f64> = second.iter().map(|r| Reward::default().of(r)).collect();
    returns_to_go(&mut returns, config.returns.gamma);
    for (i, want) in returns.iter().enumerate() {
        assert_eq!(
            data.return_to_go(50 + i),
            config.returns.scaling.apply(*want)
        );
    }
    // The target is high, but one that was seen.
    let target = config.returns.scaling.apply(config.returns.target);
    let trained: Vec<f32> = split
        .train
        .iter()
        .flat_map(|r| r.clone())
        .map(|r| data.return_to_go(r))
        .collect();
    let below = trained.iter().filter(|r| **r <= target).count() as f64 / trained.len() as f64;
    assert!((below - 0.9).abs() < 0.02, "{below}");
    let windows = Windows::new(&split.train, 20);
    assert_eq!(windows.len(), 5 * (40 - 19));
}

#[test]
fn damaged_pools_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.parquet");
    assert!(matches!(
        Pool::open(&path),
        Err(PoolError::Io {
            operation: "open",
            ..
        })
    ));
    let mut writer = PoolWriter::create(&path).unwrap();
    writer.episode("s", rows(500, 1)).unwrap();
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 3, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(
            matches!(Pool::open(&path), Err(PoolError::Parquet { .. })),
            "cut at {cut}"
        );
    }
    // Flipped bytes: an error or other values, never a panic.
    let mut noise = Noise(4);
    for _ in 0..200 {
        let mut bytes = bytes.clone();
        let at = noise.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << noise.below(8);
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(pool) = Pool::open(&path) {
            for index in 0..pool.groups() {
                let _ = pool.group(index, &Feature::PAPER8);
            }
        }
    }
}

#[test]
fn values_out_of_range_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.parquet");
    let write = |change: fn(&mut Row)| {
        let mut rows = rows(5, 1);
        change(&mut rows[3]);
        let mut writer = PoolWriter::create(&path).unwrap();
        writer.episode("s", rows).unwrap();
        writer.finish().unwrap();
        Pool::open(&path)
            .unwrap()
            .group(0, Feature::ALL)
            .unwrap_err()
            .to_string()
    };
    assert!(write(|row| row.action = 3).ends_with("column action: 3, want 0..2"));
    assert!(write(|row| row.reward = f64::NAN).contains("column reward: NaN"));
    assert!(write(|row| row.values[3] = f64::INFINITY).contains("column current_queue_delay: inf"));
}

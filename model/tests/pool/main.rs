//! Pools are restored as written and are scaled as in sessions.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod imports;
mod other_writers;
mod tables;

use std::path::Path;

use common::{Noise, records};
use l4sllm_model::files::Existing;
use l4sllm_model::pool::{
    Dataset, Inspection, Narrow, Pool, PoolError, PoolWriter, Row, Rows, Schema, Sink, Source,
    Split, Windows, open,
};
use l4sllm_model::{Feature, PolicyConfig, Reward, Rewards, returns_to_go};
use proptest::prelude::*;

fn rows(count: u64, seed: u64) -> Vec<Row> {
    records(count, seed)
        .iter()
        .map(|r| Row::new(r, &Reward::default()))
        .collect()
}

#[test]
fn rows_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.parquet");
    // More rows than fit into one row group.
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
fn dataset_matches_the_input_of_a_session() {
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
    let ranges: Vec<_> = episodes.iter().map(|e| e.rows.clone()).collect();
    assert_eq!(
        ranges,
        [0..50, 50..100, 100..150, 150..200, 200..250, 250..300]
    );
    let split = Split::of(&episodes, 0.2, &[]);
    let mut config = PolicyConfig::new("test", &Feature::PAPER7);
    Dataset::fit(&mut config, &paths, &split, 0, 0.9).unwrap();
    config.check().unwrap();
    let data = Dataset::load(&config, &paths, &episodes, &split).unwrap();
    assert_eq!(data.rows(), 300);

    let second = records(50, 1);
    for (i, record) in second.iter().enumerate() {
        let want: Vec<f32> = config
            .features
            .iter()
            .map(|f| f.scaling.apply(f.name.of_record(record).unwrap()))
            .collect();
        assert_eq!(data.features(50 + i), want);
        assert_eq!(data.action(50 + i), record.action() as u8);
    }
    let mut returns: Vec<f64> = second.iter().map(|r| Reward::default().of(r)).collect();
    // The training rows precede all others in time.
    for part in [0..40, 40..50] {
        returns_to_go(&mut returns[part], config.returns.gamma.unwrap());
    }
    for (i, want) in returns.iter().enumerate() {
        assert_eq!(
            data.return_to_go(50 + i),
            config.returns.scaling.apply(*want)
        );
    }
    // The target is high, but within the observed range.
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
    let mut noise = Noise::new(4);
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
    // Values that the writer accepts but the reader refuses.
    let mut bad = rows(5, 1);
    bad[3].action = 3;
    let mut writer = PoolWriter::create(&path).unwrap();
    writer.episode("s", bad).unwrap();
    writer.finish().unwrap();
    let pool = Pool::open(&path).unwrap();
    let error = pool.group(0, Feature::ALL).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "pool.parquet: row 3, column action: 3, expected a whole number from 0 to 2"
        ),
        "{error}"
    );
    foreign(&path, "REQUIRED", "DOUBLE", Some(&[1.0, f64::NAN]));
    let pool = Pool::open(&path).unwrap();
    let error = pool.group(0, &[]).unwrap_err().to_string();
    assert!(
        error.contains("row 1, column reward: NaN, expected a finite"),
        "{error}"
    );
    let error = pool.group(0, &[Feature::Ecn]).unwrap_err().to_string();
    assert!(error.contains("column reward: NaN"), "{error}");

    let refused = |change: fn(&mut Row)| {
        let mut rows = rows(5, 1);
        change(&mut rows[3]);
        let mut writer = PoolWriter::create(&path).unwrap();
        writer.episode("s", vec![rows[0].clone()]).unwrap();
        writer.episode("s", rows).unwrap_err().to_string()
    };
    assert!(
        refused(|row| row.reward = f64::NAN)
            .ends_with("row 4: reward is NaN, expected a finite number")
    );
    assert!(
        refused(|row| row.values[3] = f64::INFINITY).contains("row 4: current_queue_delay is inf")
    );
    assert!(
        refused(|row| row.values[3] = -1.0)
            .ends_with("row 4: current_queue_delay is -1, expected 0 to 4294967295")
    );
    assert!(
        refused(|row| row.values[13] = 0.0)
            .ends_with("row 4: packet_length is 0, expected 1 to 65535")
    );
    // No file of an abandoned pool remains.
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// A pool as written by other programs, with one row group; `None` is a null.
fn foreign(path: &Path, repetition: &str, reward: &str, rewards: Option<&[f64]>) {
    use parquet::data_type::{BoolType, ByteArrayType, DoubleType, FloatType, Int32Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    let schema = format!(
        "message pool {{ {repetition} INT32 episode; {repetition} BYTE_ARRAY scenario (STRING);
          {repetition} INT32 action; {repetition} {reward} reward; {repetition} BOOLEAN done;
          {repetition} DOUBLE packet_length; }}"
    );
    let schema = std::sync::Arc::new(parse_message_type(&schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut file = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let full: &[i16] = &[1, 1];
    let full = (repetition == "OPTIONAL").then_some(full);
    macro_rules! column {
        ($type:ty, $values:expr, $levels:expr) => {{
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<$type>()
                .write_batch($values, $levels, None)
                .unwrap();
            column.close().unwrap();
        }};
    }
    column!(Int32Type, &[0, 0], full);
    column!(ByteArrayType, &["s".into(), "s".into()], full);
    column!(Int32Type, &[0, 1], full);
    match (reward, rewards) {
        ("FLOAT", _) => column!(FloatType, &[1.0, 2.0], full),
        (_, Some(values)) => column!(DoubleType, values, full),
        (_, None) => column!(DoubleType, &[1.0], Some(&[1, 0])),
    }
    column!(BoolType, &[false, true], full);
    column!(DoubleType, &[1500.0, 40.0], full);
    group.close().unwrap();
    file.close().unwrap();
}

#[test]
fn reads_pools_of_other_programs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("foreign.parquet");
    foreign(&path, "OPTIONAL", "DOUBLE", Some(&[1.0, 2.0]));
    let pool = Pool::open(&path).unwrap();
    let schema = pool.schema().unwrap();
    assert_eq!(schema, Schema::new([Feature::PacketLength], false, false));
    let group = pool.group(0, &[Feature::PacketLength]).unwrap();
    assert_eq!(group.reward, [1.0, 2.0]);
    assert_eq!(group.features, [[1500.0, 40.0]]);
    assert!(group.time_ns.is_empty());

    let error = pool.group(0, &[Feature::Ecn]).unwrap_err().to_string();
    assert!(
        error.contains("column ecn: missing; the file has: episode scenario action reward done"),
        "{error}"
    );
    foreign(&path, "OPTIONAL", "DOUBLE", None);
    let error = Pool::open(&path).unwrap().group(0, &[]).unwrap_err();
    assert!(
        error.to_string().contains("row 1, column reward: no value"),
        "{error}"
    );
    foreign(&path, "REQUIRED", "FLOAT", None);
    let group = Pool::open(&path).unwrap().group(0, &[]).unwrap();
    assert_eq!(group.reward, [1.0, 2.0]);
}

/// The whole contents of a pool.
fn contents(path: &Path) -> (Schema, Vec<Rows>) {
    let mut source = open(path).unwrap();
    let schema = source.schema().clone();
    (schema, drain(&mut source))
}

/// Every episode, whole.
fn drain(source: &mut impl Source) -> Vec<Rows> {
    let mut episodes: Vec<Rows> = Vec::new();
    while let Some(rows) = source.next().unwrap() {
        match episodes.last_mut() {
            Some(last) if !rows.first => {
                assert_eq!(last.scenario, rows.scenario);
                last.extend(&rows, 0..rows.len());
            }
            _ => episodes.push(rows),
        }
    }
    episodes
}

fn write(path: &Path, schema: &Schema, episodes: &[Rows]) {
    let mut sink = Sink::create(path, schema, Existing::Keep).unwrap();
    episodes.iter().for_each(|rows| sink.append(rows).unwrap());
    assert!(!path.exists());
    sink.finish().unwrap();
}

/// Exact comparison: -0.0 is not 0.0.
fn assert_same(left: &[Rows], right: &[Rows]) {
    let bits = |rows: &Rows| -> Vec<u64> {
        let all = rows.features.iter().chain(std::iter::once(&rows.reward));
        all.flatten().map(|v| v.to_bits()).collect()
    };
    assert_eq!(left, right);
    assert!(left.iter().map(bits).eq(right.iter().map(bits)));
}

/// A value of a feature for any number; -0.0 where 0 is allowed.
fn within(feature: Feature, number: f64) -> f64 {
    let (least, most) = feature.range();
    match feature {
        Feature::QueueType | Feature::Ecn => number.abs().trunc() % (most as f64 + 1.0),
        _ if least == 0 && number == 0.0 => number,
        _ => least as f64 + number.abs() % (most - least) as f64,
    }
}

prop_compose! {
    fn any_pool()(
        features in prop::sample::subsequence(Feature::ALL.to_vec(), 0..5),
        time: bool,
        base: bool,
        episodes in prop::collection::vec((".{0,6}", 1usize..40), 1..5),
        seed: u64,
    ) -> (Schema, Vec<Rows>) {
        let schema = Schema::new(features, time, base);
        let mut noise = Noise::new(seed);
        let mut number = || match noise.below(4) {
            0 => noise.below(1 << 20) as f64,
            1 => [0.0, -0.0, f64::MAX, f64::MIN_POSITIVE, 1e-320][noise.below(5) as usize],
            _ => Some(f64::from_bits(noise.next())).filter(|v| v.is_finite()).unwrap_or(0.1),
        };
        let episodes = episodes.into_iter().map(|(scenario, count)| {
            let mut rows = Rows::new(&schema, &scenario, true);
            for i in 0..count {
                rows.action.push((i % 3) as u8);
                rows.reward.push(number());
                rows.done.push(i % 7 == 5);
                for (column, feature) in rows.features.iter_mut().zip(schema.features()) {
                    column.push(within(*feature, number()));
                }
                if time {
                    rows.time_ns.push(u64::MAX - (count - i) as u64);
                }
                if base {
                    rows.base_action.push((i % 2) as u8);
                    rows.reason.push(i as u8);
                }
            }
            rows
        });
        let episodes = episodes.collect();
        (schema, episodes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn both_pool_formats_hold_the_same_rows((schema, episodes) in any_pool()) {
        let dir = tempfile::tempdir().unwrap();
        let name = |name: &str| dir.path().join(name);
        let convert = |from: &Path, to: &Path| {
            let (schema, rows) = contents(from);
            write(to, &schema, &rows);
        };
        write(&name("a.parquet"), &schema, &episodes);
        convert(&name("a.parquet"), &name("b.json"));
        convert(&name("b.json"), &name("c.json"));
        convert(&name("c.json"), &name("d.parquet"));
        for pool in ["a.parquet", "b.json", "d.parquet"] {
            let (found, rows) = contents(&name(pool));
            prop_assert_eq!(&found, &schema);
            assert_same(&rows, &episodes);
        }
        let bytes = |pool: &str| std::fs::read(name(pool)).unwrap();
        prop_assert!(bytes("a.parquet") == bytes("d.parquet"));
        prop_assert!(bytes("b.json") == bytes("c.json"));
        // Other programs can parse it as JSON.
        let value: serde_json::Value = serde_json::from_slice(&bytes("b.json")).unwrap();
        prop_assert_eq!(value["states"].as_array().unwrap().len(), value["episodes"].as_array().unwrap().len());
    }
}

#[test]
fn reads_published_lists_as_a_pool() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("exp_pool.json");
    // As written by json.dump from the authors' pickled objects.
    let state = "[0, 30000.0, 247756880, 3.7e5, 17492338688.0, 256560, 1500]";
    let text = format!(
        r#"{{"states": [{state}, {state}, {state}], "actions": [0.0, 1, 2],
        "rewards": [0.004043126684636119, 1, 2], "dones": [0, 1, false]}}"#
    );
    std::fs::write(&path, text).unwrap();
    let (schema, episodes) = contents(&path);
    assert_eq!(schema, Schema::new(Feature::PAPER7, false, false));
    assert_eq!(episodes.len(), 2);
    assert_eq!(episodes[0].scenario, "exp_pool");
    assert_eq!(episodes[0].action, [0, 1]);
    assert_eq!(episodes[0].reward[0], 0.004043126684636119);
    let delay = schema.place(Feature::CurrentQueueDelay).unwrap();
    assert_eq!(episodes[0].features[delay], [370_000.0; 2]);

    let fails = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut source = match open(&path) {
            Ok(source) => source,
            Err(error) => return error.to_string(),
        };
        loop {
            match source.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("was read: {text}"),
                Err(error) => return error.to_string(),
            }
        }
    };
    let pool = |states: &str, actions: &str, rest: &str| {
        let features = r#""features": ["ecn"]"#;
        format!(r#"{{{features}, "states": {states}, "actions": {actions}, {rest}}}"#)
    };
    let rest = r#""rewards": [1, 2], "dones": [0, 0]"#;
    for (text, says) in [
        (pool("[[0], [NaN]]", "[0, 1]", rest), "states[1] (byte"),
        (
            pool("[[0], [NaN]]", "[0, 1]", rest),
            r#""NaN", expected a finite number"#,
        ),
        (
            pool("[[0], [1e999]]", "[0, 1]", rest),
            r#""1e999", expected a finite number"#,
        ),
        (pool("[[0], []]", "[0, 1]", rest), "expected a value"),
        (
            pool("[[0], [1, 2]]", "[0, 1]", rest),
            "expected the end of 1 numbers",
        ),
        (pool("[[0], [1]]", "[0, 3]", rest), "actions[1] (byte"),
        (
            pool("[[0], [1]]", "[0, 3]", rest),
            r#""3", expected a whole number from 0 to 2"#,
        ),
        (
            pool("[[0], [1]]", "[0]", rest),
            "fewer elements than states",
        ),
        (pool("[[0]]", "[0, 1]", rest), "more elements than states"),
        (pool("[[0]]", "[0]", r#""rewards": [1]"#), "dones: missing"),
        (
            pool("[[0]]", "[0]", r#""notes": 1"#),
            r#""notes" is not a key of pools"#,
        ),
        (
            r#"{"states": [[1, 2]], "actions": [0], "rewards": [1], "dones": [0]}"#.to_owned(),
            "states of 2 numbers",
        ),
        (
            r#"{"format": "l4sllm pool 9"}"#.to_owned(),
            r#"expected "l4sllm pool 1""#,
        ),
        (r#"{"states": [[1, 2"#.to_owned(), "the file ends"),
        ("[1]".to_owned(), "not a pool (Parquet or JSON)"),
        (" \n\n\n\t[1]".to_owned(), "not a pool (Parquet or JSON)"),
        (pool("[[0], [4]]", "[0, 1]", rest), "states[1] (byte"),
        (
            pool("[[0], [4]]", "[0, 1]", rest),
            "ecn is 4, expected a whole number from 0 to 3",
        ),
    ] {
        let error = fails(&text);
        assert!(
            error.contains(says) && error.contains("exp_pool.json"),
            "{text}\n{error}"
        );
    }
}

#[test]
fn inspection_counts_states_and_leaks() {
    let schema = Schema::new([Feature::PacketLength], false, false);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.json");
    let mut rows = Rows::new(&schema, "s", true);
    for (length, action) in [(1.0, 0), (2.0, 1), (1.0, 0), (3.0, 0), (1.0, 2), (4.0, 0)] {
        rows.action.push(action);
        rows.reward.push(length / 2.0);
        rows.done.push(length == 4.0);
        rows.features[0].push(length);
    }
    write(&path, &schema, &[rows.clone(), rows]);
    let mut inspection = Inspection::new(&schema);
    inspection.add(&mut open(&path).unwrap(), |_| ()).unwrap();
    assert_eq!(inspection.rows(), 12);
    assert_eq!(inspection.episodes(), [0..6, 6..12]);
    assert_eq!(inspection.actions(), [8, 2, 2]);
    assert_eq!(inspection.ended(), 2);
    assert_eq!(inspection.scenarios(), [("s".to_owned(), 12)]);
    // Four states, of which 1 occurs with enqueue and with mark.
    assert_eq!(inspection.distinct(), (4, 1));
    let length = &inspection.columns()[1];
    assert_eq!((length.name, length.unit), ("packet_length", "bytes"));
    assert_eq!((length.least, length.mean, length.most), (1.0, 2.0, 4.0));
    let overlap = inspection.overlap(&[0..2, 2..3], &[3..6, 7..8]);
    assert_eq!((overlap.rows, overlap.known), (4, 2));
}

#[test]
fn rewards_are_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.parquet");
    let reward = Reward {
        delay: 2.0,
        fairness: 0.5,
        ..Reward::default()
    };
    let stream = records(300, 3);
    let mut writer = PoolWriter::create(&path).unwrap();
    writer
        .episode(
            "s",
            stream
                .iter()
                .map(|r| Row::new(r, &Reward::default()))
                .collect(),
        )
        .unwrap();
    writer.finish().unwrap();
    let (schema, mut episodes) = contents(&path);
    Rewards::new(reward)
        .rewrite(&mut episodes[0], &schema)
        .unwrap();
    let mut fresh = Rewards::new(reward);
    assert!(
        stream
            .iter()
            .map(|r| fresh.next(r))
            .eq(episodes[0].reward.iter().copied())
    );

    let narrow = Schema::new(
        [Feature::PacketLength, Feature::CurrentQueueDelay],
        false,
        false,
    );
    let source = Narrow::new(open(&path).unwrap(), &narrow).next().unwrap();
    let mut rows = source.unwrap();
    assert_eq!(rows.features.len(), 2);
    assert!(rows.time_ns.is_empty());
    assert_eq!(
        Rewards::new(reward).rewrite(&mut rows, &narrow),
        Err(Feature::QueueType)
    );
    assert_eq!(
        Rewards::new(Reward::default()).rewrite(&mut rows, &narrow),
        Ok(())
    );
}

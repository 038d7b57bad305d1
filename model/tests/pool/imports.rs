//! Pools from captures, logs and the authors' pool.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use l4sllm_abi::{Message, Record, Stream, V1_SIZE, raw};
use l4sllm_model::log::{Entry, FIELDS, LogReader, LogWriter};
use l4sllm_model::pool::{CaptureReader, CsvReader, EpisodeRule, KernelLog, TableOptions};

use super::*;

#[test]
fn a_capture_of_a_device_is_a_pool() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("capture");
    let of = |instance: u32, count: u64, seed: u64| -> Vec<Record> {
        let all = records(count, seed).into_iter();
        all.map(|record| {
            Record::try_from(raw::l4s_record_v1 {
                instance,
                ..*record.raw()
            })
            .unwrap()
        })
        .collect()
    };
    let (one, two) = (of(0, 30, 1), of(7, 20, 2));
    let mut bytes = Vec::new();
    let mut seq = 100;
    for (i, record) in one.iter().enumerate() {
        for record in std::iter::once(record).chain(two.get(i)) {
            let mut record = *record.raw();
            record.hdr.seq = seq;
            bytes.extend(Record::try_from(record).unwrap().to_bytes());
            seq += 1;
        }
        if i == 24 {
            let (time_ns, lost) = (9, 4);
            bytes.extend(
                Message::Loss {
                    seq,
                    time_ns,
                    lost,
                    stream: Stream::Records,
                }
                .to_bytes(),
            );
            seq += lost;
        }
        if i == 27 {
            seq += 1; // from here, another capture
        }
    }
    bytes.extend(&one[0].to_bytes()[..50]); // the capture was cut
    std::fs::write(&path, &bytes).unwrap();
    assert!(CaptureReader::is_one(&bytes));
    let mut capture = CaptureReader::open(&path, "wire", Reward::default()).unwrap();
    assert_eq!((capture.lost(), capture.holes()), (4, 1));
    let mut lengths = Vec::new();
    let mut rewards = Vec::new();
    while let Some(rows) = capture.next().unwrap() {
        assert!(rows.first && rows.scenario == "wire");
        lengths.push(rows.len());
        rewards.extend(rows.reward);
    }
    assert_eq!(lengths, [25, 3, 2, 20]);
    let want = one.iter().chain(&two).map(|r| Reward::default().of(r));
    assert!(rewards.into_iter().eq(want));

    bytes[V1_SIZE] ^= 0xff; // another version
    std::fs::write(&path, &bytes).unwrap();
    let Err(error) = CaptureReader::open(&path, "wire", Reward::default()) else {
        panic!("was read");
    };
    assert!(error.to_string().contains("byte 168"), "{error}");
}

#[test]
fn log_is_split_where_its_counters_decrease() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages");
    let line = |second: u64, packets: u64, queue: u64| {
        let mut fields = [0; FIELDS.len()];
        (fields[0], fields[17], fields[22], fields[23]) = (queue, packets, 1500, 1 + packets % 3);
        let mut writer = LogWriter::new(Vec::new());
        writer.write(&Entry::new(fields).unwrap()).unwrap();
        let line = String::from_utf8(writer.finish().unwrap()).unwrap();
        format!("Nov 20 10:11:{second:02} gw kernel: {line}")
    };
    // Each queue counts its own packets; at second 3 the counts start over.
    let text: String = [
        (0, 8, 0),
        (1, 1, 1),
        (2, 9, 0),
        (3, 0, 1),
        (4, 0, 0),
        (5, 1, 0),
    ]
    .map(|(second, packets, queue)| line(second, packets, queue))
    .concat();
    std::fs::write(&path, text).unwrap();
    let read = |rule| {
        let files = LogReader::new(vec![path.clone()]);
        let stop = AtomicBool::new(false);
        let mut log = KernelLog::open(files, Some("lab"), rule, Reward::default(), &stop).unwrap();
        assert!(log.schema().time() && !log.schema().base());
        assert_eq!(log.schema().features().len(), 14);
        let episodes = drain(&mut log);
        assert!(episodes.iter().all(|rows| rows.scenario == "lab"));
        assert_eq!(log.tally().entries, 6);
        episodes
    };
    let cut = read(EpisodeRule::Counters);
    assert_eq!(cut.len(), 2);
    assert_eq!(cut[0].time_ns, [0, 1_000_000_000, 2_000_000_000]);
    assert_eq!(cut[0].done, [false, false, true]);
    assert_eq!(cut[0].action, [2, 1, 0]);
    assert_eq!(cut[0].reward, [1.5; 3]);
    assert_eq!(cut[1].done, [false; 3]);
    assert_eq!(read(EpisodeRule::One).len(), 1);
}

/// The authors' pool, if available: `L4SLLM_PAPER_POOL`, or next to the
/// repository.
#[test]
fn reads_the_authors_pool() {
    let path = std::env::var_os("L4SLLM_PAPER_POOL").map_or_else(
        || {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../shared/data/paper-experience-pool.csv")
        },
        PathBuf::from,
    );
    if !path.is_file() {
        println!(
            "skipped: reads_the_authors_pool ({} is not there)",
            path.display()
        );
        return;
    }
    let options = TableOptions {
        scenario: "paper",
        reward: Reward::default(),
        actions: None,
    };
    let table = CsvReader::open(&path, options).unwrap();
    let schema = table.schema().clone();
    let mut inspection = Inspection::new(&schema);
    inspection.add(&mut Box::new(table), |_| ()).unwrap();
    assert_eq!(inspection.rows(), 2490);
    assert_eq!(inspection.actions(), [2061, 369, 60]);
    assert_eq!(inspection.distinct(), (1469, 0));
    assert_eq!(inspection.episodes().len(), 1);
    // Every reward follows the formula.
    let mut table = CsvReader::open(&path, options).unwrap();
    while let Some(mut rows) = table.next().unwrap() {
        let published = rows.reward.clone();
        Rewards::new(Reward::default())
            .rewrite(&mut rows, &schema)
            .unwrap();
        assert_eq!(rows.reward, published);
    }
}

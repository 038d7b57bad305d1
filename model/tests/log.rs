//! The kernel log: what is whole comes back as written, whatever it is packed
//! in; what is damaged is counted and never used.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};

use common::{Noise, records};
use flate2::write::GzEncoder;
use l4sllm_model::log::{Entry, Fault, LogReader, LogWriter, Logged, Tally};
use proptest::prelude::*;

fn read(paths: &[PathBuf]) -> (Vec<Logged>, Tally) {
    let mut reader = LogReader::new(paths.to_vec());
    let mut all = Vec::new();
    while reader.read(&mut all).unwrap() {}
    (all, reader.tally().clone())
}

fn read_text(text: &[u8]) -> (Vec<Entry>, Tally) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, text).unwrap();
    let (all, tally) = read(&[path]);
    (all.iter().map(|l| l.entry).collect(), tally)
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut writer = LogWriter::new(Vec::new());
    entries.iter().for_each(|e| writer.write(e).unwrap());
    writer.finish().unwrap()
}

fn entries(count: u64, seed: u64) -> Vec<Entry> {
    let all = records(count, seed);
    all.iter().map(|r| Entry::try_from(r).unwrap()).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

fn counted(tally: &Tally, fault: Fault) -> u64 {
    tally.faults[fault.reason()]
}

proptest! {
    #[test]
    fn entries_come_back_as_written(
        fields in prop::collection::vec(prop::array::uniform24(any::<u64>()), 1..20),
    ) {
        let entries: Vec<Entry> = fields
            .into_iter()
            .map(|mut f| {
                for (i, value) in f.iter_mut().enumerate() {
                    *value = match i {
                        0 => *value % 2,
                        9 => *value >> 33,
                        12 | 13 | 17 | 18 | 21 => *value,
                        22 => 1 + *value % 65_535,
                        23 => 1 + *value % 3,
                        _ => *value >> 32,
                    };
                }
                Entry::new(f).unwrap()
            })
            .collect();
        let text = written(&entries);
        let (back, tally) = read_text(&text);
        prop_assert_eq!(&back, &entries);
        prop_assert_eq!((tally.bad(), tally.other_lines), (0, 0));
        prop_assert_eq!(written(&back), text);
    }
}

#[test]
fn records_make_the_published_line() {
    let record = records(3, 7)[2];
    let line = String::from_utf8(written(&[Entry::try_from(&record).unwrap()])).unwrap();
    let fields: Vec<&str> = line.trim_end().split(',').collect();
    assert_eq!(fields[0], "l4s_ecn_marking-start");
    assert_eq!(fields.len(), 26);
    assert_eq!(fields[25], "end");
    assert_eq!(fields[24], (record.dequeue_action + 1).to_string());
    assert_eq!(fields[23], record.packet_length.to_string());
    assert_eq!(fields[1], record.queue_type.to_string());
    let entry = Entry::try_from(&record).unwrap();
    assert_eq!(entry.action(), record.action() as u8);
    for feature in Entry::features() {
        let place = Entry::place(feature).unwrap();
        assert_eq!(entry.fields()[place] as f64, feature.value(&record));
    }
}

#[test]
fn packed_files_are_told_by_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let want = entries(9_000, 1);
    let text = written(&want);
    let half = text.len() / 2;
    // Two members, the border within a line, as cat(1) of two files has it.
    let members = [gzip(&text[..half]), gzip(&text[half..])].concat();
    let files = [
        ("a.zst", text.clone()),
        ("b.txt", members),
        ("c", zstd::encode_all(text.as_slice(), 1).unwrap()),
    ];
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let (all, tally) = read(std::slice::from_ref(&path));
        assert!(
            all.iter().map(|l| l.entry).eq(want.iter().copied()),
            "{name}"
        );
        assert_eq!((tally.entries, tally.bad()), (9_000, 0));
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |name: &str, content: Option<&[u8]>| {
        let path = dir.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let mut reader = LogReader::new(vec![path]);
        let mut out = Vec::new();
        loop {
            match reader.read(&mut out) {
                Ok(true) => {}
                Ok(false) => panic!("{name} was read"),
                Err(error) => break error.to_string(),
            }
        }
    };
    assert!(fails("none", None).contains("none: "));
    let error = fails("messages.0.bz2", Some(b"BZh91AY&SY"));
    assert!(
        error.contains("messages.0.bz2") && error.contains("bzip2"),
        "{error}"
    );
    let mut flipped = gzip(&written(&entries(500, 1)));
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    assert!(fails("flipped.gz", Some(&flipped)).contains("flipped.gz"));
}

#[test]
fn damage_is_counted_and_the_rest_is_used() {
    let want = entries(4, 3);
    let lines: Vec<String> = want
        .iter()
        .map(|e| {
            String::from_utf8(written(&[*e]))
                .unwrap()
                .trim_end()
                .to_owned()
        })
        .collect();
    let prefix = "Nov 20 10:11:12 gw kernel: ";
    let text = format!(
        "{prefix}{first}\n\
         Nov 20 10:11:12 gw sshd[7]: session opened\n\
         Nov 20 10:11:13 gw kernel: {cut}\n\
         Nov 20 10:11:13 gw kernel: {cut}{second}\n\
         Nov 20 10:11:15 gw last message repeated 3 times\n\
         {third} Nov 20 10:11:15 gw kernel: {cut}\n\
         {tail}\n\
         {long}\n\
         {fourth}",
        first = lines[0],
        second = lines[1],
        third = lines[2],
        fourth = lines[3],
        cut = &lines[0][..50],
        tail = &lines[0][60..],
        long = "x".repeat(3 << 20),
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages");
    std::fs::write(&path, &text).unwrap();
    let (all, tally) = read(std::slice::from_ref(&path));
    assert!(all.iter().map(|l| l.entry).eq(want.iter().copied()));
    let times: Vec<_> = all.iter().map(|l| l.time_ns).collect();
    assert_eq!(times, [Some(0), Some(1_000_000_000), None, None]);
    assert_eq!(counted(&tally, Fault::Truncated), 2);
    assert_eq!(counted(&tally, Fault::Interrupted), 1);
    assert_eq!(counted(&tally, Fault::Headless), 1);
    assert_eq!(counted(&tally, Fault::Stray), 1);
    assert_eq!(counted(&tally, Fault::Long), 1);
    assert_eq!((tally.bad(), tally.other_lines, tally.repeats), (6, 2, 3));
    assert_eq!((tally.lines, tally.entries), (9, 4));
    // The first few are shown, with their places.
    assert_eq!(tally.shown.len(), 5);
    let first = &tally.shown[0];
    assert_eq!((first.path.as_path(), first.line), (path.as_path(), 3));
    assert_eq!(first.fault, Fault::Truncated);
    assert!(first.text.starts_with("Nov 20 10:11:13 gw kernel: l4s_ecn"));
}

#[test]
fn rotation_may_cut_lines_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let want = entries(3_000, 5);
    let text = written(&want);
    // Some byte within a line.
    let cut = text.len() / 2;
    assert!(text[cut - 1] != b'\n' && text[cut] != b'\n');
    let (old, new) = (dir.path().join("m.0"), dir.path().join("m"));
    std::fs::write(&old, &text[..cut]).unwrap();
    std::fs::write(&new, &text[cut..]).unwrap();
    let (all, tally) = read(&[old.clone(), new]);
    assert_eq!((tally.entries, tally.bad()), (2_999, 2));
    assert!(all.iter().all(|l| want.contains(&l.entry)));

    let packed = gzip(&text);
    std::fs::write(&old, &packed[..packed.len() / 2]).unwrap();
    let (all, tally) = read(&[old]);
    assert_eq!(counted(&tally, Fault::Cut), 1);
    // Behind the last line that came out.
    let cut = tally.shown.iter().find(|shown| shown.fault == Fault::Cut);
    assert_eq!(cut.map(|cut| cut.line), Some(tally.lines));
    assert!(all.len() > 500 && all.iter().zip(&want).all(|(l, e)| l.entry == *e));
}

#[test]
fn any_bytes_are_read_to_the_end() {
    let text = written(&entries(200, 9));
    let mut noise = Noise::new(4);
    for _ in 0..300 {
        let mut text = text.clone();
        for _ in 0..noise.below(20) {
            let from = noise.below(text.len() as u64) as usize;
            match noise.below(3) {
                0 => text[from] = noise.next() as u8,
                1 => text.truncate(text.len() - from.min(text.len() / 4)),
                _ => drop(text.drain(from..text.len().min(from + noise.below(300) as usize))),
            }
        }
        let (entries, tally) = read_text(&text);
        assert_eq!(entries.len() as u64, tally.entries);
        assert!(tally.entries + tally.bad() + tally.other_lines >= tally.lines);
        assert!(tally.entries <= 200);
    }
    let (entries, tally) = read(&[Path::new("/dev/null").to_owned()]);
    assert_eq!((entries.len(), tally), (0, Tally::default()));
}

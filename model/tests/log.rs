//! The kernel log: intact entries are restored as written, with any
//! compression; damaged ones are counted and never used.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};

use common::{Noise, records};
use flate2::write::GzEncoder;
use l4sllm_model::log::{
    ClockOptions, Entry, Fault, LogReader, LogWriter, Logged, Run, Shown, Tally, oldest_first,
};
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
    fn log_entries_round_trip(
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
fn records_format_as_the_published_line() {
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
fn packed_files_are_recognised_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let want = entries(9_000, 1);
    let text = written(&want);
    let half = text.len() / 2;
    // Two members, split within a line, as from cat(1) of two files.
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
fn names_unreadable_logs() {
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
        error.contains("messages.0.bz2") && error.contains("bzip2 -dc FILE"),
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
    assert_eq!((tally.bad(), tally.other_lines, tally.repeats), (6, 1, 3));
    assert_eq!((tally.lines, tally.entries), (9, 4));
    // The first few are shown with their positions.
    assert_eq!(tally.shown.len(), 5);
    let Shown { place, fault } = &tally.shown[0];
    assert_eq!((place.path.as_path(), place.line), (path.as_path(), 3));
    assert_eq!(*fault, Fault::Truncated);
    assert!(place.text.starts_with("Nov 20 10:11:13 gw kernel: l4s_ecn"));
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
    // After the last line.
    let cut = tally.shown.iter().find(|shown| shown.fault == Fault::Cut);
    assert_eq!(cut.map(|cut| cut.place.line), Some(tally.lines));
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

/// A line with `prefix`, of a queue that has seen this many packets.
fn line(prefix: &str, packets: u64) -> String {
    let mut fields = *entries(1, 1)[0].fields();
    (fields[0], fields[17]) = (0, packets);
    let text = written(&[Entry::new(fields).unwrap()]);
    format!("{prefix}{}", String::from_utf8(text).unwrap())
}

fn read_ordered(paths: &[PathBuf], options: ClockOptions) -> (Vec<Logged>, Tally) {
    let files = oldest_first(paths, options.year).files;
    let mut reader = LogReader::ordered(files, options);
    let mut all = Vec::new();
    while reader.read(&mut all).unwrap() {}
    (all, reader.tally().clone())
}

fn packets(all: &[Logged]) -> Vec<u64> {
    all.iter().map(|logged| logged.entry.fields()[17]).collect()
}

#[test]
fn rotated_files_share_one_clock() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // Across the end of February in a leap year, which only a name shows.
    let files = [
        (
            "messages-20240302",
            ["Feb 28 23:59:59", "Mar  1 00:00:00"],
            1,
        ),
        (
            "messages-20240309",
            ["Mar  5 00:00:00", "Mar  5 00:00:01"],
            3,
        ),
        ("messages", ["Mar 10 00:00:00", "Mar 10 00:00:01"], 5),
    ];
    for (name, stamps, first) in files {
        let lines = [0, 1].map(|i| line(&format!("{} gw kernel: ", stamps[i]), first + i as u64));
        std::fs::write(path(name), lines.concat()).unwrap();
    }
    let given = ["messages", "messages-20240302", "messages-20240309"].map(path);
    let (all, tally) = read_ordered(&given, ClockOptions::default());
    assert_eq!(packets(&all), [1, 2, 3, 4, 5, 6]);
    let day = 86_400;
    let want = [
        0,
        day + 1,
        5 * day + 1,
        5 * day + 2,
        10 * day + 1,
        10 * day + 2,
    ];
    let seconds = all.iter().map(|l| l.time_ns.unwrap() / 1_000_000_000);
    assert!(seconds.eq(want));
    assert_eq!(
        (tally.leap_open, tally.set_back, tally.untimed),
        (None, 0, 0)
    );
    assert_eq!(tally.hosts, ["gw"]);
}

#[test]
fn ambiguous_and_unreadable_times_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let read = |lines: &[(&str, u64)], options| {
        let text = lines.iter().map(|(prefix, packets)| line(prefix, *packets));
        std::fs::write(&path, text.collect::<String>()).unwrap();
        let (all, tally) = read_ordered(std::slice::from_ref(&path), options);
        let times: Vec<_> = all.iter().map(|logged| logged.time_ns).collect();
        (times, tally)
    };
    let options = ClockOptions::default();
    let second = 1_000_000_000;
    let february = [
        ("Feb 28 23:59:59 gw kernel: ", 1),
        ("Mar  1 00:00:00 gw kernel: ", 2),
    ];
    let (times, tally) = read(&february, options);
    assert_eq!(times, [Some(0), Some(second)]);
    assert_eq!(tally.leap_open.map(|place| place.line), Some(2));
    let year = Some(2024);
    let (times, tally) = read(&february, ClockOptions { year, ..options });
    assert_eq!(times, [Some(0), Some(86_401 * second)]);
    assert_eq!(tally.leap_open, None);
    // Month names of another language.
    let german = [
        ("Okt 20 10:11:00 gw kernel: ", 1),
        ("Okt 20 10:11:01 gw kernel: ", 2),
    ];
    let (times, tally) = read(&german, options);
    assert_eq!((times, tally.untimed), (vec![None, None], 2));
    let first = tally.first_untimed.unwrap();
    assert_eq!(first.line, 1);
    assert!(first.text.starts_with("Okt 20 10:11:00 gw"));
    // Without a prefix nothing can be read.
    let (times, tally) = read(&[("", 1), ("", 2)], options);
    assert_eq!(
        (times, tally.untimed, tally.first_untimed),
        (vec![None, None], 2, None)
    );
    let back = [
        ("Nov 20 10:11:12 gw kernel: ", 1),
        ("Nov 20 10:11:02 gw kernel: ", 2),
        ("Nov 20 10:11:13 gw kernel: ", 3),
    ];
    let (times, tally) = read(&back, options);
    assert_eq!(times, [Some(0), Some(0), Some(second)]);
    let (step, place) = tally.largest_step.unwrap();
    assert_eq!((tally.set_back, step, place.line), (1, 10 * second, 2));
}

#[test]
fn repeated_messages_are_counted_but_are_not_entries() {
    let bare = line("", 2);
    let text = [
        line("Jun 10 08:00:00 gw kernel: ", 1),
        line("Jun 10 08:00:01 gw kernel: ", 2),
        format!(
            "Jun 10 08:00:01 gw kernel: message repeated 3 times: [ {}]\n",
            bare.trim()
        ),
        format!(
            "Jun 10 08:00:01 gw kernel: message repeated 4 times: [ [ 1234.567890] {}]\n",
            bare.trim()
        ),
        line("Jun 10 08:00:02 gw kernel: [ 1235.000000] ", 6),
        "Jun 10 08:00:03 gw last message repeated 2 times\n".to_owned(),
        "Jun 10 08:00:33 gw last message repeated 5 times\n".to_owned(),
        "Jun 10 08:00:34 gw sshd[1]: session opened\n".to_owned(),
        // A host from a line of another program.
        "Jun 10 08:00:35 gw last message repeated 9 times\n".to_owned(),
    ];
    let (entries, tally) = read_text(text.concat().as_bytes());
    assert_eq!(entries.len(), 3);
    assert_eq!((tally.repeats, tally.bad(), tally.entries), (14, 0, 3));
    assert_eq!((tally.lines, tally.other_lines), (9, 2));
}

/// A repetition refers to the last line of the same machine, at any position
/// in a collector's file.
#[test]
fn repetition_refers_to_the_last_line_of_its_host() {
    let repeated =
        |host: &str, count| format!("Jun 10 08:00:09 {host} last message repeated {count} times\n");
    let text = [
        line("Jun 10 08:00:00 gw1 kernel: ", 1),
        line("Jun 10 08:00:01 gw2 kernel: ", 2),
        repeated("gw1", 3),
        "Jun 10 08:00:03 gw1 sshd[1]: session opened\n".to_owned(),
        repeated("gw2", 4),
        // Repetitions of the session, and of a machine without an entry.
        repeated("gw1", 50),
        repeated("gw3", 60),
        repeated("gw2", 5),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all");
    std::fs::write(&path, text.concat()).unwrap();
    let (_, tally) = read_ordered(&[path], ClockOptions::default());
    assert_eq!((tally.repeats, tally.other_lines), (12, 3));
    assert_eq!((tally.lines, tally.entries, tally.bad()), (8, 2, 0));
}

#[test]
fn nonexistent_day_in_the_given_year_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("feb.log");
    let stamps = ["Feb 28 23:59:59 gw kernel: ", "Feb 29 00:00:00 gw kernel: "];
    std::fs::write(&path, line(stamps[0], 1) + &line(stamps[1], 2)).unwrap();
    let of_year = |year| {
        let options = ClockOptions {
            year: Some(year),
            zone: None,
        };
        let files = oldest_first(std::slice::from_ref(&path), options.year).files;
        let mut entries = Vec::new();
        LogReader::ordered(files, options)
            .read(&mut entries)
            .map(|_| entries.len())
    };
    assert_eq!(of_year(2024).unwrap(), 2);
    let error = of_year(2023).unwrap_err().to_string();
    assert!(error.ends_with(
        "feb.log: line 2: 2023-02-29 is not a date: the log does not begin in 2023, the given year"
    ), "{error}");
}

#[test]
fn invalid_repetition_counts_are_faults() {
    let entry = line("", 2);
    let repeated = |count: &str| {
        let inner = entry.trim();
        format!("Jun 10 08:00:01 gw kernel: message repeated {count} times: [ {inner}]\n")
    };
    let text = [
        line("Jun 10 08:00:00 gw kernel: ", 2),
        repeated("0"),
        repeated("-3"),
        repeated("18446744073709551616"),
        repeated("18446744073709551615"),
        repeated("1"),
        "Jun 10 08:00:03 gw last message repeated 0 times\n".to_owned(),
    ];
    let (entries, tally) = read_text(text.concat().as_bytes());
    assert_eq!(entries.len(), 1);
    assert_eq!(counted(&tally, Fault::Repeats), 4);
    let lines: Vec<u64> = tally.shown.iter().map(|shown| shown.place.line).collect();
    assert_eq!(lines, [2, 3, 4, 7]);
    // The sum saturates.
    assert_eq!((tally.bad(), tally.repeats), (4, u64::MAX));
}

#[test]
fn each_host_is_read_in_turn_with_its_own_clock() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let of = |host: &str, second: u64, packets: u64| {
        line(
            &format!("Nov 20 10:00:{second:02} {host} kernel: "),
            packets,
        )
    };
    // A collector's file, then one of a single machine.
    let both: String = (0..5)
        .map(|i| of("gw1", i, i) + &of("gw2", i + 7, 100 + i))
        .collect();
    std::fs::write(path("all"), both + "damaged l4s_ecn_marking-start,1\n").unwrap();
    let boot = "Nov 20 10:00:58 gw2 kernel: ---<<BOOT>>---\n";
    let last = of("gw2", 57, 105) + boot + &of("gw2", 59, 106);
    std::fs::write(path("last"), last).unwrap();
    let given = ["all", "last"].map(path);
    let (all, tally) = read_ordered(&given, ClockOptions::default());
    assert_eq!(
        packets(&all),
        [0, 1, 2, 3, 4, 100, 101, 102, 103, 104, 105, 106]
    );
    let runs: Vec<_> = all.iter().map(|logged| logged.run).collect();
    let mut want = [Run::Continues; 12];
    (want[0], want[5], want[11]) = (Run::Another, Run::Another, Run::Restarted);
    assert_eq!(runs, want);
    let seconds: Vec<_> = all
        .iter()
        .map(|l| l.time_ns.unwrap() / 1_000_000_000)
        .collect();
    assert_eq!(seconds, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 50, 52]);
    assert_eq!(tally.hosts, ["gw1", "gw2"]);
    assert_eq!((tally.lines, tally.entries, tally.bad()), (14, 12, 1));
    assert_eq!(
        (tally.restarts, tally.set_back, tally.other_lines),
        (1, 0, 1)
    );
}

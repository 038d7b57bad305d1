//! Orders a log's files, the oldest first.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::clock::nearest;
use super::rotation::{Age, Name, year_of};
use super::stamp::{DAY, Stamp, local};
use super::unpack;
use crate::text::shown;

/// Bytes of a file that are searched for its first stamp.
const HEAD: u64 = 1 << 16;

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its path; `-` is the standard input.
    pub path: PathBuf,
    /// Local ns since 1970 of its first stamp, if its name or its neighbours
    /// have the year.
    pub about: Option<i64>,
}

/// Files in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// The oldest first.
    pub files: Vec<LogFile>,
    /// Contradictions between names and stamps, or two files of the same
    /// rotation; names were followed.
    pub conflicts: Vec<Conflict>,
}

/// Two files whose order is in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The file read first.
    pub first: PathBuf,
    /// The file read next.
    pub second: PathBuf,
    /// The reason for doubt.
    pub reason: &'static str,
}

/// A file and the information about its beginning.
struct Known {
    path: PathBuf,
    age: Age,
    stamp: Option<Stamp>,
    begins: Option<i64>,
    year_known: bool,
}

/// Orders the files of logs by the schemes of newsyslog(8) and logrotate(8):
/// by number or date within a log. If names do not determine the order, first
/// stamps do; without stamps, files stay in the given order. `year` is that of
/// the first stamp without one.
pub fn oldest_first(paths: &[PathBuf], year: Option<i64>) -> Order {
    let mut logs: Vec<(PathBuf, Vec<Known>)> = Vec::new();
    for path in paths {
        let Name { log, age } = Name::of(path);
        let stamp = first_stamp(path);
        let known = Known {
            path: path.clone(),
            age,
            stamp,
            begins: stamp.and_then(|stamp| begins(stamp, age)),
            year_known: true,
        };
        match logs.iter_mut().find(|(other, _)| *other == log) {
            Some((_, files)) => files.push(known),
            None => logs.push((log, vec![known])),
        }
    }
    let mut conflicts = Vec::new();
    for (_, files) in &mut logs {
        files.sort_by_key(|file| match file.age {
            Age::Date { ns, .. } => (0, ns),
            Age::Rotations(n) => (1, -i64::try_from(n).unwrap_or(i64::MAX)),
            Age::Current => (2, 0),
        });
    }
    let mut logs: Vec<Vec<Known>> = logs.into_iter().map(|(_, files)| files).collect();
    place(&mut logs, year);
    for files in &mut logs {
        let schemes = |age: fn(&Age) -> bool| files.iter().any(|file| age(&file.age));
        let mixed = schemes(|age| matches!(age, Age::Date { .. }))
            && schemes(|age| matches!(age, Age::Rotations(_)));
        if mixed && files.iter().all(|file| file.begins.is_some()) {
            files.sort_by_key(|file| file.begins);
        }
        conflicts.extend(files.windows(2).filter_map(|pair| {
            let same = pair[0].age == pair[1].age;
            let later = pair[0].begins > pair[1].begins && pair[1].begins.is_some();
            let reason = match (same, later) {
                (true, _) => "both names are of the same rotation",
                (_, true) => "the first has later time stamps",
                _ => return None,
            };
            Some(Conflict {
                first: pair[0].path.clone(),
                second: pair[1].path.clone(),
                reason,
            })
        }));
    }
    let begins = |files: &Vec<Known>| files.iter().find_map(|file| file.begins);
    if logs.iter().all(|files| begins(files).is_some()) {
        logs.sort_by_key(begins);
    }
    let files = logs.into_iter().flatten().map(|file| LogFile {
        about: file.begins.filter(|_| file.year_known),
        path: file.path,
    });
    Order {
        files: files.collect(),
        conflicts,
    }
}

/// Assigns years to stamps without one, using earlier and later stamps with a
/// year in their log, `year`, or their mutual order.
fn place(logs: &mut [Vec<Known>], year: Option<i64>) {
    let mut all_known = true;
    let other = logs.iter().flatten().find_map(|file| file.begins);
    for files in logs.iter_mut() {
        let mut near = files.iter().find_map(|file| file.begins).or(other);
        for file in files {
            if let (None, Some(stamp), Some(near)) = (file.begins, file.stamp, near) {
                file.begins = place_near(stamp, near);
            }
            near = file.begins.or(near);
            all_known &= file.begins.is_some() || file.stamp.is_none();
        }
    }
    if all_known {
        return;
    }
    // No year is known. On the circle of the year, the log begins after the
    // longest gap.
    let first = |files: &Vec<Known>| files.iter().find_map(|f| f.stamp.and_then(position));
    let mut places: Vec<i64> = logs.iter().filter_map(first).collect();
    places.sort_unstable();
    let circle = 366 * DAY;
    let silence = |i: usize| match i {
        0 => places[0] + circle - places[places.len() - 1],
        i => places[i] - places[i - 1],
    };
    let Some(start) = (0..places.len()).max_by_key(|i| (silence(*i), usize::MAX - i)) else {
        return;
    };
    let start = places[start];
    let base = year.unwrap_or(2001);
    for files in logs {
        let mut near = first(files).map(|at| {
            let year = if at < start { base + 1 } else { base };
            local(year, 1, 1, 0).unwrap_or(0) + at
        });
        for file in files {
            if let (Some(stamp), Some(at)) = (file.stamp, near) {
                file.begins = place_near(stamp, at);
                file.year_known = year.is_some();
            }
            near = file.begins.or(near);
        }
    }
}

/// Local ns of a first stamp, if it or the file's name has the year.
fn begins(stamp: Stamp, age: Age) -> Option<i64> {
    match (stamp, age) {
        (Stamp::Absolute { ns, zone }, _) => {
            Some(ns + i64::from(zone.unwrap_or(0)) * 1_000_000_000)
        }
        (Stamp::Local(ns), _) => Some(ns),
        // Written before the rotation; a day more, since zones may differ.
        (
            Stamp::InYear { month, day, ns },
            Age::Date {
                ns: rotated,
                within,
            },
        ) => {
            let latest = rotated + within + DAY;
            (year_of(rotated) - 8..=year_of(latest))
                .rev()
                .filter_map(|year| local(year, month.into(), day.into(), ns))
                .find(|at| *at <= latest)
        }
        _ => None,
    }
}

fn place_near(stamp: Stamp, near: i64) -> Option<i64> {
    match stamp {
        Stamp::InYear { month, day, ns } => nearest(near, month.into(), day.into(), ns),
        _ => None,
    }
}

/// ns since the beginning of a leap year.
fn position(stamp: Stamp) -> Option<i64> {
    match stamp {
        Stamp::InYear { month, day, ns } => {
            let at = local(2000, month.into(), day.into(), ns)?;
            Some(at - local(2000, 1, 1, 0)?)
        }
        _ => None,
    }
}

/// The first stamp of a file that can be read without consuming data.
fn first_stamp(path: &Path) -> Option<Stamp> {
    // Unreadable files are reported when they are read.
    path.is_file().then_some(())?;
    let mut head = Vec::new();
    let file = unpack::open(path, Default::default()).ok()?;
    // An error in the middle keeps the data before it.
    let _ = file.take(HEAD).read_to_end(&mut head);
    head.split(|b| *b == b'\n').find_map(Stamp::of)
}

/// Conflicts by their files, for tests and messages.
impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, second) = (shown(&self.first), shown(&self.second));
        write!(f, "{first} is read before {second}: {}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of these names and first lines, in the order found.
    fn order(files: &[(&str, &str)], year: Option<i64>) -> (Vec<String>, Order) {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (name, line) in files {
            std::fs::write(path(name), format!("# a comment\n{line} gw kernel: x\n")).unwrap();
        }
        let paths: Vec<PathBuf> = files.iter().map(|(name, _)| path(name)).collect();
        let order = oldest_first(&paths, year);
        let name = |file: &LogFile| file.path.file_name().unwrap().to_str().unwrap().to_owned();
        (order.files.iter().map(name).collect(), order)
    }

    fn names(files: &[(&str, &str)]) -> Vec<String> {
        let (names, order) = order(files, None);
        assert_eq!(order.conflicts, []);
        names
    }

    #[test]
    fn rotated_files_are_ordered_oldest_first() {
        for want in [
            ["messages.10.zst", "messages.2", "messages.0.gz", "messages"],
            [
                "messages-20241110",
                "messages-20241117.gz",
                "messages-20250103",
                "messages",
            ],
            [
                "messages-2024111001",
                "messages-2024111002",
                "messages-2024111101",
                "messages",
            ],
            [
                "messages-1731196800",
                "messages-1731283200",
                "messages-1731369600",
                "messages",
            ],
            [
                "m.20241110T0000.gz",
                "m.20241110T1200.gz",
                "m.20241111T0000.gz",
                "m",
            ],
            ["kern.2.log", "kern.1.log.gz", "kern.0.log", "kern.log"],
        ] {
            // Two other orders, without a stamp that decides between them.
            for by in [1, 3] {
                let given: Vec<_> = (0..4).map(|i| (want[(2 + i * by) % 4], "x")).collect();
                assert_eq!(names(&given), want);
            }
        }
        assert_eq!(
            names(&[("b", "x"), ("a", "x"), ("b.0", "x")]),
            ["b.0", "b", "a"]
        );
        let pipe = oldest_first(&[PathBuf::from("-")], None);
        assert_eq!(pipe.files[0].path, Path::new("-"));
    }

    #[test]
    fn time_stamps_order_files_with_ambiguous_names() {
        let later = ("b.log", "Nov 20 10:00:00");
        let earlier = ("a.log", "Nov 20 09:00:00");
        assert_eq!(names(&[later, earlier]), ["a.log", "b.log"]);
        // A year is a circle that is cut at its longest gap.
        let files = [
            ("a", "Jan  3 00:00:00"),
            ("b", "Dec 30 00:00:00"),
            ("c", "Nov  1 00:00:00"),
        ];
        assert_eq!(names(&files), ["c", "b", "a"]);
        let files = [("a", "2025-01-03T00:00:00Z"), ("b", "Dec 30 00:00:00")];
        assert_eq!(names(&files), ["b", "a"]);
        // Two schemes for one log.
        let files = [
            ("m", "Nov 20 00:00:00"),
            ("m.1", "Nov  1 00:00:00"),
            ("m-20241118", "Nov 11 00:00:00"),
        ];
        assert_eq!(names(&files), ["m.1", "m-20241118", "m"]);
    }

    #[test]
    fn order_conflicts_are_reported() {
        let files = [
            ("m.1", "Nov 20 00:00:00"),
            ("m.0", "Nov 10 00:00:00"),
            ("m", "Nov 21 00:00:00"),
        ];
        let (names, found) = order(&files, None);
        assert_eq!(names, ["m.1", "m.0", "m"]);
        let said = found.conflicts[0].to_string();
        assert_eq!(found.conflicts.len(), 1);
        assert!(
            said.contains("m.1 is read before ") && said.contains("has later time stamps"),
            "{said}"
        );
        let (_, found) = order(&[("m.0", "x"), ("m.0.gz", "x")], None);
        assert!(found.conflicts[0].to_string().contains("same rotation"));
    }

    #[test]
    fn year_comes_from_names_and_adjacent_files() {
        let about = |files: &[(&str, &str)], year| -> Vec<Option<i64>> {
            let (_, order) = order(files, year);
            order
                .files
                .iter()
                .map(|file| file.about.map(year_of))
                .collect()
        };
        let dated = [("m-20240103", "Dec 30 00:00:00"), ("m", "Jan  5 00:00:00")];
        assert_eq!(about(&dated, None), [Some(2023), Some(2024)]);
        let mixed = [("m.0", "Dec 30 00:00:00"), ("m", "2024-01-05T00:00:00Z")];
        assert_eq!(about(&mixed, None), [Some(2023), Some(2024)]);
        let open = [("m.0", "Dec 30 00:00:00"), ("m", "Jan  5 00:00:00")];
        assert_eq!(about(&open, None), [None, None]);
        assert_eq!(about(&open, Some(2023)), [Some(2023), Some(2024)]);
        // A leap day that was rotated in March.
        let leap = [("m-20240302", "Feb 29 00:00:00")];
        assert_eq!(about(&leap, None), [Some(2024)]);
    }
}

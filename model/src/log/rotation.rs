//! The age of a rotated file, from its name.
//!
//! | scheme | names, the oldest first |
//! |---|---|
//! | newsyslog(8), logrotate(8): numbers | `messages.10.zst`, `messages.2`, `messages.0.gz`, `messages` |
//! | logrotate `dateext`, `dateformat` | `messages-20241110`, `-2024111023`, `-2024-11-10`, `-1731196800` |
//! | newsyslog `-t` | `messages.20241110T000000`, `messages.20241110T0000` |
//! | logrotate `extension .log` | `messages.1.log`, `messages-20241110.log.gz` |

use std::path::{Path, PathBuf};

use super::civil;
use super::stamp::{DAY, SECOND, local};

/// The name of one file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The log: the common part of its files' names.
    pub(super) log: PathBuf,
    pub(super) age: Age,
}

/// The age of a file according to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// None: the current file.
    Current,
    /// Number of rotations since.
    Rotations(u64),
    /// Time of the rotation, ns since 1970 in the writer's zone, with its precision: lines in the
    /// file are not later.
    Date { ns: i64, within: i64 },
}

impl Name {
    pub(super) fn of(path: &Path) -> Name {
        let current = || Name {
            log: path.to_owned(),
            age: Age::Current,
        };
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return current();
        };
        let packed = [".gz", ".zst", ".bz2", ".xz", ".lz4", ".Z"];
        let bare = packed.iter().find_map(|suffix| name.strip_suffix(suffix));
        let bare = bare.unwrap_or(name);
        // Some schemes keep the extension after the age.
        let extension = [".log", ".txt"].into_iter().find(|e| bare.ends_with(e));
        let extension = extension.unwrap_or("");
        let inner = &bare[..bare.len() - extension.len()];
        let found = [(bare, ""), (inner, extension)]
            .into_iter()
            .find_map(|(text, extension)| {
                let (stem, age) = split(text)?;
                Some((format!("{stem}{extension}"), age))
            });
        let (log, age) = found.unwrap_or_else(|| (bare.to_owned(), Age::Current));
        Name {
            log: path.with_file_name(log),
            age,
        }
    }
}

/// The stem of a name and the age after it.
fn split(name: &str) -> Option<(&str, Age)> {
    // A date may itself have separators: the longest valid one counts.
    let places = name.match_indices(['-', '.', '_']);
    let mut number = None;
    for (at, separator) in places.filter(|(at, _)| *at > 0) {
        let (stem, text) = (&name[..at], &name[at + 1..]);
        if let Some((ns, within)) = date(text) {
            return Some((stem, Age::Date { ns, within }));
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if separator == "." && digits {
            number = text.parse().ok().map(|n| (stem, Age::Rotations(n)));
        }
    }
    number
}

/// ns of a date and time of day, and its precision in ns.
fn date(text: &str) -> Option<(i64, i64)> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
    // Separators are allowed only between parts, a `T` only before the time,
    // and `Z` only at the end.
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let shape = shape.strip_suffix('Z').unwrap_or(&shape);
    let part = |range: std::ops::Range<usize>| -> Option<i64> {
        let text = std::str::from_utf8(digits.get(range)?).ok()?;
        text.parse().ok()
    };
    let parts = || -> Option<(i64, i64)> {
        const SHAPES: [&str; 2] = ["00000000", "0000-00-00"];
        let day = SHAPES.iter().find_map(|day| shape.strip_prefix(day))?;
        let time = day.strip_prefix(['T', '-', '_', '.']).unwrap_or(day);
        let separated = day.len() > time.len();
        let within = match time {
            "" if !separated => DAY,
            "00" => 3600 * SECOND,
            "0000" | "00-00" | "00:00" => 60 * SECOND,
            "000000" | "00-00-00" | "00:00:00" => SECOND,
            _ => return None,
        };
        let ns = local(part(0..4)?, part(4..6)?, part(6..8)?, 0)?;
        let (hour, minute, second) = (
            part(8..10).unwrap_or(0),
            part(10..12).unwrap_or(0),
            part(12..14).unwrap_or(0),
        );
        let valid = hour < 24 && minute < 60 && second <= 60;
        // A file name of the last century is a number.
        let recent = part(0..4)? >= 1990;
        (valid && recent).then_some((ns + (hour * 3600 + minute * 60 + second) * SECOND, within))
    };
    parts().or_else(|| {
        // `dateformat -%s`: in UTC, so the zone is unknown.
        let seconds = (shape == "0000000000").then(|| part(0..10)).flatten()?;
        Some((seconds.checked_mul(SECOND)?, DAY))
    })
}

/// The year of a date.
pub(super) fn year_of(ns: i64) -> i64 {
    civil::year_of(ns.div_euclid(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_of_every_rotation_scheme() {
        let day = |d: i64| local(2024, 11, d, 0).unwrap();
        let hour = 3600 * SECOND;
        let date = |ns, within| Age::Date { ns, within };
        for (name, log, age) in [
            ("messages", "messages", Age::Current),
            ("messages.gz", "messages", Age::Current),
            ("messages.0.gz", "messages", Age::Rotations(0)),
            ("messages.10", "messages", Age::Rotations(10)),
            ("kern.log.2.zst", "kern.log", Age::Rotations(2)),
            ("kern.2.log", "kern.log", Age::Rotations(2)),
            ("messages-20241110", "messages", date(day(10), DAY)),
            ("messages-20241110.gz", "messages", date(day(10), DAY)),
            (
                "messages-20241110.log.gz",
                "messages.log",
                date(day(10), DAY),
            ),
            (
                "messages-2024111023",
                "messages",
                date(day(10) + 23 * hour, hour),
            ),
            ("messages-1731196800", "messages", date(day(10), DAY)),
            ("messages-2024-11-10", "messages", date(day(10), DAY)),
            (
                "messages_2024-11-10_05",
                "messages",
                date(day(10) + 5 * hour, hour),
            ),
            (
                "messages.20241110T0000",
                "messages",
                date(day(10), 60 * SECOND),
            ),
            (
                "messages.20241110T050000.xz",
                "messages",
                date(day(10) + 5 * hour, SECOND),
            ),
            ("web-1.log", "web-1.log", Age::Current),
            ("gw-10.0.0.1", "gw-10.0.0", Age::Rotations(1)),
            ("log-99999999", "log-99999999", Age::Current),
            ("log-20241301", "log-20241301", Age::Current),
            ("-", "-", Age::Current),
        ] {
            let want = Name {
                log: Path::new("dir").join(log),
                age,
            };
            assert_eq!(Name::of(&Path::new("dir").join(name)), want, "{name}");
        }
        assert_eq!(year_of(day(10)), 2024);
    }
}

//! Times in the prefixes that syslogd(8) writes.

/// What a prefix says about when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// `Nov 20 10:11:12` (RFC 3164): ns since the beginning of a year that is
    /// not told, and is taken to have a 29 February.
    InYear(u64),
    /// `2024-11-20T10:11:12.5+11:00` (RFC 3339): ns since 1970.
    Absolute(u64),
}

impl Stamp {
    /// Length of a stamp of RFC 3164.
    const SHORT: usize = 15;

    /// The stamp that a line begins with, behind a priority in angle brackets
    /// and the version of RFC 5424, if there are any.
    pub fn of(line: &[u8]) -> Option<Stamp> {
        let mut rest = line;
        if rest.first() == Some(&b'<') {
            let close = rest.iter().take(5).position(|b| *b == b'>')?;
            rest = &rest[close + 1..];
        }
        in_year(rest).or_else(|| absolute(rest.strip_prefix(b"1 ").unwrap_or(rest)))
    }
}

/// Nanoseconds since the first stamp, never falling, of the lines of a log in
/// their order.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    known: Option<(Vec<u8>, Option<u64>)>,
    origin: Option<u64>,
    years: u64,
    last: u64,
}

/// A year with a 29 February.
const YEAR_NS: u64 = 366 * 86_400 * 1_000_000_000;

impl Clock {
    /// The time of a line; `None` if it has no stamp.
    pub fn at(&mut self, line: &[u8]) -> Option<u64> {
        let head = &line[..line.len().min(Stamp::SHORT)];
        if let Some((known, time)) = &self.known {
            if known == head {
                return *time;
            }
        }
        let stamp = Stamp::of(line);
        let time = stamp.map(|stamp| self.since_first(stamp));
        // Only of a short stamp is the head all there is to know.
        self.known = match stamp {
            Some(Stamp::InYear(_)) if head.first() != Some(&b'<') => Some((head.to_vec(), time)),
            _ => None,
        };
        time
    }

    fn since_first(&mut self, stamp: Stamp) -> u64 {
        let at = match stamp {
            Stamp::Absolute(ns) => ns,
            Stamp::InYear(ns) => {
                let mut at = ns + self.years * YEAR_NS;
                // From December to January: the stamp does not tell the year.
                let now = self.origin.map_or(at, |origin| origin + self.last);
                if at + YEAR_NS / 2 < now {
                    self.years += 1;
                    at += YEAR_NS;
                }
                at
            }
        };
        let origin = *self.origin.get_or_insert(at);
        // A clock that was set back stands still until it has caught up.
        self.last = self.last.max(at.saturating_sub(origin));
        self.last
    }
}

fn in_year(text: &[u8]) -> Option<Stamp> {
    const MONTHS: [(&[u8; 3], u64); 12] = [
        (b"Jan", 31),
        (b"Feb", 29),
        (b"Mar", 31),
        (b"Apr", 30),
        (b"May", 31),
        (b"Jun", 30),
        (b"Jul", 31),
        (b"Aug", 31),
        (b"Sep", 30),
        (b"Oct", 31),
        (b"Nov", 30),
        (b"Dec", 31),
    ];
    let text = text.get(..Stamp::SHORT)?;
    let month = MONTHS
        .iter()
        .position(|(name, _)| text.starts_with(*name))?;
    let ten = match text[4] {
        b' ' => 0,
        digit => decimal(&[digit])?,
    };
    let day = ten * 10 + decimal(&text[5..6])?;
    if text[3] != b' ' || text[6] != b' ' || !(1..=MONTHS[month].1).contains(&day) {
        return None;
    }
    let before: u64 = MONTHS[..month].iter().map(|(_, days)| days).sum();
    let seconds = (before + day - 1) * 86_400 + time_of_day(&text[7..])?;
    Some(Stamp::InYear(seconds * 1_000_000_000))
}

fn absolute(text: &[u8]) -> Option<Stamp> {
    let date = text.get(..19)?;
    if date[4] != b'-' || date[7] != b'-' || date[10] != b'T' {
        return None;
    }
    let (year, month) = (decimal(&date[..4])?, decimal(&date[5..7])?);
    let day = decimal(&date[8..10])?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + time_of_day(&date[11..])?;
    let mut rest = &text[19..];
    let mut nanoseconds = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        let kept = digits.min(9);
        nanoseconds = decimal(fraction.get(..kept)?)? * 10u64.pow(9 - kept as u32);
        rest = &fraction[digits..];
    }
    let zone = zone(rest)?;
    let seconds = i64::try_from(seconds).ok()? - zone;
    let seconds = u64::try_from(seconds).ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(nanoseconds)
        .map(Stamp::Absolute)
}

/// Seconds east of UTC.
fn zone(text: &[u8]) -> Option<i64> {
    let sign = match text.first()? {
        b'Z' => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (decimal(text.get(1..3)?)?, decimal(text.get(4..6)?)?);
    let seconds = i64::try_from(hours * 3600 + minutes * 60).ok()?;
    (text[3] == b':').then_some(sign * seconds)
}

/// Seconds of `10:11:12`; a leap second is the second before it.
fn time_of_day(text: &[u8]) -> Option<u64> {
    let text = text.get(..8)?;
    let (hour, minute, second) = (
        decimal(&text[..2])?,
        decimal(&text[3..5])?,
        decimal(&text[6..8])?,
    );
    let valid = text[2] == b':' && text[5] == b':' && hour < 24 && minute < 60 && second <= 60;
    valid.then_some(hour * 3600 + minute * 60 + second.min(59))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    (!digits.is_empty()).then_some(value)
}

/// Of the Gregorian calendar, for years from 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that the leap day is the last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn stamps_of_both_forms() {
        let day = 86_400;
        let of = |text: &str| Stamp::of(text.as_bytes());
        assert_eq!(of("Jan  1 00:00:01 gw kernel: x"), Some(Stamp::InYear(S)));
        assert_eq!(
            of("<6>Mar  1 00:00:00 gw"),
            Some(Stamp::InYear(60 * day * S))
        );
        assert_eq!(
            of("<6>1 1970-01-02T00:00:00.25Z gw"),
            Some(Stamp::Absolute(day * S + S / 4))
        );
        assert_eq!(
            of("2024-11-20T10:11:12.123456+11:00 gw"),
            Some(Stamp::Absolute(1_732_057_872 * S + 123_456_000))
        );
        for wrong in [
            "",
            "Nov 31 10:11:12 gw",
            "Nov 20 24:11:12 gw",
            "Nov 20 10-11:12 gw",
            "l4s_ecn_marking-start,0",
            "2024-13-20T10:11:12Z",
            "2024-11-20T10:11:12",
            "<6",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn time_never_falls_and_passes_new_year() {
        let mut clock = Clock::default();
        let mut at = |text: &str| clock.at(text.as_bytes());
        assert_eq!(at("Dec 31 23:59:58 gw kernel: a"), Some(0));
        assert_eq!(at("Dec 31 23:59:58 gw kernel: b"), Some(0));
        assert_eq!(at("no stamp"), None);
        assert_eq!(at("Dec 31 23:59:59 gw kernel: c"), Some(S));
        assert_eq!(at("Jan  1 00:00:01 gw kernel: d"), Some(3 * S));
        assert_eq!(at("Jan  1 00:00:00 gw kernel: set back"), Some(3 * S));
        assert_eq!(at("Jan  1 00:01:00 gw kernel: e"), Some(62 * S));
    }
}

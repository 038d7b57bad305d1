//! Times in the prefixes written by syslogd(8), journalctl(1) and dmesg(8).
//!
//! | written by | form |
//! |---|---|
//! | syslogd (RFC 3164), journalctl `short`, `short-precise` | `Nov 20 10:11:12[.5]` |
//! | syslogd with a year | `2024 Nov 20 10:11:12`, `Nov 20 2024 10:11:12` |
//! | rsyslog (RFC 3339), RFC 5424, journalctl `short-iso` | `2024-11-20T10:11:12[.5]+11:00`, `+1100`, `Z`, or a space in place of `T` |
//! | the same without a zone | `2024-11-20 10:11:12[.5]` |
//! | journalctl `short-full` | `Wed 2024-11-20 10:11:12 CET` |
//! | journalctl `short-unix` | `1732097472.123456` |
//! | `dmesg -T`, date(1) | `[Wed Nov 20 10:11:12 2024]`, `Wed Nov 20 10:11:12 CET 2024` |
//! | dmesg, journalctl `short-monotonic`, `kern.msgbuf_show_timestamp` | `[ 1234.567890]`, `[1234]` |
//!
//! If an RFC 5424 message follows an RFC 3164 header, the message's stamp counts. Stamps may be
//! preceded by a priority in angle brackets, the version of RFC 5424, or the facility of `dmesg
//! -x`.

use super::civil;

/// The time of a line according to its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// A local time without a year.
    InYear {
        /// From 1.
        month: u8,
        /// From 1.
        day: u8,
        /// ns since midnight.
        ns: i64,
    },
    /// A local time: ns since the beginning of 1970 in the same zone.
    Local(i64),
    /// A time with a known zone.
    Absolute {
        /// ns since 1970 in UTC.
        ns: i64,
        /// Seconds east of UTC of the writer's clock, if given in the line.
        zone: Option<i32>,
    },
    /// ns since the machine started.
    Uptime(i64),
}

/// A parsed beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) stamp: Stamp,
    /// Bytes up to the stamp's end.
    pub(super) length: usize,
    /// Whether it is in RFC 5424 format, in which the host always follows.
    pub(super) rfc5424: bool,
}

pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;

/// Years that fit into ns since 1970 as an i64, whatever the zone.
const YEARS: std::ops::RangeInclusive<i64> = 1970..=2261;

impl Stamp {
    /// The stamp at the beginning of a line.
    pub fn of(line: &[u8]) -> Option<Stamp> {
        parse(line).map(|parsed| parsed.stamp)
    }
}

/// The stamp at the beginning of a line, and its end.
pub(super) fn parse(line: &[u8]) -> Option<Parsed> {
    let mut text = Text { line, at: 0 };
    let mut rfc5424 = false;
    if text.take(b'<') {
        let digits = text.number(1..=3);
        (digits.is_some() && text.take(b'>')).then_some(())?;
        text.spaces();
        rfc5424 = text.takes(b"1 ");
    } else if text.peek().is_some_and(|b| b.is_ascii_lowercase()) {
        text.facility()?;
    }
    let mut stamp = match text.peek()? {
        b'[' => text.bracket(),
        b'0'..=b'9' => text.digits_first(),
        _ => text.name_first(),
    }?;
    if let (Stamp::InYear { .. }, Some(inner)) = (stamp, text.inner()) {
        stamp = inner;
    }
    Some(Parsed {
        stamp,
        length: text.at,
        rfc5424,
    })
}

/// A line consumed from its beginning.
#[derive(Clone, Copy)]
struct Text<'a> {
    line: &'a [u8],
    at: usize,
}

impl Text<'_> {
    fn rest(&self) -> &[u8] {
        &self.line[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn takes(&mut self, text: &[u8]) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn spaces(&mut self) {
        while self.take(b' ') {}
    }

    /// A number with exactly this many digits.
    fn number(&mut self, count: std::ops::RangeInclusive<usize>) -> Option<i64> {
        let digits = self.rest().iter().take_while(|b| b.is_ascii_digit());
        let digits = digits.take(19).count();
        count.contains(&digits).then_some(())?;
        let value = decimal(&self.rest()[..digits])?;
        self.at += digits;
        Some(value)
    }

    /// `kern  :info  : ` of `dmesg -x`.
    fn facility(&mut self) -> Option<()> {
        for _ in 0..2 {
            let rest = self.rest();
            let name = rest.iter().take_while(|b| b.is_ascii_alphanumeric());
            self.at += name.take(16).count();
            self.spaces();
            self.take(b':').then_some(())?;
        }
        self.spaces();
        Some(())
    }

    /// `[ 1234.567890]`, `[1234]`, `[ 1234.567890 <    0.000001 >]` or the
    /// date of `dmesg -T`.
    fn bracket(&mut self) -> Option<Stamp> {
        self.take(b'[');
        self.spaces();
        if self.peek()?.is_ascii_alphabetic() {
            let stamp = self.name_first()?;
            return self.take(b']').then_some(stamp);
        }
        let seconds = self.number(1..=9)?;
        let ns = seconds * SECOND + self.fraction()?;
        self.spaces();
        if self.take(b'<') {
            let inner = self.rest().iter().take(24);
            self.at += inner.take_while(|b| **b != b']').count();
        }
        self.take(b']').then_some(Stamp::Uptime(ns))
    }

    /// The stamp of an RFC 5424 message after an RFC 3164 header, as written by daemons that do not
    /// know the format of FreeBSD 12: `Nov 20 10:11:12 gw 1 2024-11-20T10:11:12.5+01:00 gw kernel -
    /// - -`.
    fn inner(mut self) -> Option<Stamp> {
        self.take(b' ').then_some(())?;
        let host = self.rest().iter().take(256).position(|b| *b == b' ')?;
        self.at += host;
        self.takes(b" 1 ").then_some(())?;
        let year = self.number(4..=4)?;
        self.iso(year, false)
    }

    fn digits_first(&mut self) -> Option<Stamp> {
        let before = *self;
        if let Some(seconds) = self.number(9..=10) {
            let ns = seconds.checked_mul(SECOND)?;
            let ns = ns.checked_add(self.fraction()?)?;
            return (self.peek() == Some(b' ')).then_some(Stamp::Absolute { ns, zone: None });
        }
        *self = before;
        let year = self.number(4..=4)?;
        match self.peek()? {
            b'-' | b'/' => self.iso(year, false),
            b' ' => {
                self.spaces();
                let (month, day) = self.month_and_day()?;
                let ns = self.time_of_day()?;
                local(year, month, day, ns).map(Stamp::Local)
            }
            _ => None,
        }
    }

    /// A stamp that begins with a weekday or a month.
    fn name_first(&mut self) -> Option<Stamp> {
        const WEEKDAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
        let weekday = WEEKDAYS.iter().any(|day| self.rest().starts_with(day));
        if !weekday {
            let (month, day) = self.month_and_day()?;
            let before = *self;
            if let Some(year) = self.number(4..=4) {
                self.take(b' ').then_some(())?;
                let ns = self.time_of_day()?;
                return local(year, month, day, ns).map(Stamp::Local);
            }
            *self = before;
            let ns = self.time_of_day()?;
            // The day is valid in some year; which one is unknown.
            (day <= civil::month_days(2000, month)).then_some(())?;
            return Some(Stamp::InYear {
                month: month as u8,
                day: day as u8,
                ns,
            });
        }
        self.at += 3;
        self.take(b',');
        self.take(b' ').then_some(())?;
        if self.peek()?.is_ascii_digit() {
            let year = self.number(4..=4)?;
            return self.iso(year, true);
        }
        let (month, day) = self.month_and_day()?;
        let ns = self.time_of_day()?;
        let mut utc = None;
        self.take(b' ').then_some(())?;
        if !self.peek()?.is_ascii_digit() {
            utc = self.zone_name();
            self.take(b' ').then_some(())?;
        }
        let year = self.number(4..=4)?;
        let ns = local(year, month, day, ns)?;
        Some(zoned(ns, utc))
    }

    /// `Nov 20 ` or `Nov  2 `.
    fn month_and_day(&mut self) -> Option<(i64, i64)> {
        const MONTHS: [&[u8]; 12] = [
            b"Jan ", b"Feb ", b"Mar ", b"Apr ", b"May ", b"Jun ", b"Jul ", b"Aug ", b"Sep ",
            b"Oct ", b"Nov ", b"Dec ",
        ];
        let month = MONTHS
            .iter()
            .position(|name| self.rest().starts_with(name))?;
        self.at += 4;
        self.take(b' ');
        let day = self.number(1..=2)?;
        (self.take(b' ') && (1..=31).contains(&day)).then_some(())?;
        Some((month as i64 + 1, day))
    }

    /// Continues at the separator after the year; a zone's name may follow if a weekday came
    /// before.
    fn iso(&mut self, year: i64, named: bool) -> Option<Stamp> {
        let separator = self.peek()?;
        self.at += 1;
        let month = self.number(2..=2)?;
        self.take(separator).then_some(())?;
        let day = self.number(2..=2)?;
        (self.take(b'T') || self.take(b' ')).then_some(())?;
        let ns = local(year, month, day, self.time_of_day()?)?;
        let before = *self;
        let mut zone = None;
        match self.peek() {
            Some(b'Z') => {
                self.at += 1;
                zone = Some(0);
            }
            Some(b'+' | b'-') => zone = Some(self.offset()?),
            Some(b' ') if named => {
                self.at += 1;
                zone = self.zone_name();
            }
            Some(b' ') => {
                // As `date --rfc-3339` writes it; otherwise a host comes.
                self.at += 1;
                zone = self.offset();
                if zone.is_none() || self.peek() != Some(b' ') {
                    *self = before;
                    zone = None;
                }
            }
            _ => {}
        }
        Some(zoned(ns, zone))
    }

    /// Seconds east of UTC of `+01:00`, `+0100` or `+01`.
    fn offset(&mut self) -> Option<i32> {
        let sign = match self.peek()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.at += 1;
        let pair = |text: &mut Self| {
            let value = decimal(text.rest().get(..2)?)?;
            text.at += 2;
            Some(value)
        };
        let hours = pair(self)?;
        let minutes = match self.peek() {
            Some(b':') => {
                self.at += 1;
                pair(self)?
            }
            Some(b'0'..=b'9') => pair(self)?,
            _ => 0,
        };
        (hours < 24 && minutes < 60).then_some(())?;
        i32::try_from(sign * (hours * 3600 + minutes * 60)).ok()
    }

    /// Skips `CET` or `+03`; among zone names, only those of UTC have a known
    /// offset.
    fn zone_name(&mut self) -> Option<i32> {
        let before = *self;
        if let Some(offset) = self.offset() {
            return Some(offset);
        }
        *self = before;
        let name = self.rest().iter().take_while(|b| b.is_ascii_alphanumeric());
        let name = &self.line[before.at..before.at + name.count()];
        self.at += name.len();
        [b"UTC".as_slice(), b"GMT"].contains(&name).then_some(0)
    }

    /// ns of `10:11:12` and its fraction; a leap second is the second before.
    fn time_of_day(&mut self) -> Option<i64> {
        let text = self.rest().get(..8)?;
        let (hour, minute, second) = (
            decimal(&text[..2])?,
            decimal(&text[3..5])?,
            decimal(&text[6..])?,
        );
        let valid = text[2] == b':' && text[5] == b':' && hour < 24 && minute < 60 && second <= 60;
        valid.then_some(())?;
        self.at += 8;
        let seconds = hour * 3600 + minute * 60 + second.min(59);
        Some(seconds * SECOND + self.fraction()?)
    }

    /// ns of `.5` or `,5`, if present; more than nine digits are truncated.
    fn fraction(&mut self) -> Option<i64> {
        let digits = match self.rest() {
            [b'.' | b',', rest @ ..] => rest.iter().take_while(|b| b.is_ascii_digit()).count(),
            _ => return Some(0),
        };
        let kept = digits.min(9);
        let value = decimal(&self.rest()[1..1 + kept])?;
        self.at += 1 + digits;
        Some(value * 10_i64.pow(9 - kept as u32))
    }
}

/// ns from 1970 to a local time.
pub(super) fn local(year: i64, month: i64, day: i64, ns: i64) -> Option<i64> {
    let valid = YEARS.contains(&year) && (1..=civil::month_days(year, month)).contains(&day);
    valid.then(|| civil::days(year, month, day) * DAY + ns)
}

fn zoned(local_ns: i64, zone: Option<i32>) -> Stamp {
    match zone {
        Some(zone) => Stamp::Absolute {
            ns: local_ns - i64::from(zone) * SECOND,
            zone: Some(zone),
        },
        None => Stamp::Local(local_ns),
    }
}

fn decimal(digits: &[u8]) -> Option<i64> {
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-11-20 10:11:12, as if it were UTC.
    const LOCAL: i64 = 1_732_097_472 * SECOND;

    #[test]
    fn time_stamps_of_every_writer() {
        let in_year = |month, day, ns| Stamp::InYear { month, day, ns };
        let at = |zone: i32, fraction| Stamp::Absolute {
            ns: LOCAL - i64::from(zone) * SECOND + fraction,
            zone: Some(zone),
        };
        let time = (10 * 3600 + 11 * 60 + 12) * SECOND;
        for (text, want) in [
            ("Jan  1 00:00:01 gw kernel: x", in_year(1, 1, SECOND)),
            ("<6>Mar  1 00:00:00 gw", in_year(3, 1, 0)),
            ("Feb 29 00:00:00 gw", in_year(2, 29, 0)),
            ("Nov 20 10:11:12 gw", in_year(11, 20, time)),
            ("Nov 20 10:11:12.25 gw", in_year(11, 20, time + SECOND / 4)),
            ("2024 Nov 20 10:11:12 gw", Stamp::Local(LOCAL)),
            ("Nov 20 2024 10:11:12 gw", Stamp::Local(LOCAL)),
            ("2024-11-20T10:11:12Z", at(0, 0)),
            (
                "2024-11-20 10:11:12.123 gw",
                Stamp::Local(LOCAL + 123_000_000),
            ),
            ("2024-11-20T10:11:12 gw", Stamp::Local(LOCAL)),
            ("2024/11/20 10:11:12 gw", Stamp::Local(LOCAL)),
            (
                "2024-11-20T10:11:12.123456+11:00 gw",
                at(39_600, 123_456_000),
            ),
            ("2024-11-20T10:11:12,5+01:00 gw", at(3600, SECOND / 2)),
            ("2024-11-20T10:11:12+0100 gw", at(3600, 0)),
            ("2024-11-20 10:11:12-0330 gw", at(-12_600, 0)),
            ("2024-11-20 10:11:12 +0100 gw", at(3600, 0)),
            ("<6>1 2024-11-20T10:11:12.25Z gw", at(0, SECOND / 4)),
            ("<4> 2024 Nov 20 10:11:12 gw", Stamp::Local(LOCAL)),
            (
                "Nov 20 10:11:12 gw 1 2024-11-20T10:11:12.25+11:00 gw kernel - - - x",
                at(39_600, SECOND / 4),
            ),
            ("Nov 20 10:11:12 gw 1 of 7", in_year(11, 20, time)),
            (
                "Wed 2024-11-20 10:11:12 CET gw kernel: x",
                Stamp::Local(LOCAL),
            ),
            ("Wed 2024-11-20 10:11:12 UTC gw kernel: x", at(0, 0)),
            ("Wed 2024-11-20 10:11:12 +03 gw kernel: x", at(10_800, 0)),
            ("[Wed Nov 20 10:11:12 2024] x", Stamp::Local(LOCAL)),
            ("Wed Nov 20 10:11:12 UTC 2024 x", at(0, 0)),
            ("Wed Nov 20 10:11:12 CET 2024 x", Stamp::Local(LOCAL)),
            (
                "[ 1234.000001] gw kernel: x",
                Stamp::Uptime(1_234_000_001_000),
            ),
            ("[1234] x", Stamp::Uptime(1234 * SECOND)),
            ("<6>[    0.5] x", Stamp::Uptime(SECOND / 2)),
            ("[ 1.5 <    0.000001 >] x", Stamp::Uptime(3 * SECOND / 2)),
            ("kern  :info  : [ 1.5] x", Stamp::Uptime(3 * SECOND / 2)),
            (
                "1732097472.25 gw kernel: x",
                Stamp::Absolute {
                    ns: LOCAL + SECOND / 4,
                    zone: None,
                },
            ),
        ] {
            assert_eq!(Stamp::of(text.as_bytes()), Some(want), "{text}");
        }
    }

    #[test]
    fn rejects_other_line_beginnings() {
        for wrong in [
            "",
            "Nov 31 10:11:12 gw",
            "Nov 20 24:11:12 gw",
            "Nov 20 10-11:12 gw",
            "Okt 20 10:11:12 gw",
            "l4s_ecn_marking-start,0",
            "2024-13-20T10:11:12Z",
            "2023-02-29T10:11:12Z",
            "1969-12-31T10:11:12Z",
            "9999-12-31T10:11:12Z",
            "2024-11-20T10:11:12+24:00",
            "[Wed Nov 20 10:11:12 2024 x",
            "[ 12 34] x",
            "[1234567890123] x",
            "12345678901234567890.5 gw",
            "<6",
            "<x>Nov 20 10:11:12 gw",
        ] {
            assert_eq!(Stamp::of(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn truncated_time_stamps_do_not_panic() {
        for text in [
            "<6>1 2024-11-20T10:11:12.123456+11:00 gw",
            "Wed Nov 20 10:11:12 CET 2024 x",
            "[ 1.5 <    0.000001 >] x",
            "kern  :info  : [ 1.5] x",
        ] {
            for end in 0..text.len() {
                let parsed = parse(&text.as_bytes()[..end]);
                assert!(parsed.is_none_or(|p| p.length <= end), "{text}");
            }
        }
    }
}

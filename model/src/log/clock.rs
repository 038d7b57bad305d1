//! One clock for time stamps that may lack the year or the zone.

use super::civil;
use super::stamp::{DAY, SECOND, Stamp, local};

/// Facts about a log's stamps that are known in advance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockOptions {
    /// The year of the first stamp without one.
    pub year: Option<i64>,
    /// Seconds east of UTC of stamps without a zone; by default, the zone of
    /// the log's other stamps.
    pub zone: Option<i32>,
}

/// Nanoseconds since the first stamp, never decreasing, for the lines of one
/// machine's log in order.
///
/// Stamps of different forms share one time line. A stamp without a year gets
/// the year closest to the previous stamp, and one without a zone gets the zone
/// of the log's stamps with a zone. If stamps without them come first, the
/// first stamp with both resolves them afterwards, because only differences
/// were returned until then.
#[derive(Debug, Clone)]
pub struct Clock {
    options: ClockOptions,
    zone: i64, // offset of stamps without a zone, ns east of UTC
    zone_known: bool,
    year: Year,
    reference: Option<i64>, // local ns close to the first stamp
    last_local: Option<Stamp>,
    now: Option<i64>, // ns of the last stamp on the time line
    uptime: bool,     // its kind
    origin: i64,
    last: u64, // the last returned value
}

/// Knowledge about the year of stamps without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Year {
    /// Nothing: a common year is assumed.
    Open,
    /// It has a 29 February.
    Leap,
    Known,
}

/// A stamp on the time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// ns since the first stamp.
    pub ns: u64,
    /// The machine restarted, or the log switched to a clock that cannot be
    /// compared with the last one: this is the first stamp of another run.
    pub restarted: bool,
    /// The stamp is this many ns before the previous one; the time did not
    /// advance.
    pub set_back: u64,
    /// From February to March in an unknown year: the interval may be off by a
    /// day.
    pub leap_open: bool,
}

/// A stamp's day does not exist in its year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchDay {
    /// The year.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// Placeholders for unknown years; the first is common, the second a leap year.
const COMMON: i64 = 2001;
const LEAP: i64 = 2004;

/// Maximum distance of a log's next stamp from the previous one.
const HALF_YEAR: u64 = 184 * DAY as u64;

/// Kernels print lines of several processors slightly out of order.
const JITTER: i64 = SECOND;

impl Clock {
    /// Before the first stamp.
    pub fn new(options: ClockOptions) -> Clock {
        let zone = options.zone.map_or(0, |zone| i64::from(zone) * SECOND);
        Clock {
            options,
            zone,
            zone_known: options.zone.is_some(),
            year: Year::Open,
            reference: None,
            last_local: None,
            now: None,
            uptime: false,
            origin: 0,
            last: 0,
        }
    }

    /// Local ns since 1970 near which the next stamps lie, by the name of their
    /// file.
    pub fn expect(&mut self, local_ns: i64) {
        if self.year != Year::Known && self.options.year.is_none() {
            self.fix(local_ns, None);
            self.reference = Some(local_ns);
        }
    }

    /// The time of a stamp.
    ///
    /// # Errors
    /// There is no such day in its year; the clock has not moved.
    pub fn at(&mut self, stamp: Stamp) -> Result<Tick, NoSuchDay> {
        let mut leap_open = false;
        let uptime = matches!(stamp, Stamp::Uptime(_));
        let at = match stamp {
            Stamp::Uptime(ns) => ns,
            Stamp::Absolute { ns, zone } => {
                let zone = zone.map(|zone| i64::from(zone) * SECOND);
                self.fix(ns + zone.unwrap_or(self.zone), zone);
                self.zone_known |= zone.is_some();
                ns
            }
            Stamp::Local(ns) => {
                self.fix(ns, None);
                ns - self.zone
            }
            Stamp::InYear { month, day, ns } => {
                let found = self.in_year(month.into(), day.into(), ns);
                let (at, open) = found.map_err(|year| NoSuchDay { year, month, day })?;
                leap_open = open;
                self.last_local = Some(stamp);
                at - self.zone
            }
        };
        let restarted = match self.now {
            Some(_) if uptime != self.uptime => true,
            Some(now) => uptime && at + JITTER < now,
            None => false,
        };
        if restarted || self.now.is_none() {
            (self.origin, self.last) = (at, 0);
        }
        let back = match self.now {
            Some(now) if !restarted => u64::try_from(now - at).unwrap_or(0),
            _ => 0,
        };
        (self.now, self.uptime) = (Some(at), uptime);
        // After a clock was set back, the time does not advance until the clock
        // has caught up.
        let since = u64::try_from(at - self.origin).unwrap_or(0);
        self.last = self.last.max(since);
        Ok(Tick {
            ns: self.last,
            restarted,
            set_back: back,
            leap_open,
        })
    }

    /// Takes year and zone from a stamp that has them, at `local_ns`: moves the
    /// last stamp without them, and all earlier ones, next to it.
    fn fix(&mut self, local_ns: i64, zone: Option<i64>) {
        let zone = match (self.options.zone, zone) {
            (None, Some(zone)) => zone,
            _ => self.zone,
        };
        let last = self.last_local.take().filter(|_| !self.uptime);
        if let (Some(Stamp::InYear { month, day, ns }), Some(now)) = (last, self.now) {
            let local = match self.year {
                Year::Known => Some(now + self.zone),
                _ => nearest(local_ns, month.into(), day.into(), ns),
            };
            // A change of a known zone is a change of the clock.
            let zone = if self.zone_known { self.zone } else { zone };
            if let Some(moved) = local.map(|local| local - zone) {
                self.origin += moved - now;
                self.now = Some(moved);
            }
        }
        self.zone = zone;
        self.year = Year::Known;
    }

    /// Local ns of a stamp without a year, and whether it passes the end of
    /// February of a year that is not known. The error contains the year that
    /// lacks the day.
    fn in_year(&mut self, month: i64, day: i64, ns: i64) -> Result<(i64, bool), i64> {
        if self.year != Year::Known {
            if let (Some(year), None) = (self.options.year, self.now) {
                let at = local(year, month, day, ns).ok_or(year)?;
                self.year = Year::Known;
                return Ok((at, false));
            }
        }
        let now = self.now.filter(|_| !self.uptime).map(|now| now + self.zone);
        let near = now.or(self.reference);
        let Some(mut near) = near else {
            let leap_day = (month, day) == (2, 29);
            self.year = if leap_day { Year::Leap } else { Year::Open };
            let year = if leap_day { LEAP } else { COMMON };
            let at = local(year, month, day, ns).ok_or(year)?;
            return Ok((at, false));
        };
        if self.year == Year::Open && (month, day) == (2, 29) {
            // So this is a leap year; days before are the same in both.
            let year = civil::year_of(near.div_euclid(DAY));
            let moved = near + (civil::days(LEAP, 1, 1) - civil::days(year, 1, 1)) * DAY;
            self.origin += moved - near;
            self.now = self.now.map(|now| now + moved - near);
            near = moved;
            self.year = Year::Leap;
        }
        // The nearest 29 February of a common year is a year away or more.
        let known = self.year != Year::Open && self.now.is_some();
        let at = nearest(near, month, day, ns)
            .filter(|at| !known || at.abs_diff(near) <= HALF_YEAR)
            .ok_or_else(|| civil::year_of(near.div_euclid(DAY)))?;
        let year = civil::year_of(at.div_euclid(DAY));
        let march = civil::days(year, 3, 1) * DAY;
        let passes = (march - 60 * DAY..march).contains(&near) && at >= march;
        Ok((at, passes && self.year == Year::Open))
    }
}

/// Local ns of a day without a year, in the year that puts it nearest to
/// `near`.
pub(super) fn nearest(near: i64, month: i64, day: i64, ns: i64) -> Option<i64> {
    let year = civil::year_of(near.div_euclid(DAY));
    // A leap day may be up to eight years away (1896 to 1904).
    let reach = if (month, day) == (2, 29) { 8 } else { 1 };
    (year - reach..=year + reach)
        .filter_map(|year| local(year, month, day, ns))
        .min_by_key(|at| at.abs_diff(near))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn clock(options: ClockOptions) -> impl FnMut(&str) -> Tick {
        let mut clock = Clock::new(options);
        move |text| {
            let stamp = Stamp::of(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            clock.at(stamp).unwrap_or_else(|_| panic!("{text}"))
        }
    }

    fn times(options: ClockOptions, lines: &[&str]) -> Vec<u64> {
        let mut at = clock(options);
        lines.iter().map(|line| at(line).ns).collect()
    }

    fn year(year: i64) -> ClockOptions {
        ClockOptions {
            year: Some(year),
            zone: None,
        }
    }

    #[test]
    fn time_is_monotonic_across_new_year() {
        let mut at = clock(ClockOptions::default());
        assert_eq!(at("Dec 31 23:59:58 gw").ns, 0);
        assert_eq!(at("Dec 31 23:59:58 gw").ns, 0);
        assert_eq!(at("Dec 31 23:59:59 gw").ns, S);
        assert_eq!(at("Jan  1 00:00:01 gw").ns, 3 * S);
        let back = at("Jan  1 00:00:00 gw");
        assert_eq!((back.ns, back.set_back, back.restarted), (3 * S, S, false));
        assert_eq!(at("Jan  1 00:01:00 gw").ns, 62 * S);
    }

    #[test]
    fn the_end_of_february_depends_on_the_year() {
        let end = ["Feb 28 23:59:59 gw", "Mar  1 00:00:00 gw"];
        assert_eq!(times(ClockOptions::default(), &end), [0, S]);
        assert_eq!(times(year(2023), &end), [0, S]);
        assert_eq!(times(year(2024), &end), [0, 86_401 * S]);
        let mut at = clock(ClockOptions::default());
        at(end[0]);
        assert!(at(end[1]).leap_open);
        let mut at = clock(year(2023));
        at(end[0]);
        assert!(!at(end[1]).leap_open);
        // A line of 29 February shows a leap year, so the year is unambiguous.
        let mut at = clock(ClockOptions::default());
        at(end[0]);
        assert_eq!(at("Feb 29 00:00:00 gw").ns, S);
        assert_eq!(at("Feb 29 23:59:59 gw").ns, 86_400 * S);
        let march = at(end[1]);
        assert_eq!((march.ns, march.leap_open), (86_401 * S, false));
        // The year after is common.
        let days = ["Feb 29", "Jul 31", "Dec 31", "Mar  1"];
        let lines = days.map(|day| format!("{day} 00:00:00 gw"));
        let lines = lines.each_ref().map(String::as_str);
        let want = [0, 153, 306, 366].map(|days| days * 86_400 * S);
        assert_eq!(times(ClockOptions::default(), &lines), want);
    }

    #[test]
    fn stamps_of_both_kinds_share_one_clock() {
        let options = ClockOptions::default();
        let local = ["Jun 10 08:00:00 gw", "Jun 10 08:00:01 gw"];
        for zone in ["Z", "+00:00", "+05:30", "-0800"] {
            let absolute = format!("2023-06-10T08:00:02{zone} gw");
            let lines = [local[0], local[1], &absolute];
            assert_eq!(times(options, &lines), [0, S, 2 * S], "{zone}");
            let absolute = format!("2023-06-10T07:59:59{zone} gw");
            let lines = [&absolute, local[0], local[1]];
            assert_eq!(times(options, &lines), [0, S, 2 * S], "{zone}");
        }
        // The given zone takes precedence.
        let zone = ClockOptions {
            year: None,
            zone: Some(7200),
        };
        let lines = [
            "Jun 10 08:00:00 gw",
            "2023-06-10T06:00:01Z gw",
            "Jun 10 08:00:02 gw",
        ];
        assert_eq!(times(zone, &lines), [0, S, 2 * S]);
        // Across New Year, and across the end of February in a year that is
        // found later.
        let lines = [
            "Dec 31 23:59:59 gw",
            "2024-01-01T00:00:00Z gw",
            "Jan  1 00:00:01 gw",
        ];
        assert_eq!(times(options, &lines), [0, S, 2 * S]);
        let lines = ["2024-02-28T23:59:59Z gw", "Mar  1 00:00:00 gw"];
        assert_eq!(times(options, &lines), [0, 86_401 * S]);
        // A year without a zone fixes the year.
        let lines = [
            "Feb 28 23:59:58 gw",
            "2024-02-28 23:59:59 gw",
            "Mar  1 00:00:00 gw",
        ];
        assert_eq!(times(options, &lines), [0, S, 86_402 * S]);
        // Seconds since 1970 have no zone.
        let lines = [
            "1686384000.5 gw",
            "2023-06-10T08:00:01Z gw",
            "Jun 10 08:00:01 gw",
        ];
        assert_eq!(times(options, &lines), [0, S / 2, S / 2]);
    }

    #[test]
    fn year_comes_from_the_file_name() {
        let about = |year, lines: &[&str]| -> Vec<u64> {
            let mut clock = Clock::new(ClockOptions::default());
            clock.expect(local(year, 3, 1, 0).unwrap());
            let stamps = lines.iter().map(|line| Stamp::of(line.as_bytes()).unwrap());
            stamps.map(|stamp| clock.at(stamp).unwrap().ns).collect()
        };
        let end = ["Feb 28 23:59:59 gw", "Mar  1 00:00:00 gw"];
        assert_eq!(about(2024, &end), [0, 86_401 * S]);
        assert_eq!(about(2023, &end), [0, S]);
    }

    #[test]
    fn a_clock_since_boot_restarts() {
        let mut at = clock(ClockOptions::default());
        assert_eq!(at("[ 1234.000000] gw kernel: x").ns, 0);
        assert_eq!(at("[ 1234.000001] gw kernel: x").ns, 1000);
        let jitter = at("[ 1233.900000] gw kernel: x");
        assert_eq!((jitter.ns, jitter.restarted), (1000, false));
        let boot = at("[    5.000000] gw kernel: x");
        assert_eq!((boot.ns, boot.restarted, boot.set_back), (0, true, 0));
        assert_eq!(at("[    6.000000] gw kernel: x").ns, S);
        let other = at("Nov 20 10:11:12 gw kernel: x");
        assert_eq!((other.ns, other.restarted), (0, true));
        assert_eq!(at("Nov 20 10:11:13 gw kernel: x").ns, S);
    }

    #[test]
    fn days_missing_from_the_calendar_are_refused() {
        let leap_day = Stamp::of(b"Feb 29 00:00:00 gw").unwrap();
        let missing = |year| {
            Err(NoSuchDay {
                year,
                month: 2,
                day: 29,
            })
        };
        let mut clock = Clock::new(year(2023));
        assert_eq!(clock.at(leap_day), missing(2023));
        // Also in the middle of a log; its time does not change.
        for (before, year) in [
            ("Jan  1 00:00:00 gw", 2023),
            ("Feb 28 23:59:59 gw", 2023),
            ("Mar  1 00:00:00 gw", 2023),
        ] {
            let mut clock = Clock::new(self::year(year));
            assert_eq!(
                clock.at(Stamp::of(before.as_bytes()).unwrap()).unwrap().ns,
                0
            );
            assert_eq!(clock.at(leap_day), missing(year), "{before}");
            assert_eq!(
                clock.at(Stamp::of(before.as_bytes()).unwrap()).unwrap().ns,
                0
            );
        }
        let mut clock = Clock::new(ClockOptions::default());
        clock
            .at(Stamp::of(b"2025-02-28T23:59:59Z gw").unwrap())
            .unwrap();
        assert_eq!(clock.at(leap_day), missing(2025));
        // The year after it is a leap year.
        let lines = ["Dec 31 00:00:00 gw", "Feb 29 00:00:00 gw"];
        assert_eq!(times(self::year(2023), &lines), [0, 60 * 86_400 * S]);
    }
}

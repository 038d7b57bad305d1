//! Structs of requests other than overrides and parameters.

use std::ffi::{CStr, c_char};

use crate::bytes::Plain;
use crate::{AbiError, MESSAGE_SIZE, check, check_layout, raw};

/// The reply to [`Op::Version`](crate::Op::Version).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Minimum version that the device supports.
    pub min: u16,
    /// Maximum version.
    pub max: u16,
    /// Release of the module.
    pub module: String,
}

impl Version {
    /// The request: the range that this crate supports.
    pub fn question() -> raw::l4s_version {
        raw::l4s_version {
            min: raw::L4S_ABI_VERSION_MIN as u16,
            max: raw::L4S_ABI_VERSION as u16,
            ..Default::default()
        }
    }

    /// An answer, for devices. `module` is truncated to 31 bytes.
    pub fn answer(module: &str) -> raw::l4s_version {
        let mut answer = raw::l4s_version {
            record_size: raw::L4S_RECORD_SIZE,
            ..Version::question()
        };
        let room = answer.module.len() - 1;
        for (to, from) in answer.module[..room].iter_mut().zip(module.bytes()) {
            *to = from as c_char;
        }
        answer
    }

    /// True if `self` and this crate have a common version.
    pub fn is_compatible(&self) -> bool {
        u32::from(self.min) <= raw::L4S_ABI_VERSION
            && u32::from(self.max) >= raw::L4S_ABI_VERSION_MIN
    }
}

impl TryFrom<raw::l4s_version> for Version {
    type Error = AbiError;
    /// Checks the range's order, the record size (if the ranges overlap) and
    /// the NUL.
    fn try_from(v: raw::l4s_version) -> Result<Self, AbiError> {
        let what = raw::l4s_version::NAME;
        check(v.min <= v.max, what, "min", u64::from(v.min), "at most max")?;
        let module: [u8; 32] = v.module.map(|c| c as u8);
        let module = CStr::from_bytes_until_nul(&module).map_err(|_| AbiError::Range {
            what,
            field: "module",
            got: u64::from(module[31]),
            want: "NUL-terminated",
        })?;
        let version = Version {
            min: v.min,
            max: v.max,
            module: module.to_string_lossy().into_owned(),
        };
        if version.is_compatible() && v.record_size as usize != MESSAGE_SIZE {
            return Err(AbiError::Length {
                what: "message",
                got: v.record_size as usize,
                want: MESSAGE_SIZE,
            });
        }
        Ok(version)
    }
}

/// The streams that a descriptor reads, and when it is readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Number of messages that must be available, 1 to 65536.
    pub records: u32,
    /// Or time for which one message has been pending; 0: no bound.
    pub max_wait_ns: u64,
    /// The streams to read.
    pub streams: Streams,
}

/// The streams that a descriptor reads. Events come with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// One record per decision.
    Records,
    /// Summaries of intervals.
    Summaries(SummaryInterval),
    /// Both.
    All(SummaryInterval),
}

/// Maximum interval of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SummaryInterval {
    /// Time, 1 ms to 60 s; 0: no bound.
    pub period_ns: u64,
    /// Decisions, up to 2^30; 0: no bound.
    pub decisions: u32,
}

impl Interval {
    /// Readable when `records` records are available.
    pub fn of_records(records: u32) -> Interval {
        Interval {
            records,
            max_wait_ns: 0,
            streams: Streams::Records,
        }
    }

    /// The C struct.
    ///
    /// # Errors
    /// [`AbiError::Range`] if a field is out of range, or summaries are read
    /// without a bound.
    pub fn to_raw(&self) -> Result<raw::l4s_interval, AbiError> {
        let what = raw::l4s_interval::NAME;
        let got = u64::from(self.records);
        check(
            (1..=65_536).contains(&got),
            what,
            "records",
            got,
            "1..=65536",
        )?;
        let (streams, summary) = match self.streams {
            Streams::Records => (raw::L4S_STREAM_RECORDS, None),
            Streams::Summaries(interval) => (raw::L4S_STREAM_SUMMARIES, Some(interval)),
            Streams::All(interval) => (raw::L4S_STREAM_ALL, Some(interval)),
        };
        if let Some(interval) = &summary {
            interval.check()?;
        }
        let summary = summary.unwrap_or_default();
        Ok(raw::l4s_interval {
            records: self.records,
            streams,
            max_wait_ns: self.max_wait_ns,
            summary_ns: summary.period_ns,
            summary_decisions: summary.decisions,
            pad: 0,
        })
    }
}

impl SummaryInterval {
    fn check(&self) -> Result<(), AbiError> {
        let what = raw::l4s_interval::NAME;
        let (period, decisions) = (self.period_ns, u64::from(self.decisions));
        check(
            period == 0 || (1_000_000..=60_000_000_000).contains(&period),
            what,
            "summary_ns",
            period,
            "0, or 1 ms to 60 s",
        )?;
        check(
            decisions <= 1 << 30,
            what,
            "summary_decisions",
            decisions,
            "0..=2^30",
        )?;
        check(
            period != 0 || decisions != 0,
            what,
            "summary_ns",
            0,
            "a period or a number of decisions",
        )
    }
}

/// Counters of the device, accessible through `Deref`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(transparent)]
pub struct Stats(raw::l4s_stats);

impl Stats {
    /// The request for one instance or, with `sched` 0, for all.
    pub fn question(sched: u32, instance: u32) -> raw::l4s_stats {
        raw::l4s_stats {
            version: raw::L4S_ABI_VERSION as u16,
            length: size_of::<raw::l4s_stats>() as u32,
            sched,
            instance,
            ..Default::default()
        }
    }

    /// The first violated accounting identity of the header, with its two
    /// sides; `None` if all hold.
    pub fn imbalance(&self) -> Option<(&'static str, u64, u64)> {
        let s = &self.0;
        let sum = |parts: &[u64]| parts.iter().fold(0u64, |a, b| a.wrapping_add(*b));
        [
            (
                "packets_in",
                s.packets_in,
                sum(&[s.forwarded, s.dropped, s.queued]),
            ),
            (
                "dropped",
                s.dropped,
                sum(&[s.drops_tail, s.drops_base, s.drops_override, s.drops_flush]),
            ),
            (
                "records_written",
                s.records_written,
                sum(&[s.records_read, s.records_lost, s.records_waiting]),
            ),
            (
                "overrides_received",
                s.overrides_received,
                sum(&[
                    s.overrides_applied,
                    s.overrides_expired,
                    s.overrides_refused,
                    s.overrides_replaced,
                    s.overrides_waiting,
                ]),
            ),
        ]
        .into_iter()
        .find(|(_, left, right)| left != right)
    }
}

impl std::ops::Deref for Stats {
    type Target = raw::l4s_stats;
    fn deref(&self) -> &raw::l4s_stats {
        &self.0
    }
}

impl TryFrom<raw::l4s_stats> for Stats {
    type Error = AbiError;
    /// Checks version and length; counters have no range.
    fn try_from(s: raw::l4s_stats) -> Result<Self, AbiError> {
        check_layout(
            raw::l4s_stats::NAME,
            s.version,
            s.pad0,
            s.length,
            size_of_val(&s),
        )?;
        Ok(Stats(s))
    }
}

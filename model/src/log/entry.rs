//! One entry of the log, and finding entries in lines.

use std::fmt;

use l4sllm_abi::Record;
use memchr::{memchr_iter, memmem::Finder};

use crate::Feature;

/// Logged fields of a decision, in order.
pub const FIELDS: [&str; 24] = [
    "queue_type",
    "qdelay_reference",
    "tupdate",
    "max_burst",
    "max_ecn_threshold",
    "alpha",
    "beta",
    "flags",
    "burst_allowance",
    "drop_probability",
    "current_queue_delay",
    "previous_queue_delay",
    "accumulated_probability",
    "measurement_start_time",
    "average_dequeue_time",
    "dequeue_count",
    "status_flags",
    "total_packets",
    "total_bytes",
    "queue_length",
    "length_in_bytes",
    "total_drops",
    "packet_length",
    "dequeue_action",
];

/// Minimum and maximum of each: the feature's, or those of the printed width.
const RANGES: [(u64, u64); FIELDS.len()] = {
    const U32: (u64, u64) = (0, u32::MAX as u64);
    const U64: (u64, u64) = (0, u64::MAX);
    [
        Feature::QueueType.range(),
        U32,
        U32,
        U32,
        U32,
        U32,
        U32,
        U32,
        Feature::BurstAllowance.range(),
        Feature::DropProbability.range(),
        Feature::CurrentQueueDelay.range(),
        Feature::PreviousQueueDelay.range(),
        Feature::AccumulatedProbability.range(),
        U64,
        Feature::AverageDequeueTime.range(),
        Feature::DequeueCount.range(),
        U32,
        Feature::TotalPackets.range(),
        Feature::TotalBytes.range(),
        Feature::QueueLength.range(),
        Feature::LengthInBytes.range(),
        Feature::TotalDrops.range(),
        Feature::PacketLength.range(),
        (1, crate::ACTIONS as u64),
    ]
};

const LAST: usize = FIELDS.len() - 1;
const START: &[u8] = b"ecn_marking-start,";
const END: &[u8] = b",end";

/// The numbers of one line, within their ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry([u64; FIELDS.len()]);

impl Entry {
    /// Checks the range of each field.
    ///
    /// # Errors
    /// [`Fault::Range`] names the first field that is out of range.
    pub fn new(fields: [u64; FIELDS.len()]) -> Result<Entry, Fault> {
        for (field, (value, (least, most))) in fields.iter().zip(RANGES).enumerate() {
            if !(least..=most).contains(value) {
                return Err(Fault::Range {
                    field: FIELDS[field],
                    value: *value,
                    least,
                    most,
                });
            }
        }
        Ok(Entry(fields))
    }

    /// The numbers as logged, in the order of [`FIELDS`].
    pub fn fields(&self) -> &[u64; FIELDS.len()] {
        &self.0
    }

    /// Code of the action: the logged value minus one.
    pub fn action(&self) -> u8 {
        (self.0[LAST] - 1) as u8
    }

    /// The features in the log, in the order of [`Feature::ALL`].
    pub fn features() -> impl Iterator<Item = Feature> {
        let logged = |f: &Feature| FIELDS.contains(&f.name());
        Feature::ALL.iter().copied().filter(logged)
    }

    /// Index of a feature among the fields, if present.
    pub fn place(feature: Feature) -> Option<usize> {
        FIELDS.iter().position(|name| *name == feature.name())
    }
}

impl TryFrom<&Record> for Entry {
    type Error = Fault;

    /// The entry of a record, with the record's units.
    ///
    /// # Errors
    /// A packet longer than an IP packet, or with length 0.
    fn try_from(r: &Record) -> Result<Entry, Fault> {
        Entry::new([
            r.queue_type.into(),
            r.qdelay_reference.into(),
            r.tupdate.into(),
            r.max_burst.into(),
            r.max_ecn_threshold.into(),
            r.alpha.into(),
            r.beta.into(),
            r.flags.into(),
            r.burst_allowance.into(),
            r.drop_probability.into(),
            r.current_queue_delay.into(),
            r.previous_queue_delay.into(),
            r.accumulated_probability,
            r.measurement_start_time,
            r.average_dequeue_time.into(),
            r.dequeue_count.into(),
            r.status_flags.into(),
            r.total_packets,
            r.total_bytes,
            r.queue_length.into(),
            r.length_in_bytes.into(),
            r.total_drops,
            r.packet_length.into(),
            u64::from(r.dequeue_action) + 1,
        ])
    }
}

/// Damage of a line, or of a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The line ends before `,end`.
    Truncated,
    /// Another entry begins before `,end`.
    Interrupted,
    /// `,end` without a beginning.
    Headless,
    /// `,end` after another number of fields.
    Count(usize),
    /// A field is not an unsigned decimal number of 64 bits.
    Number(&'static str),
    /// A field has an out-of-range value.
    Range {
        /// Its name.
        field: &'static str,
        /// The value.
        value: u64,
        /// Minimum.
        least: u64,
        /// Maximum.
        most: u64,
    },
    /// Text after `,end` that does not begin an entry; the previous entry is
    /// used.
    Stray,
    /// A line longer than any written by a kernel.
    Long,
    /// A compressed file is truncated; the data before is used.
    Cut,
    /// An invalid repetition count of a syslog daemon.
    Repeats,
}

impl Fault {
    /// The reasons used for counting faults.
    pub const REASONS: [&'static str; 10] = [
        "line ends before \",end\"",
        "another line begins before \",end\"",
        "\",end\" without a beginning",
        "not 24 fields",
        "a field is not a number",
        "a field is out of its range",
        "text after \",end\"",
        "line too long",
        "compressed file is truncated",
        "\"message repeated\" without a count of 1 or more",
    ];

    /// Index in [`Fault::REASONS`].
    pub fn reason(self) -> usize {
        match self {
            Fault::Truncated => 0,
            Fault::Interrupted => 1,
            Fault::Headless => 2,
            Fault::Count(_) => 3,
            Fault::Number(_) => 4,
            Fault::Range { .. } => 5,
            Fault::Stray => 6,
            Fault::Long => 7,
            Fault::Cut => 8,
            Fault::Repeats => 9,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Count(count) => write!(f, "{count} fields, expected {}", FIELDS.len()),
            Fault::Number(field) => write!(f, "{field} is not an unsigned number of 64 bits"),
            Fault::Range {
                field,
                value,
                least,
                most,
            } => write!(f, "{field} is {value}, expected {least} to {most}"),
            other => f.write_str(Fault::REASONS[other.reason()]),
        }
    }
}

impl std::error::Error for Fault {}

/// Finds entries in lines.
#[derive(Debug)]
pub struct Scan {
    start: Finder<'static>,
    end: Finder<'static>,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan {
            start: Finder::new(START),
            end: Finder::new(END),
        }
    }
}

impl Scan {
    /// Start of the first entry of a line (without its end): after the word
    /// that begins it.
    pub fn find(&self, line: &[u8]) -> Option<usize> {
        Some(self.start.find(line)? + START.len())
    }

    /// The text before an entry found by [`Scan::find`], without the beginning
    /// of its first word.
    pub fn prefix<'a>(&self, line: &'a [u8], first: usize) -> &'a [u8] {
        let at = first - START.len();
        &line[..word_before(line, at)]
    }

    /// Whether a line without a beginning has an entry's end.
    pub fn is_headless(&self, line: &[u8]) -> bool {
        line.trim_ascii_end().ends_with(END)
    }

    /// Calls back with the entries of a line, starting at `first`, in order.
    pub fn entries(&self, line: &[u8], first: usize, mut found: impl FnMut(Result<Entry, Fault>)) {
        let mut from = first;
        loop {
            let rest = &line[from..];
            // Nearly always a line has one complete entry, and nothing is
            // searched twice.
            if let Some((entry, after)) = whole(rest) {
                found(Ok(entry));
                if blank(&rest[after..]) {
                    return;
                }
                let next = self.start.find(&rest[after..]);
                let stray = match next {
                    Some(at) => &rest[after..after + word_before(&rest[after..], at)],
                    None => &rest[after..],
                };
                if !blank(stray) {
                    found(Err(Fault::Stray));
                }
                match next {
                    Some(at) => from += after + at + START.len(),
                    None => return,
                }
                continue;
            }
            let next = self.start.find(rest);
            let part = match next {
                Some(at) => &rest[..word_before(rest, at)],
                None => rest,
            };
            found(Err(self.diagnose(part, next.is_some())));
            match next {
                Some(at) => from += at + START.len(),
                None => return,
            }
        }
    }

    /// The reason why `part`, which follows a beginning, is not an entry.
    fn diagnose(&self, part: &[u8], followed: bool) -> Fault {
        let Some(end) = self.end.find(part) else {
            return if followed {
                Fault::Interrupted
            } else {
                Fault::Truncated
            };
        };
        let part = &part[..end];
        let count = memchr_iter(b',', part).count() + 1;
        if count != FIELDS.len() {
            return Fault::Count(count);
        }
        let mut fields = [0; FIELDS.len()];
        for (i, text) in part.split(|byte| *byte == b',').enumerate() {
            match number(text) {
                Some((value, length)) if length == text.len() => fields[i] = value,
                _ => return Fault::Number(FIELDS[i]),
            }
        }
        Entry::new(fields).err().unwrap_or(Fault::Stray)
    }
}

/// An entry and its length, if `text` starts with a complete one.
fn whole(text: &[u8]) -> Option<(Entry, usize)> {
    let mut fields = [0; FIELDS.len()];
    let mut at = 0;
    for (i, field) in fields.iter_mut().enumerate() {
        let (value, length) = number(&text[at..])?;
        *field = value;
        at += length;
        if i < LAST {
            if text.get(at) != Some(&b',') {
                return None;
            }
            at += 1;
        }
    }
    text[at..].starts_with(END).then_some(())?;
    let entry = Entry::new(fields).ok()?;
    Some((entry, at + END.len()))
}

/// The number at the start of `text`, and its number of digits.
fn number(text: &[u8]) -> Option<(u64, usize)> {
    let mut value: u64 = 0;
    let mut digits = 0;
    while let Some(digit) = text.get(digits).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        // 19 digits always fit.
        value = if digits < 19 {
            value * 10 + u64::from(digit)
        } else {
            value.checked_mul(10)?.checked_add(u64::from(digit))?
        };
        digits += 1;
    }
    (digits > 0).then_some((value, digits))
}

/// Start of the word that ends at `at`.
fn word_before(text: &[u8], at: usize) -> usize {
    let part_of = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let other = text[..at].iter().rposition(|byte| !part_of(byte));
    other.map_or(0, |i| i + 1)
}

fn blank(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "0,15000,15000,150000,819,1024,10240,1,30000,247756880,370000,360000,\
                        17492338688,2092080123,0,0,3,12361,11229450,171,256560,23,1500,2";

    fn scan(line: &str) -> (Vec<u8>, Vec<Fault>, bool) {
        let (mut actions, mut faults) = (Vec::new(), Vec::new());
        let scan = Scan::default();
        let line = line.as_bytes();
        let first = scan.find(line);
        match first {
            Some(first) => scan.entries(line, first, |found| match found {
                Ok(entry) => actions.push(entry.action()),
                Err(fault) => faults.push(fault),
            }),
            None if scan.is_headless(line) => faults.push(Fault::Headless),
            None => return (actions, faults, false),
        }
        (actions, faults, true)
    }

    #[test]
    fn entry_is_found_after_any_prefix() {
        for prefix in ["", "Nov 20 10:11:12 gw kernel: ", "<6>"] {
            for tag in ["l4s_", "dualpi2_", ""] {
                let line = format!("{prefix}{tag}ecn_marking-start,{GOOD},end \r");
                assert_eq!(scan(&line), (vec![1], vec![], true), "{line}");
            }
        }
        let fields = scan_one(GOOD);
        assert_eq!(fields[12], 17_492_338_688);
        assert_eq!(fields[23], 2);
    }

    fn scan_one(text: &str) -> [u64; FIELDS.len()] {
        let text = format!("{text},end");
        *whole(text.as_bytes()).unwrap().0.fields()
    }

    #[test]
    fn other_lines_are_ignored() {
        for line in [
            "",
            "Nov 20 10:11:12 gw sshd[1]: session end",
            "start,1,end x",
        ] {
            assert_eq!(scan(line), (vec![], vec![], false), "{line}");
        }
    }

    #[test]
    fn each_kind_of_damage_has_its_reason() {
        let start = "l4s_ecn_marking-start,";
        let short = &GOOD[..40];
        let is = |line: String, actions: &[u8], faults: &[Fault]| {
            assert_eq!(
                scan(&line),
                (actions.to_vec(), faults.to_vec(), true),
                "{line}"
            );
        };
        is(format!("{start}{short}"), &[], &[Fault::Truncated]);
        is(start.to_owned(), &[], &[Fault::Truncated]);
        is(
            format!("{start}{short}{start}{GOOD},end"),
            &[1],
            &[Fault::Interrupted],
        );
        is(format!("{start}{GOOD},end {start}{GOOD},end"), &[1, 1], &[]);
        is(format!("{start}{GOOD},end{start}{GOOD},end"), &[1, 1], &[]);
        is(
            format!("{start}{GOOD},end Nov 20 10:11:12 gw kernel: {start}{GOOD},end"),
            &[1, 1],
            &[Fault::Stray],
        );
        // The end of the first entry follows the complete second entry.
        is(
            format!("{start}{short}{start}{GOOD},end,1500,1,end"),
            &[1],
            &[Fault::Interrupted, Fault::Stray],
        );
        is("370000,0,1500,1,end ".to_owned(), &[], &[Fault::Headless]);
        is(format!("{start}1,2,end"), &[], &[Fault::Count(2)]);
        // The older format, without packet_length.
        is(
            format!("{start}{},2,end", &GOOD[..GOOD.len() - 7]),
            &[],
            &[Fault::Count(23)],
        );
        is(
            format!("{start}{},end", GOOD.replace(",171,", ",-171,")),
            &[],
            &[Fault::Number("queue_length")],
        );
        is(
            format!("{start}{},end", GOOD.replace(",171,", ",,")),
            &[],
            &[Fault::Number("queue_length")],
        );
        let huge = GOOD.replace("17492338688", "99999999999999999999");
        is(
            format!("{start}{huge},end"),
            &[],
            &[Fault::Number("accumulated_probability")],
        );
        let range = |field, value, least, most| Fault::Range {
            field,
            value,
            least,
            most,
        };
        let replaced = GOOD.replace(",1500,2", ",1500,4");
        is(
            format!("{start}{replaced},end"),
            &[],
            &[range("dequeue_action", 4, 1, 3)],
        );
        let merged = GOOD.replace(",1500,2", ",15001500,2");
        is(
            format!("{start}{merged},end"),
            &[],
            &[range("packet_length", 15_001_500, 1, 65_535)],
        );
    }
}

//! Rate traces: the rate of a link over time, in one of three formats.
//!
//! Errors name the file, the line and the expected content, but never repeat
//! content of the file: a scenario may name a file that is not a trace.

use std::path::Path;

use l4sllm_model::files::read_regular;
use l4sllm_model::strict_toml::{DURATION, RATE};

use super::ScenarioError;
use crate::net::{RateSchedule, RateStep};

#[cfg(test)]
mod tests;

/// Maximum size of a trace file, bytes: twice that of a day in mahimahi's
/// format at 200 Mbit/s.
const MAX_BYTES: u64 = 1 << 30;
/// Maximum number of steps of a schedule, of 16 bytes each.
const MAX_STEPS: usize = 4_000_000;
/// Latest time in a trace, ns: a day.
const MAX_NS: u64 = 86_400_000_000_000;
/// Highest rate in a trace, bits per second.
const MAX_BPS: u64 = 100_000_000_000;
/// Bits of a slot of mahimahi's.
const SLOT_BITS: u64 = 1500 * 8;
const MS: u64 = 1_000_000;

/// The format of a line of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Format {
    /// A time and a rate with their units: `1.5 s, 20 Mbit/s`.
    Rates,
    /// mahimahi's `mm-link`: a time in whole milliseconds at which 1500 bytes
    /// can leave. Times may repeat, and so does the trace.
    Mahimahi,
    /// Two numbers, with a comma, semicolon, tab or spaces between them.
    Csv {
        /// Nanoseconds of the first column's unit.
        time_ns: f64,
        /// Bits per second of the second column's unit.
        rate_bps: f64,
    },
}

impl Format {
    fn expected(self) -> &'static str {
        match self {
            Format::Rates => {
                "expected a time and a rate with units, as in `1.5 s, 20 Mbit/s`; for other \
                 formats set trace_format: \"mahimahi\" (a time in ms a line, for 1500 bytes \
                 each) or \"csv\" (two columns of numbers, with time_unit and rate_unit)"
            }
            Format::Mahimahi => {
                "expected mahimahi's format: a time in whole milliseconds, at least that of \
                 the previous line"
            }
            Format::Csv { .. } => {
                "expected two numbers, a time and a rate, with a comma, semicolon, tab or space \
                 between them"
            }
        }
    }
}

/// Reads the trace in `path`. Blank lines, lines that begin with `#` and a
/// byte order mark are ignored. With `repeat_ns` it is repeated up to that
/// time; its last line then only marks the end.
///
/// # Errors
/// A file that is not regular, is too large or not of the format.
pub(super) fn load(
    path: &Path,
    format: Format,
    repeat_ns: Option<u64>,
) -> Result<RateSchedule, ScenarioError> {
    let bytes = read_regular(path, MAX_BYTES).map_err(|source| ScenarioError::Read {
        path: path.to_owned(),
        source,
    })?;
    let bad = |line: usize, message: &str| ScenarioError::Trace {
        path: path.to_owned(),
        line,
        message: message.to_owned(),
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytecount(&bytes[..error.valid_up_to()]);
        bad(line, &format!("not UTF-8; {}", format.expected()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let schedule = |steps: Vec<RateStep>| {
        if steps.len() > MAX_STEPS {
            let message = format!("more than {MAX_STEPS} changes of the rate in the duration");
            return Err(bad(text.lines().count(), &message));
        }
        RateSchedule::new(steps).map_err(|source| ScenarioError::Schedule {
            path: path.to_owned(),
            source,
        })
    };
    if format == Format::Mahimahi {
        let mut slots = Vec::new();
        for (at, line) in lines {
            let ms = line.parse::<u64>().ok().filter(|ms| *ms <= MAX_NS / MS);
            let ms = ms.filter(|ms| slots.last().is_none_or(|last| last <= ms));
            slots.push(ms.ok_or_else(|| bad(at, format.expected()))?);
        }
        if slots.last().is_none_or(|last| *last == 0) {
            return Err(bad(1, "expected slots up to a time above 0"));
        }
        return schedule(mahimahi(&slots, repeat_ns.unwrap_or(0)));
    }
    let mut steps = Vec::new();
    for (at, line) in lines {
        match read_line(line, format) {
            Some(step) => steps.push(step),
            // Column names.
            None if steps.is_empty() && matches!(format, Format::Csv { .. }) && is_header(line) => {
            }
            None => return Err(bad(at, format.expected())),
        }
    }
    if let Format::Csv { .. } = format {
        // Traces are often excerpts of longer ones.
        let first_ns = steps.first().map_or(0, |step| step.from_ns);
        for step in &mut steps {
            step.from_ns = step.from_ns.saturating_sub(first_ns);
        }
    }
    match repeat_ns {
        Some(end_ns) if steps.len() > 1 => {
            // Checked before repeating, so that errors refer to the file.
            schedule(steps.clone())?;
            schedule(repeat(&steps, end_ns))
        }
        _ => schedule(steps),
    }
}

/// Slots become rates of whole milliseconds: each slot sends 1500 bytes within
/// its own. The trace's last time is its length, as in mahimahi, whose slots at
/// that time are followed at once by the first ones.
fn mahimahi(slots: &[u64], end_ns: u64) -> Vec<RateStep> {
    let period = slots.last().copied().unwrap_or(1).max(1);
    let rounds = (0..).map(|round: u64| round * period);
    let times = rounds
        .take_while(|start| start * MS < end_ns.max(1))
        .flat_map(|start| slots.iter().map(move |slot| start + slot));
    let mut steps: Vec<RateStep> = Vec::new();
    let mut push = |ms: u64, bits_per_s: u64| {
        if steps
            .last()
            .is_none_or(|last| last.bits_per_s != bits_per_s)
        {
            steps.push(RateStep {
                from_ns: ms * MS,
                bits_per_s,
            });
        }
        steps.len() <= MAX_STEPS
    };
    // The first incomplete millisecond, and its slots so far.
    let (mut now, mut count) = (0, 0);
    for ms in times {
        if ms > now {
            if !push(now, count * SLOT_BITS * 1000) || (ms > now + 1 && !push(now + 1, 0)) {
                break;
            }
            (now, count) = (ms, 0);
        }
        count += 1;
    }
    push(now, count * SLOT_BITS * 1000);
    push(now + 1, 0);
    steps
}

fn repeat(steps: &[RateStep], end_ns: u64) -> Vec<RateStep> {
    let (once, period_ns) = (&steps[..steps.len() - 1], steps[steps.len() - 1].from_ns);
    let starts = (0..)
        .map(|round| round * period_ns)
        .take_while(|start| *start < end_ns);
    let shifted = |start: u64| {
        once.iter().map(move |step| RateStep {
            from_ns: start + step.from_ns,
            ..*step
        })
    };
    // One more than accepted, so that even a period of one nanosecond
    // terminates.
    starts.flat_map(shifted).take(MAX_STEPS + 1).collect()
}

fn read_line(line: &str, format: Format) -> Option<RateStep> {
    let step = match format {
        Format::Rates => {
            let (time, rate) = line.split_once(',')?;
            RateStep {
                from_ns: DURATION.parse(time).ok()?,
                bits_per_s: RATE.parse(rate).ok()?,
            }
        }
        Format::Csv { time_ns, rate_bps } => {
            let (time, rate) = columns(line)?;
            let number = |text: &str, unit: f64, most: u64| {
                let value = text.parse::<f64>().ok()? * unit;
                (0.0..=most as f64)
                    .contains(&value)
                    .then_some(value.round() as u64)
            };
            RateStep {
                from_ns: number(time, time_ns, MAX_NS)?,
                bits_per_s: number(rate, rate_bps, MAX_BPS)?,
            }
        }
        Format::Mahimahi => return None,
    };
    (step.from_ns <= MAX_NS && step.bits_per_s <= MAX_BPS).then_some(step)
}

/// The two columns of a line.
fn columns(line: &str) -> Option<(&str, &str)> {
    let mut columns = line
        .split([',', ';', '\t', ' '])
        .filter(|column| !column.is_empty());
    let both = (columns.next()?, columns.next()?);
    columns.next().is_none().then_some(both)
}

/// Whether a line may be a header with two column names.
fn is_header(line: &str) -> bool {
    let name = |text: &str| text.parse::<f64>().is_err();
    columns(line).is_some_and(|(time, rate)| name(time) && name(rate))
}

fn bytecount(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

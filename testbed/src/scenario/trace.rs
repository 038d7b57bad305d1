//! Rate traces: lines of a time and a rate.

use std::path::Path;

use super::ScenarioError;
use super::units::{DURATION, RATE};
use crate::net::{RateSchedule, RateStep};

/// Reads a trace. Each line is `TIME,RATE` with units (`1.5 s, 20 Mbit/s`);
/// blank lines and lines that begin with `#` do not count. With `repeat_ns`
/// the trace begins anew each time that it ends, up to that time; its last
/// line then only says when that is.
pub(super) fn load(path: &Path, repeat_ns: Option<u64>) -> Result<RateSchedule, ScenarioError> {
    let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut steps = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let step = read_line(line).map_err(|message| ScenarioError::Trace {
            path: path.to_owned(),
            line: at + 1,
            message,
        })?;
        steps.push(step);
    }
    let schedule = |steps| {
        RateSchedule::new(steps).map_err(|source| ScenarioError::Schedule {
            path: path.to_owned(),
            source,
        })
    };
    match repeat_ns {
        Some(end_ns) if steps.len() > 1 => {
            // Checked before it is repeated, so that an error is the file's.
            schedule(steps.clone())?;
            schedule(repeat(&steps, end_ns))
        }
        _ => schedule(steps),
    }
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
    starts.flat_map(shifted).collect()
}

fn read_line(line: &str) -> Result<RateStep, String> {
    let (time, rate) = line
        .split_once(',')
        .ok_or_else(|| format!("\"{line}\" is not a time and a rate with a comma between them"))?;
    let wrong = |text: &str, expected| format!("\"{}\" is not {expected}", text.trim());
    Ok(RateStep {
        from_ns: DURATION
            .parse(time)
            .map_err(|expected| wrong(time, expected))?,
        bits_per_s: RATE.parse(rate).map_err(|expected| wrong(rate, expected))?,
    })
}

//! `l4sllm lab drill`: failures while traffic flows.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::Args;
use l4sllm_lab::clean;
use l4sllm_lab::drill::{Drill, Outcome, drill};
use l4sllm_report::Rows;
use serde_json::{Value, json};

use crate::format::{Format, FormatArgs, print_rows};
use crate::output::{Done, errln, note};

/// Let things fail while traffic flows, and check that the queue carries on.
///
/// Each drill sends TCP traffic through a bottleneck that l4sllmd controls with the
/// adaptive rule. Packets must keep flowing, the queue must be plain DualPI2 by the
/// end of an override's life, the counters must add up, and the daemon must steer
/// again by itself. Ends with a table; exit status 1 if a drill failed. Requires
/// root.
///
/// killed: the daemon gets SIGKILL and is started again.
/// stopped: it gets SIGSTOP, and SIGCONT 5 s later.
/// socket: the device's socket is cut and restored.
/// policy: a reload names a damaged policy.
/// reader: another reader of the device is too slow.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  l4sllm lab drill
  l4sllm lab drill killed socket --format json"
)]
pub struct DrillArgs {
    /// Drills to run [default: all].
    #[arg(value_name = "NAME", value_parser = name)]
    drills: Vec<Drill>,
    /// The daemon's program [default: next to this one, or in PATH].
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

fn name(text: &str) -> Result<Drill, String> {
    let found = Drill::ALL.into_iter().find(|drill| drill.name() == text);
    found.ok_or_else(|| {
        let names = Drill::ALL.map(Drill::name).join(", ");
        format!("expected one of {names}")
    })
}

/// Runs the drills and prints the table.
pub fn run(args: &DrillArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let host = super::host()?;
    let daemon = super::daemon(args.daemon.as_ref())
        .context("no l4sllmd next to this program or in PATH; give its path with --daemon")?;
    clean()?;
    let drills = match args.drills.is_empty() {
        true => &Drill::ALL[..],
        false => &args.drills[..],
    };
    let mut outcomes = Vec::new();
    for one in drills {
        note!("{}: {}", one.name(), one.what());
        let outcome = drill(*one, &daemon, &host, cancel);
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
        outcomes.push(outcome.with_context(|| format!("drill {}", one.name()))?);
    }
    print_rows(args.format.format, &table(&outcomes, args.format.format))?;
    for outcome in &outcomes {
        for fault in &outcome.faults {
            errln!("{}: {fault}", outcome.drill);
        }
    }
    let passed = outcomes.iter().all(|outcome| outcome.faults.is_empty());
    Ok(match (Done::of(cancel), passed) {
        (Done::Finished, false) => Done::Unhealthy,
        (done, _) => done,
    })
}

/// A row for each drill: exact numbers for programs, rounded ones for people.
fn table(outcomes: &[Outcome], format: Format) -> Rows {
    let mut table = Rows::default();
    let number = |value: Option<f64>| match (value, format) {
        (None, Format::Text) => json!("not affected"),
        (None, _) => Value::Null,
        (Some(value), Format::Text) => json!(format!("{value:.0}")),
        (Some(value), _) => json!(value),
    };
    for outcome in outcomes {
        let passed = outcome.faults.is_empty();
        let head = [
            ("drill", json!(outcome.drill)),
            ("longest_gap_ms", number(Some(outcome.gap_ms))),
            ("plain_after_ms", number(outcome.plain_ms)),
            ("steers_after_ms", number(outcome.recovered_ms)),
            ("passed", json!(if passed { "yes" } else { "no" })),
        ];
        table.push(head, &());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_drills_that_failed() {
        let outcome = |drill: &str, plain_ms, fault: Option<&str>| Outcome {
            drill: drill.to_owned(),
            gap_ms: 12.3,
            plain_ms,
            recovered_ms: plain_ms,
            faults: fault.map(str::to_owned).into_iter().collect(),
        };
        let outcomes = [
            outcome("killed", Some(1000.4), None),
            outcome("policy", None, Some("no packet for 900 ms")),
        ];
        let text = table(&outcomes, Format::Text).text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("killed") && lines[1].ends_with("yes"),
            "{text}"
        );
        assert!(lines[1].contains("1000"), "{text}");
        assert!(
            lines[2].contains("not affected") && lines[2].ends_with("no"),
            "{text}"
        );
        assert!(
            lines.iter().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let csv = table(&outcomes, Format::Csv).csv();
        assert!(csv.contains("killed,12.3,1000.4,1000.4,yes"), "{csv}");
    }

    #[test]
    fn every_drill_is_found_by_its_name() {
        for drill in Drill::ALL {
            assert_eq!(name(drill.name()), Ok(drill));
        }
        assert!(name("x").unwrap_err().contains("killed, stopped"));
    }
}

//! `l4sllm lab drill`: failures while traffic flows.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use l4sllm_lab::clean;
use l4sllm_lab::drill::soak::Soak;
use l4sllm_lab::drill::{Drill, Outcome, Stage, drill, malicious, soak};
use l4sllm_report::Rows;
use serde_json::{Value, json};

use crate::drill::{count, malicious_table, used};
use crate::format::{Format, FormatArgs, print_rows};
use crate::output::{Done, errln, note, progress_bar};

/// Cause failures while traffic flows, and check that the queue keeps working.
///
/// Each drill sends TCP traffic through a bottleneck that l4sllmd controls with the
/// adaptive rule. Packets must keep flowing, the queue must be plain DualPI2 again
/// when the last override expires, the counters must add up, and the daemon must
/// recover. Prints a table; exit status 1 if a drill failed. Requires root.
///
/// killed: the daemon gets SIGKILL and is started again.
/// stopped: the daemon gets SIGSTOP, and SIGCONT 5 s later.
/// slow: the daemon is stopped for nine tenths of the time, each time for longer
///   than an override's lifetime.
/// socket: the connection to the device is cut and restored.
/// write: a controller stops in the middle of a request; the watchdog is 500 ms.
/// policy: a reload names a damaged policy.
/// reader: another reader of the device is too slow.
/// counters: another program reads the device's counters every 10 ms, while all
///   processors are busy.
/// disk: the disk of the flight recorder is full for some time.
/// descriptors: the daemon runs out of descriptors for some time, while clients
///   connect to its sockets and its metrics endpoint.
/// clock: the daemon's wall clock jumps a month back and a year ahead (Debian's
///   package libfaketime; otherwise skipped).
///
/// Two measurements take longer and have their own tables. --malicious: policies
/// that drop, mark or forward every packet, or hold or move set-points at their
/// limits, compared with plain DualPI2. --soak: mixed traffic for a long time, in
/// which the memory and the descriptors of daemon and router must not grow.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  l4sllm lab drill
  l4sllm lab drill killed socket --format json
  l4sllm lab drill disk descriptors clock
  l4sllm lab drill --malicious
  l4sllm lab drill --soak 20min"
)]
pub struct DrillArgs {
    /// Drills to run [default: all].
    #[arg(value_name = "NAME", value_parser = name)]
    drills: Vec<Drill>,
    /// Measure the harm of malicious policies instead.
    #[arg(long, conflicts_with_all = ["drills", "soak"])]
    malicious: bool,
    /// Measured time of each malicious policy.
    #[arg(long, value_name = "TIME", default_value = "20s", requires = "malicious", value_parser = crate::duration::measured)]
    duration: u64,
    /// Send mixed traffic for this long instead.
    #[arg(long, value_name = "TIME", conflicts_with = "drills", value_parser = crate::duration::soak)]
    soak: Option<u64>,
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
    let program = std::env::current_exe().context("cannot find the file of this program")?;
    let stage = Stage {
        daemon: &daemon,
        program: &program,
        host: &host,
        cancel,
    };
    clean()?;
    let format = args.format.format;
    if args.malicious {
        if let Some(cells) = malicious::run(&stage, Duration::from_nanos(args.duration))? {
            print_rows(format, &malicious_table(&cells, false, format))?;
        }
        return Ok(Done::of(cancel));
    }
    if let Some(ns) = args.soak {
        return run_soak(&stage, Duration::from_nanos(ns), format);
    }
    let drills = match args.drills.is_empty() {
        true => &Drill::ALL[..],
        false => &args.drills[..],
    };
    let mut outcomes = Vec::new();
    for one in drills {
        note!("{}: {}", one.name(), one.what());
        let outcome = drill(*one, &stage);
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
        outcomes.push(outcome.with_context(|| format!("drill {}", one.name()))?);
    }
    print_rows(format, &table(&outcomes, format))?;
    for outcome in &outcomes {
        if let Some(reason) = &outcome.skipped {
            errln!("skipped: {} ({reason})", outcome.drill);
        }
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

/// Sends mixed traffic for a long time, and prints the table.
fn run_soak(stage: &Stage<'_>, time: Duration, format: Format) -> anyhow::Result<Done> {
    let bar = progress_bar(time.as_secs());
    let soak = soak::run(stage, time, |now| bar.set_position(now.as_secs()));
    bar.finish_and_clear();
    let soak = soak?;
    if Done::of(stage.cancel) == Done::Interrupted {
        return Ok(Done::Interrupted);
    }
    print_rows(format, &soak_table(&soak))?;
    for fault in &soak.faults {
        errln!("soak: {fault}");
    }
    Ok(match soak.faults.is_empty() {
        true => Done::Finished,
        false => Done::Unhealthy,
    })
}

fn soak_table(soak: &Soak) -> Rows {
    let mut table = Rows::default();
    count(&mut table, "time, s", soak.seconds.round() as u64);
    count(&mut table, "longest gap, ms", soak.gap_ms.round() as u64);
    count(&mut table, "overrides", soak.overrides);
    count(&mut table, "messages lost", soak.lost);
    used(&mut table, "daemon: ", soak.daemon);
    used(&mut table, "router: ", soak.router);
    table
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
        let passed = match (&outcome.skipped, outcome.faults.is_empty()) {
            (Some(_), _) => "skipped",
            (None, true) => "yes",
            (None, false) => "no",
        };
        let number = |value| match outcome.skipped {
            Some(_) if format == Format::Text => json!("-"),
            Some(_) => Value::Null,
            None => number(value),
        };
        let head = [
            ("drill", json!(outcome.drill)),
            ("longest_gap_ms", number(Some(outcome.gap_ms))),
            ("plain_after_ms", number(outcome.plain_ms)),
            ("steers_after_ms", number(outcome.recovered_ms)),
            ("passed", json!(passed)),
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
            skipped: None,
        };
        let mut skipped = outcome("clock", None, None);
        skipped.skipped = Some("no libfaketime".to_owned());
        let outcomes = [
            outcome("killed", Some(1000.4), None),
            outcome("policy", None, Some("no packet for 900 ms")),
            skipped,
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
        assert!(lines[3].starts_with("clock") && lines[3].ends_with("skipped"));
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

//! `l4sllm status`: the status of a running daemon.

mod queues;

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use l4sllm_model::text::shown;
use l4sllm_report::Rows;
use l4sllmd::config::DEFAULT_SOCKET;
use l4sllmd::metrics::openmetrics::{self, DeviceSnapshot, Snapshot};
use l4sllmd::status::{Quantiles, State, Status, ask};
use serde::Serialize;

use crate::cancel;
use crate::duration;
use crate::output::{print, print_painted};
use queues::QueuesStatus;

/// Print the state and the counters of a running daemon, and its queues.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm status
  l4sllm status --socket /tmp/l4sllmd-status.sock --format json
  l4sllm status --watch
  l4sllm status --format prometheus")]
pub struct StatusArgs {
    /// The daemon's status socket (`[status] socket` of its configuration).
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Output format: text for people, CSV with two columns, JSON, or all metrics in
    /// the OpenMetrics text format, which Prometheus reads.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    format: StatusFormat,
    /// Print again after this time, until Ctrl-C: 100ms to 1h.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s",
          value_parser = duration::refresh)]
    watch: Option<u64>,
}

/// A form of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusFormat {
    Text,
    Csv,
    Json,
    Prometheus,
}

/// Queries and prints the status.
pub fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let Some(pause_ns) = args.watch else {
        return print(&look(args)?);
    };
    let ended = cancel::signals()?;
    loop {
        let text = look(args)?;
        match std::io::stdout().is_terminal() {
            true => print_painted(&format!("\x1b[H\x1b[2J{text}"))?,
            false => print(&text)?,
        }
        if ended.recv_timeout(Duration::from_nanos(pause_ns)).is_ok() {
            return Ok(());
        }
    }
}

/// Queries the status and returns what is printed.
fn look(args: &StatusArgs) -> anyhow::Result<String> {
    let status = fetch(&args.socket)?;
    let device = queues::look(&status.device.path);
    let queues = |device: &DeviceSnapshot| QueuesStatus::new(&device.queues, &device.params);
    match args.format {
        StatusFormat::Prometheus => Ok(openmetrics::text(Snapshot {
            status,
            device: device.ok(),
        })),
        StatusFormat::Csv | StatusFormat::Json => {
            let queues = device.ok().as_ref().map(queues);
            let whole = Whole { status, queues };
            match args.format {
                StatusFormat::Csv => Ok(Rows::of_values(&whole).csv()),
                _ => Ok(serde_json::to_string_pretty(&whole)? + "\n"),
            }
        }
        StatusFormat::Text => {
            let mut text = describe(&status);
            match device {
                Ok(device) => queues(&device).describe(&mut text),
                Err(error) => {
                    let _ = writeln!(text, "queues     unknown: {error:#}");
                }
            }
            Ok(text)
        }
    }
}

/// Output as CSV and JSON: the daemon's status, and the queues if this user may
/// read the device.
#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    status: Status,
    queues: Option<QueuesStatus>,
}

/// Queries the daemon behind `socket`.
pub fn fetch(socket: &Path) -> anyhow::Result<Status> {
    ask(socket).with_context(|| {
        format!(
            "no daemon answers on {} (is l4sllmd running with [status] enabled?)",
            shown(socket)
        )
    })
}

/// Reads the device of a daemon as an observer.
pub fn device_of(status: &Status) -> anyhow::Result<DeviceSnapshot> {
    queues::look(&status.device.path)
}

fn describe(status: &Status) -> String {
    let mut out = String::new();
    let state = match status.state {
        State::Waiting => "waiting for a device",
        State::Running => "running",
    };
    let c = &status.counters;
    let module = status.device.module.as_deref().unwrap_or("none");
    let _ = writeln!(
        out,
        "l4sllmd    {}, pid {}, {state} for {:.0} s",
        status.version, status.pid, status.uptime_s
    );
    let _ = writeln!(
        out,
        "device     {}, module {module}",
        status.device.path.display()
    );
    let _ = write!(out, "engine     {}, {}", status.engine, status.pace());
    let _ = match status.idle_budget {
        Some(share) => writeln!(out, ", idle budget {share}"),
        None => writeln!(out),
    };
    let _ = writeln!(
        out,
        "records    {} read, {} lost, {} torn reads, {} resets",
        c.records, c.lost, c.torn_reads, c.resets
    );
    let _ = writeln!(
        out,
        "instances  {}, {} records of others",
        c.instances, c.unrouted
    );
    let _ = writeln!(
        out,
        "decisions  {}: {} enqueue, {} drop, {} mark, {} steer; {} skipped",
        c.decisions, c.decided_enqueue, c.decided_drop, c.decided_mark, c.decided_steer, c.skipped
    );
    if c.skipped_behind > 0 {
        let _ = writeln!(
            out,
            "behind     {} of {} intervals skipped for newer ones, {} records",
            c.skipped_behind, c.due, c.records_behind
        );
    }
    let _ = writeln!(
        out,
        "overrides  {}: {} accepted, {} refused, {} stale, {} failed",
        c.overrides, c.accepted, c.refused, c.stale, c.failed
    );
    for (name, minute, all) in [
        ("latency", &status.latency_minute_us, &status.latency_us),
        ("deciding", &status.decision_minute_us, &status.decision_us),
    ] {
        let _ = writeln!(out, "{name:<9}  {} (last minute)", quantiles(minute));
        let _ = writeln!(out, "{:<9}  {} (since the start)", "", quantiles(all));
    }
    if status.deciding_s > 1.0 {
        let _ = writeln!(
            out,
            "deciding   for {:.1} s now, on one decision",
            status.deciding_s
        );
    }
    let reloads = &status.reloads;
    let _ = write!(
        out,
        "reloads    {}, {} failed",
        reloads.succeeded, reloads.failed
    );
    if let Some(error) = &reloads.last_error {
        let _ = write!(out, " ({error})");
    }
    out.push('\n');
    if let Some(remote) = &status.remote {
        let connected = match remote.connected {
            true => "connected",
            false => "not connected",
        };
        let _ = writeln!(
            out,
            "server     {connected}, {} requests, {} answered, {} late, {} invalid, {} failed",
            remote.requests, remote.answered, remote.late, remote.invalid, remote.failed
        );
    }
    if let Some(recorder) = &status.recorder {
        let _ = writeln!(
            out,
            "recorder   {} frames, {} bytes, {} frames lost, {} failed writes",
            recorder.frames, recorder.bytes, recorder.lost, recorder.failures
        );
    }
    out
}

fn quantiles(q: &Quantiles) -> String {
    if q.count == 0 {
        return "no decision".to_owned();
    }
    format!(
        "p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, most {:.1} us",
        q.p50, q.p90, q.p99, q.max
    )
}

#[cfg(test)]
mod tests {
    use l4sllmd::status::Counters;

    use super::*;

    /// Every counter is in the manual and in every output.
    #[test]
    fn every_counter_is_printed_and_documented() {
        let manual = include_str!("../../man/l4sllm.1");
        let counters = Counters {
            skipped_behind: 7,
            ..Counters::default()
        };
        let status: Status = serde_json::from_value(serde_json::json!({
            "version": "1", "pid": 1, "uptime_s": 1.0, "state": "running", "abi": [1, 1],
            "device": { "path": "/d", "module": null, "abi": null, "opened": 0 },
            "engine": { "kind": "script", "steps": 1 },
            "interval": 1,
            "reloads": { "succeeded": 0, "failed": 0, "last_error": null },
            "counters": counters,
            "latency_us": Quantiles::default(),
            "decision_us": Quantiles::default(),
        }))
        .unwrap();
        let json = serde_json::to_value(status.counters).unwrap();
        let text = openmetrics::text(Snapshot {
            status,
            device: None,
        });
        assert!(
            text.contains("\nl4sllmd_skipped_behind_total 7\n"),
            "{text}"
        );
        for row in Counters::TABLE {
            let name = row.name;
            assert_eq!(json[name], row.of(&counters), "{name}");
            assert!(
                text.contains(&format!("\nl4sllmd_{name}"))
                    || text.contains(&format!("l4sllmd_{name}_total ")),
                "{name}"
            );
            assert!(
                manual.contains(&format!(".It Cm {name}\n{}\n", row.help)),
                "{name} in man/l4sllm.1"
            );
        }
    }
}

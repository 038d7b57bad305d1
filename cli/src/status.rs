//! `l4sllm status`: the status of a running daemon.

mod queues;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use l4sllm_model::text::shown;
use l4sllmd::config::DEFAULT_SOCKET;
use l4sllmd::metrics::Kind;
use l4sllmd::status::{Counters, Quantiles, State, Status, ask};
use serde::Serialize;

use crate::format::{Format, FormatArgs, print_json, print_values};
use crate::output::print;
use queues::QueuesStatus;

/// Print the state and the counters of a running daemon, and its queues.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm status
  l4sllm status --socket /tmp/l4sllmd-status.sock --format json
  l4sllm status --metrics")]
pub struct StatusArgs {
    /// The daemon's status socket (`[status] socket` of its configuration).
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
    /// Print all counters and latencies in the Prometheus text format.
    #[arg(long, conflicts_with = "format")]
    metrics: bool,
}

/// Queries and prints the status.
pub fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let status = fetch(&args.socket)?;
    if args.metrics {
        return print(&metrics(&status));
    }
    let queues = queues::look(&status.device.path);
    if args.format.format != Format::Text {
        let queues = queues.ok();
        let whole = Whole { status, queues };
        return match args.format.format {
            Format::Csv => print_values(&whole),
            _ => print_json(&whole),
        };
    }
    let mut text = describe(&status);
    match queues {
        Ok(queues) => queues.describe(&mut text),
        Err(error) => {
            let _ = writeln!(text, "queues     unknown: {error:#}");
        }
    }
    print(&text)
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

/// The counters and latencies in the Prometheus text format.
fn metrics(status: &Status) -> String {
    let mut out = String::new();
    for row in Counters::TABLE {
        let (kind, suffix) = match row.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        let (name, help) = (row.name, row.help);
        let _ = writeln!(out, "# HELP l4sllmd_{name}{suffix} {help}");
        let _ = writeln!(out, "# TYPE l4sllmd_{name}{suffix} {kind}");
        let _ = writeln!(out, "l4sllmd_{name}{suffix} {}", row.of(&status.counters));
    }
    for (name, help, quantiles) in [
        (
            "latency",
            "Seconds from a record to its override, last minute.",
            &status.latency_minute_us,
        ),
        (
            "decision",
            "Seconds to compute a decision, last minute.",
            &status.decision_minute_us,
        ),
    ] {
        let _ = writeln!(out, "# HELP l4sllmd_{name}_seconds {help}");
        let _ = writeln!(out, "# TYPE l4sllmd_{name}_seconds gauge");
        let q = quantiles;
        for (at, us) in [
            ("0.5", q.p50),
            ("0.9", q.p90),
            ("0.99", q.p99),
            ("0.999", q.p999),
            ("1", q.max),
        ] {
            let seconds = us / 1e6;
            let _ = writeln!(out, "l4sllmd_{name}_seconds{{quantile=\"{at}\"}} {seconds}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
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
        let (text, json) = (
            metrics(&status),
            serde_json::to_value(status.counters).unwrap(),
        );
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

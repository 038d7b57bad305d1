//! `l4sllm status`: what a running daemon says of itself.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use l4sllmd::config::DEFAULT_SOCKET;
use l4sllmd::status::{Quantiles, State, Status, ask};

use crate::output::print;

/// Print the state and the counters of a running daemon.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The daemon's status socket (`[status] socket` of its configuration).
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let status = fetch(&args.socket)?;
    if args.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&status)?));
    }
    print(&describe(&status))
}

/// Asks the daemon behind `socket`.
pub fn fetch(socket: &Path) -> anyhow::Result<Status> {
    ask(socket).with_context(|| {
        format!(
            "no daemon answers on {} (is l4sllmd running, with [status] on?)",
            socket.display()
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
        "l4sllmd   {}, pid {}, {state} for {:.0} s",
        status.version, status.pid, status.uptime_s
    );
    let _ = writeln!(
        out,
        "device    {}, module {module}",
        status.device.path.display()
    );
    let _ = writeln!(
        out,
        "engine    {}, every {} records",
        status.engine, status.interval
    );
    let _ = writeln!(
        out,
        "records   {} read, {} lost, {} torn reads, {} resets",
        c.records, c.lost, c.torn_reads, c.resets
    );
    let _ = writeln!(
        out,
        "decisions {}: {} enqueue, {} drop, {} mark, {} steer; {} skipped",
        c.decisions, c.decided_enqueue, c.decided_drop, c.decided_mark, c.decided_steer, c.skipped
    );
    let _ = writeln!(
        out,
        "overrides {}: {} accepted, {} refused, {} stale, {} failed",
        c.overrides, c.accepted, c.refused, c.stale, c.failed
    );
    let _ = writeln!(out, "latency   {}", quantiles(&status.latency_us));
    let _ = writeln!(out, "deciding  {}", quantiles(&status.decision_us));
    let reloads = &status.reloads;
    let _ = write!(
        out,
        "reloads   {}, {} failed",
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
        return "no decision yet".to_owned();
    }
    format!(
        "p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, most {:.1} us",
        q.p50, q.p90, q.p99, q.max
    )
}

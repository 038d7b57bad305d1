//! `l4sllm doctor`: why the queue does not do what it should.
//!
//! Facts are collected from the device, the daemon and the system; what they
//! mean is a function of them alone.

mod collect;
mod diagnose;
mod facts;
#[cfg(any(test, target_os = "freebsd"))]
mod freebsd;

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use l4sllmd::config::DEFAULT_SOCKET;
use serde::Serialize;

use crate::duration;
use crate::output::{Done, print};
use diagnose::{Finding, Level, diagnose};

/// Look for what keeps the queue from doing its work on this router; each
/// finding comes with the command that fixes it.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The Unix socket of an emulated device, instead of /dev/l4sllm.
    #[arg(long, value_name = "SOCKET")]
    device: Option<PathBuf>,
    /// The daemon's status socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How long to watch the queue, 1ms to 1min.
    #[arg(long = "watch", value_name = "TIME", default_value = "1s",
          value_parser = duration::watch)]
    watch_ns: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    findings: &'a [Finding],
}

/// Looks, tells, and ends with whether all is well.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Done> {
    let facts = collect::facts(args)?;
    let findings = diagnose(&facts);
    let healthy = findings.iter().all(|f| f.level != Level::Problem);
    if args.json {
        let report = Report {
            healthy,
            findings: &findings,
        };
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&describe(&findings))?;
    }
    Ok(if healthy {
        Done::Finished
    } else {
        Done::Unhealthy
    })
}

fn describe(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Problem => "PROBLEM",
        };
        let _ = writeln!(out, "{level:<8} {:<10} {}", finding.about, finding.text);
        if let Some(command) = &finding.command {
            let _ = writeln!(out, "{:<19} # {command}", "");
        }
    }
    out
}

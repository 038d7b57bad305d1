//! `l4sllm lab run`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressStyle;
use l4sllm_lab::{Host, Lab, Precision, Progress};
use l4sllm_model::files::Claim;
use l4sllm_testbed::result::{Summary, Warning};
use l4sllm_testbed::scenario::Scenario;

use crate::format::{FormatArgs, print_report};
use crate::output::{Done, errln, note, progress_bar};
use crate::run::{Change, Target};

/// Run a scenario with real packets and write a result directory.
///
/// Creates network namespaces for clients and servers on this machine, with the
/// scenario's queue and link between them. iperf3 sends the flows, with the
/// congestion controls and the ECN of this kernel; ping measures round-trip times;
/// l4sllmd controls the queue in arms with a controller. The directory is that of
/// `l4sllm run`, and includes the JSON of iperf3. Repetitions run one after
/// another, in real time. No packet leaves the machine, and everything is removed
/// at the end. Requires root.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm lab run paper-prague --out out/lab --repetitions 1 --duration 20s
  l4sllm lab run mine.toml --out out/mine --arms dualpi2,adaptive")]
pub struct RunArgs {
    #[command(flatten)]
    target: Target,
    /// The daemon's program [default: next to this one, or in PATH].
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the scenario, draws, and prints the table and the report's path.
pub fn run(args: &RunArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let host = super::host()?;
    let Target { out, force, .. } = &args.target;
    let scenario = args.target.scenario(&args.change)?;
    let how = How {
        host: &host,
        daemon: super::daemon(args.daemon.as_ref()),
        force: *force,
    };
    execute(&scenario, out, &how, cancel)?;
    let report = l4sllm_report::render(out)?;
    print_report(args.format.format, &report)?;
    Ok(Done::of(cancel))
}

/// How to run a scenario.
pub struct How<'a> {
    pub host: &'a Host,
    pub daemon: Option<PathBuf>,
    pub force: bool,
}

/// Runs `scenario` into `out`, with a progress bar, then prints warnings.
pub fn execute(
    scenario: &Scenario,
    out: &Path,
    how: &How<'_>,
    cancel: &AtomicBool,
) -> anyhow::Result<Summary> {
    let _claim = Claim::of(out)?;
    let bar = progress_bar(0);
    let style = "{prefix} {wide_bar:.cyan/dim} {msg} {elapsed}/{duration}";
    bar.set_style(ProgressStyle::with_template(style).expect("a template that was tried"));
    bar.set_prefix(scenario.name.clone());
    let progress = |progress: Progress<'_>| {
        const MS: u64 = 1_000_000;
        bar.set_length(progress.total_ns / MS);
        bar.set_position(progress.done_ns / MS);
        bar.set_message(format!(
            "{}, repetition {}",
            progress.arm, progress.repetition
        ));
    };
    let lab = Lab {
        scenario,
        host: how.host,
        daemon: how.daemon.clone(),
        program: std::env::current_exe().context("cannot find the file of this program")?,
        force: how.force,
        cancel,
        progress: &progress,
    };
    let result = lab.run(out);
    bar.finish_and_clear();
    let (summary, precision) = result?;
    for Warning { text, arm, .. } in &summary.warnings {
        let arm = arm
            .as_ref()
            .map_or(String::new(), |arm| format!(", arm {arm}"));
        errln!("warning: {}{arm}: {text}", scenario.name);
    }
    warn(&scenario.name, precision);
    Ok(summary)
}

/// Lateness from which delays are not the queue's alone, us.
const LATE_US: f64 = 1000.0;

/// Warns if the host was too slow to be measured on.
fn warn(name: &str, precision: Precision) {
    let late_us = precision.late_p99_us;
    if precision.dropped_before > 0 {
        errln!(
            "warning: {name}: this host was too slow: {} packets were dropped before the queue",
            precision.dropped_before
        );
    }
    match late_us > LATE_US {
        true => errln!("warning: {name}: one packet in a hundred was {late_us:.0} us late or more"),
        false => note!("{name}: 99 of 100 packets were at most {late_us:.0} us late"),
    }
}

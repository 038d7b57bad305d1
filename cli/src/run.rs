//! `l4sllm run`: runs a scenario and writes a result directory.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use l4sllm_model::EngineOptions;
use l4sllm_model::files::{AtomicFile, Claim};
use l4sllm_testbed::capture::CaptureCounts;
use l4sllm_testbed::experiment::{self, Options, Progress};
use l4sllm_testbed::result::{Summary, Warning};
use l4sllm_testbed::scenario::{ControlEngine, Scenario};

use crate::duration;
use crate::engine::EngineArgs;
use crate::format::{FormatArgs, print_report};
use crate::output::{Done, bail_usage, errln, note, progress_bar};
use crate::threads::threads;
use crate::{pcap, shipped};

/// Run a scenario and write a result directory.
///
/// The directory contains summary.json, every packet as Parquet, figures and
/// report.html. If it already contains a part of the same run, that part is not
/// repeated.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm run paper --out out/paper
  l4sllm run paper --out out/quick --repetitions 1 --duration 10s
  l4sllm run mine.toml --out out/mine --policy my-policy --arms dualpi2,l4sllm-10
  l4sllm run headroom --out out/seen --arms context --repetitions 1 --pcap seen.pcapng")]
pub struct RunArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    change: Change,
    /// Write the headers of every packet that leaves the queue to this pcapng file, with
    /// the verdict, its reason, the sojourn time and the override in force as comments
    /// for Wireshark. Requires a single arm and repetition. --force replaces FILE, too.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Repetitions to run at the same time, 0 to 1024; 0: one per core. Always
    /// one if the scenario measures decision latency.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Scenario, and the directory for the result.
#[derive(Debug, Args)]
pub struct Target {
    /// Scenario to run: a file, or a built-in name (`l4sllm scenarios list`).
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// Result directory; created if necessary.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace the result in DIR; other files are kept.
    #[arg(long)]
    pub force: bool,
}

impl Target {
    /// The scenario, with the changes of the command line.
    ///
    /// # Errors
    /// It cannot be read, or a change does not fit it.
    pub fn scenario(&self, change: &Change) -> anyhow::Result<Scenario> {
        change.apply(shipped::scenario(&self.scenario)?)
    }
}

/// Overrides of the scenario file.
#[derive(Debug, Clone, Default, Args)]
pub struct Change {
    /// Repetitions of each arm [default: the scenario's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repetitions: Option<u32>,
    /// Seed of all random draws [default: the scenario's].
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Time of each repetition, such as 10s [default: the scenario's].
    #[arg(long = "duration", value_name = "TIME", value_parser = duration::repetition)]
    pub duration_ns: Option<u64>,
    /// Only these arms, separated by commas [default: all].
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub arms: Vec<String>,
    /// Policy of every arm that has one, instead of the scenario's: a directory,
    /// or a built-in name.
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
}

/// Runs the scenario, draws, and prints the table and the report's path.
pub fn run(args: &RunArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let Target { out, force, .. } = &args.target;
    let scenario = args.target.scenario(&args.change)?;
    let how = How {
        force: *force,
        threads: args.threads,
        engine: args.engine.options(),
        pcap: args.pcap.clone(),
    };
    execute(&scenario, out, &how, cancel)?;
    let report = l4sllm_report::render(out)?;
    print_report(args.format.format, &report)?;
    Ok(Done::of(cancel))
}

impl Change {
    /// The scenario with these changes.
    pub fn apply(&self, mut scenario: Scenario) -> anyhow::Result<Scenario> {
        scenario.repetitions = self.repetitions.unwrap_or(scenario.repetitions);
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        if let Some(duration_ns) = self.duration_ns {
            scenario.set_duration(duration_ns);
        }
        select(&mut scenario, &self.arms)?;
        if let Some(policy) = &self.policy {
            let policy = shipped::find(shipped::Kind::Policy, policy)?;
            let alias = shipped::alias(shipped::Kind::Policy, &policy);
            scenario.aliases.extend(alias);
            for control in scenario
                .arms
                .iter_mut()
                .filter_map(|arm| arm.control.as_mut())
            {
                if control.policy().is_some() {
                    control.engine = ControlEngine::Policy(policy.clone());
                }
            }
        }
        Ok(scenario)
    }
}

/// How to run a scenario.
#[derive(Debug, Default)]
pub struct How {
    /// Replace another result.
    pub force: bool,
    /// Repetitions to run at the same time, 0 to 1024; 0: one per core.
    pub threads: usize,
    /// The engine of policies.
    pub engine: EngineOptions,
    /// File for a capture of the only repetition of the only arm.
    pub pcap: Option<PathBuf>,
}

/// Runs `scenario` into `out`, which is locked against other l4sllm processes,
/// with a progress bar, then prints the result's warnings.
pub fn execute(
    scenario: &Scenario,
    out: &Path,
    how: &How,
    cancel: &AtomicBool,
) -> anyhow::Result<Summary> {
    let _claim = Claim::of(out)?;
    let capture = match &how.pcap {
        None => None,
        Some(path) => {
            check_single(scenario)?;
            Some(pcap::create(path, how.force)?)
        }
    };
    let bar = Bar::new(&scenario.name);
    let progress = |progress| bar.show(progress);
    let options = Options {
        threads: how.threads,
        engine: &how.engine,
        force: how.force,
        cancel,
        capture: capture.as_ref().map(AtomicFile::as_file),
        progress: &progress,
    };
    let summary = experiment::run(scenario, out, options);
    let summary = summary.with_context(|| format!("scenario {}", scenario.name))?;
    bar.finish(summary.complete);
    for Warning { text, arm, .. } in &summary.warnings {
        let arm = arm
            .as_ref()
            .map_or(String::new(), |arm| format!(", arm {arm}"));
        errln!("warning: {}{arm}: {text}", scenario.name);
    }
    match capture {
        Some(capture) if summary.complete => pcap::commit(capture, &captured(&summary))?,
        Some(_) => note!("no capture: the run was interrupted"),
        None => {}
    }
    Ok(summary)
}

/// Checks that a scenario has a single repetition, for a capture.
fn check_single(scenario: &Scenario) -> anyhow::Result<()> {
    let arms: Vec<&str> = scenario.arms.iter().map(|arm| arm.name.as_str()).collect();
    if arms.len() > 1 || scenario.repetitions > 1 {
        bail_usage!(
            "--pcap: needs a single run, but scenario {} has arms {} and {} repetitions; select \
             one, such as --arms {} --repetitions 1",
            scenario.name,
            arms.join(", "),
            scenario.repetitions,
            arms.first().unwrap_or(&"ARM")
        );
    }
    Ok(())
}

/// Packets in the capture of the only repetition, which has all of them.
fn captured(summary: &Summary) -> CaptureCounts {
    let mut repetitions = summary.arms.iter().flat_map(|arm| &arm.repetitions);
    let packets = repetitions.next().map(|only| only.statistics.packets);
    CaptureCounts {
        written: packets.map_or(0, |packets| packets.forwarded + packets.dropped),
        missing: 0,
    }
}

/// Keeps the given arms, in the scenario's order; all if none are given.
fn select(scenario: &mut Scenario, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| scenario.arm(name).is_none()) {
        let known: Vec<&str> = scenario.arms.iter().map(|arm| arm.name.as_str()).collect();
        bail_usage!(
            "--arms: scenario {} has no arm `{unknown}`; it has {}",
            scenario.name,
            known.join(", ")
        );
    }
    scenario.arms.retain(|arm| names.contains(&arm.name));
    Ok(())
}

/// Progress on a terminal; otherwise one line at the end.
struct Bar {
    bar: ProgressBar,
    name: String,
    started: Instant,
}

impl Bar {
    fn new(name: &str) -> Bar {
        // Hidden automatically if standard error is not a terminal.
        let bar = progress_bar(0);
        let style = "{prefix} {wide_bar:.cyan/dim} {msg} {elapsed}/{duration}";
        bar.set_style(ProgressStyle::with_template(style).expect("a template that was tried"));
        bar.set_prefix(name.to_owned());
        Bar {
            bar,
            name: name.to_owned(),
            started: Instant::now(),
        }
    }

    fn show(&self, progress: Progress) {
        const MS: u64 = 1_000_000;
        self.bar.set_length(progress.total_ns / MS);
        self.bar.set_position(progress.done_ns / MS);
        let (finished, all) = (progress.finished, progress.repetitions);
        let ratio = progress.done_ns as f64 / 1e9 / self.seconds();
        self.bar
            .set_message(format!("{finished}/{all} runs, {ratio:.0}x real time"));
    }

    fn finish(&self, complete: bool) {
        let done_s = self.bar.position() as f64 / 1e3;
        self.bar.finish_and_clear();
        let (seconds, name) = (self.seconds(), &self.name);
        let end = match (complete, done_s > 0.0) {
            (true, false) => "all runs already exist; use --force to repeat them".to_owned(),
            (true, true) => format!("{seconds:.1} s, {:.0}x real time", done_s / seconds),
            (false, _) => format!("not complete after {seconds:.1} s"),
        };
        if std::io::stderr().is_terminal() || !complete || done_s > 0.0 {
            note!("{name}: {end}");
        }
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_abi::Params;
    use l4sllm_testbed::scenario::Arm;

    fn scenario() -> Scenario {
        let mut scenario = Scenario::new("s", 8_000_000, 10_000_000);
        for name in ["a", "b", "c"] {
            scenario.arms.push(Arm::dualpi2(name, Params::default()));
        }
        scenario
    }

    #[test]
    fn arms_keep_the_order_of_the_scenario() {
        let names = ["c".to_owned(), "a".to_owned()];
        let change = Change {
            arms: names.to_vec(),
            ..Change::default()
        };
        let changed = change.apply(scenario()).unwrap();
        let names: Vec<&str> = changed.arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn unknown_arm_error_lists_the_arms() {
        let change = Change {
            arms: vec!["d".to_owned()],
            ..Change::default()
        };
        let error = change.apply(scenario()).unwrap_err().to_string();
        assert_eq!(error, "--arms: scenario s has no arm `d`; it has a, b, c");
    }

    #[test]
    fn short_run_measures_half_of_its_time() {
        let change = Change {
            duration_ns: Some(2_000_000_000),
            ..Change::default()
        };
        let changed = change.apply(scenario()).unwrap();
        assert_eq!(
            (changed.duration_ns, changed.warmup_ns),
            (2_000_000_000, 1_000_000_000)
        );
    }
}

//! `l4sllm suite`: every arm on every family of conditions.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use l4sllm_report::{SuiteFacts, render_suite};
use l4sllm_testbed::scenario::Control;
use l4sllm_testbed::scenario::curriculum::Part;
use l4sllm_testbed::suite::{self, Options, Progress, Protocol, Suite};

use crate::engine::EngineArgs;
use crate::output::{Done, errln, print};
use crate::threads::threads;

/// Judge a policy on families of conditions, against plain and tuned DualPI2.
///
/// Each condition is run under all arms with the same draws, and under tuned
/// DualPI2 with other draws, for the noise. Prints one table; DIR gets
/// suite.json, report.html and cells.jsonl. The same command resumes what was
/// interrupted; a finished cell is used again only where its network, traffic,
/// arm, policy and program are the same.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm suite --policy policies/default
  l4sllm suite --policy policies/default --families stationary,wifi --out out/two
  l4sllm suite --quick
  l4sllm suite --policy my-policy --oracle --out out/oracle")]
pub struct SuiteArgs {
    /// The policy that is judged [default: none, baselines only].
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Where the results go.
    #[arg(long, value_name = "DIR", default_value = "out/suite")]
    out: PathBuf,
    /// Only these families, separated by commas [default: all].
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    families: Vec<String>,
    /// One condition of each family, short: to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Conditions that are judged on, or those that policies may be trained
    /// on; their ranges are disjoint.
    #[arg(long, value_enum, default_value_t = Which::Test)]
    part: Which,
    /// Also run a grid of fixed settings; compare with the best of each
    /// condition. Takes about six times as long.
    #[arg(long)]
    oracle: bool,
    /// Repetitions of each arm [default: the suite's, 6].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: Option<u32>,
    /// Virtual seconds that are measured after the warm-up [default: the
    /// suite's, 60].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Conditions of each family at the most [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    conditions: Option<u32>,
    /// Seed of all draws.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Records between two decisions of the policy.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(NonZeroU32))]
    interval: NonZeroU32,
    /// Where suite.toml and its families are.
    #[arg(long, value_name = "DIR", default_value = "scenarios/suite")]
    suite: PathBuf,
    /// Cells at the same time, at most 1024; 0: one a core.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,
    #[command(flatten)]
    engine: EngineArgs,
}

/// A part of the conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Training,
    Test,
}

/// Runs, judges, prints the table and where the page is.
pub fn run(args: &SuiteArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let part = match args.part {
        Which::Training => Part::Training,
        Which::Test => Part::Test,
    };
    let mut suite = Suite::load(&args.suite, part, args.seed).context(
        "the suite's families (run it in the repository, or say where they are by --suite)",
    )?;
    suite.select(&args.families)?;
    let protocol = args.protocol(&suite);
    let control = args
        .policy
        .as_ref()
        .map(|policy| Control::new(policy, args.interval));
    let engine = args.engine.options();
    let bar = Bar::new();
    let progress = |progress| bar.show(progress);
    let (outcome, policy) = suite::run(
        &suite,
        Options {
            out: &args.out,
            protocol,
            policy: control.as_ref(),
            engine: &engine,
            oracle: args.oracle,
            threads: args.threads,
            cancel,
            progress: &progress,
        },
    )?;
    bar.finish();
    let facts = SuiteFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: suite.description.clone(),
        part: part.name().to_owned(),
        seed: args.seed,
        protocol,
        interval: policy.is_some().then(|| args.interval.get()),
        command: args.command(&protocol),
        policy,
    };
    let report = render_suite(&outcome, &facts, &args.out)?;
    print(&format!("{}\n{}\n", report.text, report.page.display()))?;
    Ok(match outcome.complete {
        true => Done::Finished,
        false => Done::Interrupted,
    })
}

impl SuiteArgs {
    /// The suite's protocol with what the options change.
    fn protocol(&self, suite: &Suite) -> Protocol {
        let base = match self.quick {
            true => suite.quick,
            false => suite.protocol,
        };
        Protocol {
            conditions: self.conditions.or(base.conditions),
            repetitions: self.repetitions.unwrap_or(base.repetitions),
            measured_ns: self.seconds.map_or(base.measured_ns, |s| s * 1_000_000_000),
            ..base
        }
    }

    /// The command that gives the same numbers.
    fn command(&self, protocol: &Protocol) -> String {
        let mut line = "l4sllm suite".to_owned();
        if let Some(policy) = &self.policy {
            line += &format!(
                " --policy {} --interval {}",
                policy.display(),
                self.interval
            );
        }
        if !self.families.is_empty() {
            line += &format!(" --families {}", self.families.join(","));
        }
        if self.part == Which::Training {
            line += " --part training";
        }
        for (set, option) in [(self.quick, " --quick"), (self.oracle, " --oracle")] {
            if set {
                line += option;
            }
        }
        if let Some(conditions) = self.conditions {
            line += &format!(" --conditions {conditions}");
        }
        line + &format!(
            " \\\n    --repetitions {} --seconds {} --seed {} --out DIR",
            protocol.repetitions,
            protocol.measured_ns as f64 / 1e9,
            self.seed
        )
    }
}

/// Progress on a terminal; elsewhere one line at the end.
struct Bar {
    bar: ProgressBar,
    started: Instant,
}

impl Bar {
    fn new() -> Bar {
        // Hidden by itself when standard error is no terminal.
        let bar = ProgressBar::new(0);
        let style = "suite {wide_bar:.cyan/dim} {msg} {elapsed}/{duration}";
        bar.set_style(ProgressStyle::with_template(style).expect("a template that was tried"));
        Bar {
            bar,
            started: Instant::now(),
        }
    }

    fn show(&self, progress: Progress) {
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        let (cells, all) = (progress.cells, progress.all_cells);
        self.bar.set_message(format!("{cells}/{all} cells"));
    }

    fn finish(&self) {
        let message = self.bar.message();
        self.bar.finish_and_clear();
        if std::io::stderr().is_terminal() || self.bar.position() > 0 {
            let seconds = self.started.elapsed().as_secs_f64();
            errln!("suite: {message} after {seconds:.0} s");
        }
    }
}

//! `l4sllm suite`: runs every arm on every family of conditions.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use l4sllm_model::strict_toml::DURATION;
use l4sllm_model::text::{shell_word, shown};
use l4sllm_model::{IdleBudget, Policy};
use l4sllm_report::{SuiteFacts, render_suite};
use l4sllm_testbed::scenario::curriculum::Part;
use l4sllm_testbed::scenario::{ArmStudent, Control, DualPi2};
use l4sllm_testbed::suite::{self, CELLS_FILE, Options, Progress, Protocol, Suite};

use crate::duration;
use crate::engine::EngineArgs;
use crate::format::{FormatArgs, print_report};
use crate::output::{Done, bail_usage, ensure_usage, errln, note, progress_bar};
use crate::shipped::{self, Kind};
use crate::threads::threads;

/// Evaluate a policy on families of conditions, compared with plain and tuned
/// DualPI2 and the adaptive rule.
///
/// Each condition (a network and its traffic) is run under every arm with the
/// same random draws. One more arm, tuned DualPI2 with different draws, shows
/// the noise. Prints one table; the --out directory receives report.html,
/// suite.json (all numbers) and cells.jsonl (every finished run).
///
/// The same command resumes an interrupted suite. A finished run is reused if
/// network, traffic, arm, policy and program are the same, regardless of other
/// options.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm suite --policy context
  l4sllm suite --policy context --families stationary,wifi --out out/two
  l4sllm suite --quick
  l4sllm suite --policy my-policy --oracle --out out/oracle
  l4sllm suite --policy context --student context
  l4sllm suite --policy context --idle-budgets 0.1%,0.2%,0.5%,1%,2%")]
pub struct SuiteArgs {
    /// Policy to evaluate: a directory, or a built-in name [default: none, only
    /// the other arms].
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Student to evaluate in the queue: its file, or a policy that has one.
    #[arg(long, value_name = "STUDENT")]
    student: Option<PathBuf>,
    /// Directory for the results.
    #[arg(long, value_name = "DIR", default_value = "out/suite")]
    out: PathBuf,
    /// Families to run, separated by commas [default: all].
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    families: Vec<String>,
    /// Run one condition of each family briefly, to check that everything
    /// works; the results allow no conclusions.
    #[arg(long)]
    quick: bool,
    /// Part to run: conditions for evaluation, or those for training. Their
    /// ranges are disjoint.
    #[arg(long, value_enum, default_value_t = Which::Test)]
    part: Which,
    /// Also run tuned DualPI2 and the adaptive rule with flow weights.
    #[arg(long)]
    flow_weights: bool,
    /// Also run the adaptive rule and the policy (which must use summaries) with
    /// these idle budgets, 0.1% to 2%, separated by commas.
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = idle_budget)]
    idle_budgets: Vec<IdleBudget>,
    /// Also run 21 fixed settings, and compare with the best one in each
    /// condition. Takes about five times as long; needs two repetitions.
    #[arg(long)]
    oracle: bool,
    /// Repetitions of each arm in each condition [default: 6, from suite.toml].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: Option<u32>,
    /// Virtual time to measure after the warm-up, such as 10s [default: 60 s,
    /// from suite.toml].
    #[arg(long = "duration", value_name = "TIME", value_parser = duration::measured)]
    duration_ns: Option<u64>,
    /// Maximum number of conditions of each family [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    conditions: Option<u32>,
    /// Seed of all random draws.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Records between two decisions of the policy.
    #[arg(long, value_name = "N", default_value = "100", value_parser = interval)]
    interval: NonZeroU32,
    /// Directory of suite.toml and its families [default: the built-in suite].
    #[arg(long, value_name = "DIR")]
    suite: Option<PathBuf>,
    /// Number of parallel runs, 0 to 1024; 0: one per core.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// A part of the conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Training,
    Test,
}

/// Parses the number of records between two decisions; the ring must hold twice
/// as many.
fn interval(text: &str) -> Result<NonZeroU32, String> {
    let most = DualPi2::default().ring_records / 2;
    text.parse()
        .ok()
        .filter(|records: &NonZeroU32| records.get() <= most)
        .ok_or_else(|| format!("expected 1 to {most} records"))
}

/// Parses a share of link time, in percent.
fn idle_budget(text: &str) -> Result<IdleBudget, String> {
    text.strip_suffix('%')
        .and_then(|percent| percent.parse().ok())
        .and_then(|percent: f64| IdleBudget::new(percent / 100.0))
        .ok_or_else(|| "expected 0.1% to 2%".to_owned())
}

/// Runs and evaluates, and prints the table and the page's path.
pub fn run(args: &SuiteArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let part = match args.part {
        Which::Training => Part::Training,
        Which::Test => Part::Test,
    };
    let dir = match &args.suite {
        Some(dir) => dir.clone(),
        None => shipped::dir("scenarios/suite")?,
    };
    let mut suite = Suite::load(&dir, part, args.seed).with_context(|| match &args.suite {
        Some(dir) => format!("--suite {}", shown(dir)),
        None => "the built-in suite".to_owned(),
    })?;
    if let Err(error) = suite.select(&args.families) {
        bail_usage!("--families: {error}");
    }
    let protocol = args.protocol(&suite);
    ensure_usage!(
        !args.oracle || protocol.repetitions >= 2,
        "--oracle needs at least 2 repetitions: it chooses a setting on one half of them and \
         evaluates it on the other"
    );
    let policy = args.policy.as_ref();
    let policy = policy.map(|policy| shipped::find(Kind::Policy, policy));
    let policy = policy.transpose()?;
    if let (Some(dir), false) = (&policy, args.idle_budgets.is_empty()) {
        let config = Policy::load_config(dir)?;
        ensure_usage!(
            config.period_ns().is_some(),
            "--idle-budgets: policy {} decides on records, which have no idle budget; expected a \
             policy on summaries, such as context",
            config.name
        );
    }
    let control = policy.map(|policy| Control::new(&policy, args.interval));
    let student = |argument: &PathBuf| -> anyhow::Result<ArmStudent> {
        Ok(ArmStudent::open(&shipped::student(argument)?)?)
    };
    let student = args.student.as_ref().map(student).transpose();
    let student = student.context("--student")?;
    let engine = args.engine.options();
    let bar = Bar::new();
    let progress = |progress| bar.show(progress);
    let (outcome, policy) = suite::run(
        &suite,
        Options {
            out: &args.out,
            protocol,
            policy: control.as_ref(),
            student: student.as_ref(),
            engine: &engine,
            flow_weights: args.flow_weights,
            budgets: &args.budgets(),
            oracle: args.oracle,
            threads: args.threads,
            cancel,
            progress: &progress,
        },
    )?;
    bar.finish();
    if outcome.unused > 0 {
        errln!(
            "suite: {} runs in {} have other options or another policy or program, and are not \
             used",
            outcome.unused,
            shown(&args.out.join(CELLS_FILE))
        );
    }
    let facts = SuiteFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: suite.description.clone(),
        part: part.name().to_owned(),
        seed: args.seed,
        protocol,
        quick: args.quick,
        interval: policy.is_some().then(|| args.interval.get()),
        command: args.command(),
        policy,
    };
    let report = render_suite(&outcome, &facts, &args.out)?;
    print_report(args.format.format, &report)?;
    Ok(match outcome.complete {
        true => Done::Finished,
        false => Done::Interrupted,
    })
}

impl SuiteArgs {
    /// The suite's protocol, changed by the options.
    fn protocol(&self, suite: &Suite) -> Protocol {
        let base = match self.quick {
            true => suite.quick,
            false => suite.protocol,
        };
        Protocol {
            conditions: self.conditions.or(base.conditions),
            repetitions: self.repetitions.unwrap_or(base.repetitions),
            measured_ns: self.duration_ns.unwrap_or(base.measured_ns),
            ..base
        }
    }

    /// The idle budgets, each once and in ascending order.
    fn budgets(&self) -> Vec<IdleBudget> {
        let mut budgets = self.idle_budgets.clone();
        budgets.sort();
        budgets.dedup();
        budgets
    }

    /// The command that reproduces the numbers.
    fn command(&self) -> String {
        let mut line = "l4sllm suite".to_owned();
        if let Some(suite) = &self.suite {
            line += &format!(" --suite {}", word(suite));
        }
        if let Some(policy) = &self.policy {
            line += &format!(" --policy {} --interval {}", word(policy), self.interval);
        }
        if let Some(student) = &self.student {
            line += &format!(" --student {}", word(student));
        }
        if !self.families.is_empty() {
            line += &format!(" --families {}", shell_word(&self.families.join(",")));
        }
        if self.part == Which::Training {
            line += " --part training";
        }
        let options = [
            (self.quick, " --quick"),
            (self.flow_weights, " --flow-weights"),
            (self.oracle, " --oracle"),
        ];
        for (set, option) in options {
            if set {
                line += option;
            }
        }
        let percent = |of: IdleBudget| format!("{}%", (of.share() * 1e6).round() / 1e4);
        let budgets: Vec<String> = self.budgets().into_iter().map(percent).collect();
        if !budgets.is_empty() {
            line += &format!(" --idle-budgets {}", budgets.join(","));
        }
        let numbers = [
            ("conditions", self.conditions.map(u64::from)),
            ("repetitions", self.repetitions.map(u64::from)),
            ("seed", Some(self.seed)),
        ];
        for (option, number) in numbers {
            line += &number.map_or(String::new(), |number| format!(" --{option} {number}"));
        }
        if let Some(ns) = self.duration_ns {
            line += &format!(" --duration {}", DURATION.show(ns).replace(' ', ""));
        }
        line + " --out DIR"
    }
}

/// A directory as one shell word, valid in any directory; a built-in name is
/// unchanged.
fn word(path: &Path) -> String {
    let absolute = path.canonicalize();
    shell_word(&absolute.as_deref().unwrap_or(path).to_string_lossy())
}

/// Progress on a terminal; otherwise one line at the end.
struct Bar {
    bar: ProgressBar,
    started: Instant,
}

impl Bar {
    fn new() -> Bar {
        // Hidden automatically if standard error is not a terminal.
        let bar = progress_bar(0);
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
        self.bar.set_message(format!("{cells}/{all} runs"));
    }

    fn finish(&self) {
        let message = self.bar.message();
        self.bar.finish_and_clear();
        if std::io::stderr().is_terminal() || self.bar.position() > 0 {
            let seconds = self.started.elapsed().as_secs_f64();
            note!("suite: {message} after {seconds:.0} s");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::process::Command;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        args: SuiteArgs,
    }

    #[test]
    fn command_is_quoted_for_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("it's a $policy");
        std::fs::create_dir(&policy).unwrap();
        let policy = policy.canonicalize().unwrap();
        let policy = policy.to_str().unwrap();
        let line = [
            "--policy",
            policy,
            "--families",
            "a b,c",
            "--quick",
            "--duration",
            "1500ms",
        ];
        let args = Line::try_parse_from(line).unwrap().args;
        let script = format!("l4sllm() {{ printf '%s\\n' \"$@\"; }}\n{}", args.command());
        let said = Command::new("sh")
            .args(["-eu", "-c", &script])
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let words: Vec<&str> = said.lines().collect();
        assert_eq!(words[0], "suite");
        let again = Line::try_parse_from(&words[1..]).unwrap().args;
        assert_eq!(again.policy.as_deref(), Some(Path::new(policy)));
        assert_eq!(again.families, ["a b", "c"]);
        assert_eq!(again.duration_ns, Some(1_500_000_000));
        assert!(again.quick);
    }
}

//! `l4sllm scenario`: checks and describes scenario files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::{Args, Subcommand};
use l4sllm_model::EngineOptions;
use l4sllm_report::Rows;
use l4sllm_testbed::experiment::Policies;
use l4sllm_testbed::result::Facts;
use l4sllm_testbed::scenario::curriculum::Curriculum;
use l4sllm_testbed::scenario::{ControlEngine, Latency, Scenario};

use crate::format::{Format, FormatArgs, print_rows};
use crate::output::{chain, errln, print};
use crate::shipped::{self, Kind};

/// Inspect scenarios: built-in ones and files.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm scenarios list
  l4sllm scenarios show paper > mine.toml
  l4sllm scenario check mine.toml")]
pub struct ScenarioArgs {
    #[command(subcommand)]
    command: ScenarioCommand,
}

#[derive(Debug, Subcommand)]
enum ScenarioCommand {
    /// Check files and the policies that they name, and describe them. Every file
    /// is checked; the command fails at the end if any is invalid.
    #[command(after_long_help = "\
Examples:
  l4sllm scenario check mine.toml
  l4sllm scenario check paper headroom")]
    Check {
        /// Scenarios: files, or built-in names.
        #[arg(required = true, value_name = "SCENARIO")]
        files: Vec<PathBuf>,
    },
    /// List the built-in scenarios, and the curricula for `l4sllm collect`.
    #[command(after_long_help = "\
Examples:
  l4sllm scenario list
  l4sllm scenario list --format json")]
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Print a built-in scenario or curriculum, as a template for your own.
    #[command(after_long_help = "\
Examples:
  l4sllm scenario show paper
  l4sllm scenario show paper > mine.toml")]
    Show {
        /// Name of the scenario or curriculum.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs the subcommand.
///
/// # Errors
/// A file is invalid. If there are several files, every invalid one has been
/// reported on standard error, one line each.
pub fn run(args: &ScenarioArgs) -> anyhow::Result<()> {
    let files = match &args.command {
        ScenarioCommand::Check { files } => files,
        ScenarioCommand::List { format } => return list(format.format),
        ScenarioCommand::Show { name } => return show(name),
    };
    let mut wrong = 0;
    for file in files {
        match check(file) {
            Ok(said) => print(&said)?,
            Err(error) if files.len() == 1 => return Err(error),
            Err(error) => {
                errln!("l4sllm: {}", chain(&error));
                wrong += 1;
            }
        }
    }
    ensure!(wrong == 0, "{wrong} of {} files are invalid", files.len());
    Ok(())
}

/// Prints the built-in names with their kinds and descriptions.
fn list(format: Format) -> anyhow::Result<()> {
    let mut rows = Rows::default();
    let mut add = |name: &str, kind: &str, description: String| {
        let row = [
            ("name", name.into()),
            ("kind", kind.into()),
            ("description", description.into()),
        ];
        rows.push(row, &());
    };
    for name in shipped::names(Kind::Scenario).into_keys() {
        let scenario = shipped::scenario(Path::new(name))?;
        add(name, "scenario", scenario.description);
    }
    for (name, path) in shipped::names(Kind::Curriculum) {
        let curriculum = Curriculum::load(&shipped::dir(path)?)?;
        add(name, "curriculum", curriculum.description);
    }
    print_rows(format, &rows)
}

fn show(name: &str) -> anyhow::Result<()> {
    let kinds = [Kind::Scenario, Kind::Curriculum];
    let found = kinds.map(shipped::names);
    let path = found.iter().find_map(|names| names.get(name));
    match path.and_then(|path| shipped::text(path)) {
        Some(text) => print(text),
        None => Err(shipped::unknown(Kind::Scenario, name)),
    }
}

fn check(file: &Path) -> anyhow::Result<String> {
    let scenario = shipped::scenario(file)?;
    let policies = Policies::load(&scenario, &EngineOptions::default())?;
    Ok(describe(&scenario, &policies.facts(&scenario)))
}

fn describe(scenario: &Scenario, facts: &Facts) -> String {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let mut out = scenario.name.clone();
    if !scenario.description.is_empty() {
        let _ = write!(out, ": {}", scenario.description);
    }
    out.push('\n');
    let _ = writeln!(
        out,
        "  {} x {} s, the first {} s excluded, seed {}",
        scenario.repetitions,
        seconds(scenario.duration_ns),
        seconds(scenario.warmup_ns),
        scenario.seed
    );
    for flow in &scenario.flows {
        let number = match &flow.arrivals {
            Some(arrivals) => format!("{} a second on average,", arrivals.per_s),
            None => flow.flows().to_string(),
        };
        let _ = writeln!(out, "  flow {}: {number} of {}", flow.name, flow.cc);
    }
    for arm in &scenario.arms {
        let _ = write!(out, "  arm {}: {}", arm.name, arm.aqm.name());
        if let Some(control) = &arm.control {
            let latency = match control.latency {
                Latency::Fixed(ns) => format!("{} us", ns as f64 / 1e3),
                Latency::Measured => "measured".to_owned(),
            };
            let _ = match &control.engine {
                ControlEngine::Policy(policy) => {
                    let facts = facts.arm(&arm.name).and_then(|arm| arm.policy.as_ref());
                    let pace = match facts.and_then(|policy| policy.period_ns) {
                        Some(ns) => format!("{} ms", ns / 1_000_000),
                        None => format!("{} records", control.interval),
                    };
                    write!(out, ", {} every {pace}", policy.display())
                }
                ControlEngine::Adaptive(preset) => {
                    let period_ms = control.period_ns as f64 / 1e6;
                    write!(
                        out,
                        ", adaptive rule {} every {period_ms} ms",
                        preset.name()
                    )
                }
            };
            if let Some(budget) = control.idle_budget {
                let _ = write!(out, ", idle budget {}", budget.share());
            }
            let _ = write!(out, ", latency {latency}");
        }
        out.push('\n');
    }
    if let Some(floor) = &facts.floor {
        let ms = floor.delay_ns() as f64 / 1e6;
        let _ = writeln!(
            out,
            "  floor: {} flows at {} packets keep {ms:.1} ms of queue, regardless of marking",
            floor.flows, floor.min_window_packets
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_flows_are_described_by_their_arrival_rate() {
        let text = r#"
            duration = "1 s"
            rtt = "30 ms"
            bottleneck = { rate = "20 Mbit/s" }
            [[flow]]
            name = "long"
            cc = "prague"
            count = 2
            [[flow]]
            name = "web"
            cc = "cubic"
            arrivals = { per_s = 2.5, size = "fixed", mean = "50 kB" }
            [[arm]]
            aqm = "dualpi2"
        "#;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, text).unwrap();
        let said = check(&file).unwrap();
        assert!(said.contains("  flow long: 2 of prague\n"), "{said}");
        let web = "  flow web: 2.5 a second on average, of cubic\n";
        assert!(said.contains(web), "{said}");
    }
}

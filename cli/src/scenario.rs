//! `l4sllm scenario`: is a scenario file right, and what does it say?

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::{Args, Subcommand};
use l4sllm_model::EngineOptions;
use l4sllm_testbed::experiment::Policies;
use l4sllm_testbed::result::Facts;
use l4sllm_testbed::scenario::{ControlEngine, Latency, Scenario};

use crate::output::{chain, errln, print};

/// Look at scenario files.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    #[command(subcommand)]
    command: ScenarioCommand,
}

#[derive(Debug, Subcommand)]
enum ScenarioCommand {
    /// Check files, and the policies that they name, and print what they say.
    /// Every file is checked; one that is wrong makes the command fail at the end.
    Check {
        /// Scenario files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Runs the subcommand.
///
/// # Errors
/// A file is wrong. Where there are several, every wrong one has been reported
/// on standard error, one line each.
pub fn run(args: &ScenarioArgs) -> anyhow::Result<()> {
    let ScenarioCommand::Check { files } = &args.command;
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
    ensure!(wrong == 0, "{wrong} of {} files are wrong", files.len());
    Ok(())
}

fn check(file: &Path) -> anyhow::Result<String> {
    let scenario = Scenario::load(file)?;
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
        "  {} x {} s, the first {} s left out, seed {}",
        scenario.repetitions,
        seconds(scenario.duration_ns),
        seconds(scenario.warmup_ns),
        scenario.seed
    );
    for flow in &scenario.flows {
        let _ = writeln!(out, "  flow {}: {} of {}", flow.name, flow.flows(), flow.cc);
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
            "  floor: {} flows at {} packets leave {ms:.1} ms of queue, whatever is marked",
            floor.flows, floor.min_window_packets
        );
    }
    out
}

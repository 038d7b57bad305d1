//! `l4sllm scenario`: checks and describes scenario files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::{Args, Subcommand};
use l4sllm_abi::{Dither, Limits, NativeAqm, Params, raw};
use l4sllm_model::EngineOptions;
use l4sllm_model::strict_toml::DURATION;
use l4sllm_model::text::shown;
use l4sllm_report::Rows;
use l4sllm_testbed::experiment::Policies;
use l4sllm_testbed::result::Facts;
use l4sllm_testbed::scenario::curriculum::Curriculum;
use l4sllm_testbed::scenario::{Aqm, ControlEngine, Latency, Scenario};

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
        if let Aqm::DualPi2(queue) = &arm.aqm {
            out += &settings(&queue.params);
            if queue.limits != Limits::default() {
                out += ", own limits of overrides";
            }
        }
        if let Some(control) = &arm.control {
            let latency = match control.latency {
                Latency::Fixed(ns) => format!("{} us", ns as f64 / 1e3),
                Latency::Measured => "measured".to_owned(),
            };
            let _ = match &control.engine {
                ControlEngine::Policy(policy) => {
                    let facts = facts.arm(&arm.name);
                    // The name of a built-in policy, not where it was unpacked.
                    let name = facts.and_then(|arm| arm.policy_dir.clone());
                    let name = name.unwrap_or_else(|| shown(policy).to_string());
                    let facts = facts.and_then(|arm| arm.policy.as_ref());
                    let pace = match facts.and_then(|policy| policy.period_ns) {
                        Some(ns) => format!("{} ms", ns / 1_000_000),
                        None => format!("{} records", control.interval),
                    };
                    write!(out, ", policy {name} every {pace}")
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

/// The profile of these parameters, and what differs from it, with the names of
/// scenario files.
fn settings(params: &Params) -> String {
    let profiles = [
        ("", Params::default()),
        (", profile tuned", Params::tuned()),
        (", profile paper", Params::paper()),
    ];
    let differences = |base: &Params| {
        let (own, base) = (listed(params), listed(base));
        let differing = own.into_iter().zip(base).filter(|(own, base)| own != base);
        differing.map(|(own, _)| own).collect::<Vec<_>>()
    };
    let nearest = profiles
        .iter()
        .map(|(name, base)| (*name, differences(base)))
        .min_by_key(|(_, differing)| differing.len());
    let (profile, differing) = nearest.unwrap_or_default();
    let differing = differing.into_iter().map(|setting| format!(", {setting}"));
    profile.to_owned() + &differing.collect::<String>()
}

/// All parameters, in the units of scenario files.
fn listed(params: &Params) -> [String; 20] {
    let time = |name: &str, ns: u64| format!("{name} {}", DURATION.show(ns));
    let hz = |name: &str, uhz: u32| format!("{name} {} Hz", f64::from(uhz) / 1e6);
    let number = |name: &str, value: u64| format!("{name} {value}");
    let choice = |text: &str| text.to_owned();
    let switch = |name: &str, on: bool| format!("{name} {}", if on { "on" } else { "off" });
    [
        time("target", params.target_ns),
        time("tupdate", params.tupdate_ns),
        hz("alpha", params.alpha_uhz),
        hz("beta", params.beta_uhz),
        format!("coupling {}", f64::from(params.coupling_q8) / 256.0),
        time("l4s_threshold", params.l4s_threshold_ns),
        time("l4s_range", params.l4s_range_ns),
        time("max_burst", params.max_burst_ns),
        number("l4s_min_packets", params.l4s_min_packets.into()),
        number("limit", params.limit_packets.into()),
        format!("limit_bytes {} B", params.limit_bytes),
        format!(
            "max_ecnth {:.4}",
            f64::from(params.max_ecnth) / f64::from(raw::L4S_PROB_ONE)
        ),
        format!("classic_weight {} %", params.classic_weight),
        choice(match params.dither {
            Dither::Recur => "dither recur",
            Dither::Random => "dither random",
        }),
        choice(match params.laqm {
            NativeAqm::Step => "laqm step",
            NativeAqm::Ramp => "laqm ramp",
        }),
        switch("ecn", params.ecn),
        choice(match params.any_ect {
            true => "l4s_ecn any",
            false => "l4s_ecn ect1",
        }),
        format!("l4s_dscp {:#x}", params.l4s_dscp),
        switch("overflow", params.overflow),
        switch("flow_weights", params.flow_weights),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_relative_to_the_nearest_profile() {
        assert_eq!(settings(&Params::default()), "");
        assert_eq!(settings(&Params::tuned()), ", profile tuned");
        assert_eq!(settings(&Params::paper()), ", profile paper");
        let weighted = Params {
            flow_weights: true,
            ..Params::tuned()
        };
        assert_eq!(settings(&weighted), ", profile tuned, flow_weights on");
        let own = Params {
            target_ns: 7_500_000,
            beta_uhz: 6_400_000,
            coupling_q8: 384,
            ..Params::default()
        };
        assert_eq!(
            settings(&own),
            ", target 7500 us, beta 6.4 Hz, coupling 1.5"
        );
    }

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

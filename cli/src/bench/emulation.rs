//! Emulated over real time, and how long decisions take.  All of it is real
//! time, not processor time: what else runs on the machine counts.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use l4sllm_testbed::experiment::Policies;
use l4sllm_testbed::result::quantile;
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::sim::Simulation;

use crate::engine::EngineArgs;
use crate::output::{Done, print};
use crate::run::Change;

/// What is run.
#[derive(Debug, Args)]
pub(super) struct EmulationArgs {
    /// Scenario to measure with; it needs the two arms below.
    #[arg(long, value_name = "FILE", default_value = "scenarios/paper.toml")]
    scenario: PathBuf,
    /// Arm without a policy.
    #[arg(long, value_name = "ARM", default_value = "dualpi2")]
    plain: String,
    /// Arm with a policy.
    #[arg(long, value_name = "ARM", default_value = "l4sllm-10")]
    with_policy: String,
    /// Policy of that arm, in place of the scenario's.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Runs of each arm, one after the other; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What is aimed at on two cores of a few years ago.  A miss of one is exit
/// status 1.
const AIM_PLAIN: f64 = 100.0;
const AIM_WITH_POLICY: f64 = 20.0;
const AIM_LATENCY_P50_US: f64 = 100.0;

/// Measures both arms in turns, so that what disturbs one disturbs the other.
pub(super) fn run(args: &EmulationArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let change = Change {
        arms: vec![args.plain.clone(), args.with_policy.clone()],
        policy: args.policy.clone(),
        ..Change::default()
    };
    let scenario = change.apply(Scenario::load(&args.scenario)?)?;
    let decides = scenario
        .arm(&args.with_policy)
        .is_some_and(|arm| arm.control.is_some());
    ensure!(
        decides,
        "arm {} of {} has no policy",
        args.with_policy,
        scenario.name
    );
    let policies = Policies::load(&scenario, &args.engine.options())?;
    let (mut plain, mut with_policy, mut latency_ns) = (Vec::new(), Vec::new(), Vec::new());
    for repetition in 0..args.runs {
        plain.push(measure(&scenario, &policies, &args.plain, repetition)?.ratio);
        let measured = measure(&scenario, &policies, &args.with_policy, repetition)?;
        with_policy.push(measured.ratio);
        latency_ns.extend(measured.latency_ns);
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
    }
    latency_ns.sort_unstable();
    let us = |q| quantile(&latency_ns, q).map_or(0.0, |ns| ns as f64 / 1e3);
    let numbers = Numbers {
        plain: median(plain),
        with_policy: median(with_policy),
        latency_p50_us: us(0.5),
        latency_p99_us: us(0.99),
        decisions: latency_ns.len(),
    };
    print(&if args.json {
        numbers.json()
    } else {
        numbers.text(args)
    })?;
    Ok(match (Done::of(cancel), numbers.missed().is_empty()) {
        (Done::Finished, false) => Done::Unhealthy,
        (done, _) => done,
    })
}

struct Measured {
    /// Emulated over real time.
    ratio: f64,
    /// Real time that each decision took.
    latency_ns: Vec<u64>,
}

fn measure(
    scenario: &Scenario,
    policies: &Policies,
    name: &str,
    repetition: u32,
) -> anyhow::Result<Measured> {
    let arm = scenario
        .arm(name)
        .with_context(|| format!("no arm {name}"))?;
    let engine = policies.engine(arm, scenario.repetition_seed(repetition));
    let began = Instant::now();
    let mut simulation = Simulation::new(scenario, arm, repetition, engine)?;
    simulation.run_until(scenario.duration_ns)?;
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    let latency_ns = simulation
        .controller()
        .map(|controller| controller.wall_latency_ns().to_vec())
        .unwrap_or_default();
    // The accounting of a run that is measured holds like any other's.
    simulation.finish()?;
    Ok(Measured {
        ratio: scenario.duration_ns as f64 / 1e9 / seconds,
        latency_ns,
    })
}

struct Numbers {
    plain: f64,
    with_policy: f64,
    latency_p50_us: f64,
    latency_p99_us: f64,
    decisions: usize,
}

impl Numbers {
    /// The numbers that miss their aims, by their names in [`Numbers::json`].
    fn missed(&self) -> Vec<&'static str> {
        [
            ("emulated_over_real_plain", self.plain >= AIM_PLAIN),
            (
                "emulated_over_real_with_policy",
                self.with_policy >= AIM_WITH_POLICY,
            ),
            (
                "decision_latency_us",
                self.latency_p50_us <= AIM_LATENCY_P50_US,
            ),
        ]
        .into_iter()
        .filter_map(|(name, met)| (!met).then_some(name))
        .collect()
    }

    fn text(&self, args: &EmulationArgs) -> String {
        let met = |met: bool| if met { "met" } else { "missed" };
        let scenario = args.scenario.display();
        format!(
            "emulated / real time, {scenario}, {}: {:.1} (aim {AIM_PLAIN}: {})\n\
             emulated / real time, {scenario}, {}: {:.1} (aim {AIM_WITH_POLICY}: {})\n\
             decision latency in real time, {} decisions: p50 {:.1} us (aim {AIM_LATENCY_P50_US}: {}), p99 {:.1} us\n",
            args.plain,
            self.plain,
            met(self.plain >= AIM_PLAIN),
            args.with_policy,
            self.with_policy,
            met(self.with_policy >= AIM_WITH_POLICY),
            self.decisions,
            self.latency_p50_us,
            met(self.latency_p50_us <= AIM_LATENCY_P50_US),
            self.latency_p99_us,
        )
    }

    fn json(&self) -> String {
        let value = serde_json::json!({
            "emulated_over_real_plain": self.plain,
            "emulated_over_real_with_policy": self.with_policy,
            "decision_latency_us": { "p50": self.latency_p50_us, "p99": self.latency_p99_us },
            "decisions": self.decisions,
            "aims_missed": self.missed(),
        });
        format!("{value:#}\n")
    }
}

/// The middle one; of two, the lower.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_that_are_missed_are_named() {
        let numbers = |plain, with_policy, latency_p50_us| Numbers {
            plain,
            with_policy,
            latency_p50_us,
            latency_p99_us: 1000.0,
            decisions: 10,
        };
        let met = numbers(AIM_PLAIN, AIM_WITH_POLICY, AIM_LATENCY_P50_US);
        assert_eq!(met.missed(), [""; 0]);
        let missed = numbers(AIM_PLAIN - 0.1, AIM_WITH_POLICY, AIM_LATENCY_P50_US + 0.1);
        assert_eq!(
            missed.missed(),
            ["emulated_over_real_plain", "decision_latency_us"]
        );
        // A policy that decided nothing has no latency.
        assert_eq!(
            numbers(1e3, 0.0, 0.0).missed(),
            ["emulated_over_real_with_policy"]
        );
    }
}

//! The ratio of emulated to real time, the cost of a controller, and the time of
//! decisions. All times are real time, not processor time, so other load on the
//! machine affects them.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use l4sllm_abi::{Factor, Factors, Record, Steer};
use l4sllm_model::text::shown;
use l4sllm_report::Rows;
use l4sllm_testbed::control::EngineFactory;
use l4sllm_testbed::experiment::Policies;
use l4sllm_testbed::result::quantile;
use l4sllm_testbed::scenario::{Aqm, Arm, Control, Scenario};
use l4sllm_testbed::sim::Simulation;
use l4sllmd::{Decision, Engine};
use serde_json::{Value, json};

use crate::engine::EngineArgs;
use crate::format::{Format, FormatArgs, print_json, print_rows};
use crate::output::{Done, Palette, Tone, print_painted};
use crate::run::Change;
use crate::shipped;

/// The runs to measure.
#[derive(Debug, Args)]
pub(super) struct EmulationArgs {
    /// Scenario to measure, a file or a name, which must have the two arms below.
    #[arg(value_name = "SCENARIO", default_value = "paper")]
    scenario: PathBuf,
    /// Arm without a policy.
    #[arg(long, value_name = "ARM", default_value = "dualpi2")]
    plain: String,
    /// Arm with a policy.
    #[arg(long, value_name = "ARM", default_value = "l4sllm-10")]
    with_policy: String,
    /// Policy of that arm, instead of the scenario's.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Runs of the arm with a policy, each with five runs of the other; medians
    /// are reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Aims on two cores of a few years ago. The exit status is 1 if one is missed.
const AIM_PLAIN: f64 = 100.0;
const AIM_WITH_POLICY: f64 = 20.0;
const AIM_LOOP: f64 = 0.7;
const AIM_LATENCY_P50_US: f64 = 100.0;

/// Decision rates at which the loop is measured, per second of virtual time.
const LOOP_RATES: [u32; 2] = [2, 10];

/// Runs of the plain arm and of the loops per run with a policy, which takes
/// longer than all of them together.
const TURNS: u32 = 5;

/// Measures the arms in turn, so that disturbances affect all of them.
pub(super) fn run(args: &EmulationArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let change = Change {
        arms: vec![args.plain.clone(), args.with_policy.clone()],
        policy: args.policy.clone(),
        ..Change::default()
    };
    let scenario = change.apply(shipped::scenario(&args.scenario)?)?;
    let find = |name: &str| {
        let arm = scenario.arm(name);
        arm.with_context(|| format!("no arm {name}"))
    };
    let (plain, with_policy) = (find(&args.plain)?, find(&args.with_policy)?);
    ensure!(
        with_policy.control.is_some(),
        "arm {} of {} has no policy",
        with_policy.name,
        scenario.name
    );
    ensure!(
        plain.control.is_none() && matches!(plain.aqm, Aqm::DualPi2(_)),
        "arm {} of {} is not DualPI2 without a policy",
        plain.name,
        scenario.name
    );
    let policies = Policies::load(&scenario, &args.engine.options())?;
    let mut samples = Samples::default();
    for repetition in 0..args.runs {
        for _ in 0..TURNS {
            samples.take_turn(&scenario, plain, repetition)?;
        }
        let engine = policies.engine(with_policy, scenario.repetition_seed(repetition));
        let measured = measure(&scenario, with_policy, engine, repetition)?;
        samples.with_policy.push(measured.ratio);
        samples.latency_ns.extend(measured.latency_ns);
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
    }
    let numbers = samples.numbers();
    match args.format.format {
        Format::Text => print_painted(&numbers.text(args, Palette::of_stdout()))?,
        Format::Csv => print_rows(Format::Csv, &numbers.rows())?,
        Format::Json => print_json(&numbers.json())?,
    }
    Ok(match (Done::of(cancel), numbers.missed().is_empty()) {
        (Done::Finished, false) => Done::Unhealthy,
        (done, _) => done,
    })
}

/// Decides in every interval to change nothing, so that only the loop around a
/// decision is measured.
struct Neutral {
    interval: u32,
    seen: u32,
    steer: Steer,
}

impl Neutral {
    fn factory(interval: NonZeroU32) -> anyhow::Result<EngineFactory> {
        let steer = Steer::new(Factors {
            target: Some(Factor::new(1.0)?),
            ..Factors::NONE
        })?;
        Ok(EngineFactory::on_records(move |_| {
            Box::new(Neutral {
                interval: interval.get(),
                seen: 0,
                steer,
            })
        }))
    }
}

impl Engine for Neutral {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        self.seen += 1;
        if self.seen < self.interval {
            return None;
        }
        self.seen = 0;
        Some(Decision::Steer(self.steer))
    }

    fn reset(&mut self) {
        self.seen = 0;
    }
}

struct Measured {
    /// Ratio of emulated to real time.
    ratio: f64,
    /// Packets per second at the bottleneck.
    packets: u64,
    /// Real time of each decision.
    latency_ns: Vec<u64>,
}

fn measure(
    scenario: &Scenario,
    arm: &Arm,
    engine: Option<EngineFactory>,
    repetition: u32,
) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let mut simulation = Simulation::new(scenario, arm, repetition, engine)?;
    simulation.run_until(scenario.duration_ns)?;
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    let latency_ns = simulation
        .controller()
        .map(|controller| controller.wall_latency_ns().collect())
        .unwrap_or_default();
    // Check the accounting of a measured run, as for any run.
    let run = simulation.finish()?;
    Ok(Measured {
        ratio: scenario.duration_ns as f64 / 1e9 / seconds,
        packets: run.meta.packets.arrived,
        latency_ns,
    })
}

/// Results of each run.
#[derive(Default)]
struct Samples {
    plain: Vec<f64>,
    packets_per_s: Vec<f64>,
    /// Ratio to the plain run of the same turn, by [`LOOP_RATES`].
    loops: [Vec<f64>; LOOP_RATES.len()],
    with_policy: Vec<f64>,
    latency_ns: Vec<u64>,
}

impl Samples {
    /// Measures the plain arm, then the arm with records and a controller.
    fn take_turn(
        &mut self,
        scenario: &Scenario,
        plain: &Arm,
        repetition: u32,
    ) -> anyhow::Result<()> {
        let base = measure(scenario, plain, None, repetition)?;
        let virtual_s = scenario.duration_ns as f64 / 1e9;
        self.plain.push(base.ratio);
        self.packets_per_s
            .push(base.packets as f64 / virtual_s * base.ratio);
        for (rate, ratios) in LOOP_RATES.into_iter().zip(&mut self.loops) {
            let records = base.packets as f64 / virtual_s / f64::from(rate);
            let interval = NonZeroU32::new(records as u32).unwrap_or(NonZeroU32::MIN);
            let mut arm = plain.clone();
            arm.control = Some(Control::new("none".as_ref(), interval));
            let engine = Neutral::factory(interval)?;
            let measured = measure(scenario, &arm, Some(engine), repetition)?;
            ratios.push(measured.ratio / base.ratio);
        }
        Ok(())
    }

    fn numbers(mut self) -> Numbers {
        self.latency_ns.sort_unstable();
        let us = |q| quantile(&self.latency_ns, q).map_or(0.0, |ns| ns as f64 / 1e3);
        Numbers {
            plain: median(self.plain),
            packets_per_s: median(self.packets_per_s),
            loops: self.loops.map(median),
            with_policy: median(self.with_policy),
            latency_p50_us: us(0.5),
            latency_p99_us: us(0.99),
            decisions: self.latency_ns.len(),
        }
    }
}

struct Numbers {
    plain: f64,
    packets_per_s: f64,
    loops: [f64; LOOP_RATES.len()],
    with_policy: f64,
    latency_p50_us: f64,
    latency_p99_us: f64,
    decisions: usize,
}

impl Numbers {
    /// The missed aims, by their names in [`Numbers::json`].
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
            ("loop", self.loops.iter().all(|ratio| *ratio >= AIM_LOOP)),
        ]
        .into_iter()
        .filter_map(|(name, met)| (!met).then_some(name))
        .collect()
    }

    fn text(&self, args: &EmulationArgs, palette: Palette) -> String {
        let met = |met: bool| match met {
            true => palette.paint(Tone::Good, "met"),
            false => palette.paint(Tone::Bad, "missed"),
        };
        let scenario = shown(&args.scenario);
        let mut text = format!(
            "emulated / real time, {scenario}, {}: {:.1} (aim {AIM_PLAIN}: {}), {:.2} million packets a second\n",
            args.plain,
            self.plain,
            met(self.plain >= AIM_PLAIN),
            self.packets_per_s / 1e6,
        );
        for (rate, ratio) in LOOP_RATES.into_iter().zip(self.loops) {
            text += &format!(
                "with records and {rate} decisions a second over without: {ratio:.2} (aim {AIM_LOOP}: {})\n",
                met(ratio >= AIM_LOOP),
            );
        }
        text + &format!(
            "emulated / real time, {scenario}, {}: {:.1} (aim {AIM_WITH_POLICY}: {})\n\
             decision latency in real time, {} decisions: p50 {:.1} us (aim {AIM_LATENCY_P50_US}: {}), p99 {:.1} us\n",
            args.with_policy,
            self.with_policy,
            met(self.with_policy >= AIM_WITH_POLICY),
            self.decisions,
            self.latency_p50_us,
            met(self.latency_p50_us <= AIM_LATENCY_P50_US),
            self.latency_p99_us,
        )
    }

    /// A row for each number, with its aim if it has one.
    fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        let mut add = |name: &str, value: f64, aim: Option<f64>, met: bool| {
            let row = [
                ("name", name.into()),
                ("value", value.into()),
                ("aim", json!(aim)),
                ("met", json!(aim.map(|_| met))),
            ];
            rows.push(row, &());
        };
        let mut at_least = |name: &str, value: f64, aim: f64| {
            add(name, value, Some(aim), value >= aim);
        };
        at_least("emulated_over_real_plain", self.plain, AIM_PLAIN);
        for (rate, ratio) in LOOP_RATES.into_iter().zip(self.loops) {
            at_least(&format!("loop_at_{rate}_decisions_per_s"), ratio, AIM_LOOP);
        }
        at_least(
            "emulated_over_real_with_policy",
            self.with_policy,
            AIM_WITH_POLICY,
        );
        let (p50_us, p99_us) = (self.latency_p50_us, self.latency_p99_us);
        let aim_us = AIM_LATENCY_P50_US;
        add(
            "decision_latency_p50_us",
            p50_us,
            Some(aim_us),
            p50_us <= aim_us,
        );
        add("decision_latency_p99_us", p99_us, None, true);
        add("packets_per_s_plain", self.packets_per_s, None, true);
        rows
    }

    fn json(&self) -> Value {
        let loops = LOOP_RATES.into_iter().zip(self.loops);
        let loops = loops.map(|(decisions_per_s, over_plain)| {
            json!({ "decisions_per_s": decisions_per_s, "over_plain": over_plain })
        });
        json!({
            "emulated_over_real_plain": self.plain,
            "packets_per_s_plain": self.packets_per_s,
            "loop": loops.collect::<Vec<_>>(),
            "emulated_over_real_with_policy": self.with_policy,
            "decision_latency_us": { "p50": self.latency_p50_us, "p99": self.latency_p99_us },
            "decisions": self.decisions,
            "aims_missed": self.missed(),
        })
    }
}

/// The median; the lower of two middle values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
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
    fn names_missed_aims_of_emulation() {
        let numbers = |plain, with_policy, latency_p50_us| Numbers {
            plain,
            packets_per_s: 1e6,
            loops: [AIM_LOOP; LOOP_RATES.len()],
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
        // A policy without decisions has no latency.
        assert_eq!(
            numbers(1e3, 0.0, 0.0).missed(),
            ["emulated_over_real_with_policy"]
        );
        let mut slow_loop = met;
        slow_loop.loops[1] = AIM_LOOP - 0.01;
        assert_eq!(slow_loop.missed(), ["loop"]);
    }
}

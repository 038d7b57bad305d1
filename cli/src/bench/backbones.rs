//! What backbones cost: memory, time of a decision, time of a training step.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use l4sllm_model::backbone::{BackboneConfig, LoraConfig};
use l4sllm_model::torch::device::{self, Precision};
use l4sllm_model::torch::{Measurement, Options, adapt, least_bytes, set_threads};
use l4sllm_model::{Feature, PolicyConfig};
use l4sllm_testbed::report::{Backbones, Costs, Latency, Skipped};
use l4sllm_testbed::result::quantile;
use serde::{Deserialize, Serialize};

use crate::output::{Done, outln, print};

/// Measure what backbones of random weights cost: memory, time of a decision
/// and of a training step.
///
/// Each is measured by a process of its own, so that none is charged with
/// another's memory. One that does not fit is skipped by name.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm bench backbones
  l4sllm bench backbones gpt2 t5-base --out out/backbones
  l4sllm bench backbones --device cuda --out out/backbones
  l4sllm report out/backbones")]
pub(super) struct BackbonesArgs {
    /// Published models: gpt2, gpt2-medium, opt-125m, opt-1.3b, llama-2-7b,
    /// t5-base, flan-t5-base and their like.
    #[arg(value_name = "NAME", default_values = ["gpt2", "opt-1.3b", "llama-2-7b", "t5-base"])]
    names: Vec<String>,
    /// Rank of LoRA on query and value projections; 0: all weights are trained.
    #[arg(long, default_value_t = 128)]
    rank: usize,
    /// Records that a decision sees, of the seven published features.
    #[arg(long, default_value_t = 20)]
    window: usize,
    /// Decisions measured.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    decisions: u32,
    /// Training steps measured, after one to warm up; 0: none.
    #[arg(long, value_name = "N", default_value_t = 3)]
    steps: u32,
    /// Windows of a training step.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Of frozen weights and of the backbone's arithmetic; by default f32 on
    /// the processor, bf16 on a GPU.
    #[arg(long, value_enum)]
    precision: Option<Number>,
    /// Threads that libtorch uses on the processor.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Directory that backbones.json goes to, for `l4sllm report`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Measure the one that is named here, in this process.
    #[arg(long, hide = true)]
    alone: bool,
}

/// A type of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Number {
    F32,
    Bf16,
}

/// What a process that measures one backbone prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Measured(Costs),
    Skipped(Skipped),
}

/// Measures them one after the other.
pub(super) fn run(args: &BackbonesArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let unknown = args
        .names
        .iter()
        .find(|name| BackboneConfig::named(name).is_none());
    if let Some(name) = unknown {
        bail!(
            "{name}: no published model of that name; known are {}",
            BackboneConfig::names().join(", ")
        );
    }
    if let (true, Some(name)) = (args.alone, args.names.first()) {
        outln!("{}", serde_json::to_string(&alone(args, name)?)?)?;
        return Ok(Done::Finished);
    }
    let tokens = config(args, &args.names[0])?.tokens();
    let mut backbones = Backbones {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        window: args.window as u64,
        tokens: tokens as u64,
        adaptation: match args.rank {
            0 => "all weights trained".to_owned(),
            rank => format!("LoRA, rank {rank}"),
        },
        measured: Vec::new(),
        skipped: Vec::new(),
    };
    for name in &args.names {
        match apart(args, name)? {
            Outcome::Measured(costs) => backbones.measured.push(costs),
            Outcome::Skipped(skipped) => backbones.skipped.push(skipped),
        }
        if let Some(out) = &args.out {
            backbones.save(out)?;
        }
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
    }
    match args.json {
        true => outln!("{}", serde_json::to_string_pretty(&backbones)?)?,
        false => print(&backbones.text())?,
    }
    Ok(Done::of(cancel))
}

/// Measures one in a process of its own.
fn apart(args: &BackbonesArgs, name: &str) -> anyhow::Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(&program);
    command.args(["bench", "backbones", name, "--alone"]);
    for (option, value) in [
        ("--rank", args.rank.to_string()),
        ("--window", args.window.to_string()),
        ("--decisions", args.decisions.to_string()),
        ("--steps", args.steps.to_string()),
        ("--batch", args.batch.to_string()),
        ("--device", args.device.clone()),
        ("--threads", args.threads.to_string()),
    ] {
        command.args([option, &value]);
    }
    if let Some(precision) = args.precision {
        let name = precision.to_possible_value();
        command.arg("--precision");
        command.args(name.as_ref().map(|value| value.get_name()));
    }
    let child = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = child
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if killed(output.status) {
        return Ok(Outcome::Skipped(Skipped {
            name: name.to_owned(),
            reason: "killed while it was measured, most likely for want of memory".to_owned(),
        }));
    }
    ensure!(output.status.success(), "{name}: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("what was measured of {name}"))
}

/// By the kernel, in the way in which it makes room.
fn killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL)
}

fn alone(args: &BackbonesArgs, name: &str) -> anyhow::Result<Outcome> {
    set_threads(args.threads.into());
    let place = device::open(&args.device)?;
    let on_processor = args.device == "cpu";
    let precision = match args.precision {
        Some(Number::F32) => Precision::F32,
        Some(Number::Bf16) => Precision::Bf16,
        None if on_processor => Precision::F32,
        None => Precision::Bf16,
    };
    let options = Options {
        device: place,
        kind: precision.kind(),
        ..Options::default()
    };
    let config = config(args, name)?;
    let skipped = |reason| {
        let name = name.to_owned();
        Ok(Outcome::Skipped(Skipped { name, reason }))
    };
    // Decisions alone take less than training does.
    let free = device::free_bytes(place)?;
    let fits =
        |windows| Ok::<_, anyhow::Error>(least_bytes(&config, options.kind, windows)? <= free);
    let mut steps = args.steps;
    if steps > 0 && !fits(args.batch as usize)? {
        steps = 0;
    }
    let least = least_bytes(&config, options.kind, 0)?;
    if !fits(0)? {
        return skipped(format!(
            "{} in {} takes {:.1} GiB at least, {:.1} GiB are free on {}",
            name,
            precision.name(),
            gib(least),
            gib(free),
            device::describe(place),
        ));
    }
    let mut model = Measurement::new(config, options, args.batch as usize, 1)?;
    let parameters = model.parameters()?;
    for _ in 0..args.decisions.min(3) {
        model.decide()?;
    }
    let mut decisions_ns = Vec::new();
    for _ in 0..args.decisions {
        let began = Instant::now();
        model.decide()?;
        decisions_ns.push(began.elapsed().as_nanos() as u64);
    }
    decisions_ns.sort_unstable();
    let ms = |q| quantile(&decisions_ns, q).map_or(0.0, |ns| ns as f64 / 1e6);
    let mut steps_ns = Vec::new();
    for index in 0..=steps {
        if steps == 0 {
            break;
        }
        let began = Instant::now();
        let loss = model.step()?;
        ensure!(loss.is_finite(), "{name}: the loss is {loss}");
        if index > 0 {
            steps_ns.push(began.elapsed().as_nanos() as u64);
        }
    }
    steps_ns.sort_unstable();
    let step_ms = quantile(&steps_ns, 0.5).map(|ns| ns as f64 / 1e6);
    Ok(Outcome::Measured(Costs {
        name: name.to_owned(),
        parameters: parameters.all,
        trainable_parameters: parameters.trained,
        device: device::describe(place),
        threads: if on_processor { args.threads.into() } else { 0 },
        precision: precision.name().to_owned(),
        memory_bytes: device::memory(place).map(|memory| memory.peak),
        decision_ms: Some(Latency {
            p50: ms(0.5),
            p99: ms(0.99),
            count: decisions_ns.len() as u64,
        }),
        step_windows: step_ms.map(|_| args.batch.into()),
        step_ms,
        training_s: None,
    }))
}

fn config(args: &BackbonesArgs, name: &str) -> anyhow::Result<PolicyConfig> {
    let mut config = PolicyConfig::new(name, &Feature::PAPER7);
    config.window = args.window;
    config.backbone =
        BackboneConfig::named(name).with_context(|| format!("{name}: no such model"))?;
    if args.rank > 0 {
        let lora = LoraConfig {
            r: args.rank,
            ..LoraConfig::default()
        };
        adapt(&mut config, lora);
    }
    config.check()?;
    Ok(config)
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

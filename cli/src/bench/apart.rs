//! Measures the cost of one backbone in a separate process, so that memory is
//! not attributed to another.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use l4sllm_model::backbone::LoraConfig;
use l4sllm_model::torch::device::{self, Precision};
use l4sllm_model::torch::{Device, Kind, Measurement, Options, adapt, least_bytes, set_threads};
use l4sllm_model::{Feature, PolicyConfig};
use l4sllm_report::{Costs, Skipped};
use l4sllm_testbed::result::quantile;
use serde::{Deserialize, Serialize};

use crate::backbone::described;
use crate::engine::Number;
use crate::latency;
use crate::output::outln;

/// How backbones are measured.
#[derive(Debug, Clone, Args)]
pub struct Setting {
    /// Rank of LoRA on query and value projections; 0: train all weights.
    #[arg(long, default_value_t = 128)]
    pub rank: usize,
    /// Records in the context of a decision, with the seven published features.
    #[arg(long, default_value_t = 20)]
    pub window: usize,
    /// Decisions to measure; fewer if they take seconds.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub decisions: u32,
    /// Training steps to measure, after one for warm-up; 0: none.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub steps: u32,
    /// Windows per training step.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// auto (a GPU if available), cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    pub accelerator: String,
    /// Precision of frozen weights and of the backbone's arithmetic [default:
    /// bf16 on a GPU; on the processor f32, or bf16 if f32 does not fit in
    /// memory]
    #[arg(long, value_enum)]
    pub precision: Option<Number>,
    /// Threads used by libtorch on the processor.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
}

/// The output of a process that measures one backbone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Measured(Costs),
    Skipped(Skipped),
}

/// Memory that a model needs and that is available, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub needed: u64,
    pub free: u64,
}

impl Room {
    /// Estimates for a model in `kind` that trains `windows` at a time; 0:
    /// decisions only.
    pub fn of(
        config: &PolicyConfig,
        kind: Kind,
        windows: usize,
        device: Device,
    ) -> anyhow::Result<Room> {
        let least = least_bytes(config, kind, windows)?;
        // The estimate ignores single activations of a layer and the
        // allocator's gaps, which matter most when many weights are trained,
        // and f32 copies in products on processors without bf16 instructions.
        let more = match (windows, kind) {
            (0, Kind::BFloat16) if !device.is_cuda() => least * 2 / 3,
            (0, _) => least / 8,
            _ => least / 2,
        };
        Ok(Room {
            needed: least + more,
            free: device::free_bytes(device)?,
        })
    }

    pub fn is_enough(self) -> bool {
        self.needed <= self.free
    }
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        write!(
            f,
            "takes about {} bytes ({:.1} GiB), {} ({:.1} GiB) are free",
            self.needed,
            gib(self.needed),
            self.free,
            gib(self.free)
        )
    }
}

/// A policy of a published backbone, on adapters unless `rank` is 0.
pub fn config(name: &str, rank: usize, window: usize) -> anyhow::Result<PolicyConfig> {
    let mut config = PolicyConfig::new(&short(name), &Feature::PAPER7);
    config.window = window;
    config.backbone = described(name)?;
    if rank > 0 {
        let lora = LoraConfig {
            r: rank,
            ..LoraConfig::default()
        };
        adapt(&mut config, lora);
    }
    config.check()?;
    Ok(config)
}

/// Refuses names that are not models.
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a String>) -> anyhow::Result<()> {
    names
        .into_iter()
        .try_for_each(|name| described(name).map(drop))
}

/// A model's name, or the name of its configuration file.
pub fn short(name: &str) -> String {
    match Path::new(name).file_stem() {
        Some(stem) if Path::new(name).is_file() => stem.to_string_lossy().into_owned(),
        _ => name.to_owned(),
    }
}

/// Measures one model in a separate process, whose last line of output is its
/// [`Outcome`].
pub fn apart(setting: &Setting, name: &str) -> anyhow::Result<Outcome> {
    let mut command = this_program()?;
    command.args(["bench", "backbones", name, "--alone"]);
    for (option, value) in [
        ("--rank", setting.rank.to_string()),
        ("--window", setting.window.to_string()),
        ("--decisions", setting.decisions.to_string()),
        ("--steps", setting.steps.to_string()),
        ("--batch", setting.batch.to_string()),
        ("--accelerator", setting.accelerator.clone()),
        ("--threads", setting.threads.to_string()),
    ] {
        command.args([option, &value]);
    }
    if let Some(precision) = setting.precision {
        command.args(["--precision", precision.precision().name()]);
    }
    let child = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = child.output().with_context(|| failed(name))?;
    if was_killed(output.status) {
        return Ok(Outcome::Skipped(Skipped {
            name: short(name),
            reason: "killed during the measurement, probably for lack of memory".to_owned(),
        }));
    }
    ensure!(output.status.success(), "{name}: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("the measurement of {name}"))
}

/// A command that runs this program again.
pub fn this_program() -> anyhow::Result<Command> {
    Ok(Command::new(
        std::env::current_exe().context("cannot find this program")?,
    ))
}

fn failed(name: &str) -> String {
    format!("cannot start this program again for {name}")
}

/// Whether the kernel killed it to free memory.
pub fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL)
}

/// Measures one model here, and prints the [`Outcome`].
pub fn alone(setting: &Setting, name: &str) -> anyhow::Result<()> {
    outln!("{}", serde_json::to_string(&measure(setting, name)?)?)
}

fn measure(setting: &Setting, name: &str) -> anyhow::Result<Outcome> {
    set_threads(setting.threads.into());
    let device = device::choose(&setting.accelerator)?;
    let config = config(name, setting.rank, setting.window)?;
    let skipped = |reason| {
        let name = short(name);
        Ok(Outcome::Skipped(Skipped { name, reason }))
    };
    let mut precision = match setting.precision {
        Some(number) => number.precision(),
        None if device.is_cuda() => Precision::Bf16,
        None => Precision::F32,
    };
    let room = |precision: Precision, windows| Room::of(&config, precision.kind(), windows, device);
    if setting.precision.is_none() && !room(precision, 0)?.is_enough() {
        precision = Precision::Bf16;
    }
    let deciding = room(precision, 0)?;
    if !deciding.is_enough() {
        let (kind, place) = (precision.name(), device::describe(device));
        return skipped(format!("{name} in {kind} {deciding} on {place}"));
    }
    // Decisions need less memory than training.
    let training = setting.steps > 0 && room(precision, setting.batch as usize)?.is_enough();
    let options = Options {
        device,
        kind: precision.kind(),
        ..Options::default()
    };
    let windows = if training { setting.batch as usize } else { 1 };
    let mut model = Measurement::new(config.clone(), options, windows, 1)?;
    let parameters = model.parameters()?;
    let decision_ms = latency::decisions(setting.decisions, || Ok(model.decide().map(drop)?))?;
    let mut steps_ns = Vec::new();
    for index in 0..=setting.steps {
        if !training {
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
        name: short(name),
        parameters: parameters.all,
        trainable_parameters: parameters.trained,
        device: device::describe(device),
        threads: if device.is_cuda() {
            0
        } else {
            setting.threads.into()
        },
        precision: precision.name().to_owned(),
        memory_bytes: device::memory(device).map(|memory| memory.peak),
        decision_ms: Some(decision_ms),
        step_windows: step_ms.map(|_| setting.batch.into()),
        step_ms,
        training_s: None,
    }))
}

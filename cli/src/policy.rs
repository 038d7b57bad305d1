//! `l4sllm policy`: describes policies.

mod distil;
#[cfg(feature = "torch")]
mod export;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use l4sllm_model::{
    Adaptation, EncoderConfig, EngineKind, HeadKind, Policy, PolicyConfig, PolicyInput, Reward,
    TrainedOn, module_specs, numbers,
};
use l4sllm_report::Rows;
use serde::Serialize;

use crate::format::{Format, FormatArgs, print_json, print_rows, print_values};
#[cfg(not(feature = "torch"))]
use crate::libtorch::Missing;
use crate::output::{Done, outln};
use crate::shipped::{self, Kind};

/// Inspect policies, and export them for other programs.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm policies list
  l4sllm policy info context
  l4sllm policy export out/policy/best --format triton --out out/serving")]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Describe a policy, its requirements and its training data.
    ///
    /// Weights are read and checked, except those of a base in another
    /// directory. JSON and CSV include the whole configuration.
    #[command(after_long_help = "\
Examples:
  l4sllm policy info context
  l4sllm policy info out/policy/best --format json")]
    Info {
        /// Policy: a directory, or a built-in name.
        #[arg(value_name = "POLICY")]
        dir: PathBuf,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List the built-in policies.
    #[command(after_long_help = "\
Examples:
  l4sllm policy list
  l4sllm policy list --format csv")]
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    Distil(Box<distil::DistilArgs>),
    #[cfg(feature = "torch")]
    Export(export::ExportArgs),
    /// Export a policy for other programs. Requires a build with libtorch.
    #[cfg(not(feature = "torch"))]
    Export(Missing),
}

/// Runs the subcommand.
pub fn run(args: &PolicyArgs) -> anyhow::Result<Done> {
    let (dir, format) = match &args.command {
        PolicyCommand::Info { dir, format } => (shipped::find(Kind::Policy, dir)?, format.format),
        PolicyCommand::List { format } => {
            list(format.format)?;
            return Ok(Done::Finished);
        }
        PolicyCommand::Distil(args) => return distil::run(args),
        #[cfg(feature = "torch")]
        PolicyCommand::Export(args) => {
            export::run(args)?;
            return Ok(Done::Finished);
        }
        #[cfg(not(feature = "torch"))]
        PolicyCommand::Export(args) => {
            return args.refuse("policy export").map(|()| Done::Finished);
        }
    };
    let info = Info::of(&dir)?;
    match format {
        Format::Text => info.tell()?,
        Format::Csv => print_values(&info)?,
        Format::Json => print_json(&info)?,
    }
    Ok(Done::Finished)
}

/// Prints the name of each built-in policy, and its kind of decision.
fn list(format: Format) -> anyhow::Result<()> {
    let mut rows = Rows::default();
    for name in shipped::names(Kind::Policy).into_keys() {
        let config = Policy::load_config(&shipped::find(Kind::Policy, Path::new(name))?)?;
        let what = match config.head.kind {
            HeadKind::Action => "chooses enqueue, drop or mark",
            HeadKind::Steer(_) => "shifts DualPI2's set-points",
            HeadKind::SetPoints(_) => "sets DualPI2's set-points",
        };
        let input = match config.input {
            PolicyInput::Records => format!("the last {} records", config.window),
            PolicyInput::Summaries { period_ms } => {
                let periods = config.window + config.lookback();
                let reach_s = periods as f64 * f64::from(period_ms) / 1e3;
                format!("{reach_s} s of summaries, one every {period_ms} ms")
            }
        };
        let row = [
            ("name", name.into()),
            ("decision", what.into()),
            ("input", input.into()),
        ];
        rows.push(row, &());
    }
    print_rows(format, &rows)
}

/// The output of `policy info`.
#[derive(Serialize)]
struct Info {
    name: String,
    /// SHA-256 of configuration and weights, in hex; a base has a separate
    /// hash.
    sha256: String,
    needs: Needs,
    parameters: Parameters,
    config: PolicyConfig,
}

/// Requirements of a policy.
#[derive(Serialize)]
struct Needs {
    /// Length of a period of summaries, ms; none for a policy on records.
    #[serde(skip_serializing_if = "Option::is_none")]
    period_ms: Option<u32>,
    /// Records or periods in a full window.
    records: usize,
    /// Records or periods before the window that series use.
    records_before: usize,
    /// Tokens in a full window.
    tokens: usize,
    /// Number of input fields of a record or summary.
    features: Vec<&'static str>,
    /// The required engine: the plain one, which every build has, or libtorch.
    engine: EngineKind,
    /// Why the plain engine cannot run it, and the remedy.
    otherwise: Option<String>,
    /// Size of the weights in f32, bytes; half in bf16.
    weight_bytes: u64,
    /// Caches of one session that decides every 100 records, bytes.
    cache_bytes_at_interval_100: u64,
    /// Caches of one session that decides on every record, bytes.
    cache_bytes_at_interval_1: u64,
}

#[derive(Serialize)]
struct Parameters {
    /// Parameters of the backbone with merged adapter.
    backbone: u64,
    /// Parameters of encoder, norm and head.
    modules: u64,
    /// Sum of both.
    total: u64,
    /// Parameters changed in training.
    trained: u64,
}

impl Info {
    fn of(dir: &Path) -> anyhow::Result<Info> {
        let config = Policy::load_config(dir)?;
        let refusal = Policy::check_plain(&config).err();
        // Checks everything that can be read without libtorch.
        match &refusal {
            None => drop(Policy::load(dir)?),
            Some(_) if config.base.is_none() => drop(Policy::load_tensors(dir)?),
            Some(_) => {}
        }
        let (backbone, modules) = (
            config.backbone.parameters(),
            numbers(&module_specs(&config)),
        );
        Ok(Info {
            name: config.name.clone(),
            sha256: Policy::hash_of(dir)?,
            needs: Needs {
                period_ms: match config.input {
                    PolicyInput::Records => None,
                    PolicyInput::Summaries { period_ms } => Some(period_ms),
                },
                records: config.window,
                records_before: config.lookback(),
                tokens: config.tokens(),
                features: config.features.iter().map(|f| f.name.name()).collect(),
                engine: match refusal {
                    None => EngineKind::Plain,
                    Some(_) => EngineKind::Libtorch,
                },
                otherwise: refusal.map(|e| e.to_string()),
                weight_bytes: 4 * (backbone + modules),
                cache_bytes_at_interval_100: config.cache_bytes(100),
                cache_bytes_at_interval_1: config.cache_bytes(1),
            },
            parameters: Parameters {
                backbone,
                modules,
                total: backbone + modules,
                trained: config.trained_parameters()?,
            },
            config,
        })
    }

    fn tell(&self) -> anyhow::Result<()> {
        let config = &self.config;
        outln!("{:<10} {}", "policy", self.name)?;
        outln!("{:<10} {}", "sha256", self.sha256)?;
        self.tell_input()?;
        outln!(
            "{:<10} {}, {} layers, width {}",
            "backbone",
            config.backbone.family(),
            config.backbone.layers(),
            config.backbone.width()
        )?;
        outln!("{:<10} {}", "adapter", adapter(config))?;
        outln!(
            "{:<10} {} in total, {} trained",
            "parameters",
            self.parameters.total,
            self.parameters.trained
        )?;
        match &self.needs.otherwise {
            None => outln!("{:<10} plain, part of every build", "engine")?,
            Some(otherwise) => outln!("{:<10} libtorch: {otherwise}", "engine")?,
        }
        self.tell_memory()?;
        self.tell_decisions()?;
        match &config.trained_on {
            Some(on) => outln!("{:<10} {}", "trained on", trained_on(on)),
            None => outln!("{:<10} not recorded", "trained on"),
        }
    }

    fn tell_input(&self) -> anyhow::Result<()> {
        let Info { needs, config, .. } = self;
        let (kind, length) = match needs.period_ms {
            None => ("records", String::new()),
            Some(ms) => ("periods", format!(" ({ms} ms)")),
        };
        outln!(
            "{:<10} {} {kind}{length} of {} tokens, {} tokens in all; {kind} before it: {}",
            "window",
            needs.records,
            config.tokens_per_record(),
            needs.tokens,
            needs.records_before
        )?;
        for (i, feature) in config.features.iter().enumerate() {
            let title = if i == 0 { "features" } else { "" };
            let path = path(&feature.encoder);
            outln!("{title:<10} {:<24} {path}", feature.name.name())?;
        }
        Ok(())
    }

    fn tell_memory(&self) -> anyhow::Result<()> {
        let needs = &self.needs;
        let weights = size(needs.weight_bytes);
        let often = size(needs.cache_bytes_at_interval_1);
        if needs.period_ms.is_some() {
            return outln!(
                "{:<10} {weights} of weights in f32; caches of {often} a session",
                "memory"
            );
        }
        outln!(
            "{:<10} {weights} of weights in f32; caches of {} a session (every record: {often})",
            "memory",
            size(needs.cache_bytes_at_interval_100)
        )
    }

    fn tell_decisions(&self) -> anyhow::Result<()> {
        let config = &self.config;
        let target = config.returns.target;
        match config.reward() {
            Ok((reward, gamma)) => {
                outln!("{:<10} {}", "reward", self::reward(&reward))?;
                let target = format!("{target:.4}, discounted by {gamma} per record");
                outln!("{:<10} {target}", "target")?;
            }
            Err(_) => {
                let percent = 100.0 * target;
                let idle = "of link time may be idle, unless the operator sets another budget";
                outln!("{:<10} {percent} % {idle}", "budget")?;
            }
        }
        match &config.head.kind {
            HeadKind::Action => {
                outln!("{:<10} probabilities of {}", "outputs", config.outcome())?;
            }
            HeadKind::Steer(_) => {
                outln!("{:<10} probabilities of {}", "outputs", config.outcome())?;
                outln!("{:<10} {}", "settings", config.outcomes().join("; "))?;
            }
            HeadKind::SetPoints(head) => {
                outln!("{:<10} {}", "outputs", config.outcome())?;
                let range = |(name, range): &(&str, l4sllm_model::SetPointRange)| {
                    format!("{name} {} to {}", range.min, range.max)
                };
                let ranges: Vec<String> = head.ranges().iter().map(range).collect();
                outln!("{:<10} {}", "ranges", ranges.join("; "))?;
            }
        }
        outln!("{:<10} {}", "rule", config.rule_in_words())
    }
}

/// The trained part of the backbone.
fn adapter(config: &PolicyConfig) -> String {
    let (lora, base) = match (&config.adaptation, &config.base) {
        (Adaptation::Full, _) => return "none: all weights were trained".to_owned(),
        (Adaptation::Lora(lora), base) => (lora, base),
    };
    let targets = lora.targets(&config.backbone).join(", ");
    let place = match base {
        Some(base) => format!("on the base {}", base.path.display()),
        None => "merged".to_owned(),
    };
    let (r, alpha) = (lora.r, lora.alpha);
    format!("rank {r}, alpha {alpha}, on {targets}; {place}")
}

fn path(encoder: &EncoderConfig) -> String {
    match encoder {
        EncoderConfig::Scalar { encoding, .. } if encoding.is_empty() => "value".to_owned(),
        EncoderConfig::Scalar { encoding, .. } => format!("value and {} bins", encoding.len()),
        EncoderConfig::Series {
            history, kernels, ..
        } => {
            let kernels: Vec<String> = kernels.iter().map(usize::to_string).collect();
            format!("last {history} values, kernels {}", kernels.join(", "))
        }
    }
}

fn reward(reward: &Reward) -> String {
    let Reward {
        offset_us,
        throughput,
        delay,
        fairness,
        ..
    } = reward;
    let power = |x: &f64| match x {
        1.0 => String::new(),
        x => format!("^{x}"),
    };
    let fair = match fairness {
        0.0 => String::new(),
        fairness => format!(", less {fairness} of it for imbalance"),
    };
    format!(
        "bytes{} / (queue delay + {offset_us} us){}{fair}",
        power(throughput),
        power(delay)
    )
}

fn trained_on(on: &TrainedOn) -> String {
    format!(
        "{} records in {} episodes of {}; {} steps, seed {}, version {}",
        on.records,
        on.episodes,
        on.scenarios.join(", "),
        on.steps,
        on.seed,
        on.version
    )
}

/// Formats bytes for humans.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_paths_and_rewards_are_readable() {
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(path(&EncoderConfig::scalar(4)), "value");
        let series = path(&EncoderConfig::series(4, 16));
        assert_eq!(series, "last 16 values, kernels 3, 5, 7");
        let mut reward = Reward::default();
        let tell = super::reward;
        assert_eq!(tell(&reward), "bytes / (queue delay + 1000 us)");
        (reward.delay, reward.fairness) = (2.0, 0.5);
        let want = "bytes / (queue delay + 1000 us)^2, less 0.5 of it for imbalance";
        assert_eq!(tell(&reward), want);
    }
}

//! `l4sllm backbone`: published models and adapters as directories.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use l4sllm_model::backbone::{BackboneConfig, LoraConfig};
use l4sllm_model::files::read_regular;
use l4sllm_model::text::shown;
use l4sllm_model::torch::device::{self, Precision};
use l4sllm_model::torch::{Device, backbone_files as files, set_threads};

use crate::output::outln;

/// Maximum size of a configuration, bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// Inspect, create, adapt and run backbones in Hugging Face's directory layout.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm backbone info gpt2")]
pub struct BackboneArgs {
    #[command(subcommand)]
    command: BackboneCommand,
    /// Threads used by libtorch.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
}

#[derive(Debug, Subcommand)]
enum BackboneCommand {
    /// Print family, sizes, memory, and whether every tensor is present.
    #[command(after_long_help = "\
Examples:
  l4sllm backbone info gpt2
  l4sllm backbone info models/opt-1.3b")]
    Info {
        /// Hugging Face directory, or the name of a published model.
        #[arg(value_name = "MODEL")]
        model: String,
    },
    /// Write the last hidden state of embeddings, for comparison with other
    /// implementations
    #[command(after_long_help = "\
Examples:
  l4sllm backbone hidden models/gpt2 --input x.safetensors --out y.safetensors")]
    Hidden {
        /// Hugging Face directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// PEFT directory of an adapter.
        #[arg(long, value_name = "DIR")]
        adapter: Option<PathBuf>,
        /// Safetensors with `embeds` [B, T, d] and, if there is padding, `mask`
        /// [B, T], 0 for padding.
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// Safetensors with `last_hidden_state` [B, T, d].
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write a model with random weights, initialised as usual for its family.
    #[command(after_long_help = "\
Examples:
  l4sllm backbone init gpt2 --out models/random")]
    Init {
        /// Its config.json, or the name of a published model.
        #[arg(value_name = "MODEL")]
        config: String,
        /// Seed of the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Output directory, which must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Write a model with an adapter merged into it.
    #[command(after_long_help = "\
Examples:
  l4sllm backbone merge models/gpt2 --adapter adapter --out models/merged")]
    Merge {
        /// Hugging Face directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// PEFT directory of the adapter.
        #[arg(long, value_name = "DIR")]
        adapter: PathBuf,
        /// Output directory, which must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Write a new adapter in PEFT's format, which has no effect yet.
    #[command(after_long_help = "\
Examples:
  l4sllm backbone lora models/gpt2 --rank 8 --out adapter")]
    Lora {
        /// Hugging Face directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Rank of the adapter.
        #[arg(long, default_value_t = LoraConfig::default().r)]
        rank: usize,
        /// Alpha: the update is scaled by alpha / rank.
        #[arg(long, default_value_t = LoraConfig::default().alpha)]
        alpha: f64,
        /// Layers to adapt [default: query and value projections].
        #[arg(long, value_name = "NAME", num_args = 1..)]
        targets: Vec<String>,
        /// Seed of the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Output directory, which must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Runs the subcommand.
pub fn run(args: &BackboneArgs) -> anyhow::Result<()> {
    set_threads(args.threads.into());
    match &args.command {
        BackboneCommand::Info { model } => info(model),
        BackboneCommand::Hidden {
            dir,
            adapter,
            input,
            out,
        } => {
            has_room(&BackboneConfig::from_dir(dir)?, 1)?;
            let [batch, tokens, width] = files::hidden(dir, adapter.as_deref(), input, out)?;
            outln!("{}: {batch} x {tokens} x {width}", out.display())
        }
        BackboneCommand::Init { config, seed, out } => {
            vacant(out)?;
            let backbone = described(config)?;
            has_room(&backbone, 1)?;
            files::initialise(&backbone, *seed, out)?;
            written(out, &backbone)
        }
        BackboneCommand::Merge { dir, adapter, out } => {
            vacant(out)?;
            has_room(&BackboneConfig::from_dir(dir)?, 2)?;
            let backbone = files::merge(dir, adapter, out)?;
            written(out, &backbone)
        }
        BackboneCommand::Lora {
            dir,
            rank,
            alpha,
            targets,
            seed,
            out,
        } => {
            vacant(out)?;
            let lora = LoraConfig {
                r: *rank,
                alpha: *alpha,
                target_modules: targets.clone(),
                ..LoraConfig::default()
            };
            let weights = files::fresh_adapter(dir, &lora, *seed, out)?;
            outln!("{}: {weights} weights", out.display())
        }
    }
}

fn info(model: &str) -> anyhow::Result<()> {
    let dir = Path::new(model);
    let (backbone, files) = match BackboneConfig::named(model) {
        Some(known) if !dir.exists() => (known, None),
        _ => (BackboneConfig::from_dir(dir)?, Some(files::stored(dir)?)),
    };
    let parameters = backbone.parameters();
    outln!("{:<11} {}", "family", backbone.family())?;
    outln!(
        "{:<11} {}, width {}",
        "layers",
        backbone.layers(),
        backbone.width()
    )?;
    match backbone.tokens_max() {
        Some(most) => outln!("{:<11} {most} at most", "tokens")?,
        None => outln!("{:<11} any number", "tokens")?,
    }
    outln!(
        "{:<11} {parameters} without word embeddings and output layer",
        "parameters"
    )?;
    for (precision, bytes) in [(Precision::F32, 4), (Precision::Bf16, 2)] {
        let gib = (parameters * bytes) as f64 / f64::from(1 << 30);
        outln!("{:<11} {gib:.2} GiB in {}", "memory", precision.name())?;
    }
    outln!(
        "{:<11} {}",
        "adapters",
        backbone.default_targets().join(", ")
    )?;
    let Some(stored) = files else {
        return outln!("{:<11} none: only the name is known", "files");
    };
    outln!(
        "{:<11} {} of {} tensors found, {}",
        "files",
        stored.found,
        stored.found + stored.missing.len(),
        stored.kinds.join(", ")
    )?;
    if stored.ignored > 0 {
        outln!("{:<11} {} tensors are not used", "", stored.ignored)?;
    }
    ensure!(
        stored.missing.is_empty(),
        "{model}: {} tensors are missing: {}",
        stored.missing.len(),
        abridged(&stored.missing)
    );
    Ok(())
}

/// Refuses a model that does not fit into memory, `times` in f32.
fn has_room(backbone: &BackboneConfig, times: u64) -> anyhow::Result<()> {
    let needed = backbone.parameters().saturating_mul(4 * times);
    let free = device::free_bytes(Device::Cpu)?;
    ensure!(
        needed <= free,
        "a {} of {} parameters takes {needed} bytes in f32, {free} are free",
        backbone.family(),
        backbone.parameters()
    );
    Ok(())
}

/// Reads the configuration of a file or of a published model.
pub fn described(config: &str) -> anyhow::Result<BackboneConfig> {
    let path = Path::new(config);
    if path.is_file() {
        let text = read_regular(path, CONFIG_MAX)
            .with_context(|| format!("cannot read {}", shown(path)))?;
        return Ok(BackboneConfig::from_json(config, &text)?);
    }
    match BackboneConfig::named(config) {
        Some(known) => Ok(known),
        None => bail!(
            "{config}: not a file or a published model; expected one of {}",
            BackboneConfig::names().join(", ")
        ),
    }
}

fn written(out: &Path, backbone: &BackboneConfig) -> anyhow::Result<()> {
    outln!(
        "{}: {} of {} parameters",
        out.display(),
        backbone.family(),
        backbone.parameters()
    )
}

fn vacant(out: &Path) -> anyhow::Result<()> {
    ensure!(!out.exists(), "--out {}: already exists", out.display());
    Ok(())
}

fn abridged(names: &[String]) -> String {
    let first = names.iter().take(5).map(String::as_str);
    let mut text = first.collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        text.push_str(", ...");
    }
    text
}

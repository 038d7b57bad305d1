//! `l4sllm policy export`: policies for other programs.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use l4sllm_model::Policy;
use l4sllm_model::files::AtomicDir;
use l4sllm_model::text::shown;
use l4sllm_model::torch::device;
use l4sllm_model::torch::export::{TritonModel, difference, torchscript, triton};
use l4sllm_model::torch::{Network, Options, backbone::Weights, set_threads};

use crate::duration;
use crate::engine::Number;
use crate::output::outln;

/// Export a policy, with its adapter merged, for other programs: as a policy
/// directory, a TorchScript file, or a model for a Triton server.
///
/// TorchScript and Triton models take raw records (scaling is included) in
/// batches of any size, and are compared with the policy before the command
/// exits.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm policy export out/train/best --out policies/merged
  l4sllm policy export policies/default --format torchscript --out default.pt
  l4sllm policy export out/llama/best --format triton --accelerator cuda \\
      --precision bf16 --out /srv/models")]
pub(super) struct ExportArgs {
    /// Policy directory, merged or not.
    dir: PathBuf,
    /// Output: a directory, a file, or the model repository for a directory
    /// with the model's name. It must not exist.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Safetensors)]
    format: Format,
    /// Name of the Triton model [default: the policy's].
    #[arg(long)]
    name: Option<String>,
    /// Maximum batch size of the Triton server, in windows.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_batch: u32,
    /// Maximum time that the Triton server waits to fill a batch, up to 1h.
    #[arg(long = "queue-delay", value_name = "TIME", default_value = "100us",
          value_parser = |text: &str| duration::within(text, 0..=3_600_000_000_000))]
    queue_delay_ns: u64,
    /// Device of the TorchScript or Triton model: cpu, cuda or cuda:N. It runs
    /// only on that device.
    #[arg(long, default_value = "cpu")]
    accelerator: String,
    /// Precision of a TorchScript or Triton model's backbone.
    #[arg(long, value_enum, default_value_t = Number::F32)]
    precision: Number,
    /// Threads used by libtorch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
}

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A policy directory: config.json and model.safetensors.
    Safetensors,
    /// A TorchScript file.
    Torchscript,
    /// A model in a Triton model repository.
    Triton,
}

/// Largest allowed difference of probabilities of an exported module.
const TOLERANCE: f64 = 1e-5;

/// Writes the export.
pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    set_threads(args.threads.into());
    let (config, tensors) = Network::load(&args.dir, Options::default())?.merged()?;
    if args.format == Format::Safetensors {
        let failed = || format!("cannot write {}", shown(&args.out));
        let dir = AtomicDir::create(&args.out).with_context(failed)?;
        Policy::save(dir.temporary(), &config, &tensors)?;
        dir.commit().with_context(failed)?;
        // Report what the daemon and the emulator would.
        return match Policy::load(&args.out) {
            Ok(policy) => outln!("{} {}", shown(&args.out), policy.hash()),
            Err(why) => outln!("{}; the router cannot run it: {why}", shown(&args.out)),
        };
    }
    let options = Options {
        device: device::open(&args.accelerator)?,
        kind: args.precision.precision().kind(),
        ..Options::default()
    };
    let name = args.name.clone().unwrap_or_else(|| config.name.clone());
    let network = Network::with(config, &tensors, Weights::new(), options)?;
    let (written, module) = match args.format {
        Format::Triton => {
            let model = TritonModel {
                name,
                max_batch: args.max_batch,
                queue_delay_us: (args.queue_delay_ns / 1000) as u32,
            };
            let dir = triton(&network, &args.out, &model)?;
            let module = dir.join("1/model.pt");
            (dir, module)
        }
        _ => {
            torchscript(&network, &args.out)?;
            (args.out.clone(), args.out.clone())
        }
    };
    let worst = difference(&network, &module)?;
    if worst.is_nan() || worst > TOLERANCE {
        bail!(
            "{}: probabilities differ by {worst:.1e} from the policy's, more than the tolerance \
             of {TOLERANCE:.0e}",
            module.display()
        );
    }
    outln!(
        "{}; probabilities match the policy's within {worst:.1e}",
        written.display()
    )
}

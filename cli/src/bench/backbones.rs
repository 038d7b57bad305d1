//! The cost of backbones: memory, time of a decision, time of a training step.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_report::Backbones;

use super::apart::{self, Outcome, Setting};
use crate::format::{Format, FormatArgs, print_json, print_rows};
use crate::output::{Done, print};

/// Measure the cost of backbones with random weights: memory, time of a
/// decision and of a training step.
///
/// Each is measured in a separate process, so that memory is not attributed to
/// another. Models that do not fit in memory are listed as skipped.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm bench backbones
  l4sllm bench backbones gpt2 t5-base --out out/backbones
  l4sllm bench backbones --accelerator cuda --out out/backbones
  l4sllm report out/backbones")]
pub(super) struct BackbonesArgs {
    /// Published models: gpt2, gpt2-medium, opt-125m, opt-1.3b, llama-2-7b,
    /// t5-base, flan-t5-base and similar ones; or the config.json of another
    /// model
    #[arg(value_name = "NAME", default_values = ["gpt2", "opt-1.3b", "llama-2-7b", "t5-base"])]
    names: Vec<String>,
    #[command(flatten)]
    setting: Setting,
    /// Directory for backbones.json, for `l4sllm report`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    /// Measure this one model in this process.
    #[arg(long, hide = true)]
    alone: bool,
}

/// Measures all backbones in sequence.
pub(super) fn run(args: &BackbonesArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    apart::check_names(&args.names)?;
    if let (true, Some(name)) = (args.alone, args.names.first()) {
        apart::alone(&args.setting, name)?;
        return Ok(Done::Finished);
    }
    let mut backbones = empty(&args.setting)?;
    for name in &args.names {
        add(&mut backbones, apart::apart(&args.setting, name)?);
        if let Some(out) = &args.out {
            backbones.save(out)?;
        }
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
    }
    match args.format.format {
        Format::Text => print(&backbones.text())?,
        Format::Csv => print_rows(Format::Csv, &backbones.rows())?,
        Format::Json => print_json(&backbones)?,
    }
    Ok(Done::of(cancel))
}

/// A measurement with only its conditions filled in.
pub fn empty(setting: &Setting) -> anyhow::Result<Backbones> {
    let tokens = apart::config("gpt2", setting.rank, setting.window)?.tokens();
    Ok(Backbones {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        window: setting.window as u64,
        tokens: tokens as u64,
        adaptation: match setting.rank {
            0 => "all weights trained".to_owned(),
            rank => format!("LoRA, rank {rank}"),
        },
        measured: Vec::new(),
        skipped: Vec::new(),
    })
}

/// Replaces the previous result of a backbone.
pub fn add(backbones: &mut Backbones, outcome: Outcome) {
    let name = match &outcome {
        Outcome::Measured(costs) => &costs.name,
        Outcome::Skipped(skipped) => &skipped.name,
    };
    backbones.measured.retain(|of| of.name != *name);
    backbones.skipped.retain(|of| of.name != *name);
    match outcome {
        Outcome::Measured(costs) => backbones.measured.push(costs),
        Outcome::Skipped(skipped) => backbones.skipped.push(skipped),
    }
}

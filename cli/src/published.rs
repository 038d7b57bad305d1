//! `l4sllm published`: reproduces the published figures.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use clap::Args;
use l4sllm_model::Policy;
use l4sllm_model::files::Claim;
use l4sllm_model::pool::{Dataset, Split};
use l4sllm_model::torch::device;
use l4sllm_model::torch::device::Precision;
use l4sllm_report::{BACKBONES_FILE, COSTS_FILE, Skipped, load_backbones, render_learning};

use crate::bench::apart::{self, Outcome, Room, Setting};
use crate::bench::backbones;
use crate::engine::Number;
use crate::output::{Done, ensure_usage, outln, print};
use crate::reproduce::as_pool;

/// Windows per step in the published training, whose gradients are accumulated.
const STEP_WINDOWS: u32 = 32;

/// Rank of the published adapters.
const LORA_RANK: usize = 128;

/// Share held out: of the episodes, and of the end of each other episode.
const HELD_OUT: f64 = 0.2;

/// Train the published backbones on the published pool, measure their cost, and
/// draw the report.
///
/// Published: D. Satish, S. R. Pokhrel, J. Kua and A. Walid, "Distilling Large
/// Language Models for Network Active Queue Management", arXiv:2501.16734.
///
/// Each model has full size, random weights, and adapters of rank 128 (alpha
/// 32, dropout 0.05) on its query and value projections, and is trained and
/// measured in separate processes. Models that are too large to train, or given
/// by --only-measure, are only measured; models that do not fit in memory are
/// listed as skipped. DIR receives a directory for each training run, as
/// written by `l4sllm train`, backbones.json with the models that were only
/// measured, and the report.
///
/// The same options resume an interrupted run; finished work is not repeated.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm published pool.csv
  l4sllm published pool.csv --epochs 4 --models gpt2 t5-base --only-measure opt-1.3b
  l4sllm published pool.csv --accelerator cuda --epochs 80 --batch 32")]
pub struct PublishedArgs {
    /// The pool: CSV as published, or Parquet or JSON.
    #[arg(value_name = "POOL")]
    pool: PathBuf,
    /// Directory for training runs and the report.
    #[arg(long, value_name = "DIR", default_value = "out/published")]
    out: PathBuf,
    /// Published models to train, or the config.json of another model.
    #[arg(long, value_name = "NAME", num_args = 0.., default_values = ["gpt2", "t5-base", "opt-1.3b", "llama-2-7b"])]
    models: Vec<String>,
    /// Published models to measure without training.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only_measure: Vec<String>,
    /// Passes over the training rows. The published training uses 80.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Windows per batch, a divisor of the 32 per step: larger batches are
    /// faster and use more memory.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=STEP_WINDOWS as i64))]
    batch: u32,
    /// Peak learning rate.
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f64,
    /// Maximum number of windows of the evaluation after each pass.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    eval_windows: u32,
    /// Decisions to time for models that are only measured.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    decisions: u32,
    /// Records in the context of a decision.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1024))]
    window: u16,
    /// auto (a GPU if available), cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    accelerator: String,
    /// Precision of frozen weights and of the backbones' arithmetic [default:
    /// bf16 on a GPU; on the processor f32, or bf16 if f32 does not fit in
    /// memory].
    #[arg(long, value_enum)]
    precision: Option<Number>,
    /// Threads used by libtorch on the processor.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Seed of weights, order and dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Length of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length {
    steps: u64,
    /// Steps in about one pass over the rows.
    pass: u64,
}

/// How a training run ended.
enum Ended {
    Trained,
    Interrupted,
    /// Why the model is only measured.
    NoRoom(String),
}

/// Trains, measures and draws; if `cancel` is set, ends after the current child
/// process, which receives the same Ctrl-C.
pub fn run(args: &PublishedArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    apart::check_names(args.models.iter().chain(&args.only_measure))?;
    ensure_usage!(
        STEP_WINDOWS % args.batch == 0,
        "--batch {}: expected a divisor of {STEP_WINDOWS}, the windows of a step",
        args.batch
    );
    let _claim = Claim::of(&args.out)?;
    let pool = as_pool(&args.pool, &args.out)?;
    let episodes = Dataset::episodes(std::slice::from_ref(&pool))?;
    let split = Split::of(&episodes, HELD_OUT, &[]);
    let rows: usize = split.train.iter().map(|range| range.len()).sum();
    ensure!(rows > 0, "{}: no rows to train on", args.pool.display());
    let length = Length::of(args.epochs, rows as u64, args.window.into());
    outln!(
        "{rows} rows to train on: {} passes are {} steps of {STEP_WINDOWS} windows",
        args.epochs,
        length.steps
    )?;

    let mut trained = Vec::new();
    for name in &args.models {
        let dir = args.out.join(apart::short(name));
        match train(args, name, &pool, &dir, length)? {
            Ended::Trained => trained.push(dir),
            Ended::Interrupted => {
                outln!("interrupted: run the same command to resume")?;
                return Ok(Done::Interrupted);
            }
            Ended::NoRoom(why) => {
                outln!("{name}: not trained: {why}")?;
                measure(args, name)?;
            }
        }
        draw(args, &trained)?;
        if Done::of(cancel) == Done::Interrupted {
            return Ok(Done::Interrupted);
        }
    }
    for name in &args.only_measure {
        measure(args, name)?;
        if Done::of(cancel) == Done::Interrupted {
            return Ok(Done::Interrupted);
        }
    }
    print(&draw(args, &trained)?)?;
    Ok(Done::of(cancel))
}

impl Length {
    /// Length of `epochs` passes over `rows` with windows of `window` records.
    fn of(epochs: u64, rows: u64, window: u64) -> Length {
        let step = u64::from(STEP_WINDOWS) * window;
        Length {
            steps: (epochs * rows).div_ceil(step),
            pass: ((rows + step / 2) / step).max(1),
        }
    }
}

/// Trains one model, or resumes its training, in a separate process.
fn train(
    args: &PublishedArgs,
    name: &str,
    pool: &Path,
    dir: &Path,
    length: Length,
) -> anyhow::Result<Ended> {
    if dir.join(COSTS_FILE).is_file() {
        let config = Policy::load_config(&dir.join("last"))?;
        let steps = config.trained_on.map_or(0, |trained_on| trained_on.steps);
        ensure!(
            steps == length.steps,
            "{}: is a training run of {steps} steps, not {}; use its --epochs or another --out",
            dir.display(),
            length.steps
        );
        outln!(
            "{}: already trained, in {}",
            apart::short(name),
            dir.display()
        )?;
        return Ok(Ended::Trained);
    }
    let place = device::choose(&args.accelerator)?;
    let precision = match args.precision {
        Some(number) => number.precision(),
        None if place.is_cuda() => Precision::Bf16,
        None => Precision::F32,
    };
    let config = apart::config(name, LORA_RANK, args.window.into())?;
    let room = Room::of(&config, precision.kind(), args.batch as usize, place)?;
    if !room.is_enough() {
        return Ok(Ended::NoRoom(format!("in {} it {room}", precision.name())));
    }
    outln!("{name}: {}", dir.display())?;
    let mut command = apart::this_program()?;
    command.args(["train", "--preset", "published", "--resume"]);
    command.arg(pool).arg("--out").arg(dir);
    for (option, value) in [
        ("--backbone", name.to_owned()),
        ("--name", apart::short(name)),
        ("--window", args.window.to_string()),
        ("--val-fraction", HELD_OUT.to_string()),
        ("--lora-rank", LORA_RANK.to_string()),
        ("--steps", length.steps.to_string()),
        ("--warmup", (length.steps / 10).to_string()),
        ("--learning-rate", args.learning_rate.to_string()),
        ("--batch", args.batch.to_string()),
        (
            "--grad-accum-steps",
            (STEP_WINDOWS / args.batch).to_string(),
        ),
        ("--eval-steps", length.pass.to_string()),
        ("--eval-windows", args.eval_windows.to_string()),
        ("--accelerator", args.accelerator.clone()),
        ("--precision", precision.name().to_owned()),
        ("--threads", args.threads.to_string()),
        ("--seed", args.seed.to_string()),
    ] {
        command.args([option, &value]);
    }
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start this program again for {name}"))?;
    if apart::was_killed(status) {
        let why = "killed during training, probably for lack of memory";
        return Ok(Ended::NoRoom(why.to_owned()));
    }
    const INTERRUPTED: i32 = 130;
    if status.code() == Some(INTERRUPTED) {
        return Ok(Ended::Interrupted);
    }
    ensure!(status.success(), "{name}: training: {status}");
    Ok(Ended::Trained)
}

/// Measures one model without training, unless that is already done.
fn measure(args: &PublishedArgs, name: &str) -> anyhow::Result<()> {
    let setting = Setting {
        rank: LORA_RANK,
        window: args.window.into(),
        decisions: args.decisions,
        steps: 1,
        batch: args.batch,
        accelerator: args.accelerator.clone(),
        precision: args.precision,
        threads: args.threads,
    };
    let mut known = match args.out.join(BACKBONES_FILE).is_file() {
        true => load_backbones(&args.out)?,
        false => backbones::empty(&setting)?,
    };
    if known
        .measured
        .iter()
        .any(|of| of.name == apart::short(name))
    {
        return outln!("{}: already measured", apart::short(name));
    }
    outln!("{name}: measured")?;
    let outcome = apart::apart(&setting, name)?;
    if let Outcome::Skipped(Skipped { reason, .. }) = &outcome {
        outln!("{name}: skipped: {reason}")?;
    }
    backbones::add(&mut known, outcome);
    Ok(known.save(&args.out)?)
}

/// Draws the available results; prints tables and the page's path.
fn draw(args: &PublishedArgs, trained: &[PathBuf]) -> anyhow::Result<String> {
    let mut dirs = trained.to_vec();
    if args.out.join(BACKBONES_FILE).is_file() {
        dirs.push(args.out.clone());
    }
    if dirs.is_empty() {
        return Ok(String::new());
    }
    let report = render_learning("published backbones", &dirs, &args.out)?;
    Ok(format!("{}\n{}\n", report.text, report.page.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_count_passes_over_the_rows() {
        // 640 records per step.
        assert_eq!(
            Length::of(1, 6400, 20),
            Length {
                steps: 10,
                pass: 10
            }
        );
        assert_eq!(Length::of(4, 1992, 20), Length { steps: 13, pass: 3 });
        assert_eq!(Length::of(1, 5, 20), Length { steps: 1, pass: 1 });
    }
}

//! `l4sllm collect`: an experience pool from emulated runs.
//!
//! ```text
//! curriculum or scenarios ─▶ plan ─▶ episode ─▶ parts ─▶ one pool
//!                            drawn    emulated   8 episodes each, next to the pool
//! ```
//!
//! Each episode depends only on the seed and its number, so the pool does not
//! depend on the number of threads or on interruptions.

mod compare;
mod episode;
mod parts;
mod plan;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::{ArgGroup, Args};
use indicatif::ProgressStyle;
use l4sllm_model::pool::read_episodes;
use rayon::prelude::*;

use crate::duration;
use crate::engine::EngineArgs;
use crate::format::{Format, FormatArgs, print_rows};
use crate::output::{ensure_usage, note, outln, print, progress_bar};
use crate::threads::threads;
use compare::Comparison;
use parts::Parts;
use plan::Plan;

/// Collect an experience pool from emulated runs.
///
/// NAME.episodes.jsonl next to the pool NAME.parquet describes each episode and
/// its outcome. The same command resumes an interrupted collection.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true))]
#[command(after_long_help = "\
Examples:
  l4sllm collect curriculum --out out/pool.parquet
  l4sllm collect mine.toml --conditions 10 --duration 5s --out out/small.parquet
  l4sllm collect --scenario paper headroom --episodes 4 --out out/two.parquet")]
pub struct CollectArgs {
    /// Ranges to draw networks, traffic and behaviours from: a file, or the name of
    /// a built-in curriculum.
    #[arg(group = "source", value_name = "CURRICULUM")]
    curriculum: Option<PathBuf>,
    /// Use scenarios instead, files or built-in names; their arms are ignored.
    #[arg(long, group = "source", value_name = "SCENARIO", num_args = 1..)]
    scenario: Vec<PathBuf>,
    /// The pool to write (Parquet).
    #[arg(long)]
    out: PathBuf,
    /// Replace an existing pool.
    #[arg(long)]
    force: bool,
    /// Conditions to draw [default: the curriculum's].
    #[arg(long, conflicts_with = "scenario", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    conditions: Option<u32>,
    /// Episodes of each scenario.
    #[arg(long, default_value_t = 20, conflicts_with = "curriculum", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    episodes: u32,
    /// Share of a scenario's episodes with random marks inserted, 0 to 1.
    #[arg(long, default_value_t = 0.25, conflicts_with = "curriculum")]
    explore: f64,
    /// Virtual time of an episode, such as 10s [default: the file's].
    #[arg(long = "duration", value_name = "TIME", value_parser = duration::measured)]
    duration_ns: Option<u64>,
    /// Maximum number of rows kept per episode [default: the curriculum's, or all].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    records: Option<u32>,
    /// Seed: the same seed and files give the same pool.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// If behaviours are compared, also print a line for each condition: the last
    /// behaviour compared with the first, the greatest loss first. CSV and JSON have
    /// only these.
    #[arg(long)]
    each: bool,
    /// Number of parallel runs, at most 1024; 0: one per core.
    #[arg(long, default_value_t = 0, value_parser = threads)]
    threads: usize,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Collects; if `cancel` is set, complete parts are kept.
pub fn run(args: &CollectArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    ensure_usage!(
        (0.0..=1.0).contains(&args.explore),
        "--explore {}: expected 0 to 1",
        args.explore
    );
    let plan = Plan::new(args)?;
    let parts = Parts::open(&args.out, args.force, &plan)?;
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()?;
    let missing = parts.missing();
    let style = ProgressStyle::with_template(
        "{bar:30} {pos}/{len} episodes, {msg}{eta} \
    remaining",
    )?;
    let bar = progress_bar(plan.episodes().into()).with_style(style);
    let waiting: u64 = missing.iter().map(|part| part.episodes.len() as u64).sum();
    bar.set_position(u64::from(plan.episodes()) - waiting);
    bar.reset_eta();
    let (began, rows) = (Instant::now(), AtomicU64::new(0));
    threads.install(|| {
        missing.into_par_iter().try_for_each(|part| {
            let mut writer = parts.begin(&part)?;
            for number in part.episodes {
                if cancel.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let episode = episode::emulate(&plan, number, cancel)?;
                rows.fetch_add(episode.rows.len() as u64, Ordering::Relaxed);
                writer.add(episode)?;
                bar.inc(1);
                bar.set_message(format!("{:.0} records/s, ", rate(&rows, began)));
            }
            writer.finish()
        })
    })?;
    bar.finish_and_clear();
    let left = parts.missing().len();
    if left > 0 {
        let all = parts.count();
        outln!(
            "interrupted: {} of {all} parts are in {}; run the same command to resume",
            all - left,
            parts.dir().display()
        )?;
        return Ok(());
    }
    let (all, episodes) = parts.join()?;
    let done = format!(
        "{}: {all} records in {episodes} episodes; {} of them in this run, {:.0} per second",
        args.out.display(),
        rows.load(Ordering::Relaxed),
        rate(&rows, began)
    );
    match args.format.format {
        Format::Text => outln!("{done}")?,
        Format::Csv | Format::Json => note!("{done}"),
    }
    match plan.compares() {
        true => compare(args),
        false => Ok(()),
    }
}

/// Prints how behaviours did compared with the first.
fn compare(args: &CollectArgs) -> anyhow::Result<()> {
    let episodes = read_episodes(&args.out)?.unwrap_or_default();
    let comparison = Comparison::new(&episodes);
    let rows = || match args.each {
        true => comparison.each_rows(),
        false => comparison.rows(),
    };
    match args.format.format {
        Format::Text => {
            print(&comparison.table())?;
            match args.each {
                true => print(&comparison.each()),
                false => Ok(()),
            }
        }
        format => print_rows(format, &rows()),
    }
}

fn rate(rows: &AtomicU64, began: Instant) -> f64 {
    rows.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64().max(1e-9)
}

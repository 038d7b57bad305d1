//! `l4sllm pool`: creates, inspects and converts experience pools.

mod import;
mod inspect;
mod report;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use l4sllm_model::pool::{Narrow, PoolError, Rows, Schema, Select, Selection, Sink, Source, open};
use l4sllm_model::text::shown;
use l4sllm_model::{Reward, Rewards};

use crate::output::{ensure_usage, errln, existing, is_quiet, outln, progress_bar};

/// Make, inspect and convert experience pools.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm pool import /var/log/messages* --out pool.parquet
  l4sllm pool inspect pool.parquet
  l4sllm pool convert pool.parquet --out pool.json")]
pub struct PoolArgs {
    #[command(subcommand)]
    command: PoolCommand,
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    Import(import::ImportArgs),
    /// Write a device capture as lines of the published kernel log.
    #[command(after_long_help = "\
Examples:
  l4sllm pool log capture --out messages")]
    Log {
        /// The capture: the bytes read from the device.
        capture: PathBuf,
        /// The log to write.
        #[arg(long)]
        out: PathBuf,
        /// Replace an existing file.
        #[arg(long)]
        force: bool,
    },
    /// Convert between Parquet and JSON, without loss.
    #[command(after_long_help = "\
Examples:
  l4sllm pool convert pool.parquet --out pool.json")]
    Convert {
        /// The pool to read; its format is recognised by content.
        pool: PathBuf,
        #[command(flatten)]
        out: PoolOut,
    },
    Inspect(inspect::InspectArgs),
    /// Select windows of rows around each change of action.
    ///
    /// The defaults are the published selection: five rows before each change,
    /// with each row repeated for every window that contains it. The published
    /// one uses the first fifth of a capture (--first 0.2).
    #[command(after_long_help = "\
Examples:
  l4sllm pool select pool.parquet --out selected.parquet --first 0.2
  l4sllm pool select pool.parquet --out wide.parquet --before 10 --after 5 --once")]
    Select {
        /// The pool to read.
        pool: PathBuf,
        #[command(flatten)]
        out: PoolOut,
        /// Rows before each change of action.
        #[arg(long, default_value_t = 5, value_parser = window)]
        before: usize,
        /// Rows from the change onwards.
        #[arg(long, default_value_t = 0, value_parser = window)]
        after: usize,
        /// Share of the pool's rows to use, from its beginning; below 1, two
        /// more rows are included, as in the published loop.
        #[arg(long, default_value_t = 1.0)]
        first: f64,
        /// Include each row only once.
        #[arg(long)]
        once: bool,
    },
    /// Concatenate pools, with their common columns.
    #[command(after_long_help = "\
Examples:
  l4sllm pool merge a.parquet b.parquet --out both.parquet")]
    Merge {
        /// The pools to read.
        #[arg(required = true, num_args = 2..)]
        pools: Vec<PathBuf>,
        #[command(flatten)]
        out: PoolOut,
    },
    /// Recompute the rewards.
    #[command(after_long_help = "\
Examples:
  l4sllm pool reward pool.parquet --out again.parquet --delay 2")]
    Reward {
        /// The pool to read.
        pool: PathBuf,
        #[command(flatten)]
        out: PoolOut,
        #[command(flatten)]
        reward: RewardArgs,
    },
}

/// The output pool of a command.
#[derive(Debug, Args)]
pub struct PoolOut {
    /// The pool to write: JSON if it ends in .json, otherwise Parquet.
    #[arg(long = "out", value_name = "OUT")]
    path: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

impl PoolOut {
    /// Starts writing the pool.
    fn create(&self, schema: &Schema) -> anyhow::Result<Sink> {
        let existing = existing(&self.path, self.force)?;
        Ok(Sink::create(&self.path, schema, existing)?)
    }
}

/// The reward: packet_length ^ THROUGHPUT / (queue delay + OFFSET) ^ DELAY,
/// minus FAIRNESS times the imbalance between the queues.
#[derive(Debug, Args)]
pub struct RewardArgs {
    /// Exponent of the packet's length in bytes, 0 to 4.
    #[arg(long, default_value_t = Reward::default().throughput)]
    throughput: f64,
    /// Exponent of the delay in us, 0 to 4.
    #[arg(long, default_value_t = Reward::default().delay)]
    delay: f64,
    /// Added to the delay, us.
    #[arg(long, default_value_t = Reward::default().offset_us)]
    offset_us: f64,
    /// Weight of the imbalance between the queues, 0 to 1.
    #[arg(long, default_value_t = Reward::default().fairness)]
    fairness: f64,
    /// Records over which the imbalance is measured.
    #[arg(long, default_value_t = Reward::default().fairness_records)]
    fairness_records: u32,
}

impl RewardArgs {
    fn reward(&self) -> anyhow::Result<Reward> {
        let reward = Reward {
            offset_us: self.offset_us,
            throughput: self.throughput,
            delay: self.delay,
            fairness: self.fairness,
            fairness_records: self.fairness_records,
        };
        reward.check("reward")?;
        Ok(reward)
    }
}

/// Runs the subcommand; if `cancel` is set, no pool is written.
pub fn run(args: &PoolArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    match &args.command {
        PoolCommand::Import(args) => import::run(args, cancel),
        PoolCommand::Log {
            capture,
            out,
            force,
        } => import::write_log(capture, out, *force, cancel),
        PoolCommand::Convert { pool, out } => copy(open(pool)?, pool, out, size(pool), cancel),
        PoolCommand::Inspect(args) => inspect::run(args, cancel),
        PoolCommand::Select {
            pool,
            out,
            before,
            after,
            first,
            once,
        } => {
            let share = (0.0..=1.0).contains(first);
            ensure_usage!(share, "--first {first}: expected 0 to 1");
            let first = match *first {
                1.0 => u64::MAX,
                share => Selection::visited(count(pool, cancel)?, share),
            };
            let selection = Selection {
                before: *before,
                after: *after,
                first,
                once: *once,
            };
            let select = Select::new(open(pool)?, selection);
            copy(select, pool, out, size(pool), cancel)
        }
        PoolCommand::Merge { pools, out } => merge(pools, out, cancel),
        PoolCommand::Reward { pool, out, reward } => {
            let source = Rewarded {
                source: open(pool)?,
                rewards: Rewards::new(reward.reward()?),
                path: pool,
            };
            copy(source, pool, out, size(pool), cancel)
        }
    }
}

fn window(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rows) if rows <= 1_000_000 => Ok(rows),
        _ => Err("expected 0 to 1000000".to_owned()),
    }
}

/// Writes all of `source`, which is read from `path`, as the pool `out`.
fn copy(
    mut source: impl Source,
    path: &Path,
    out: &PoolOut,
    bytes: u64,
    cancel: &AtomicBool,
) -> anyhow::Result<()> {
    tell_ignored(path, source.ignored());
    let mut sink = out.create(source.schema())?;
    let bar = bar(bytes)?;
    pour(&mut source, &mut sink, &bar, 0, cancel)?;
    finish(sink, &out.path, &bar)
}

/// Reports ignored columns on standard error.
fn tell_ignored(path: &Path, columns: &[String]) {
    const LISTED: usize = 20;
    if columns.is_empty() {
        return;
    }
    let names = columns.iter().take(LISTED);
    let names: Vec<String> = names.map(|name| format!("\"{}\"", shown(name))).collect();
    let more = columns.len() - names.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    errln!(
        "{}: ignored columns: {}{more}",
        shown(path),
        names.join(", ")
    );
}

/// Copies all rows; `before` is the number of bytes already read from other
/// files.
fn pour(
    source: &mut impl Source,
    sink: &mut Sink,
    bar: &ProgressBar,
    before: u64,
    cancel: &AtomicBool,
) -> anyhow::Result<()> {
    while let Some(rows) = source.next()? {
        check(cancel)?;
        sink.append(&rows)?;
        bar.set_position(before + source.position());
        bar.set_message(format!("{} rows", sink.size().0));
    }
    Ok(())
}

fn finish(sink: Sink, out: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
    let (rows, episodes) = sink.size();
    ensure!(rows > 0, "{}: no rows, not written", out.display());
    sink.finish()?;
    bar.finish_and_clear();
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let (s, ending) = (plural(rows), plural(episodes.into()));
    outln!(
        "{}: {rows} row{s} in {episodes} episode{ending}",
        out.display()
    )
}

fn merge(pools: &[PathBuf], out: &PoolOut, cancel: &AtomicBool) -> anyhow::Result<()> {
    let schema = common(pools)?;
    let mut sink = out.create(&schema)?;
    let bar = bar(pools.iter().map(|pool| size(pool)).sum())?;
    let mut before = 0;
    for pool in pools {
        let mut source = Narrow::new(open(pool)?, &schema);
        bar.suspend(|| tell_ignored(pool, source.ignored()));
        pour(&mut source, &mut sink, &bar, before, cancel)?;
        before += size(pool);
    }
    finish(sink, &out.path, &bar)
}

/// The common columns of all pools.
fn common(pools: &[PathBuf]) -> anyhow::Result<Schema> {
    let mut common: Option<Schema> = None;
    for pool in pools {
        let schema = open(pool)?.schema().clone();
        common = Some(common.map_or(schema.clone(), |common| common.common(&schema)));
    }
    common.context("no pools")
}

/// Rows with recomputed rewards.
struct Rewarded<'a> {
    source: Box<dyn Source>,
    rewards: Rewards,
    path: &'a Path,
}

impl Source for Rewarded<'_> {
    fn schema(&self) -> &Schema {
        self.source.schema()
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        let Some(mut rows) = self.source.next()? else {
            return Ok(None);
        };
        let rewritten = self.rewards.rewrite(&mut rows, self.source.schema());
        rewritten.map_err(|missing| PoolError::Column {
            path: self.path.to_owned(),
            row: None,
            column: missing.name().to_owned(),
            reason: "missing, but required for the reward".to_owned(),
        })?;
        Ok(Some(rows))
    }

    fn position(&self) -> u64 {
        self.source.position()
    }

    fn ignored(&self) -> &[String] {
        self.source.ignored()
    }
}

/// Number of rows of a pool.
fn count(pool: &Path, cancel: &AtomicBool) -> anyhow::Result<u64> {
    let mut source = open(pool)?;
    let mut rows = 0;
    while let Some(more) = source.next()? {
        check(cancel)?;
        rows += more.len() as u64;
    }
    Ok(rows)
}

fn check(cancel: &AtomicBool) -> anyhow::Result<()> {
    ensure!(
        !cancel.load(Ordering::Relaxed),
        "interrupted: nothing was written"
    );
    Ok(())
}

/// 0 if unknown, as for a pipe.
fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| if m.is_file() { m.len() } else { 0 })
}

/// Progress in bytes; the length is unknown if `bytes` is 0.
fn bar(bytes: u64) -> anyhow::Result<ProgressBar> {
    let (bar, template) = match bytes {
        _ if is_quiet() => (ProgressBar::hidden(), ""),
        0 => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes}, {bytes_per_sec}, {msg}",
        ),
        bytes => (
            progress_bar(bytes),
            "{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {msg}, {eta} left",
        ),
    };
    let style = ProgressStyle::with_template(template).context("progress bar")?;
    Ok(bar.with_style(style))
}

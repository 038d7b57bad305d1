//! `l4sllm export`: results for other programs.

mod flent;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use l4sllm_model::files::AtomicFile;
use l4sllm_model::text::shown;
use l4sllm_report::{Rows, Tables, tables};
use l4sllm_testbed::result::Stored;

use crate::output::{bail_usage, existing, outln, print};

/// Write the tables of results as CSV or JSON, or results as flent data files.
///
/// Names and units are those of summary.json, suite.json, costs.json and
/// metrics.jsonl. flent gets a file for each repetition, with the test's name
/// tcp_nup: goodputs as `TCP upload::N`, and the mean delay in the classic queue as
/// `Ping (ms) ICMP`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm export out/paper > paper.csv
  l4sllm export out/paper --table comparison
  l4sllm export out/paper --table flows --out flows.csv
  l4sllm export out/suite --table conditions > conditions.csv
  l4sllm export out/demo/paper out/demo/headroom --format json --out both.json
  l4sllm export out/paper --format flent --out out/flent
  flent -p totals -i out/flent/paper-dualpi2-0.flent -o totals.png")]
pub struct ExportArgs {
    /// Result directories of `l4sllm run`, `suite`, `train` and `bench backbones`.
    #[arg(required = true, value_name = "DIR")]
    results: Vec<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// The table [default: the first that DIR has].
    #[arg(long, value_enum, value_name = "TABLE")]
    table: Option<TableName>,
    /// File to write, or for flent the directory, which is required [default:
    /// standard output].
    #[arg(long, value_name = "PATH", required_if_eq("format", "flent"))]
    out: Option<PathBuf>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Json,
    /// For flent 1.3 or later (flent.org), a file for each repetition.
    Flent,
}

/// A table of a result directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TableName {
    /// Of a run: each repetition of each arm, and all of an arm together
    /// (repetition `pooled`).
    Runs,
    /// Of a run: each metric of each pair of arms, as a mean difference over pairs of
    /// repetitions with its 95 % interval.
    Comparison,
    /// Of a run: each flow in each repetition of each arm.
    Flows,
    /// Of a suite: each arm in each family, as ratios to tuned DualPI2.
    Families,
    /// Of a suite: each arm in each condition.
    Conditions,
    /// Of `l4sllm reproduce`: each seed.
    Seeds,
    /// Of training runs: the best evaluation of each, and its cost.
    Trainings,
    /// Of training runs: each step.
    Steps,
    /// Of `l4sllm bench backbones`: the costs of each.
    Backbones,
}

/// Writes the requested numbers.
///
/// # Errors
/// A directory without a result, or a file that exists or cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    if args.format == Format::Flent {
        let results = args.results.iter().map(|dir| Ok(Stored::open(dir)?));
        let results = results.collect::<anyhow::Result<Vec<_>>>()?;
        let dir = args.out.as_deref().context("--out is missing")?;
        return flent(&results, dir, args.force);
    }
    let tables = tables(&args.results)?;
    let rows = chosen(&tables, args.table)?;
    let text = match args.format {
        Format::Json => format!("{:#}\n", rows.json()),
        _ => rows.csv(),
    };
    match &args.out {
        None => print(&text),
        Some(out) => write(out, &text, args.force),
    }
}

/// The table asked for, or the first.
fn chosen(tables: &Tables, asked: Option<TableName>) -> anyhow::Result<&Rows> {
    let asked = asked.and_then(|name| name.to_possible_value());
    let is_asked = |name: &str| {
        asked
            .as_ref()
            .is_none_or(|asked| asked.matches(name, false))
    };
    match tables.iter().find(|(name, _)| is_asked(name)) {
        Some((_, rows)) => Ok(rows),
        None => {
            let known: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
            bail_usage!(
                "--table: not in these results, which have {}",
                known.join(", ")
            )
        }
    }
}

fn flent(results: &[Stored], dir: &Path, force: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", shown(dir)))?;
    let mut files = 0;
    for result in results {
        for arm in &result.summary.arms {
            for repetition in &arm.repetitions {
                let (name, number) = (&arm.name, repetition.repetition);
                let file = format!("{}-{name}-{number}.flent", result.summary.scenario);
                let data = flent::data(result, name, number, &file)?;
                write(&dir.join(&file), &(data.to_string() + "\n"), force)?;
                files += 1;
            }
        }
    }
    ensure!(files > 0, "no repetition is finished: nothing to export");
    outln!("{}: {files} files", shown(dir))
}

fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let existing = existing(path, force)?;
    let failed = || format!("cannot write {}", shown(path));
    let mut file = AtomicFile::create(path, existing).with_context(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.commit())
        .with_context(failed)
}

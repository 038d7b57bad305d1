//! `l4sllm export`: results for other programs.

mod flent;
mod rows;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use l4sllm_model::files::AtomicFile;
use l4sllm_model::text::shown;
use l4sllm_testbed::result::Stored;

use crate::output::{existing, outln, print};
use rows::Table;

/// Write the numbers of results as CSV, JSON or flent data files.
///
/// CSV and JSON have a row for each repetition of each arm, and one for each arm
/// as a whole (repetition `pooled`); names and units are those of summary.json.
/// flent gets a file for each repetition, with the test's name tcp_nup: goodputs
/// as `TCP upload::N`, and the mean delay in the classic queue as `Ping (ms)
/// ICMP`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm export out/paper > paper.csv
  l4sllm export out/paper --table flows --out flows.csv
  l4sllm export out/demo/paper out/demo/headroom --format json --out both.json
  l4sllm export out/paper --format flent --out out/flent
  flent -p totals -i out/flent/paper-dualpi2-0.flent -o totals.png")]
pub struct ExportArgs {
    /// Result directories of `l4sllm run`.
    #[arg(required = true, value_name = "DIR")]
    results: Vec<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Rows of CSV and JSON.
    #[arg(long, value_enum, default_value_t = Rows::Runs)]
    table: Rows,
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

/// The rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// A repetition of an arm.
    Runs,
    /// A flow in a repetition of an arm.
    Flows,
}

/// Writes the requested numbers.
///
/// # Errors
/// A directory without a result, or a file that exists or cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let results: Vec<Stored> = args
        .results
        .iter()
        .map(|dir| Ok(Stored::open(dir)?))
        .collect::<anyhow::Result<_>>()?;
    if args.format == Format::Flent {
        let dir = args.out.as_deref().context("--out is missing")?;
        return flent(&results, dir, args.force);
    }
    let mut table = Table::default();
    for result in &results {
        match args.table {
            Rows::Runs => table.add_runs(&result.summary)?,
            Rows::Flows => table.add_flows(&result.summary)?,
        }
    }
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&table.rows)? + "\n",
        _ => table.csv(),
    };
    match &args.out {
        None => print(&text),
        Some(out) => write(out, &text, args.force),
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

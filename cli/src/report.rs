//! `l4sllm report`: figures, page and table from files on disk.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use l4sllm_model::text::shown;
use l4sllm_report::{
    SUITE_FILE, is_learning, is_online, render, render_collection, render_learning, render_online,
    render_overlay,
};

use crate::format::{Format, FormatArgs, print_report, print_reports};
use crate::output::{bail_usage, ensure_usage};

/// Draw the figures and the page of finished runs, from the files on disk.
///
/// Writes figures/ and report.html into each directory. --out adds a page on all of
/// them; with --overlay, their arms are drawn in the same axes and compared with those
/// of the first. Directories of training runs (metrics.jsonl) and of measured backbones
/// (backbones.json) are compared on one page; a run of `train --online` has a separate
/// page.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm report out/paper
  l4sllm report out/paper out/headroom --out out/both
  l4sllm report out/before out/after --overlay --out out/change
  l4sllm report out/train/gpt2 out/train/t5-base --out out/train
  l4sllm report out/context")]
pub struct ReportArgs {
    /// Directories of runs, finished or partial, or of training runs.
    #[arg(required = true, value_name = "DIR")]
    results: Vec<PathBuf>,
    /// Directory for the page on all of them.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Title of that page.
    #[arg(long, default_value = "results", requires = "out")]
    title: String,
    /// Overlay two or three results, such as the same scenario before and after a
    /// change.
    #[arg(long, requires = "out", conflicts_with = "title")]
    overlay: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Draws the pages, and prints the tables and the pages' paths.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    if let Some(online) = args.results.iter().find(|dir| is_online(dir)) {
        let [dir] = args.results.as_slice() else {
            bail!(
                "{}: trained in the loop (--online); such a report covers only one training run",
                shown(online)
            );
        };
        let report = render_online(dir, args.out.as_ref().unwrap_or(dir))?;
        return print_report(args.format.format, &report);
    }
    let learning = args.results.iter().filter(|dir| is_learning(dir)).count();
    if learning > 0 {
        return side_by_side(args, learning);
    }
    if let Some(suite) = args
        .results
        .iter()
        .find(|dir| dir.join(SUITE_FILE).exists())
    {
        bail!(
            "{}: results of a suite; run `l4sllm suite` again with the same options to draw its \
             page",
            shown(suite)
        );
    }
    let Some(out) = &args.out else {
        return each(args);
    };
    if args.results.contains(out) {
        bail_usage!(
            "--out {}: is the directory of one of the results",
            shown(out)
        );
    }
    let report = match args.overlay {
        true => {
            let count = args.results.len();
            ensure_usage!(
                (2..=3).contains(&count),
                "--overlay: expected two or three directories, got {count}"
            );
            render_overlay(&args.results, out)?
        }
        false => render_collection(&args.title, &args.results, &[], out)?,
    };
    print_report(args.format.format, &report)
}

/// Draws a page for each; for programs, the tables of all of them are one document.
fn each(args: &ReportArgs) -> anyhow::Result<()> {
    let format = args.format.format;
    let mut reports = args.results.iter().map(|dir| render(dir));
    match format {
        Format::Text => reports.try_for_each(|report| print_report(format, &report?)),
        Format::Csv | Format::Json => {
            print_reports(format, &reports.collect::<Result<Vec<_>, _>>()?)
        }
    }
}

fn side_by_side(args: &ReportArgs, learning: usize) -> anyhow::Result<()> {
    if let Some(other) = args.results.iter().find(|dir| !is_learning(dir)) {
        bail!(
            "{}: contains neither metrics.jsonl nor backbones.json, unlike {learning} of the \
             others; training runs and runs have separate pages",
            other.display()
        );
    }
    let (out, title) = match (&args.out, args.results.as_slice()) {
        (Some(out), _) => (out, args.title.as_str()),
        (None, [one]) => (one, "learning"),
        (None, _) => bail!("several training runs need --out DIR for their common page"),
    };
    let report = render_learning(title, &args.results, out)?;
    print_report(args.format.format, &report)
}

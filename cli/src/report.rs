//! `l4sllm report`: figures, page and table again from what is on disk.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use l4sllm_testbed::report::{render, render_collection};

use crate::output::print;

/// Draw the figures and the page of results again, from disk.
///
/// Each directory gets its own figures/ and report.html. With --out, one more
/// page on all of them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm report out/paper
  l4sllm report out/paper out/headroom --out out/both")]
pub struct ReportArgs {
    /// Result directories, finished or partial.
    #[arg(required = true, value_name = "DIR")]
    results: Vec<PathBuf>,
    /// Where one page on all of them goes.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Title of that page.
    #[arg(long, default_value = "results", requires = "out")]
    title: String,
}

/// Draws and prints the tables and where the pages are.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let Some(out) = &args.out else {
        return args.results.iter().try_for_each(|dir| {
            let report = render(dir)?;
            print(&format!("{}\n{}\n", report.text, report.page.display()))
        });
    };
    if args.results.contains(out) {
        bail!("--out {}: is one of the results", out.display());
    }
    let report = render_collection(&args.title, &args.results, out)?;
    print(&format!("{}\n{}\n", report.text, report.page.display()))
}

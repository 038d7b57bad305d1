//! `l4sllm report`: figures, page and table again from what is on disk.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use l4sllm_report::{is_learning, render, render_collection, render_learning};

use crate::output::print;

/// Draw the figures and the page of results again, from disk.
///
/// Each directory gets its own figures/ and report.html. With --out, one more
/// page on all of them. Directories of trainings (metrics.jsonl) and of
/// measured backbones (backbones.json) are drawn side by side in one page.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm report out/paper
  l4sllm report out/paper out/headroom --out out/both
  l4sllm report out/train/gpt2 out/train/t5-base --out out/train")]
pub struct ReportArgs {
    /// Result directories, finished or partial; or trainings.
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
    let learning = args.results.iter().filter(|dir| is_learning(dir)).count();
    if learning > 0 {
        return side_by_side(args, learning);
    }
    let Some(out) = &args.out else {
        return args.results.iter().try_for_each(|dir| {
            let report = render(dir)?;
            print(&format!("{}\n{}\n", report.text, report.page.display()))
        });
    };
    if args.results.contains(out) {
        bail!("--out {}: is one of the results", out.display());
    }
    let report = render_collection(&args.title, &args.results, &[], out)?;
    print(&format!("{}\n{}\n", report.text, report.page.display()))
}

fn side_by_side(args: &ReportArgs, learning: usize) -> anyhow::Result<()> {
    if let Some(other) = args.results.iter().find(|dir| !is_learning(dir)) {
        bail!(
            "{}: neither metrics.jsonl nor backbones.json in it, unlike {learning} of the others; \
             trainings and runs have pages of their own",
            other.display()
        );
    }
    let (out, title) = match (&args.out, args.results.as_slice()) {
        (Some(out), _) => (out, args.title.as_str()),
        (None, [one]) => (one, "learning"),
        (None, _) => bail!("--out DIR: where the page on all of them goes"),
    };
    let report = render_learning(title, &args.results, out)?;
    print(&format!("{}\n{}\n", report.text, report.page.display()))
}

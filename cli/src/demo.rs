//! `l4sllm demo`: the published testbed and a cell with headroom, small
//! enough to wait for.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_report::render_collection;

use crate::output::{Done, print};
use crate::run::{Change, How, execute};
use crate::shipped;
use crate::threads::threads;

/// Run the published testbed, with DCTCP and with UDP Prague, a cell with
/// headroom and a link whose rate varies; one report on all.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm demo
  l4sllm demo --out /tmp/demo --threads 1")]
pub struct DemoArgs {
    /// Where the results go; those of an earlier demo are replaced.
    #[arg(long, value_name = "DIR", default_value = "out/demo")]
    out: PathBuf,
    /// Directory of the demo's scenario files [default: those that ship].
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,
    /// Repetitions to run at the same time, 0 to 1024; 0: one per core.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,
}

/// A scenario of the demo, and how much of it.
struct Part {
    name: &'static str,
    /// Of virtual time; none: the scenario's.
    duration_ns: Option<u64>,
}

/// The published cells are run in full; the fast link of the third takes six
/// times as long a second, and converges sooner.
const PARTS: [Part; 4] = [
    Part {
        name: "paper",
        duration_ns: None,
    },
    Part {
        name: "paper-prague",
        duration_ns: None,
    },
    Part {
        name: "headroom",
        duration_ns: Some(30_000_000_000),
    },
    Part {
        name: "variable",
        duration_ns: None,
    },
];
const REPETITIONS: u32 = 3;
/// What every comparison has: plain and tuned DualPI2, the adaptive rule and
/// the policy that ships.
const ARMS: [&str; 4] = ["dualpi2", "dualpi2-tuned", "adaptive", "l4sllm-100"];

/// Runs, draws, prints the tables and where the report is.
pub fn run(args: &DemoArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let mut results = Vec::new();
    for part in PARTS {
        let scenario = match &args.scenarios {
            Some(dir) => shipped::scenario(&dir.join(part.name).with_extension("toml"))?,
            None => shipped::scenario(Path::new(part.name))?,
        };
        let change = Change {
            repetitions: Some(REPETITIONS),
            duration_ns: part.duration_ns,
            arms: ARMS.map(str::to_owned).to_vec(),
            ..Change::default()
        };
        let out = args.out.join(part.name);
        let how = How {
            force: true,
            threads: args.threads,
            ..How::default()
        };
        execute(&change.apply(scenario)?, &out, &how, cancel)?;
        results.push(out);
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
    }
    let missing = PARTS[results.len()..]
        .iter()
        .map(|part| part.name.to_owned());
    let missing: Vec<String> = missing.collect();
    let report = render_collection("demo", &results, &missing, &args.out)?;
    print(&format!("{}\n{}\n", report.text, report.page.display()))?;
    Ok(Done::of(cancel))
}

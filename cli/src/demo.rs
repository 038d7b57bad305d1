//! `l4sllm demo`: the published testbed and a cell with headroom, in a short
//! time.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_report::render_collection;

use crate::format::{FormatArgs, print_report};
use crate::output::Done;
use crate::run::{Change, How, execute};
use crate::shipped;
use crate::threads::threads;

/// Run the published testbed, with DCTCP and with UDP Prague, a cell with
/// headroom and a link with a varying rate, and make one report.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm demo
  l4sllm demo --out /tmp/demo --threads 1")]
pub struct DemoArgs {
    /// Directory for the results, which replace those of an earlier demo.
    #[arg(long, value_name = "DIR", default_value = "out/demo")]
    out: PathBuf,
    /// Directory of the demo's scenario files [default: the built-in ones].
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,
    /// Repetitions to run at the same time, 0 to 1024; 0: one per core.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,
    #[command(flatten)]
    format: FormatArgs,
}

/// A scenario of the demo, and its duration.
struct Part {
    name: &'static str,
    /// Virtual time; none: the scenario's.
    duration_ns: Option<u64>,
}

/// The published cells run at full length. The fast link of the third takes six
/// times as long per second, and converges sooner.
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
/// Arms of every comparison: plain and tuned DualPI2, the adaptive rule and the
/// default policy.
const ARMS: [&str; 4] = ["dualpi2", "dualpi2-tuned", "adaptive", "context"];

/// Runs the scenarios, draws, and prints the tables and the report's path.
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
    print_report(args.format.format, &report)?;
    Ok(Done::of(cancel))
}

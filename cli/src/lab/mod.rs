//! `l4sllm lab`: scenarios with the traffic of real hosts, on this machine.

mod cells;
mod compare;
mod drill;
mod grid;
mod run;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use l4sllm_lab::{Host, LabError, clean};

use crate::output::{Done, outln};

/// Run scenarios with real packets between network namespaces of this machine
/// (root).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm lab run paper-prague --out out/lab --repetitions 1 --duration 20s
  l4sllm lab compare --out out/compare
  l4sllm lab drill")]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    Run(run::RunArgs),
    Compare(compare::CompareArgs),
    Grid(grid::GridArgs),
    Drill(drill::DrillArgs),
    Clean(CleanArgs),
}

/// Remove namespaces and sockets that a killed lab has left.
///
/// Every start of the lab does the same. Labs that run are not affected.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm lab clean")]
struct CleanArgs {}

/// Runs the subcommand.
pub fn run(args: &LabArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    match &args.command {
        LabCommand::Run(args) => run::run(args, cancel),
        LabCommand::Compare(args) => compare::run(args, cancel),
        LabCommand::Grid(args) => grid::run(args, cancel),
        LabCommand::Drill(args) => drill::run(args, cancel),
        LabCommand::Clean(CleanArgs {}) => {
            host()?;
            for name in clean()? {
                outln!("removed {name}")?;
            }
            Ok(Done::Finished)
        }
    }
}

/// This host, if it can have a lab.
fn host() -> anyhow::Result<Host> {
    Ok(Host::here().map_err(|missing| LabError::Host(missing.0))?)
}

/// The daemon's program: `given`, or the one next to this program or in `PATH`.
fn daemon(given: Option<&PathBuf>) -> Option<PathBuf> {
    const NAME: &str = "l4sllmd";
    let next = || {
        let program = std::env::current_exe().ok()?;
        let file = program.with_file_name(NAME);
        file.is_file().then_some(file)
    };
    given.cloned().or_else(next).or_else(|| {
        let path = std::env::var_os("PATH")?;
        let mut files = std::env::split_paths(&path).map(|dir| dir.join(NAME));
        files.find(|file| file.is_file())
    })
}

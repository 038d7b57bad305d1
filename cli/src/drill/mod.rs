//! `l4sllm drill`: drills in the emulator, which need no root.

mod malicious;
mod soak;

use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};

use crate::output::Done;

#[cfg(target_os = "linux")]
pub use malicious::table as malicious_table;
#[cfg(target_os = "linux")]
pub use soak::{count, used};

/// Measure the harm of malicious policies, and check that memory stays constant
/// during a day of traffic.
///
/// These drills run in the emulator and need no root; `l4sllm lab drill` causes
/// failures while real packets flow.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm drill malicious
  l4sllm drill soak")]
pub struct DrillArgs {
    #[command(subcommand)]
    command: DrillCommand,
}

#[derive(Debug, Subcommand)]
enum DrillCommand {
    Malicious(malicious::MaliciousArgs),
    Soak(soak::SoakArgs),
}

/// Runs the subcommand.
pub fn run(args: &DrillArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    match &args.command {
        DrillCommand::Malicious(args) => malicious::run(args, cancel),
        DrillCommand::Soak(args) => soak::run(args, cancel),
    }
}

//! `l4sllm bench`: speed, measured in one run on this machine.

#[cfg(feature = "torch")]
pub mod apart;
#[cfg(feature = "torch")]
pub mod backbones;
mod emulation;
#[cfg(feature = "remote")]
mod remote;
#[cfg(target_os = "linux")]
mod router;
#[cfg(feature = "torch")]
mod training;

use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};

#[cfg(not(feature = "torch"))]
use crate::libtorch::Missing;
use crate::output::Done;

/// Measure the ratio of emulated to real time and the time of decisions; the
/// userspace router; in a build with libtorch, also the cost of backbones and the
/// speed of training.
///
/// All times are real time on a machine that should be quiet. Without a
/// subcommand, the exit code is 1 if an aim is missed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm bench
  l4sllm bench headroom --runs 5 --format json
  l4sllm bench backbones gpt2")]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    emulation: emulation::EmulationArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    #[cfg(target_os = "linux")]
    Router(router::RouterArgs),
    #[cfg(feature = "remote")]
    Remote(remote::RemoteArgs),
    /// Measure inference over the loopback interface. Requires a build with feature
    /// `remote`.
    #[cfg(not(feature = "remote"))]
    Remote(crate::unbuilt::Unbuilt),
    #[cfg(feature = "torch")]
    Backbones(backbones::BackbonesArgs),
    #[cfg(feature = "torch")]
    Training(training::TrainingArgs),
    /// Measure the cost of published backbones. Requires a build with libtorch.
    #[cfg(not(feature = "torch"))]
    Backbones(Missing),
    /// Measure the speed of training. Requires a build with libtorch.
    #[cfg(not(feature = "torch"))]
    Training(Missing),
}

/// Runs the requested measurement.
pub fn run(args: &BenchArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    match &args.what {
        #[cfg(target_os = "linux")]
        Some(What::Router(args)) => router::run(args, cancel),
        #[cfg(feature = "remote")]
        Some(What::Remote(args)) => remote::run(args, cancel),
        #[cfg(not(feature = "remote"))]
        Some(What::Remote(args)) => args.refuse("bench remote").map(|()| Done::Finished),
        #[cfg(feature = "torch")]
        Some(What::Backbones(args)) => backbones::run(args, cancel),
        #[cfg(feature = "torch")]
        Some(What::Training(args)) => training::run(args, cancel),
        #[cfg(not(feature = "torch"))]
        Some(What::Backbones(args)) => args.refuse("bench backbones").map(|()| Done::Finished),
        #[cfg(not(feature = "torch"))]
        Some(What::Training(args)) => args.refuse("bench training").map(|()| Done::Finished),
        None => emulation::run(&args.emulation, cancel),
    }
}

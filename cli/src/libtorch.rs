//! Stubs for commands that need libtorch in builds without it; they explain how
//! to get it.

use std::ffi::OsString;

use anyhow::bail;
use clap::Args;

/// How to get libtorch.
pub const HOW: &str = "\
In a checkout, on Linux (x86-64):
  scripts/libtorch.sh
  cargo build --release -p l4sllm --features torch
libtorch is unavailable on FreeBSD: train on Linux, and copy the policy.";

/// Any arguments; only the build with libtorch checks them.
#[derive(Debug, Args)]
#[command(after_help = HOW)]
pub struct Missing {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Missing {
    /// Fails with instructions: `command` needs libtorch.
    pub fn refuse(&self, command: &str) -> anyhow::Result<()> {
        bail!(
            "{command} needs libtorch, which this build lacks: in a checkout, run \
             scripts/libtorch.sh and cargo build --release -p l4sllm --features torch (Linux on \
             x86-64 only)"
        )
    }
}

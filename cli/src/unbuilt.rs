//! Stubs for commands of feature `remote` in builds without it.

use std::ffi::OsString;

use anyhow::bail;
use clap::Args;

/// How to get the commands.
const HOW: &str = "\
In a checkout:
  cargo build --release -p l4sllm -p l4sllmd --features l4sllm/remote,l4sllmd/remote";

/// Any arguments; only the build with the feature checks them.
#[derive(Debug, Args)]
#[command(after_help = HOW)]
pub struct Unbuilt {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Unbuilt {
    /// Fails with instructions: `command` needs the feature.
    pub fn refuse(&self, command: &str) -> anyhow::Result<()> {
        bail!(
            "{command} needs a build with feature remote: in a checkout, run cargo build \
             --release -p l4sllm -p l4sllmd --features l4sllm/remote,l4sllmd/remote"
        )
    }
}

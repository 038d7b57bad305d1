//! `l4sllm completions`: shell completions.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::print;

/// Print shell completions of commands and options.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm completions bash > ~/.local/share/bash-completion/completions/l4sllm
  l4sllm completions zsh > ~/.zfunc/_l4sllm
  l4sllm completions fish > ~/.config/fish/completions/l4sllm.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions.
pub fn run(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "l4sllm", &mut script);
    print(&String::from_utf8(script)?)
}

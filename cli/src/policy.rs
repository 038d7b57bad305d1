//! `l4sllm policy`: what a policy is.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use l4sllm_model::{Policy, specs};

use crate::output::{outln, print};

/// Look at policies.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Print what a policy is and what it was trained on.
    Info {
        /// Policy directory.
        dir: PathBuf,
        /// Print its whole configuration as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the subcommand.
pub fn run(args: &PolicyArgs) -> anyhow::Result<()> {
    let PolicyCommand::Info { dir, json } = &args.command;
    let policy = Policy::load(dir)?;
    let config = policy.config();
    if *json {
        return print(&config.to_json());
    }
    let weights: usize = specs(config)
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    let names: Vec<&str> = config.features.iter().map(|f| f.name.name()).collect();
    let backbone = &config.backbone;
    outln!("{:<10} {}", "policy", config.name)?;
    outln!("{:<10} {}", "sha256", policy.hash())?;
    outln!(
        "{:<10} {} records, {} tokens each",
        "window",
        config.window,
        config.tokens_per_record()
    )?;
    outln!("{:<10} {}", "features", names.join(", "))?;
    outln!(
        "{:<10} {}, {} layers, width {}, {weights} weights",
        "backbone",
        backbone.family(),
        backbone.layers(),
        backbone.width()
    )?;
    outln!("{:<10} {:?}", "rule", config.decision_rule)?;
    outln!(
        "{:<10} {:.4} bytes/us discounted by {} a record",
        "target",
        config.returns.target,
        config.returns.gamma
    )?;
    if let Some(on) = &config.trained_on {
        outln!(
            "{:<10} {} records in {} episodes of {}; {} steps, seed {}, version {}",
            "trained on",
            on.records,
            on.episodes,
            on.scenarios.join(", "),
            on.steps,
            on.seed,
            on.version
        )?;
    }
    Ok(())
}

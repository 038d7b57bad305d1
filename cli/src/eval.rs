//! `l4sllm eval`: how often a policy does what a pool did.

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use l4sllm_abi::Queue;
use l4sllm_model::pool::{Dataset, Split, Windows};
use l4sllm_model::{Chooser, Confusion, Policy, Scores};
use serde::Serialize;

use crate::output::outln;

/// Compare a policy's decisions with a pool's.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Policy directory.
    #[arg(long)]
    policy: PathBuf,
    /// Pools (Parquet).
    #[arg(long, required = true, num_args = 1..)]
    pool: Vec<PathBuf>,
    /// Share of episodes, and of each other episode's end, that training left
    /// out: the same as in `l4sllm train`.
    #[arg(long, default_value_t = 0.2)]
    held_out: f64,
    /// Decisions judged in each part, spread evenly.
    #[arg(long, default_value_t = 20_000)]
    decisions: usize,
    /// Which return the policy is asked for.
    #[arg(long, value_enum, default_value_t = Returns::Target)]
    returns: Returns,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which return a policy is asked for.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Returns {
    /// The policy's target, as in the loop.
    Target,
    /// The return that came, as in training.
    Pool,
}

#[derive(Serialize)]
struct Report {
    policy: String,
    sha256: String,
    returns: Returns,
    late: Option<Scores>,
    unseen: Option<Scores>,
}

/// Evaluates with the plain engine.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    ensure!(
        (0.0..=0.5).contains(&args.held_out),
        "--held-out {}: want 0 to 0.5",
        args.held_out
    );
    let policy = Policy::load(&args.policy)?;
    let config = policy.config();
    let episodes = Dataset::episodes(&args.pool)?;
    let data = Dataset::load(config, &args.pool, &episodes)?;
    let split = Split::new(&episodes, args.held_out);
    let target = match args.returns {
        Returns::Target => Some(config.returns.scaling.apply(config.returns.target)),
        Returns::Pool => None,
    };
    let judge = |ranges: &[std::ops::Range<usize>]| {
        let windows = Windows::new(ranges, config.window);
        let mut confusion = Confusion::default();
        for rows in windows.spread(args.decisions) {
            let probabilities = policy.decide(&data.steps(rows.clone(), target));
            // Windows are far apart: nothing is owed from one to the next.
            let mut chooser = Chooser::new(config.decision_rule, rows.end as u64);
            let action = chooser.choose(Queue::Classic, &probabilities);
            confusion.add(data.action(rows.end - 1).into(), action as usize);
        }
        (!windows.is_empty()).then(|| confusion.scores())
    };
    let report = Report {
        policy: config.name.clone(),
        sha256: policy.hash().to_owned(),
        returns: args.returns,
        late: judge(&split.late),
        unseen: judge(&split.unseen),
    };
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    outln!("policy {} {}", report.policy, &report.sha256[..12])?;
    for (name, scores) in [
        ("later in the same episodes", &report.late),
        ("unseen episodes", &report.unseen),
    ] {
        match scores {
            Some(scores) => outln!("\n{name}\n{}", table(scores))?,
            None => outln!("\n{name}: none")?,
        }
    }
    Ok(())
}

fn table(scores: &Scores) -> String {
    let mut text = format!(
        "  decisions          {}\n  accuracy           {:.4}   (always the most frequent: {:.4})\n  \
         balanced accuracy  {:.4}\n  macro F1           {:.4}\n",
        scores.decisions,
        scores.accuracy,
        scores.majority_share,
        scores.balanced_accuracy,
        scores.macro_f1
    );
    for (name, (share, recall)) in ["enqueue", "drop", "mark"]
        .iter()
        .zip(scores.share.iter().zip(scores.recall))
    {
        let recall = recall.map_or("-".to_owned(), |r| format!("{r:.4}"));
        text += &format!("  {name:<8} share {share:.4}   recall {recall}\n");
    }
    text
}

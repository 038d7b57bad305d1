//! `l4sllm train`: a policy from pools, through libtorch.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use l4sllm_model::pool::{Dataset, Pool, Split};
use l4sllm_model::torch::{Evaluation, TrainConfig, Trainer, set_threads};
use l4sllm_model::{DecisionRule, Feature, Policy, PolicyConfig, TrainedOn, small_gpt2};

use crate::output::outln;

/// Train a policy on experience pools.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Pools (Parquet).
    #[arg(long, required = true, num_args = 1..)]
    pool: Vec<PathBuf>,
    /// Directory of the training: `best/` and `last/` are policies,
    /// `metrics.jsonl` has a line for each step.
    #[arg(long)]
    out: PathBuf,
    /// Go on from `last/`, if there is one.
    #[arg(long)]
    resume: bool,
    /// Name of the policy.
    #[arg(long, default_value = "default")]
    name: String,
    /// What is read from each record.
    #[arg(long, value_enum, default_value_t = Features::Paper7)]
    features: Features,
    /// Records that a decision sees.
    #[arg(long, default_value_t = 20)]
    window: usize,
    /// Transformer blocks.
    #[arg(long, default_value_t = 2)]
    layers: usize,
    /// Width of a hidden state.
    #[arg(long, default_value_t = 48)]
    width: usize,
    /// Attention heads.
    #[arg(long, default_value_t = 3)]
    heads: usize,
    /// Units of the feed-forward part.
    #[arg(long, default_value_t = 96)]
    mlp: usize,
    /// Optimiser steps.
    #[arg(long, default_value_t = TrainConfig::default().steps)]
    steps: u64,
    /// Windows a step.
    #[arg(long, default_value_t = TrainConfig::default().batch)]
    batch: usize,
    /// Highest learning rate.
    #[arg(long, default_value_t = TrainConfig::default().learning_rate)]
    learning_rate: f64,
    /// Steps of warm-up.
    #[arg(long, default_value_t = TrainConfig::default().warmup)]
    warmup: u64,
    /// Power by which rare actions weigh more, 0 to 1; 0 keeps probabilities
    /// calibrated.
    #[arg(long, default_value_t = 0.0)]
    class_balance: f64,
    /// How probabilities become an action.
    #[arg(long, value_enum, default_value_t = Rule::Argmax)]
    rule: Rule,
    /// Quantile of the pools' returns that the policy is asked for, 0 to 1.
    #[arg(long, default_value_t = 0.9)]
    target: f64,
    /// Share of episodes, and of each other episode's end, that is kept out.
    #[arg(long, default_value_t = 0.2)]
    held_out: f64,
    /// Steps between evaluations.
    #[arg(long, default_value_t = TrainConfig::default().evaluate_every)]
    evaluate_every: u64,
    /// Of initialisation and order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that libtorch uses.  They spin: more than the machine has to
    /// spare make it slower, and the number of them changes the last digits.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Features {
    /// The seven of the published pools.
    Paper7,
    /// The eight of the authors' earlier pools.
    Paper8,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rule {
    /// The most probable.
    Argmax,
    /// At random, seeded.
    Sample,
    /// Deterministic, with the probabilities as long-run shares.
    Recur,
}

/// Trains; a set `cancel` saves `last/` and ends.
pub fn run(args: &TrainArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    for (name, value, max) in [
        ("class-balance", args.class_balance, 1.0),
        ("target", args.target, 1.0),
        ("held-out", args.held_out, 0.5),
    ] {
        ensure!(
            (0.0..=max).contains(&value),
            "--{name} {value}: want 0 to {max}"
        );
    }
    ensure!(
        args.batch > 0 && args.evaluate_every > 0,
        "--batch and --evaluate-every: at least 1"
    );
    set_threads(args.threads);
    let episodes = Dataset::episodes(&args.pool)?;
    let split = Split::new(&episodes, args.held_out);
    let last = args.out.join("last");
    let policy = if args.resume && last.exists() {
        Policy::load_tensors(&last)?.0
    } else {
        policy_config(args, &episodes, &split)?
    };
    let data = Dataset::load(&policy, &args.pool, &episodes)?;
    let [enqueue, drop, mark] = data.counts(&split.train);
    outln!(
        "{} records in {} episodes; to train on: {enqueue} enqueue, {drop} drop, {mark} mark",
        data.rows(),
        episodes.len()
    )?;
    let config = TrainConfig {
        steps: args.steps,
        batch: args.batch,
        learning_rate: args.learning_rate,
        warmup: args.warmup,
        class_balance: args.class_balance,
        evaluate_every: args.evaluate_every,
        seed: args.seed,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(&args.out, config, policy, data, &split, args.resume)?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {msg}, {eta} left")?;
    let bar = ProgressBar::new(args.steps).with_style(style);
    bar.set_position(trainer.step_count());
    bar.reset_eta();
    while !trainer.is_done() {
        if cancel.load(Ordering::Relaxed) {
            trainer.save()?;
            bar.abandon();
            outln!(
                "interrupted at step {}: --resume goes on",
                trainer.step_count()
            )?;
            return Ok(());
        }
        let progress = trainer.step()?;
        bar.set_position(progress.step);
        bar.set_message(format!(
            "loss {:.4}, {:.0} tokens/s",
            progress.loss, progress.tokens_per_s
        ));
        if let Some(evaluation) = &progress.evaluation {
            // A reader that left does not end a training.
            let _ = bar.suspend(|| outln!("{}", line(progress.step, progress.loss, evaluation)));
        }
    }
    bar.finish_and_clear();
    outln!("{}", args.out.join("best").display())?;
    Ok(())
}

fn policy_config(
    args: &TrainArgs,
    episodes: &[std::ops::Range<usize>],
    split: &Split,
) -> anyhow::Result<PolicyConfig> {
    let features = match args.features {
        Features::Paper7 => &Feature::PAPER7[..],
        Features::Paper8 => &Feature::PAPER8[..],
    };
    let mut policy = PolicyConfig::new(&args.name, features);
    policy.window = args.window;
    policy.backbone = small_gpt2(args.layers, args.width, args.heads, args.mlp);
    policy.decision_rule = match args.rule {
        Rule::Argmax => DecisionRule::Argmax,
        Rule::Sample => DecisionRule::Sample,
        Rule::Recur => DecisionRule::Recur,
    };
    policy.check()?;
    Dataset::fit(&mut policy, &args.pool, episodes, &split.train, args.target)?;
    let mut scenarios = BTreeSet::new();
    for path in &args.pool {
        scenarios.extend(Pool::open(path)?.scenarios()?);
    }
    policy.trained_on = Some(TrainedOn {
        records: split.train.iter().map(|range| range.len() as u64).sum(),
        episodes: split.train.len() as u64,
        scenarios: scenarios.into_iter().collect(),
        steps: 0,
        seed: args.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    Ok(policy)
}

fn line(step: u64, loss: f64, evaluation: &Evaluation) -> String {
    let scores = &evaluation.scores;
    let [_, drop, mark] = scores
        .recall
        .map(|r| r.map_or("-".to_owned(), |r| format!("{r:.3}")));
    format!(
        "step {step}: loss {loss:.4}; held out {:.4}, accuracy {:.4} (majority {:.4}), \
         balanced {:.4}, recall drop {drop} mark {mark}",
        evaluation.loss, scores.accuracy, scores.majority_share, scores.balanced_accuracy
    )
}

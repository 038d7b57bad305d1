//! Cross-validation of options on the training rows only.

use std::sync::atomic::AtomicBool;

use l4sllm_model::pool::Split;
use l4sllm_model::{Confusion, Scores};
use serde::Serialize;

use super::learn::Pool;
use super::{ReproduceArgs, Spread, count, heads, line, passes, spread, spreads, training, write};
use crate::output::outln;

#[derive(Serialize)]
struct Validation {
    pool: String,
    options: Vec<String>,
    folds: usize,
    rows: usize,
    seeds: Vec<Run>,
    accuracy: Spread,
    macro_f1: Spread,
    novel_accuracy: Spread,
    novel_macro_f1: Spread,
    log_loss: Spread,
}

/// Results of a seed over all folds: each row was evaluated once, by a network
/// that was not trained on its block.
#[derive(Serialize)]
struct Run {
    seed: u64,
    seconds: f64,
    all: Scores,
    /// Mean negative log likelihood of the actions, nats: among options with
    /// the same accuracy, it shows which is more confident.
    log_loss: f64,
    /// Scores on states that do not occur in the fold's training rows.
    novel: Scores,
    told_returns: Scores,
    folds: Vec<Scores>,
    /// Folds above the required scores.
    folds_passed: usize,
}

/// Trains and evaluates `folds` times per seed within `split.train`; ends if
/// `cancel` is set.
pub fn run(
    args: &ReproduceArgs,
    pool: &Pool,
    split: &Split,
    folds: usize,
    cancel: &AtomicBool,
) -> anyhow::Result<()> {
    let rows = count(&split.train);
    outln!("{rows} rows in {folds} blocks of time, each evaluated by training on the others")?;
    let mut runs: Vec<Run> = Vec::new();
    let mut options = Vec::new();
    for seed in 1..=args.seeds {
        let [mut all, mut novel, mut told] = [Confusion::default(); 3];
        let (mut seconds, mut nats, mut each, mut folds_passed) = (0.0, 0.0, Vec::new(), 0);
        for index in 0..folds {
            let dir = args.out.join("validate").join(format!("fold-{index}"));
            let training = training(&pool.path, &dir, seed, &args.options)?;
            options = training.0;
            let fold = split.fold(index, folds);
            let Some(judged) = pool.learn(&training.1, &fold, cancel)? else {
                return Ok(());
            };
            seconds += judged.seconds;
            folds_passed += usize::from(passes(&judged));
            all.merge(&judged.test.scores.confusion);
            told.merge(&judged.told_returns.scores.confusion);
            if let Some(verdict) = judged.novel {
                novel.merge(&verdict.scores.confusion);
            }
            let test = judged.test;
            nats += test.calibration.log_loss * test.scores.decisions as f64;
            each.push(test.scores);
        }
        let run = Run {
            seed,
            seconds,
            all: all.scores(),
            log_loss: nats / rows as f64,
            novel: novel.scores(),
            told_returns: told.scores(),
            folds: each,
            folds_passed,
        };
        if runs.is_empty() {
            outln!(
                "{}  unseen: accuracy  macro F1  log loss  blocks passed  seconds",
                heads()
            )?;
        }
        outln!(
            "{}  {:>16.4}  {:>8.4}  {:>8.4}  {folds_passed:>13}  {seconds:>7.1}",
            line(seed, &run.all),
            run.novel.accuracy,
            run.novel.macro_f1,
            run.log_loss
        )?;
        runs.push(run);
    }
    let over = |value: fn(&Run) -> f64| spread(runs.iter().map(value));
    let validation = Validation {
        pool: args.pool.display().to_string(),
        options,
        folds,
        rows,
        accuracy: over(|run| run.all.accuracy),
        macro_f1: over(|run| run.all.macro_f1),
        novel_accuracy: over(|run| run.novel.accuracy),
        novel_macro_f1: over(|run| run.novel.macro_f1),
        log_loss: over(|run| run.log_loss),
        seeds: runs,
    };
    outln!("\n{}", spreads(&validation.accuracy, &validation.macro_f1))?;
    write(&args.out.join("validation.json"), &validation)
}

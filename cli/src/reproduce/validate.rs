//! How good options are, by the rows that are trained on alone.

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

/// What a seed came to, over all folds together: each row was judged once, by
/// a network that was not trained on its block.
#[derive(Serialize)]
struct Run {
    seed: u64,
    seconds: f64,
    all: Scores,
    /// Mean of -ln of the probability of what was done, nats: it tells of
    /// options that get the same rows right which is the surer.
    log_loss: f64,
    /// On states that the training of the fold has not seen.
    novel: Scores,
    told_returns: Scores,
    folds: Vec<Scores>,
    /// Folds above what the result has to reach.
    folds_passed: usize,
}

/// Trains and judges `folds` times a seed within `split.train`; a set
/// `cancel` ends it.
pub fn run(
    args: &ReproduceArgs,
    pool: &Pool,
    split: &Split,
    folds: usize,
    cancel: &AtomicBool,
) -> anyhow::Result<()> {
    let rows = count(&split.train);
    outln!("{rows} rows in {folds} blocks of time, each judged by what the others teach")?;
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

//! `l4sllm reproduce`: trains on the first four fifths of the published pool
//! and evaluates on the last.

mod learn;
mod validate;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use clap::{Args, Parser};
use l4sllm_model::Scores;
use l4sllm_model::files::replace;
use l4sllm_model::pool::Split;
use l4sllm_model::text::shown;
use serde::Serialize;

use crate::output::outln;
use crate::train::TrainArgs;
pub use learn::as_pool;
use learn::{Judged, Pool};

/// Share of the time, at the end, used for evaluation.
const HELD_OUT: f64 = 0.2;

/// The published accuracy, which a decision tree exceeds easily.
const ACCURACY: f64 = 0.9756;

/// The minimum for a model that distinguishes all three actions.
const MACRO_F1: f64 = 0.97;

/// The training, as options of `l4sllm train`. The window is one record,
/// because the pool is a selection of overlapping excerpts: a longer window
/// would contain repeated rows with their actions. Returns are not used: in
/// this pool, actions depend on the state, and later rewards only reveal the
/// future.
const TRAINING: &str = "--name reproduce --window 1 --bins 16 --encoder-width 128 --dropout 0.2 \
    --return-dropout 1 --steps 600 --batch 128 --learning-rate 2e-3 --warmup 100 \
    --weight-decay 0.01 --eval-steps 600";

/// Train on the published experience pool and report the scores.
///
/// Published: D. Satish, S. R. Pokhrel, J. Kua and A. Walid, "Distilling Large
/// Language Models for Network Active Queue Management", arXiv:2501.16734; the
/// pool is deol-satish/LLM_Gen_Exp_Pool.
///
/// Trains the small backbone on the first four fifths of the pool by time and
/// evaluates it on the last, once for each seed, with the weights after the
/// last step. Bins, returns, averaging, smoothing and noise were chosen with
/// --validate, which does not use the last fifth (scripts/choose-reproduce.sh
/// lists the alternatives); widths, dropout, steps and rates are older and were
/// chosen using that fifth. DIR receives summary.json and a directory for each
/// seed, as written by `l4sllm train`. The exit status is 0 if every seed is
/// above 0.9756 in accuracy and 0.97 in macro F1.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm reproduce exp_pool.csv
  l4sllm reproduce exp_pool.csv --validate 5 --seeds 2 -- --bins 8")]
pub struct ReproduceArgs {
    /// The pool: CSV as published, or Parquet or JSON.
    #[arg(value_name = "POOL")]
    pool: PathBuf,
    /// Directory for the results.
    #[arg(long, value_name = "DIR", default_value = "out/reproduce")]
    out: PathBuf,
    /// Number of seeds, from 1.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Cross-validate the options within the first four fifths: divide them
    /// into FOLDS blocks of time, and for each block train on the others and
    /// evaluate on it. DIR receives validation.json.
    #[arg(long, value_name = "FOLDS", value_parser = clap::value_parser!(u64).range(2..=100))]
    validate: Option<u64>,
    /// More options of `l4sllm train`, which override those of this command.
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

#[derive(Parser)]
#[command(args_override_self = true, no_binary_name = true)]
struct Training {
    #[command(flatten)]
    args: TrainArgs,
}

#[derive(Serialize)]
struct Summary {
    pool: String,
    options: Vec<String>,
    rows: usize,
    train_rows: usize,
    test_rows: usize,
    /// Test rows whose state does not occur in training.
    novel_rows: usize,
    majority_share: f64,
    seeds: Vec<Run>,
    accuracy: Spread,
    macro_f1: Spread,
    passed: usize,
}

#[derive(Serialize)]
struct Run {
    seed: u64,
    #[serde(flatten)]
    judged: Judged,
}

#[derive(Debug, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

/// Trains and evaluates; if `cancel` is set, ends after the last complete seed.
pub fn run(args: &ReproduceArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let pool = Pool::open(&args.pool, &args.out)?;
    let split = Split::of(&pool.episodes, HELD_OUT, &[]);
    let (train_rows, test_rows) = (count(&split.train), count(&split.late));
    ensure!(
        test_rows > 0,
        "{}: too short to split by time",
        args.pool.display()
    );
    if let Some(folds) = args.validate {
        return validate::run(args, &pool, &split, folds as usize, cancel);
    }
    outln!("{train_rows} rows for training, the following {test_rows} for evaluation")?;
    let mut runs: Vec<Run> = Vec::new();
    let mut options = Vec::new();
    for seed in 1..=args.seeds {
        let dir = args.out.join(format!("seed-{seed}"));
        let training = training(&pool.path, &dir, seed, &args.options)?;
        options = training.0;
        let Some(judged) = pool.learn(&training.1, &split, cancel)? else {
            return Ok(());
        };
        let scores = &judged.test.scores;
        if runs.is_empty() {
            let share = scores.majority_share;
            outln!("majority-class baseline: accuracy {share:.4}\n")?;
            outln!("{}  unseen states  seconds", heads())?;
        }
        let novel = judged.novel.as_ref();
        let novel = novel.map_or("-".into(), |n| format!("{:.4}", n.scores.accuracy));
        let line = line(seed, scores);
        outln!("{line}  {novel:>13}  {:>7.1}", judged.seconds)?;
        runs.push(Run { seed, judged });
    }
    let first = &runs[0].judged;
    let summary = Summary {
        pool: args.pool.display().to_string(),
        options,
        rows: train_rows + test_rows,
        train_rows,
        test_rows,
        novel_rows: first.novel_rows,
        majority_share: first.test.scores.majority_share,
        accuracy: spread(runs.iter().map(|run| run.judged.test.scores.accuracy)),
        macro_f1: spread(runs.iter().map(|run| run.judged.test.scores.macro_f1)),
        passed: runs.iter().filter(|run| passes(&run.judged)).count(),
        seeds: runs,
    };
    outln!("\n{}", spreads(&summary.accuracy, &summary.macro_f1))?;
    let (passed, seeds) = (summary.passed, summary.seeds.len());
    outln!(
        "{} of the {test_rows} rows have a state that does not occur in training\n\
         accuracy above {ACCURACY} and macro F1 above {MACRO_F1}: {passed} of {seeds} seeds",
        summary.novel_rows,
    )?;
    write(&args.out.join("summary.json"), &summary)?;
    ensure!(
        passed == seeds,
        "{} of {seeds} seeds are not above accuracy {ACCURACY} and macro F1 {MACRO_F1}",
        seeds - passed
    );
    Ok(())
}

fn passes(judged: &Judged) -> bool {
    let scores = &judged.test.scores;
    scores.accuracy > ACCURACY && scores.macro_f1 > MACRO_F1
}

fn count(ranges: &[std::ops::Range<usize>]) -> usize {
    ranges.iter().map(|range| range.len()).sum()
}

fn write(file: &Path, what: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(what)? + "\n";
    replace(file, text.as_bytes()).with_context(|| format!("cannot write {}", shown(file)))?;
    outln!("{}", shown(file))
}

/// The header above [`line`].
fn heads() -> &'static str {
    "seed  accuracy  macro F1  recall: enqueue    drop    mark"
}

fn line(seed: u64, scores: &Scores) -> String {
    let [enqueue, drop, mark] = scores
        .recall
        .map(|r| r.map_or("-".to_owned(), |r| format!("{r:.4}")));
    format!(
        "{seed:>4}  {:>8.4}  {:>8.4}  {enqueue:>15}  {drop:>6}  {mark:>6}",
        scores.accuracy, scores.macro_f1
    )
}

fn spreads(accuracy: &Spread, macro_f1: &Spread) -> String {
    let row = |name: &str, Spread { min, median, max }: &Spread| {
        format!("{name:<8}  {min:.4}  {median:.4}  {max:.4}")
    };
    format!(
        "          min     median  max\n{}\n{}",
        row("accuracy", accuracy),
        row("macro F1", macro_f1)
    )
}

/// The options, parsed.
fn training(
    pool: &Path,
    out: &Path,
    seed: u64,
    more: &[String],
) -> anyhow::Result<(Vec<String>, TrainArgs)> {
    let fixed = TRAINING.split_whitespace().map(str::to_owned);
    let options: Vec<String> = fixed.chain(more.iter().cloned()).collect();
    let text = |path: &Path| path.display().to_string();
    let mut line = vec![text(pool), "--out".into(), text(out)];
    line.extend([
        "--restart".into(),
        "--accelerator".into(),
        "cpu".into(),
        "--seed".into(),
        seed.to_string(),
    ]);
    line.extend(options.iter().cloned());
    Ok((options, Training::try_parse_from(line)?.args))
}

fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    };
    Spread {
        min: values[0],
        median,
        max: values[values.len() - 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preset_parses_as_a_command_line() {
        let (options, args) = training(Path::new("p"), Path::new("o"), 3, &[]).unwrap();
        assert_eq!(options[0], "--name");
        args.check().unwrap();
        assert_eq!(args.config().seed, 3);
        let more = ["--steps".to_owned(), "7".to_owned()];
        let (_, args) = training(Path::new("p"), Path::new("o"), 3, &more).unwrap();
        assert_eq!(args.config().steps, 7);
    }

    #[test]
    fn spread_over_seeds() {
        let of = |values: &[f64]| {
            let Spread { min, median, max } = spread(values.iter().copied());
            [min, median, max]
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
        assert_eq!(of(&[4.0, 1.0]), [1.0, 2.5, 4.0]);
    }
}

//! `l4sllm reproduce`: the published pool, learned from its first four fifths
//! and judged on its last.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Args, Parser};
use l4sllm_model::Reward;
use l4sllm_model::pool::{CsvReader, Dataset, Sink, Source, Split};
use serde::Serialize;

use crate::judge::{Judge, Verdict};
use crate::output::outln;
use crate::train::{self, TrainArgs};

/// Share of the time, at the end, that is judged.
const HELD_OUT: f64 = 0.2;

/// What published work reports, and a tree of decisions passes easily.
const ACCURACY: f64 = 0.9756;

/// What a model has to reach that tells all three actions apart.
const MACRO_F1: f64 = 0.97;

/// The training, as options of `l4sllm train`.  The window is one record: the
/// pool is a selection of excerpts that overlap, so that a longer one would
/// show rows again that it showed before, with their actions.
const TRAINING: &str = "--name reproduce --window 1 --bins 16 --encoder-width 128 --dropout 0.2 \
    --steps 600 --batch 128 --learning-rate 2e-3 --warmup 100 --weight-decay 0.01 \
    --evaluate-every 600";

/// Learn the published experience pool, and tell how well.
///
/// Trains the small backbone on the first four fifths of the pool by time and
/// judges it on the last, once for each seed.  Weights are those after the last
/// step, not chosen by what they are judged on.  The options were: they are
/// the best of about a dozen tried, so look at more seeds than were tried
/// then (1 to 8).  There are few marks in the pool, and most to be judged
/// stand or fall together, so that seeds differ.  DIR gets summary.json, and a
/// directory for each seed as `l4sllm train` makes it.  The exit status tells of
/// the median.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// The pool: CSV as published, or Parquet or JSON.
    #[arg(long, value_name = "FILE")]
    pool: PathBuf,
    /// Directory of the results.
    #[arg(long, value_name = "DIR", default_value = "out/reproduce")]
    out: PathBuf,
    /// Seeds 1 to this.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// More options of `l4sllm train`, which go before the preset's.
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
    /// Rows to judge whose state no row to train on has.
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
    seconds: f64,
    /// On the last fifth, asked for the policy's target return.
    test: Verdict,
    /// Of it, on states that training has not seen.
    novel: Option<Verdict>,
    /// On the last fifth, told the return that came: what it would score if
    /// it knew the future.
    told_returns: Verdict,
}

#[derive(Debug, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

/// Trains and judges; a set `cancel` ends it after the last whole seed.
pub fn run(args: &ReproduceArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let pool = as_pool(&args.pool, &args.out)?;
    let paths = [pool.clone()];
    let episodes = Dataset::episodes(&paths)?;
    let split = Split::of(&episodes, HELD_OUT, &[]);
    let count = |ranges: &[std::ops::Range<usize>]| ranges.iter().map(|r| r.len()).sum::<usize>();
    let (train_rows, test_rows) = (count(&split.train), count(&split.late));
    ensure!(
        test_rows > 0,
        "{}: too short to be split by time",
        args.pool.display()
    );
    outln!("{train_rows} rows to train on, the {test_rows} after them to judge")?;
    let mut runs: Vec<Run> = Vec::new();
    let mut novel_rows = 0;
    let mut options = Vec::new();
    for seed in 1..=args.seeds {
        let dir = args.out.join(format!("seed-{seed}"));
        let training = training(&pool, &dir, seed, &args.options)?;
        options = training.0;
        let started = Instant::now();
        // Nothing held out: no choice of weights, the last ones count.
        let mut trainer = train::trainer(&training.1, &episodes, &split, Vec::new(), None)?;
        if !train::train(&mut trainer, training.1.optimiser.steps, cancel)? {
            return Ok(());
        }
        let policy = l4sllm_model::Policy::load(&dir.join("last"))?;
        let config = policy.config();
        let data = Dataset::load(config, &paths, &episodes, &split)?;
        let seen = Dataset::seen(config, &paths, &split.train)?;
        let mut judge = Judge {
            policy: &policy,
            data: &data,
            episodes: &episodes,
            target: Some(config.returns.scaling.apply(config.returns.target)),
        };
        let rows = &split.late;
        let test = judge.judge(rows, usize::MAX, |_| true)?;
        let novel = judge.judge(rows, usize::MAX, |row| !seen[row])?;
        judge.target = None;
        let told = judge.judge(rows, usize::MAX, |_| true)?;
        novel_rows = rows.iter().cloned().flatten().filter(|r| !seen[*r]).count();
        let run = Run {
            seed,
            seconds: started.elapsed().as_secs_f64(),
            test: test.context("no row to judge")?,
            novel,
            told_returns: told.context("no row to judge")?,
        };
        if runs.is_empty() {
            let share = run.test.scores.majority_share;
            outln!("always the most frequent action: accuracy {share:.4}\n")?;
            outln!(
                "seed  accuracy  macro F1  recall: enqueue    drop    mark  unseen states  seconds"
            )?;
        }
        outln!("{}", line(&run))?;
        runs.push(run);
    }
    let passes =
        |run: &&Run| run.test.scores.accuracy > ACCURACY && run.test.scores.macro_f1 > MACRO_F1;
    let summary = Summary {
        pool: args.pool.display().to_string(),
        options,
        rows: train_rows + test_rows,
        train_rows,
        test_rows,
        novel_rows,
        majority_share: runs[0].test.scores.majority_share,
        accuracy: spread(runs.iter().map(|run| run.test.scores.accuracy)),
        macro_f1: spread(runs.iter().map(|run| run.test.scores.macro_f1)),
        passed: runs.iter().filter(passes).count(),
        seeds: runs,
    };
    let Summary {
        accuracy, macro_f1, ..
    } = &summary;
    outln!(
        "\n          min     median  max\naccuracy  {:.4}  {:.4}  {:.4}   (always the most frequent: {:.4})\n\
         macro F1  {:.4}  {:.4}  {:.4}",
        accuracy.min,
        accuracy.median,
        accuracy.max,
        summary.majority_share,
        macro_f1.min,
        macro_f1.median,
        macro_f1.max
    )?;
    outln!(
        "{novel_rows} of the {test_rows} rows have a state that training has not seen\n\
         accuracy above {ACCURACY} and macro F1 above {MACRO_F1}: {} of {} seeds",
        summary.passed,
        summary.seeds.len()
    )?;
    let file = args.out.join("summary.json");
    std::fs::write(&file, serde_json::to_string_pretty(&summary)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    outln!("{}", file.display())?;
    // Single seeds differ by whether a score of test rows goes one way or the
    // other; the median does not hang on one of them.
    ensure!(
        summary.accuracy.median > ACCURACY && summary.macro_f1.median > MACRO_F1,
        "the median of {} seeds is below accuracy {ACCURACY} or macro F1 {MACRO_F1}",
        summary.seeds.len()
    );
    Ok(())
}

fn line(run: &Run) -> String {
    let scores = &run.test.scores;
    let [enqueue, drop, mark] = scores
        .recall
        .map(|r| r.map_or("-".to_owned(), |r| format!("{r:.4}")));
    let novel = run.novel.as_ref().map_or("-".to_owned(), |novel| {
        format!("{:.4}", novel.scores.accuracy)
    });
    format!(
        "{:>4}    {:.4}    {:.4}           {enqueue}  {drop}  {mark}         {novel}  {:>7.1}",
        run.seed, scores.accuracy, scores.macro_f1, run.seconds
    )
}

/// The options, and what they say.
fn training(
    pool: &Path,
    out: &Path,
    seed: u64,
    more: &[String],
) -> anyhow::Result<(Vec<String>, TrainArgs)> {
    let fixed = TRAINING.split_whitespace().map(str::to_owned);
    let options: Vec<String> = fixed.chain(more.iter().cloned()).collect();
    let text = |path: &Path| path.display().to_string();
    let mut line = vec!["--pool".to_owned(), text(pool), "--out".into(), text(out)];
    line.extend([
        "--device".into(),
        "cpu".into(),
        "--seed".into(),
        seed.to_string(),
    ]);
    line.extend(options.iter().cloned());
    Ok((options, Training::try_parse_from(line)?.args))
}

/// The pool itself, or what becomes of a table.
pub fn as_pool(path: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    if path.extension().is_none_or(|e| e != "csv") {
        return Ok(path.to_owned());
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let pool = out.join("pool.parquet");
    let mut table = CsvReader::open(path, "published", Reward::default())?;
    let mut sink = Sink::create(&pool, &table.schema().clone())?;
    while let Some(rows) = table.next()? {
        sink.append(&rows)?;
    }
    sink.finish()?;
    Ok(pool)
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
    fn the_preset_is_a_command_line() {
        let (options, args) = training(Path::new("p"), Path::new("o"), 3, &[]).unwrap();
        assert_eq!(options[0], "--name");
        args.check().unwrap();
        assert_eq!((args.config().seed, args.config().steps), (3, 600));
        let more = ["--steps".to_owned(), "7".to_owned()];
        let (_, args) = training(Path::new("p"), Path::new("o"), 3, &more).unwrap();
        assert_eq!(args.config().steps, 7);
    }

    #[test]
    fn spreads() {
        let of = |values: &[f64]| {
            let Spread { min, median, max } = spread(values.iter().copied());
            [min, median, max]
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
        assert_eq!(of(&[4.0, 1.0]), [1.0, 2.5, 4.0]);
    }
}

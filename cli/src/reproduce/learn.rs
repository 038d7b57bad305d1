//! One training run on a part of a pool, evaluated on another.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use l4sllm_model::files::{Claim, Existing};
use l4sllm_model::pool::{CsvReader, Dataset, Episode, Sink, Source, Split, TableOptions};
use l4sllm_model::{Policy, Reward};
use serde::Serialize;

use crate::judge::{Judge, Verdict};
use crate::train::{self, TrainArgs};

/// A pool to train on.
pub struct Pool {
    pub path: PathBuf,
    pub episodes: Vec<Episode>,
}

/// Results of a training run.
#[derive(Serialize)]
pub struct Judged {
    /// Time of training and evaluation.
    pub seconds: f64,
    /// Test rows whose state does not occur in training.
    pub novel_rows: usize,
    /// Scores on the test rows, with the policy's target return.
    pub test: Verdict,
    /// Scores on the novel rows only.
    pub novel: Option<Verdict>,
    /// Scores on the test rows with the actual return, that is, with knowledge
    /// of the future.
    pub told_returns: Verdict,
}

impl Pool {
    /// Opens the pool at `path`; a table is converted to a pool in `out`.
    pub fn open(path: &Path, out: &Path) -> anyhow::Result<Pool> {
        let path = as_pool(path, out)?;
        let episodes = Dataset::episodes(std::slice::from_ref(&path))?;
        Ok(Pool { path, episodes })
    }

    /// Trains on `split.train` and evaluates the last weights on `split.late`;
    /// none if `cancel` was set in the meantime.
    pub fn learn(
        &self,
        training: &TrainArgs,
        split: &Split,
        cancel: &AtomicBool,
    ) -> anyhow::Result<Option<Judged>> {
        let _claim = Claim::of(&training.out)?;
        let started = Instant::now();
        // Nothing is held out, so the last weights are used.
        let mut trainer = train::trainer(training, &self.episodes, split, Vec::new(), None)?;
        // A directory for each seed, next to the others.
        let name = training.out.file_name().unwrap_or_default();
        let tensorboard = training.tensorboard.as_ref().map(|dir| dir.join(name));
        let steps = training.optimiser.steps;
        if !train::train(&mut trainer, steps, tensorboard.as_deref(), cancel)? {
            return Ok(None);
        }
        let policy = Policy::load(&training.out.join("last"))?;
        let (config, paths) = (policy.config(), std::slice::from_ref(&self.path));
        let data = Dataset::load(config, paths, &self.episodes, split)?;
        let seen = Dataset::seen(config, paths, &split.train)?;
        let mut judge = Judge {
            policy: &policy,
            data: &data,
            episodes: &self.episodes,
            target: Some(config.returns.scaling.apply(config.returns.target)),
        };
        let rows = &split.late;
        let test = judge.judge(rows, usize::MAX, |_| true)?;
        let novel = judge.judge(rows, usize::MAX, |row| !seen[row])?;
        judge.target = None;
        let told = judge.judge(rows, usize::MAX, |_| true)?;
        Ok(Some(Judged {
            seconds: started.elapsed().as_secs_f64(),
            novel_rows: rows.iter().cloned().flatten().filter(|r| !seen[*r]).count(),
            test: test.context("no row to evaluate")?,
            novel,
            told_returns: told.context("no row to evaluate")?,
        }))
    }
}

/// The pool itself, or the pool converted from a table.
pub fn as_pool(path: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    if path.extension().is_none_or(|e| e != "csv") {
        return Ok(path.to_owned());
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let pool = out.join("pool.parquet");
    let options = TableOptions {
        scenario: "published",
        reward: Reward::default(),
        actions: None,
    };
    let mut table = CsvReader::open(path, options)?;
    let mut sink = Sink::create(&pool, &table.schema().clone(), Existing::Replace)?;
    while let Some(rows) = table.next()? {
        sink.append(&rows)?;
    }
    sink.finish()?;
    Ok(pool)
}

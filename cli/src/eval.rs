//! `l4sllm eval`: how often a policy agrees with the actions of a pool.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use l4sllm_model::pool::{Dataset, Split};
use l4sllm_model::{EngineOptions, HeadKind, Policy};
use l4sllm_report::Rows;
use serde::Serialize;
use serde_json::json;

use crate::engine::EngineArgs;
use crate::format::{Format, FormatArgs, print_json, print_rows};
use crate::judge::{Judge, Verdict};
use crate::output::{ensure_usage, outln};
use crate::shipped::{self, Kind};

/// Compare a policy's decisions with a pool's.
///
/// Accuracy is printed with the majority-class baseline.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm eval imitation pool.parquet
  l4sllm eval out/policy/best pool.parquet --format json")]
pub struct EvalArgs {
    /// Policy: a directory, or a built-in name.
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Pools.
    #[arg(value_name = "POOL", required = true)]
    pool: Vec<PathBuf>,
    /// Fraction held out for validation, as in `l4sllm train`.
    #[arg(long, default_value_t = 0.2)]
    val_fraction: f64,
    /// Scenarios held out entirely, as in `l4sllm train`.
    #[arg(long, value_name = "SCENARIO", num_args = 1..)]
    holdout_scenario: Vec<String>,
    /// Decisions to evaluate in each part, spread evenly.
    #[arg(long, default_value_t = 20_000)]
    decisions: usize,
    /// Return-to-go given to the policy.
    #[arg(long, value_enum, default_value_t = Returns::Target)]
    returns: Returns,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Threads used by libtorch on the processor.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
}

/// Return-to-go given to a policy.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Returns {
    /// The policy's target, as in the loop.
    Target,
    /// The actual return, as in training.
    Pool,
}

#[derive(Serialize)]
struct Report {
    policy: String,
    sha256: String,
    /// The engine, device and precision used.
    engine: String,
    returns: Returns,
    /// The ends of the episodes trained on.
    late: Option<Verdict>,
    /// Episodes held out entirely.
    unseen: Option<Verdict>,
    /// Rows of both whose state does not occur in training.
    novel: Option<Verdict>,
    /// Both parts, by scenario.
    scenarios: BTreeMap<String, Verdict>,
}

/// Evaluates with the engine that the policy needs or that is requested.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    ensure_usage!(
        (0.0..=0.5).contains(&args.val_fraction),
        "--val-fraction {}: expected 0 to 0.5",
        args.val_fraction
    );
    let options = EngineOptions {
        threads: args.threads.into(),
        ..args.engine.options()
    };
    // Checked before a large policy is loaded.
    let dir = shipped::find(Kind::Policy, &args.policy)?;
    let config = Policy::load_config(&dir)?;
    ensure!(
        config.head.kind == HeadKind::Action,
        "{}: this policy steers set-points, which a pool's actions cannot evaluate; \
         `l4sllm run` and `l4sllm suite` evaluate it in the loop",
        args.policy.display()
    );
    let policy =
        Policy::load_with(&dir, &options).with_context(|| args.policy.display().to_string())?;
    let config = policy.config();
    let episodes = Dataset::episodes(&args.pool)?;
    let split = Split::of(&episodes, args.val_fraction, &args.holdout_scenario);
    let data = Dataset::load(config, &args.pool, &episodes, &split)?;
    let seen = Dataset::seen(config, &args.pool, &split.train)?;
    let judge = Judge {
        policy: &policy,
        data: &data,
        episodes: &episodes,
        target: match args.returns {
            Returns::Target => Some(config.returns.scaling.apply(config.returns.target)),
            Returns::Pool => None,
        },
    };
    let all = |_| true;
    let kept: Vec<_> = split.late.iter().chain(&split.unseen).cloned().collect();
    let mut scenarios = BTreeMap::new();
    for episode in &episodes {
        scenarios.entry(&episode.scenario).or_insert(Vec::new());
    }
    for range in &kept {
        let episode = episodes.partition_point(|e| e.rows.end <= range.start);
        if let Some(ranges) = scenarios.get_mut(&episodes[episode].scenario) {
            ranges.push(range.clone());
        }
    }
    let report = Report {
        policy: config.name.clone(),
        sha256: policy.hash().to_owned(),
        engine: policy.runs_on().to_string(),
        returns: args.returns,
        late: judge.judge(&split.late, args.decisions, all)?,
        unseen: judge.judge(&split.unseen, args.decisions, all)?,
        novel: judge.judge(&kept, args.decisions, |row| !seen[row])?,
        scenarios: scenarios
            .into_iter()
            .filter_map(|(name, ranges)| {
                let verdict = judge.judge(&ranges, args.decisions, all).transpose()?;
                Some(verdict.map(|verdict| (name.clone(), verdict)))
            })
            .collect::<anyhow::Result<_>>()?,
    };
    match args.format.format {
        Format::Text => print_text(&report),
        Format::Csv => print_rows(Format::Csv, &report.rows()),
        Format::Json => print_json(&report),
    }
}

impl Report {
    /// A row for each part of the pools.
    fn rows(&self) -> Rows {
        let parts = [
            ("late", &self.late),
            ("unseen", &self.unseen),
            ("novel", &self.novel),
        ];
        let parts = parts.into_iter().filter_map(|(name, verdict)| {
            let verdict = verdict.as_ref()?;
            Some((name, None, verdict))
        });
        let scenarios = self.scenarios.iter();
        let scenarios = scenarios.map(|(name, verdict)| ("scenario", Some(name), verdict));
        let mut rows = Rows::default();
        for (part, scenario, verdict) in parts.chain(scenarios) {
            let head = [("part", part.into()), ("scenario", json!(scenario))];
            rows.push(head, &verdict.named());
        }
        rows
    }
}

fn print_text(report: &Report) -> anyhow::Result<()> {
    let (name, hash, engine) = (&report.policy, &report.sha256[..12], &report.engine);
    outln!("policy {name} {hash} ({engine})")?;
    for (name, verdict) in [
        ("later in the same episodes", &report.late),
        ("unseen episodes", &report.unseen),
        ("states that do not occur in training", &report.novel),
    ] {
        match verdict {
            Some(verdict) => outln!("\n{name}\n{}", table(verdict))?,
            None => outln!("\n{name}: none")?,
        }
    }
    outln!("\nby scenario                       decisions  accuracy  majority  macro F1")?;
    for (name, Verdict { scores, .. }) in &report.scenarios {
        outln!(
            "  {name:<30}  {:>9}    {:.4}    {:.4}    {:.4}",
            scores.decisions,
            scores.accuracy,
            scores.majority_share,
            scores.macro_f1
        )?;
    }
    Ok(())
}

fn table(verdict: &Verdict) -> String {
    let Verdict {
        scores,
        calibration,
    } = verdict;
    let mut text = format!(
        "  decisions          {}\n  accuracy           {:.4}   (majority class: {:.4})\n  \
         balanced accuracy  {:.4}\n  macro F1           {:.4}\n  \
         calibration error  {:.4}   (log loss {:.4}, Brier score {:.4})\n\n",
        scores.decisions,
        scores.accuracy,
        scores.majority_share,
        scores.balanced_accuracy,
        scores.macro_f1,
        calibration.expected_calibration_error,
        calibration.log_loss,
        calibration.brier,
    );
    text += "  action     share  recall  precision      F1     as enqueue    drop    mark\n";
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    for (a, name) in ["enqueue", "drop", "mark"].iter().enumerate() {
        let [enqueue, drop, mark] = scores.confusion[a];
        text += &format!(
            "  {name:<8} {:.4}  {:>6}     {:>6}  {:>6}     {enqueue:>10}  {drop:>6}  {mark:>6}\n",
            scores.share[a],
            number(scores.recall[a]),
            number(scores.precision[a]),
            number(scores.f1[a]),
        );
    }
    text
}

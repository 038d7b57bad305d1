//! `l4sllm train`: trains a policy on pools or in the loop, with libtorch.

mod args;
mod costs;
mod mix;
mod online;
mod setup;
mod steer;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use l4sllm_model::ACTIONS;
use l4sllm_model::files::{Claim, remove_leftovers};
use l4sllm_model::pool::{Dataset, Episode, Split};
use l4sllm_model::tensorboard::EventFile;
use l4sllm_model::text::shown;
use l4sllm_model::torch::{
    Corpus, Evaluation, Options, Progress, Trainer, find_checkpoint, set_threads,
};

use crate::output::{bail_usage, outln, progress_bar};
pub use args::TrainArgs;
use steer::Lesson;

/// Trains; if `cancel` is set, saves `last/` and ends.
pub fn run(args: &TrainArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let _claim = Claim::of(&args.out)?;
    clean(&args.out)?;
    match args.online.online {
        true => online::run(args, cancel),
        false => on_pools(args, cancel),
    }
}

/// Trains on pools.
fn on_pools(args: &TrainArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let episodes = Dataset::episodes(&args.pool)?;
    let lesson = match &args.policy.steer {
        Some(names) => {
            let tolerance = args.policy.tolerance();
            Some(Lesson::new(
                &args.pool,
                names,
                args.data.val_fraction,
                &tolerance,
            )?)
        }
        None => None,
    };
    let split = match &lesson {
        Some(lesson) => lesson.split(&episodes)?,
        None => Split::of(
            &episodes,
            args.data.val_fraction,
            &args.data.holdout_scenario,
        ),
    };
    let held_out = split.unseen.iter().chain(&split.late).cloned().collect();
    let mut trainer = trainer(args, &episodes, &split, held_out, lesson.as_ref())?;
    if train(
        &mut trainer,
        args.optimiser.steps,
        args.tensorboard.as_deref(),
        cancel,
    )? {
        costs::measure(args, &trainer)?.save(&args.out)?;
        outln!("{}", args.out.join("best").display())?;
    }
    Ok(())
}

/// Creates the trainer for the options, and prints its plan.
pub fn trainer(
    args: &TrainArgs,
    episodes: &[Episode],
    split: &Split,
    held_out: Vec<Range<usize>>,
    lesson: Option<&Lesson>,
) -> anyhow::Result<Trainer> {
    args.check()?;
    known_scenarios(&args.data.holdout_scenario, episodes)?;
    let device = args.machine.open()?;
    set_threads(args.machine.threads);
    let portions = mix::portions(&args.data.mix, &args.pool, episodes, &split.train)?;
    let last = ready(args)?;
    let start = setup::Start::new(args, episodes, split, &portions, lesson, last)?;
    let mut data = Dataset::load(&start.policy, &args.pool, episodes, split)?;
    let rows: Vec<_> = portions.iter().flat_map(|p| p.ranges.clone()).collect();
    if let Some(lesson) = lesson {
        data.teach(lesson.curves.clone());
    }
    let names = outcomes(args);
    let counts = data.counts(&rows).into_iter().zip(names);
    let counts: Vec<String> = counts.map(|(n, name)| format!("{n} {name}")).collect();
    outln!(
        "{} records in {} episodes; for training: {}",
        data.rows(),
        episodes.len(),
        counts.join(", ")
    )?;
    let options = Options {
        device,
        kind: setup::kind(args.machine.precision, device, &start.policy.backbone),
        gradient_checkpointing: args.machine.gradient_checkpointing,
    };
    let network = start.network(args.optimiser.seed, options)?;
    let backbone = &network.config().backbone;
    outln!(
        "{} of {} layers and width {}, {} weights to train, {device:?}, {:?}",
        backbone.family(),
        backbone.layers(),
        backbone.width(),
        network.config().trained_parameters()?,
        options.kind
    )?;
    let corpus = Corpus {
        data,
        portions,
        held_out,
    };
    // Done only when a new run can start.
    if args.restart {
        clear(&args.out)?;
    }
    Ok(Trainer::new(
        &args.out,
        args.config(),
        network,
        corpus,
        args.resume,
    )?)
}

/// The checkpoint to resume from. An earlier training run must not be
/// overwritten by accident.
fn ready(args: &TrainArgs) -> anyhow::Result<Option<PathBuf>> {
    let out = &args.out;
    let last = find_checkpoint(out);
    ensure!(
        args.resume || args.restart || (last.is_none() && !out.join("best").exists()),
        "{} already contains a training run: use --resume to continue it or --restart to start \
         over",
        out.display()
    );
    Ok(last.filter(|_| args.resume))
}

/// Removes temporary files of a killed training run.
fn clean(out: &Path) -> anyhow::Result<()> {
    const OWN: [&str; 4] = ["last", "best", "metrics.jsonl", "costs.json"];
    let best = out.join("best");
    let cleaned = remove_leftovers(out, |name| OWN.iter().any(|own| name == *own));
    let cleaned = cleaned.and_then(|()| match best.is_dir() {
        true => remove_leftovers(&best, |_| true),
        false => Ok(()),
    });
    cleaned.with_context(|| format!("cannot clean {}", shown(out)))
}

/// Removes the files of an earlier training run.
fn clear(out: &Path) -> anyhow::Result<()> {
    for dir in find_checkpoint(out).into_iter().chain([out.join("best")]) {
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {}", dir.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses scenarios without episodes.
fn known_scenarios(names: &[String], episodes: &[Episode]) -> anyhow::Result<()> {
    for name in names {
        if !episodes.iter().any(|e| e.scenario == *name) {
            let known: BTreeSet<&str> = episodes.iter().map(|e| e.scenario.as_str()).collect();
            let known: Vec<&str> = known.into_iter().take(20).collect();
            bail_usage!(
                "--holdout-scenario {name}: no scenario of the pools, which have {}",
                known.join(", ")
            );
        }
    }
    Ok(())
}

/// The outcomes that a head chooses from.
fn outcomes(args: &TrainArgs) -> [&str; ACTIONS] {
    match args.policy.steer.as_deref() {
        Some([first, second, third, ..]) => [first, second, third],
        _ => ["enqueue", "drop", "mark"],
    }
}

/// Trains to the end and reports it, or until `cancel` is set, and saves.
pub fn train(
    trainer: &mut Trainer,
    steps: u64,
    tensorboard: Option<&Path>,
    cancel: &AtomicBool,
) -> anyhow::Result<bool> {
    let mut events = match tensorboard {
        None => None,
        Some(dir) => {
            let events = EventFile::create(dir, trainer.step_count() + 1);
            Some(events.with_context(|| format!("cannot write to {}", shown(dir)))?)
        }
    };
    let bar = bar(steps)?;
    bar.set_position(trainer.step_count());
    bar.reset_eta();
    while !trainer.is_done() {
        if cancel.load(Ordering::Relaxed) {
            trainer.save()?;
            bar.abandon();
            outln!(
                "interrupted at step {}; use --resume to continue",
                trainer.step_count()
            )?;
            return Ok(false);
        }
        let progress = trainer.step()?;
        if let Some(events) = &mut events {
            let written = events.scalars(progress.step, &scalars(&progress));
            written.with_context(|| format!("cannot write {}", shown(events.path())))?;
        }
        bar.set_position(progress.step);
        bar.set_message(format!(
            "loss {:.4}, accuracy {:.4}, {:.0} tokens/s",
            progress.loss, progress.accuracy, progress.tokens_per_s
        ));
        if let Some(evaluation) = &progress.evaluation {
            // A closed output does not end the training.
            let _ = bar.suspend(|| outln!("{}", line(progress.step, progress.loss, evaluation)));
        }
    }
    bar.finish_and_clear();
    Ok(true)
}

/// TensorBoard tags of Hugging Face's Trainer for loss, grad_norm,
/// learning_rate, epoch and eval_loss.
fn scalars(progress: &Progress) -> Vec<(&'static str, f64)> {
    let mut scalars = vec![
        ("train/loss", progress.loss),
        ("train/grad_norm", progress.gradient_norm),
        ("train/learning_rate", progress.learning_rate),
        ("train/epoch", progress.epoch),
    ];
    if let Some(evaluation) = &progress.evaluation {
        scalars.push(("eval/loss", evaluation.loss));
        scalars.push(("eval/accuracy", evaluation.scores.accuracy));
    }
    scalars
}

fn bar(steps: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {msg}, {left} left")?;
    let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // A failure to write to the terminal is ignored.
        let _ = write!(out, "{:#}", HumanDuration(state.eta()));
    };
    Ok(progress_bar(steps).with_style(style.with_key("left", left)))
}

fn line(step: u64, loss: f64, evaluation: &Evaluation) -> String {
    let scores = &evaluation.scores;
    let [_, drop, mark] = scores
        .recall
        .map(|r| r.map_or("-".to_owned(), |r| format!("{r:.3}")));
    format!(
        "step {step}: loss {loss:.4}; held out {:.4}, accuracy {:.4} (majority {:.4}), \
         balanced {:.4}, macro F1 {:.4}, recall drop {drop} mark {mark}",
        evaluation.loss,
        scores.accuracy,
        scores.majority_share,
        scores.balanced_accuracy,
        scores.macro_f1
    )
}

//! `l4sllm collect`: an experience pool from emulated runs.
//!
//! Each episode is a run of a scenario under a behaviour of its own: DualPI2
//! with another target and other gains, and in a part of the episodes with
//! marks strewn in besides.  A policy that is told what return to aim for has
//! thus something better, and something worse, to tell apart.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use l4sllm_abi::{Action, Message, Params, Record};
use l4sllm_model::Reward;
use l4sllm_model::pool::{PoolWriter, Row};
use l4sllm_testbed::control::EngineFactory;
use l4sllm_testbed::scenario::{Arm, Control, Scenario};
use l4sllm_testbed::sim::{Random, Simulation, derive_seed};
use l4sllmd::{Decision, Engine};
use rayon::prelude::*;

use crate::output::outln;

/// Collect an experience pool from emulated runs.
#[derive(Debug, Args)]
pub struct CollectArgs {
    /// Scenario files; their arms are not used.
    #[arg(long, required = true, num_args = 1..)]
    scenario: Vec<PathBuf>,
    /// The pool to write (Parquet).
    #[arg(long)]
    out: PathBuf,
    /// Episodes of each scenario.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    episodes: u32,
    /// Virtual seconds of an episode [default: the scenario's].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Share of the episodes with marks strewn in, 0 to 1.
    #[arg(long, default_value_t = 0.25)]
    explore: f64,
    /// The same seed and scenarios give the same pool.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs at a time; 0: one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Collects; a set `cancel` leaves no file.
pub fn run(args: &CollectArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    ensure!(
        (0.0..=1.0).contains(&args.explore),
        "--explore {}: want 0 to 1",
        args.explore
    );
    let scenarios = args
        .scenario
        .iter()
        .map(|path| {
            let mut scenario = Scenario::load(path)?;
            if let Some(seconds) = args.seconds {
                scenario.duration_ns = seconds * 1_000_000_000;
                scenario.warmup_ns = scenario.warmup_ns.min(scenario.duration_ns / 2);
            }
            Ok(scenario)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Scenarios take turns, so that any part of the pool has all of them.
    let jobs: Vec<(&Scenario, u32)> = (0..args.episodes)
        .flat_map(|e| scenarios.iter().map(move |s| (s, e)))
        .collect();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {msg}, {eta} left")?;
    let bar = ProgressBar::new(jobs.len() as u64).with_style(style);
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()?;
    let mut pool = PoolWriter::create(&args.out)?;
    for jobs in jobs.chunks(2 * threads.current_num_threads()) {
        let episodes: Vec<anyhow::Result<Vec<Row>>> = threads.install(|| {
            jobs.par_iter()
                .map(|(scenario, episode)| {
                    let seed = derive_seed(args.seed, &scenario.name, u64::from(*episode));
                    let rows = collect(scenario, seed, args.explore, cancel)?;
                    bar.inc(1);
                    Ok(rows)
                })
                .collect()
        });
        ensure!(
            !cancel.load(Ordering::Relaxed),
            "interrupted: no pool was written"
        );
        for ((scenario, _), rows) in jobs.iter().zip(episodes) {
            pool.episode(&scenario.name, rows.with_context(|| scenario.name.clone())?)?;
        }
        bar.set_message(format!("{} records", pool.size().0));
    }
    let (rows, episodes) = pool.size();
    pool.finish()?;
    bar.finish_and_clear();
    outln!(
        "{}: {rows} records in {episodes} episodes",
        args.out.display()
    )?;
    Ok(())
}

/// One episode.
fn collect(
    scenario: &Scenario,
    seed: u64,
    explore: f64,
    cancel: &AtomicBool,
) -> anyhow::Result<Vec<Row>> {
    let scenario = Scenario {
        seed,
        ..scenario.clone()
    };
    let mut random = Random::stream(seed, "behaviour");
    let mut arm = Arm::dualpi2("behaviour", parameters(&mut random));
    let mut engine: Option<EngineFactory> = None;
    if random.unit() < explore {
        let interval = [10, 30, 100][random.below(3) as usize];
        let interval = NonZeroU32::new(interval).context("an interval of no records")?;
        arm.control = Some(Control::new(Path::new(""), interval));
        let share = random.unit();
        engine = Some(Arc::new(move |_| {
            let random = Random::stream(seed, "explorer");
            Box::new(Explorer {
                interval: interval.get(),
                seen: 0,
                share,
                random,
            })
        }));
    }
    let rows = Arc::new(Mutex::new(Vec::new()));
    let mut simulation = Simulation::new(&scenario, &arm, 0, engine)?;
    let tapped = Arc::clone(&rows);
    simulation.tap(Box::new(move |message, _| {
        if let (Message::Decision(record), Ok(mut rows)) = (message, tapped.lock()) {
            rows.push(Row::new(record, &Reward::default()));
        }
    }))?;
    for part in 1..=100 {
        if cancel.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        simulation.run_until(scenario.duration_ns / 100 * part)?;
    }
    simulation.finish()?;
    let mut rows = rows.lock().map_err(|_| anyhow::anyhow!("a run panicked"))?;
    Ok(std::mem::take(&mut *rows))
}

/// DualPI2 around its default: target 5 to 25 ms, gains a half to eight times.
fn parameters(random: &mut Random) -> Params {
    let default = Params::default();
    let target_ms = 5.0 * 5.0f64.powf(random.unit());
    let gain = 0.5 * 16.0f64.powf(random.unit());
    Params {
        target_ns: (target_ms * 1e6) as u64,
        alpha_uhz: (f64::from(default.alpha_uhz) * gain) as u32,
        beta_uhz: (f64::from(default.beta_uhz) * gain) as u32,
        ..default
    }
}

/// Marks the next packet with a fixed probability after every interval, and
/// otherwise leaves it to DualPI2.
struct Explorer {
    interval: u32,
    seen: u32,
    share: f64,
    random: Random,
}

impl Engine for Explorer {
    fn observe(&mut self, _: &Record) -> Option<Decision> {
        self.seen += 1;
        if self.seen < self.interval {
            return None;
        }
        self.seen = 0;
        let share = self.share as f32;
        (self.random.unit() < self.share).then_some(Decision::Action {
            action: Action::Mark,
            probabilities: [1.0 - share, 0.0, share],
        })
    }

    fn reset(&mut self) {
        self.seen = 0;
    }
}

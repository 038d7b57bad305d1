//! Options of training in the loop, with all defaults.

use std::path::PathBuf;

use clap::Args;

use crate::duration;
use crate::output::ensure_usage;
use crate::threads::threads;
use crate::train::TrainArgs;

/// Defaults with --online for options that training on pools also has.
pub mod defaults {
    /// --name.
    pub const NAME: &str = "online";
    /// --layers.
    pub const LAYERS: &str = "1";
    /// --width.
    pub const WIDTH: &str = "32";
    /// --heads.
    pub const HEADS: &str = "2";
    /// --mlp.
    pub const MLP: &str = "128";
    /// --window, in periods.
    pub const WINDOW: &str = "1";
    /// --encoder-width.
    pub const ENCODER_WIDTH: &str = "2";
    /// --steps, of the imitation and of each round.
    pub const STEPS: &str = "2000";
    /// --batch, in periods.
    pub const BATCH: &str = "256";
    /// --learning-rate.
    pub const LEARNING_RATE: &str = "2e-3";
    /// --warmup.
    pub const WARMUP: &str = "50";
    /// --weight-decay.
    pub const WEIGHT_DECAY: &str = "1e-3";
    /// --max-grad-norm.
    pub const MAX_GRAD_NORM: &str = "1";
    /// --ema-decay.
    pub const EMA_DECAY: &str = "0.99";
    /// --noise.
    pub const NOISE: &str = "0.05";
    /// --caution.
    pub const CAUTION: &str = "0.4";

    /// All defaults, for the help.
    pub const ALL: [(&str, &str); 16] = [
        ("name", NAME),
        ("layers", LAYERS),
        ("width", WIDTH),
        ("heads", HEADS),
        ("mlp", MLP),
        ("window", WINDOW),
        ("encoder-width", ENCODER_WIDTH),
        ("steps", STEPS),
        ("batch", BATCH),
        ("learning-rate", LEARNING_RATE),
        ("warmup", WARMUP),
        ("weight-decay", WEIGHT_DECAY),
        ("max-grad-norm", MAX_GRAD_NORM),
        ("ema-decay", EMA_DECAY),
        ("noise", NOISE),
        ("caution", CAUTION),
    ];
}

/// The help of --online.
const HELP: &str = "\
Train a policy on summaries in the loop, on runs of the emulator in place of pools: imitate the \
best fixed setting of each condition on the states that the policy reaches, then improve on its \
own actions. The conditions are of the suite's training part";

/// The same help with the defaults of other options.
fn long_help() -> String {
    let all = defaults::ALL.map(|(option, value)| format!("--{option} {value}"));
    format!("{HELP}.\n\nDefaults then: {}.", all.join(", "))
}

/// Options of training in the loop.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training in the loop (--online)")]
pub struct OnlineArgs {
    #[arg(long, help = HELP, long_help = long_help(), conflicts_with_all = [
        "pool", "tensorboard", "preset", "features", "bins", "rule", "steer", "gain", "target",
        "grad_accum_steps", "class_balance", "sample_balance", "label_smoothing", "entropy",
        "eval_steps", "eval_windows", "patience", "mix", "val_fraction", "holdout_scenario",
        "shortest", "return_dropout", "step_dropout",
    ])]
    pub online: bool,
    /// Directory of suite.toml and its families [default: the built-in suite].
    #[arg(long, value_name = "DIR", conflicts_with = "pool")]
    pub suite: Option<PathBuf>,
    /// Families to train on, separated by commas [default: all].
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        conflicts_with = "pool"
    )]
    pub families: Vec<String>,
    /// Conditions of each family and seed to run under fixed settings.
    #[arg(long, value_name = "N", default_value_t = 7, conflicts_with = "pool")]
    pub conditions: usize,
    /// Number of seeds for drawing those conditions.
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "pool")]
    pub condition_seeds: u64,
    /// Rounds of imitation on the policy's own runs in those conditions.
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "pool")]
    pub rounds: usize,
    /// Improvements after the rounds.
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "pool")]
    pub iterations: usize,
    /// New conditions of each family per improvement.
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with = "pool")]
    pub fresh_conditions: usize,
    /// Optimiser steps per improvement.
    #[arg(long, value_name = "N", default_value_t = 300, conflicts_with = "pool")]
    pub improve_steps: u64,
    /// Peak learning rate of improvements.
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 5e-4,
        conflicts_with = "pool"
    )]
    pub improve_learning_rate: f64,
    /// EMA decay of improvements.
    #[arg(
        long,
        value_name = "DECAY",
        default_value_t = 0.98,
        conflicts_with = "pool"
    )]
    pub improve_ema_decay: f64,
    /// Step in ln(target) tried in both directions by improvements.
    #[arg(
        long,
        value_name = "STEP",
        default_value_t = 0.3,
        conflicts_with = "pool"
    )]
    pub target_step: f64,
    /// Step in ln(gain) tried in both directions by improvements.
    #[arg(
        long,
        value_name = "STEP",
        default_value_t = 0.6,
        conflicts_with = "pool"
    )]
    pub gain_step: f64,
    /// Cost of the distance from former actions in an improvement, per squared
    /// unit of ln(target).
    #[arg(
        long,
        value_name = "COST",
        default_value_t = 0.3,
        conflicts_with = "pool"
    )]
    pub proximity: f64,
    /// Share of the idle budget that may be lost without cost, 0 to 1; beyond
    /// it, each budget lost costs --caution.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.6,
        conflicts_with = "pool"
    )]
    pub margin: f64,
    /// Step of the dual ascent that adapts the price of lost utilisation to each
    /// family between lessons, in ln(price) per budget lost in excess; 0: one
    /// price, --caution.
    #[arg(
        long,
        value_name = "STEP",
        default_value_t = 0.05,
        conflicts_with = "pool"
    )]
    pub dual_step: f64,
    /// Share of the conditions, the worst ones compared with the adaptive rule,
    /// whose mean cost (CVaR) counts in addition.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.2,
        conflicts_with = "pool"
    )]
    pub cvar_level: f64,
    /// Weight of that mean against the mean over all conditions, 0 to 1.
    #[arg(
        long,
        value_name = "WEIGHT",
        default_value_t = 0.3,
        conflicts_with = "pool"
    )]
    pub cvar_weight: f64,
    /// Smoothing of costs over the settings of a condition, as the standard
    /// deviation of a Gaussian in grid steps.
    #[arg(
        long,
        value_name = "STEPS",
        default_value_t = 0.45,
        conflicts_with = "pool"
    )]
    pub smoothing: f64,
    /// Weight of each period of the policy's own runs in a round.
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with = "pool")]
    pub own_weight: usize,
    /// Conditions of each family, with a separate seed, used to choose best/.
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "pool")]
    pub eval_conditions: usize,
    /// Virtual time of each run after its warm-up, such as 40s.
    #[arg(long = "duration", value_name = "TIME", default_value = "40s")]
    #[arg(value_parser = duration::measured, conflicts_with = "pool")]
    pub duration_ns: u64,
    /// Exclude conditions with faster links, Mbit/s, which take long to
    /// emulate.
    #[arg(
        long,
        value_name = "MBITS",
        default_value_t = 130.0,
        conflicts_with = "pool"
    )]
    pub max_rate: f64,
    /// Number of parallel runs, 0 to 1024; 0: one per core.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    #[arg(conflicts_with = "pool")]
    pub workers: usize,
}

impl OnlineArgs {
    /// Checks that clap does not make.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, value) in [
            ("conditions", self.conditions as u64),
            ("condition-seeds", self.condition_seeds),
            ("fresh-conditions", self.fresh_conditions as u64),
            ("improve-steps", self.improve_steps),
            ("own-weight", self.own_weight as u64),
            ("eval-conditions", self.eval_conditions as u64),
        ] {
            ensure_usage!(value > 0, "--{name} 0: expected at least 1");
        }
        for (name, value) in [
            ("improve-learning-rate", self.improve_learning_rate),
            ("target-step", self.target_step),
            ("gain-step", self.gain_step),
            ("smoothing", self.smoothing),
            ("cvar-level", self.cvar_level),
            ("max-rate", self.max_rate),
        ] {
            ensure_usage!(
                value.is_finite() && value > 0.0,
                "--{name} {value}: expected a number above 0"
            );
        }
        for (name, value, most) in [
            ("improve-ema-decay", self.improve_ema_decay, 0.9999),
            ("proximity", self.proximity, 1e3),
            ("margin", self.margin, 1.0),
            ("dual-step", self.dual_step, 10.0),
            ("cvar-level", self.cvar_level, 1.0),
            ("cvar-weight", self.cvar_weight, 1.0),
        ] {
            ensure_usage!(
                (0.0..=most).contains(&value),
                "--{name} {value}: expected 0 to {most}"
            );
        }
        Ok(())
    }

    /// Everything that determines the training except the policy and
    /// [`LearnConfig`]s.
    ///
    /// [`LearnConfig`]: l4sllm_model::torch::online::LearnConfig
    pub fn facts(&self, args: &TrainArgs) -> serde_json::Value {
        serde_json::json!({
            "families": self.families,
            "conditions": self.conditions,
            "condition_seeds": self.condition_seeds,
            "rounds": self.rounds,
            "iterations": self.iterations,
            "fresh_conditions": self.fresh_conditions,
            "improve_steps": self.improve_steps,
            "improve_learning_rate": self.improve_learning_rate,
            "improve_ema_decay": self.improve_ema_decay,
            "proximity": self.proximity,
            "target_step": self.target_step,
            "gain_step": self.gain_step,
            "smoothing": self.smoothing,
            "dual_step": self.dual_step,
            "cvar_level": self.cvar_level,
            "cvar_weight": self.cvar_weight,
            "own_weight": self.own_weight,
            "eval_conditions": self.eval_conditions,
            "duration_ns": self.duration_ns,
            "max_rate": self.max_rate,
            "seed": args.optimiser.seed,
        })
    }
}

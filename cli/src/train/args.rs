//! The options of `l4sllm train`.

use std::path::PathBuf;

use clap::builder::ArgPredicate;
use clap::{Args, ValueEnum};
use l4sllm_model::pool::Tolerance;
use l4sllm_model::torch::{Augmentation, Device, TrainConfig, device};
use l4sllm_model::{DecisionRule, Feature};

use super::online::{OnlineArgs, defaults};
use crate::output::ensure_usage;
use crate::threads::threads;

/// The option that switches other options to the defaults of training in the
/// loop.
const ONLINE: &str = "online";
const GIVEN: ArgPredicate = ArgPredicate::IsPresent;

/// Maximum number of bins of an encoding.
const BINS_MAX: usize = 1024;

/// Train a policy on experience pools or, with --online, in the loop.
///
/// `--out` becomes the directory of the training run: `best/` and `last/` are
/// policies, and `metrics.jsonl` has a line for each step or, in the loop, for
/// each lesson. An interrupted run saves `last/` and resumes with `--resume`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm train pool.parquet --out out/policy
  l4sllm train a.parquet b.parquet --out out/policy --resume
  l4sllm train pool.parquet --out out/gpt2 --preset published --backbone gpt2
  l4sllm train pool.parquet --out out/steer --steer tuned high low
  l4sllm train --online --out out/context")]
pub struct TrainArgs {
    /// Pools in Parquet or JSON.
    #[arg(required_unless_present = "online", value_name = "POOL")]
    pub pool: Vec<PathBuf>,
    /// Directory of the training run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Also write the metrics as TensorBoard event files to DIR, with Hugging Face's
    /// tags: train/loss, train/grad_norm, train/learning_rate, eval/loss.
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
    /// Resume from the last checkpoint, if there is one, with the same options
    /// and pools.
    #[arg(long)]
    pub resume: bool,
    /// Start over, discarding an existing training run in --out.
    #[arg(long, conflicts_with = "resume")]
    pub restart: bool,
    /// Defaults of the options below: small, or as published.
    #[arg(long, value_enum, default_value_t = Preset::Small)]
    pub preset: Preset,

    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub optimiser: OptimiserArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// Defaults of options that are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A fully trained GPT-2 with 2 layers and width 48.
    Small,
    /// A published backbone (--backbone, by default gpt2) with adapters of
    /// rank 128 on its query and value projections.
    Published,
}

/// The policy to train.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// Name of the policy.
    #[arg(
        long,
        default_value = "default",
        default_value_if(ONLINE, GIVEN, defaults::NAME)
    )]
    pub name: String,
    /// Features of each record.
    #[arg(long, value_enum, default_value_t = Features::Paper7)]
    pub features: Features,
    /// Records in the context of a decision.
    #[arg(
        long,
        default_value_t = 20,
        default_value_if(ONLINE, GIVEN, defaults::WINDOW)
    )]
    pub window: usize,
    /// Bins of each feature's piecewise-linear encoding, up to 1024, at
    /// quantiles of the pools; 0: only the value.
    #[arg(long, default_value_t = 0)]
    pub bins: usize,
    /// Units between a feature and its token.
    #[arg(
        long,
        default_value_t = 16,
        default_value_if(ONLINE, GIVEN, defaults::ENCODER_WIDTH)
    )]
    pub encoder_width: usize,
    /// A Hugging Face directory with weights or, for random weights, a
    /// config.json or the name of a published model, such as gpt2, opt-1.3b,
    /// llama-2-7b, t5-base [default: small: a GPT-2 of --layers, --width,
    /// --heads and --mlp; published: gpt2].
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub backbone: Option<String>,
    /// Transformer blocks.
    #[arg(
        long,
        default_value_t = 2,
        conflicts_with = "backbone",
        default_value_if(ONLINE, GIVEN, defaults::LAYERS)
    )]
    pub layers: usize,
    /// Width of a hidden state.
    #[arg(
        long,
        default_value_t = 48,
        conflicts_with = "backbone",
        default_value_if(ONLINE, GIVEN, defaults::WIDTH)
    )]
    pub width: usize,
    /// Attention heads.
    #[arg(
        long,
        default_value_t = 3,
        conflicts_with = "backbone",
        default_value_if(ONLINE, GIVEN, defaults::HEADS)
    )]
    pub heads: usize,
    /// Units of the feed-forward part.
    #[arg(
        long,
        default_value_t = 96,
        conflicts_with = "backbone",
        default_value_if(ONLINE, GIVEN, defaults::MLP)
    )]
    pub mlp: usize,
    /// Dropout after attention and feed-forward part.
    #[arg(long, default_value_t = 0.0, conflicts_with = "backbone")]
    pub dropout: f64,
    /// Add each record's input token to the hidden state.
    #[arg(long)]
    pub residual: bool,
    /// Rank of the adapters on the frozen backbone; 0: train the whole backbone
    /// [default: small: 0; published: 128].
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// Alpha of the adapters, which are scaled by alpha / rank.
    #[arg(long, default_value_t = 32.0)]
    pub lora_alpha: f64,
    /// Dropout before the adapters.
    #[arg(long, default_value_t = 0.05)]
    pub lora_dropout: f64,
    /// Linear layers with adapters [default: the family's query and value
    /// projections].
    #[arg(long, value_name = "MODULE", num_args = 1..)]
    pub lora_targets: Vec<String>,
    /// Decision rule that turns probabilities into an action.
    #[arg(long, value_enum, default_value_t = Rule::Argmax)]
    pub rule: Rule,
    /// Train a head that steers: three behaviours of the pools to choose from,
    /// each a fixed setting of DualPI2, and any number of measured settings
    /// between them. It learns the setting of least cost in each condition, in
    /// terms of delay and of utilisation, fairness and L4S delay lost relative
    /// to the first.
    #[arg(long, num_args = 3.., value_names = ["SAFE", "OTHER", "ANOTHER", "BETWEEN"])]
    #[arg(conflicts_with_all = ["rule", "holdout_scenario", "class_balance"])]
    pub steer: Option<Vec<String>>,
    /// Weight of losses relative to delay, with --steer and --online.
    #[arg(long, default_value_t = Tolerance::default().caution, default_value_if(ONLINE, GIVEN, defaults::CAUTION))]
    pub caution: f64,
    /// Value of gained utilisation, with --steer: the delay may grow by a
    /// factor of e for a gain of 1 / VALUE.
    #[arg(long, default_value_t = Tolerance::default().gain)]
    pub gain: f64,
    /// Quantile of the pools' returns used as the target return, 0 to 1.
    #[arg(long, default_value_t = 0.9)]
    pub target: f64,
}

/// Options of the optimisation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Optimiser")]
pub struct OptimiserArgs {
    /// Optimiser steps.
    #[arg(long, default_value_t = TrainConfig::default().steps, default_value_if(ONLINE, GIVEN, defaults::STEPS))]
    pub steps: u64,
    /// Windows per batch [default: small: 32; published: 1].
    #[arg(long, default_value_if(ONLINE, GIVEN, defaults::BATCH))]
    pub batch: Option<usize>,
    /// Batches accumulated per optimiser step [default: small: 1; published:
    /// 32].
    #[arg(long)]
    pub grad_accum_steps: Option<usize>,
    /// Peak learning rate [default: small: 1e-3; published: 1e-4].
    #[arg(
        long,
        allow_negative_numbers = true,
        default_value_if(ONLINE, GIVEN, defaults::LEARNING_RATE)
    )]
    pub learning_rate: Option<f64>,
    /// Warm-up steps.
    #[arg(long, default_value_t = TrainConfig::default().warmup, default_value_if(ONLINE, GIVEN, defaults::WARMUP))]
    pub warmup: u64,
    /// Weight decay of matrices.
    #[arg(long, default_value_t = TrainConfig::default().weight_decay, default_value_if(ONLINE, GIVEN, defaults::WEIGHT_DECAY))]
    pub weight_decay: f64,
    /// Maximum gradient norm; larger gradients are clipped.
    #[arg(long, default_value_t = TrainConfig::default().max_grad_norm, default_value_if(ONLINE, GIVEN, defaults::MAX_GRAD_NORM))]
    pub max_grad_norm: f64,
    /// Exponent of the weighting of rare actions in the loss, 0 to 1; 0 keeps
    /// probabilities calibrated.
    #[arg(long, default_value_t = 0.0)]
    pub class_balance: f64,
    /// Exponent of the oversampling of windows that end with a rare action, 0
    /// to 1.
    #[arg(long, default_value_t = 0.0)]
    pub sample_balance: f64,
    /// Label smoothing: share of the loss spread evenly over all actions, 0 to
    /// 0.9.
    #[arg(long, default_value_t = 0.0)]
    pub label_smoothing: f64,
    /// Decay of the exponential moving average (EMA) of the weights, 0 to
    /// 0.9999. The average is evaluated and saved instead of the weights. 0: no
    /// average.
    #[arg(
        long,
        default_value_t = 0.0,
        default_value_if(ONLINE, GIVEN, defaults::EMA_DECAY)
    )]
    pub ema_decay: f64,
    /// Weight of the entropy bonus, with --steer: without it, a network that
    /// becomes overconfident early stops learning.
    #[arg(long, default_value_t = 0.05)]
    pub entropy: f64,
    /// Steps between evaluations and checkpoints.
    #[arg(long, default_value_t = TrainConfig::default().evaluate_every)]
    pub eval_steps: u64,
    /// Maximum number of windows, and so of decisions, per evaluation.
    #[arg(long, default_value_t = TrainConfig::default().evaluate_windows)]
    pub eval_windows: usize,
    /// Early stopping: evaluations without a lower loss before training ends;
    /// 0: never.
    #[arg(long, default_value_t = 0)]
    pub patience: u64,
    /// Seed of initialisation, order, augmentation and dropout.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The training data.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// How pools are mixed: `rows` (equal weight per row), `pools` or
    /// `scenarios` (equal share for each), or shares of scenarios or pool files
    /// such as `paper=2,wifi=1`, which exclude all others.
    #[arg(long, default_value = "rows")]
    pub mix: String,
    /// Fraction held out for validation: of the episodes, and of the end of each
    /// other episode; 0 to 0.5.
    #[arg(long, default_value_t = 0.2)]
    pub val_fraction: f64,
    /// Scenarios held out entirely, for validation.
    #[arg(long, value_name = "SCENARIO", num_args = 1..)]
    pub holdout_scenario: Vec<String>,
    /// Minimum records per training window: batches have windows of random
    /// length from this minimum, at random positions of the policy's window
    /// [default: --window].
    #[arg(long)]
    pub shortest: Option<usize>,
    /// Standard deviation of the noise on scaled features.
    #[arg(
        long,
        default_value_t = 0.0,
        default_value_if(ONLINE, GIVEN, defaults::NOISE)
    )]
    pub noise: f64,
    /// Share of the windows, 0 to 1, with the target return (--target) instead
    /// of the actual one; with 1, returns carry no information.
    #[arg(long, default_value_t = 0.0)]
    pub return_dropout: f64,
    /// Share of a window's records that are masked in attention and loss, 0 to
    /// 0.95; the newest record is never masked.
    #[arg(long, default_value_t = 0.0)]
    pub step_dropout: f64,
}

/// Hardware options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// Device to train on: auto (a GPU if available), cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub accelerator: String,
    /// Precision of the backbone's arithmetic.
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Recompute activations in the backward pass, which saves memory and takes
    /// a third more time.
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Threads used by libtorch. They spin, so more threads than free cores are
    /// slower; the number of threads changes the last digits of results.
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub threads: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// bf16 on a GPU, and on a CPU with bf16 instructions from width 256;
    /// otherwise f32.
    Auto,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point with the range of f32.
    Bf16,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Features {
    /// The seven features of the published pools.
    Paper7,
    /// The eight features of the authors' earlier pools.
    Paper8,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Rule {
    /// The most probable action.
    Argmax,
    /// A seeded random draw.
    Sample,
    /// Deterministic, with the probabilities as long-run shares.
    Recur,
}

impl PolicyArgs {
    /// Tolerances for settings.
    pub fn tolerance(&self) -> Tolerance {
        Tolerance {
            caution: self.caution,
            gain: self.gain,
            ..Tolerance::default()
        }
    }
}

impl Features {
    pub fn list(self) -> &'static [Feature] {
        match self {
            Features::Paper7 => &Feature::PAPER7,
            Features::Paper8 => &Feature::PAPER8,
        }
    }
}

impl Rule {
    pub fn rule(self) -> DecisionRule {
        match self {
            Rule::Argmax => DecisionRule::Argmax,
            Rule::Sample => DecisionRule::Sample,
            Rule::Recur => DecisionRule::Recur,
        }
    }
}

impl MachineArgs {
    /// The device to train on.
    pub fn open(&self) -> anyhow::Result<Device> {
        Ok(device::choose(&self.accelerator)?)
    }
}

impl TrainArgs {
    /// Checks that clap does not make.
    pub fn check(&self) -> anyhow::Result<()> {
        let TrainArgs {
            policy,
            optimiser,
            data,
            ..
        } = self;
        for (name, value, max) in [
            ("class-balance", optimiser.class_balance, 1.0),
            ("sample-balance", optimiser.sample_balance, 1.0),
            ("label-smoothing", optimiser.label_smoothing, 0.9),
            ("ema-decay", optimiser.ema_decay, 0.9999),
            ("target", policy.target, 1.0),
            ("dropout", policy.dropout, 0.95),
            ("val-fraction", data.val_fraction, 0.5),
            ("step-dropout", data.step_dropout, 0.95),
            ("noise", data.noise, 1e3),
            ("return-dropout", data.return_dropout, 1.0),
            ("weight-decay", optimiser.weight_decay, 1e3),
            ("caution", policy.caution, 1e3),
            ("gain", policy.gain, 1e3),
            ("entropy", optimiser.entropy, 1e3),
        ] {
            ensure_usage!(
                (0.0..=max).contains(&value),
                "--{name} {value}: expected 0 to {max}"
            );
        }
        ensure_usage!(!policy.name.trim().is_empty(), "--name: expected a name");
        ensure_usage!(
            data.shortest.unwrap_or(1) <= policy.window,
            "--shortest {}: expected at most --window, {}",
            data.shortest.unwrap_or(1),
            policy.window
        );
        ensure_usage!(
            policy.bins <= BINS_MAX,
            "--bins {}: expected 0 to {BINS_MAX}",
            policy.bins
        );
        for (name, value) in [
            ("batch", optimiser.batch.unwrap_or(1) as u64),
            (
                "grad-accum-steps",
                optimiser.grad_accum_steps.unwrap_or(1) as u64,
            ),
            ("eval-steps", optimiser.eval_steps),
            ("eval-windows", optimiser.eval_windows as u64),
            ("steps", optimiser.steps),
            ("shortest", data.shortest.unwrap_or(1) as u64),
            ("threads", self.machine.threads as u64),
        ] {
            ensure_usage!(value > 0, "--{name} 0: expected at least 1");
        }
        for (name, value) in [
            ("learning-rate", self.learning_rate()),
            ("max-grad-norm", optimiser.max_grad_norm),
        ] {
            ensure_usage!(
                value.is_finite() && value > 0.0,
                "--{name} {value}: expected a number above 0"
            );
        }
        Ok(())
    }

    /// The trainer's configuration.
    pub fn config(&self) -> TrainConfig {
        let TrainArgs {
            optimiser, data, ..
        } = self;
        let shortest = data.shortest.unwrap_or(self.policy.window);
        TrainConfig {
            steps: optimiser.steps,
            batch: optimiser.batch.unwrap_or(match self.preset {
                Preset::Small => TrainConfig::default().batch,
                Preset::Published => 1,
            }),
            grad_accum_steps: optimiser.grad_accum_steps.unwrap_or(match self.preset {
                Preset::Small => 1,
                Preset::Published => 32,
            }),
            learning_rate: self.learning_rate(),
            warmup: optimiser.warmup,
            weight_decay: optimiser.weight_decay,
            max_grad_norm: optimiser.max_grad_norm,
            class_balance: optimiser.class_balance,
            sample_balance: optimiser.sample_balance,
            label_smoothing: optimiser.label_smoothing,
            ema_decay: optimiser.ema_decay,
            // Used only with a lesson's costs.
            entropy: self
                .policy
                .steer
                .as_ref()
                .map_or(0.0, |_| optimiser.entropy),
            shortest,
            augmentation: Augmentation {
                noise: data.noise,
                step_dropout: data.step_dropout,
                return_dropout: data.return_dropout,
                shift: shortest < self.policy.window,
            },
            evaluate_every: optimiser.eval_steps,
            evaluate_windows: optimiser.eval_windows,
            patience: optimiser.patience,
            seed: optimiser.seed,
        }
    }

    fn learning_rate(&self) -> f64 {
        self.optimiser.learning_rate.unwrap_or(match self.preset {
            Preset::Small => 1e-3,
            Preset::Published => 1e-4,
        })
    }
}

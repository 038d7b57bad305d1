//! Options of the distillation.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use l4sllm_model::IdleBudget;
use l4sllm_model::student::STATES;

use crate::duration;
use crate::output::ensure_usage;
use crate::threads::threads;

/// Kinds of students.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// A network in fixed point that the kernel module runs.
    Kernel,
}

/// Distil a policy into a small network that runs in the kernel.
///
/// The student imitates the policy in closed loop: rounds of runs in the emulator, first
/// steered by the policy, then by the student itself, whose states the policy labels
/// (DAgger). After each round a student is trained on all labelled states, with int8
/// weights, and evaluated on other conditions of the suite's training part. The best one
/// is DIR/student.l4s. An interrupted distillation resumes when the command is repeated.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm policy distil --from context --to kernel --out out/student
  l4sllm policy distil --from adaptive --to kernel --out out/rule --rounds 4
  l4sllm student load out/student/student.l4s --on")]
pub struct DistilArgs {
    /// The policy, on summaries: a directory, a built-in name, or `adaptive` for the
    /// adaptive rule.
    #[arg(long, value_name = "POLICY")]
    pub from: PathBuf,
    /// Kind of student.
    #[arg(long, value_enum, value_name = "KIND")]
    pub to: To,
    /// Directory of the student and of the work files.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Name in the student's file [default: that of the policy].
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// Rounds after the first, on the student's own runs.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub rounds: u32,
    /// Conditions of each family per round.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub conditions: usize,
    /// Conditions of each family for the evaluation.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub eval_conditions: usize,
    /// Measured virtual time of a run.
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = duration::measured)]
    pub duration: u64,
    /// Maximum rate of a link, Mbit/s.
    #[arg(long, value_name = "MBPS", default_value_t = 400.0)]
    pub max_rate: f64,
    /// Families to train on, separated by commas [default: all].
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub families: Vec<String>,
    /// Directory of suite.toml and its families [default: the built-in suite].
    #[arg(long, value_name = "DIR")]
    pub suite: Option<PathBuf>,
    /// Inputs of the network; those with the least influence are removed.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub inputs: usize,
    /// Units of the two hidden layers.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [24, 16])]
    pub hidden: Vec<usize>,
    /// Optimiser steps per round.
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub steps: u64,
    /// States per step.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub batch: usize,
    /// Peak learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 3e-3)]
    pub learning_rate: f32,
    /// Weight of errors that shorten the queue relative to the opposite ones.
    #[arg(long, value_name = "WEIGHT", default_value_t = 2.0)]
    pub caution: f32,
    /// Default idle budget of the student, share of time [default: the policy's].
    #[arg(long, value_name = "SHARE", value_parser = budget)]
    pub idle_budget: Option<IdleBudget>,
    /// Seed of all random draws.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Threads; 0: one per core.
    #[arg(long, value_name = "N", default_value = "0", value_parser = threads)]
    pub threads: usize,
}

impl DistilArgs {
    /// Checks options that clap cannot.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure_usage!(
            (1..=STATES).contains(&self.inputs),
            "--inputs {}: expected 1 to {STATES}",
            self.inputs
        );
        let sizes = self.hidden.iter().all(|units| (1..=64).contains(units));
        ensure_usage!(
            self.hidden.len() == 2 && sizes,
            "--hidden: expected two numbers of 1 to 64"
        );
        for (option, value) in [
            ("conditions", self.conditions),
            ("eval-conditions", self.eval_conditions),
            ("batch", self.batch),
        ] {
            ensure_usage!(value > 0, "--{option} 0: expected at least 1");
        }
        ensure_usage!(self.steps > 0, "--steps 0: expected at least 1");
        ensure_usage!(
            self.learning_rate.is_finite() && self.learning_rate > 0.0,
            "--learning-rate {}: expected a positive number",
            self.learning_rate
        );
        ensure_usage!(
            (0.01..=100.0).contains(&self.caution),
            "--caution {}: expected 0.01 to 100",
            self.caution
        );
        Ok(())
    }

    /// Everything that determines the result, to recognise an interrupted run.
    pub fn identity(&self, teacher: &str) -> String {
        format!(
            "{teacher} {:?} {:?} rounds {} conditions {} {} duration {} rate {} families {:?} \
             suite {:?} inputs {} hidden {:?} steps {} batch {} learning rate {} caution {} \
             budget {:?} seed {}",
            self.to,
            self.name,
            self.rounds,
            self.conditions,
            self.eval_conditions,
            self.duration,
            self.max_rate,
            self.families,
            self.suite,
            self.inputs,
            self.hidden,
            self.steps,
            self.batch,
            self.learning_rate,
            self.caution,
            self.idle_budget.map(IdleBudget::share),
            self.seed
        )
    }
}

fn budget(text: &str) -> Result<IdleBudget, String> {
    let share = text.parse().ok().and_then(IdleBudget::new);
    share.ok_or_else(|| "expected a share of 0.001 to 0.02".to_owned())
}

fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=31).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 31 letters, digits, `-`, `_` or `.`".to_owned()),
    }
}

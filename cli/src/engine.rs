//! Which engine runs policies: options that several commands have.

use clap::{Args, ValueEnum};
use l4sllm_model::{EngineKind, EngineOptions, Precision};

/// What is left open goes by each policy.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// What runs policies: plain (GPT-2, its adapter merged) or libtorch (all,
    /// in a build with `--features torch`) [default: plain where it will do].
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Where libtorch computes: cpu, cuda or cuda:N [default: cpu].
    #[arg(long)]
    accelerator: Option<String>,
    /// What a backbone is computed in by libtorch [default: f32 on the
    /// processor, bf16 on a GPU].
    #[arg(long, value_enum)]
    precision: Option<Number>,
}

/// What runs a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Plain,
    Libtorch,
}

/// A type of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Number {
    F32,
    Bf16,
}

impl EngineArgs {
    /// What is asked for, with one thread: runs repeat to the byte.
    pub fn options(&self) -> EngineOptions {
        EngineOptions {
            engine: self.engine.map(|engine| match engine {
                Engine::Plain => EngineKind::Plain,
                Engine::Libtorch => EngineKind::Libtorch,
            }),
            device: self.accelerator.clone(),
            precision: self.precision.map(Number::precision),
            threads: 1,
        }
    }
}

impl Number {
    /// For the model.
    pub fn precision(self) -> Precision {
        match self {
            Number::F32 => Precision::F32,
            Number::Bf16 => Precision::Bf16,
        }
    }
}

//! Selection of the engine that runs policies: options shared by several
//! commands.

use clap::{Args, ValueEnum};
use l4sllm_model::{EngineKind, EngineOptions, Precision};

/// Options that are not given depend on each policy.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Engine that runs policies: plain (GPT-2 with merged adapter) or libtorch
    /// (all, in a build with `--features torch`) [default: plain if possible].
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Device that libtorch computes on: cpu, cuda or cuda:N [default: cpu].
    #[arg(long)]
    accelerator: Option<String>,
    /// Precision of backbones in libtorch [default: f32 on the processor, bf16
    /// on a GPU].
    #[arg(long, value_enum)]
    precision: Option<Number>,
}

/// An engine for policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Plain,
    Libtorch,
}

/// A floating-point type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Number {
    F32,
    Bf16,
}

impl EngineArgs {
    /// The requested options, with one thread so that runs are reproducible to
    /// the byte.
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
    /// Converts to the model's type.
    pub fn precision(self) -> Precision {
        match self {
            Number::F32 => Precision::F32,
            Number::Bf16 => Precision::Bf16,
        }
    }
}

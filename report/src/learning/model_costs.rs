//! Costs of a model: written where they are measured, and read for the page.

use std::path::Path;

use serde::{Deserialize, Serialize};

use l4sllm_testbed::result::{ResultError, quantile, write_atomically};

/// File name of [`Costs`] in the directory of a training run.
pub const COSTS_FILE: &str = "costs.json";
/// File name of [`Backbones`] in the directory of a measurement.
pub const BACKBONES_FILE: &str = "backbones.json";

/// Costs of one model on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Model name, for tables.
    pub name: String,
    /// All weights: encoder, backbone, adapters, head.
    pub parameters: u64,
    /// Weights changed by training.
    pub trainable_parameters: u64,
    /// The processor or accelerator, as it names itself.
    pub device: String,
    /// Threads used; 0 on an accelerator.
    pub threads: u32,
    /// Precision of the frozen weights and of the arithmetic: `f32`, `bf16`.
    pub precision: String,
    /// Peak memory of the process (cpu) or of the device's allocator (cuda),
    /// bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// One decision: a forward pass over one window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_ms: Option<Latency>,
    /// One optimiser step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<f64>,
    /// Windows per step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_windows: Option<u64>,
    /// The whole training run, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_s: Option<f64>,
}

/// Quantiles of repeated measurements, ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Measurements.
    pub count: u64,
}

/// Backbones measured in sequence on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backbones {
    /// Version of the program.
    pub version: String,
    /// Records in the context of a decision.
    pub window: u64,
    /// Tokens in that context.
    pub tokens: u64,
    /// Trained weights: `full`, or LoRA and its rank.
    pub adaptation: String,
    /// In the order requested.
    pub measured: Vec<Costs>,
    /// Backbones that were not measured.
    pub skipped: Vec<Skipped>,
}

/// A backbone that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// The reason.
    pub reason: String,
}

impl Latency {
    /// Quantiles of single measurements, ns.
    pub fn of_ns(mut taken: Vec<u64>) -> Latency {
        taken.sort_unstable();
        let ms = |q| quantile(&taken, q).map_or(0.0, |ns| ns as f64 / 1e6);
        Latency {
            p50: ms(0.5),
            p99: ms(0.99),
            count: taken.len() as u64,
        }
    }
}

impl Costs {
    /// Writes [`COSTS_FILE`] into the directory of a training run, completely
    /// or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), ResultError> {
        save(&dir.join(COSTS_FILE), self)
    }

    /// Share of weights changed by training, 0..=1.
    pub fn trainable_share(&self) -> f64 {
        self.trainable_parameters as f64 / self.parameters.max(1) as f64
    }
}

impl Backbones {
    /// Writes [`BACKBONES_FILE`] into a directory, which is created if
    /// necessary.
    ///
    /// # Errors
    /// The directory cannot be created, or the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), ResultError> {
        std::fs::create_dir_all(dir).map_err(ResultError::io("create", dir))?;
        save(&dir.join(BACKBONES_FILE), self)
    }
}

fn save(path: &Path, value: &impl Serialize) -> Result<(), ResultError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(ResultError::json(path))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

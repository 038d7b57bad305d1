//! Policies through libtorch: batched forward passes and training.
//!
//! Needs libtorch in `.libtorch/` (`scripts/libtorch.sh`). Call
//! [`set_threads`] first: by default libtorch uses one spinning thread per
//! core, which slows down other programs on the machine.

mod augment;
pub mod backbone;
pub mod backbone_files;
mod benchmark;
mod checkpoint;
pub mod device;
mod ema;
pub mod export;
pub mod hub;
pub mod lora;
mod loss;
mod metrics;
mod network;
pub mod online;
mod optimiser;
mod sampler;
pub(crate) mod session;
mod train_config;
mod trainer;

use std::path::PathBuf;

pub use augment::Augmentation;
pub use benchmark::{Measurement, Parameters, adapt, least_bytes, parameters};
pub use checkpoint::find as find_checkpoint;
pub use metrics::{Evaluation, Progress};
pub use network::{Batch, Frozen, Network, Options, random_base};
pub use sampler::Portion;
pub use tch::{Device, Kind};
pub use train_config::TrainConfig;
pub use trainer::{Corpus, Trainer};

use crate::PolicyError;
use crate::backbone::BackboneError;
use crate::pool::PoolError;

/// Sets the number of libtorch threads, at least 1.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}

/// Error that prevents training from starting or continuing.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A policy directory could not be read or written.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A pool could not be read.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A backbone or an adapter could not be read, written or used.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// A device is unusable.
    #[error("device {name}: {reason}")]
    Device {
        /// The requested device.
        name: String,
        /// The error.
        reason: String,
    },
    /// A policy could not be exported.
    #[error("{path}: {reason}", path = path.display())]
    Export {
        /// Path of the output.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// A checkpoint could not be read or written.
    #[error("checkpoint {path}: {reason}", path = path.display())]
    Checkpoint {
        /// The file or directory.
        path: PathBuf,
        /// The error.
        reason: String,
    },
    /// There is no training data.
    #[error("none of the {rows} rows of the pools can be trained on")]
    Empty {
        /// Number of rows of the pools.
        rows: usize,
    },
    /// No run of a lesson has a period to learn from.
    #[error("no run has a period to learn from: runs are too short, or have no classic traffic")]
    NothingSeen,
    /// The loss is not finite.
    #[error("the loss is {loss} at step {step}: lower the learning rate")]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
}

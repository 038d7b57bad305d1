//! Policies through libtorch: the same forward pass over batches of windows,
//! and training.
//!
//! Needs libtorch in `.libtorch/` (`scripts/libtorch.sh`).  Set
//! [`set_threads`] before anything else: libtorch's own choice, one spinning
//! thread per core, is bad company on a machine that does other things.

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

/// Threads that libtorch computes with, at least 1.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}

/// Why training could not start or continue.
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
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// A device cannot be computed with.
    #[error("device {name}: {reason}")]
    Device {
        /// As it was asked for.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A policy could not be written for another program.
    #[error("{path}: {reason}", path = path.display())]
    Export {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A checkpoint could not be read or written.
    #[error("checkpoint {path}: {reason}", path = path.display())]
    Checkpoint {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to learn from.
    #[error("none of the {rows} rows of the pools is to be trained on")]
    Empty {
        /// Rows of the pools.
        rows: usize,
    },
    /// No run of a lesson has a period to learn from.
    #[error("no run has a period to learn from: runs are too short, or have no classic traffic")]
    NothingSeen,
    /// The loss is no number any more.
    #[error("the loss is {loss} at step {step}: lower the learning rate")]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
}

//! Experience pools: what was seen, what was done, and how it turned out.
//!
//! A pool is a Parquet file, one row per record, in the order of time within
//! an episode (one scheduler instance of one run):
//!
//! | column | type | |
//! |---|---|---|
//! | `episode` | uint32 | counts from 0; rows of an episode are contiguous |
//! | `scenario` | string | what the episode was a run of |
//! | `time_ns` | uint64 | of the decision, ns since the start of the run |
//! | `action` | uint8 | what was done: 0 enqueue, 1 drop, 2 mark |
//! | `base_action` | uint8 | what DualPI2 alone would have done |
//! | `reason` | uint8 | why, `L4S_REASON_*` |
//! | `reward` | double | bytes per µs, see [`crate::Reward`] |
//! | `done` | boolean | last row of its episode |
//! | one per [`Feature`] | double | raw, in the record's unit |
//!
//! Values are raw: scaling is fitted in training and travels with the policy.

mod columns;
mod dataset;
mod episodes;
mod join;
mod read;
mod write;

use std::path::PathBuf;

use l4sllm_abi::Record;
use parquet::errors::ParquetError;

use crate::{Feature, Reward};

pub use dataset::{Dataset, Split, Windows};
pub use episodes::{
    BehaviourFacts, EpisodeFacts, FlowFacts, Outcome, episodes_path, read_episodes, write_episodes,
};
pub use join::join;
pub use read::{Group, Pool};
pub use write::PoolWriter;

/// One record and what it earned.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Time of the decision, ns.
    pub time_ns: u64,
    /// Code of what was done.
    pub action: u8,
    /// Code of what DualPI2 alone would have done.
    pub base_action: u8,
    /// Code of the reason.
    pub reason: u8,
    /// Bytes per µs.
    pub reward: f64,
    /// In the order of [`Feature::ALL`].
    pub values: [f64; Feature::ALL.len()],
}

impl Row {
    /// The row of a record.
    pub fn new(record: &Record, reward: &Reward) -> Row {
        let mut values = [0.0; Feature::ALL.len()];
        for (value, feature) in values.iter_mut().zip(Feature::ALL) {
            *value = feature.value(record);
        }
        Row {
            time_ns: record.time_ns(),
            action: record.action() as u8,
            base_action: record.base_action() as u8,
            reason: record.reason() as u8,
            reward: reward.of(record),
            values,
        }
    }
}

/// Why a pool could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The file could not be opened, made or renamed.
    #[error("cannot {operation} pool {path}: {source}", path = path.display())]
    Io {
        /// "open", "create" or "rename".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no Parquet, or damaged.
    #[error("cannot {operation} pool {path}: {source}", path = path.display())]
    Parquet {
        /// "read" or "write".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The library's reason.
        source: ParquetError,
    },
    /// A column is missing, of the wrong type, or holds what it may not.
    #[error("pool {path}: column {column}: {reason}", path = path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
}

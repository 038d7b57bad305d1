//! Experience pools: states, actions and their rewards.
//!
//! A pool has one row per record, in order of time within an episode (one scheduler instance of
//! one run). As Parquet:
//!
//! | column | type | |
//! |---|---|---|
//! | `episode` | uint32 | counts from 0; rows of an episode are contiguous |
//! | `scenario` | string | scenario of the run, one per episode |
//! | `time_ns` | uint64 | of the decision, ns since the start of the run; decreases within an
//! episode only between windows chosen by [`Select`] |
//! | `action` | uint8 | action: 0 enqueue, 1 drop, 2 mark |
//! | `base_action` | uint8 | action of DualPI2 alone |
//! | `reason` | uint8 | reason, `L4S_REASON_*` |
//! | `reward` | double | see [`crate::Reward`]; bytes per µs by default |
//! | `done` | boolean | the episode ended with this row; a truncated episode has no such row |
//! | one per [`Feature`] | double | raw, in the record's unit ([`Feature::unit`]) |
//!
//! `time_ns`, `base_action` with `reason`, and each feature are optional columns ([`Schema`]): a
//! kernel log lacks the action of DualPI2 alone, and the authors' table also lacks times. Readers
//! request the columns they need; missing ones are named in the error. [`json`] has the same
//! columns as JSON. All numbers are finite, and those of features within [`Feature::range`],
//! regardless of the source format.
//!
//! Values are raw: scaling is fitted in training and stored with the policy.
//!
//! A [`Source`] yields [`Rows`], and a [`Sink`] consumes them; filters are
//! chained between them, and none holds more than one row group.

mod arrow_schema;
mod capture;
mod columns;
mod cost_curves;
mod dataset;
mod domain;
mod episodes;
mod error;
mod format;
mod inspect;
mod join;
pub mod json;
mod kernel_log;
mod read;
mod rows;
mod schema;
mod select;
mod source;
mod table;
mod values;
mod windows;
mod write;

use l4sllm_abi::Record;

use crate::{Feature, Reward, Rewards};

pub use capture::CaptureReader;
pub use cost_curves::{CostCurves, Tolerance};
pub use dataset::{Dataset, Episode};
pub use episodes::{
    BehaviourFacts, EpisodeFacts, FlowFacts, episodes_path, read_episodes, write_episodes,
};
pub use error::PoolError;
pub use format::{ACCEPTED, Format};
pub use inspect::{ColumnSummary, Inspection, Overlap};
pub use join::join;
pub use json::{JsonReader, JsonWriter};
pub use kernel_log::{EpisodeRule, KernelLog};
pub use read::{Group, Pool, PoolReader};
pub use rows::{Narrow, Rows};
pub use schema::Schema;
pub use select::{Select, Selection};
pub use source::{Sink, Source, open};
pub use table::{ActionCodes, CsvReader, TableOptions};
pub use windows::{Split, Windows};
pub use write::PoolWriter;

/// A record and its reward.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Time of the decision, ns.
    pub time_ns: u64,
    /// Code of the action.
    pub action: u8,
    /// Code of the action of DualPI2 alone.
    pub base_action: u8,
    /// Code of the reason.
    pub reason: u8,
    /// Reward.
    pub reward: f64,
    /// Features, in the order of [`Feature::ALL`].
    pub values: [f64; Feature::ALL.len()],
}

impl Row {
    /// The row of a single record.
    pub fn new(record: &Record, reward: &Reward) -> Row {
        Row::with_reward(record, reward.of(record))
    }

    /// The row of a record with reward `reward`.
    pub fn with_reward(record: &Record, reward: f64) -> Row {
        let mut values = [0.0; Feature::ALL.len()];
        for (value, feature) in values.iter_mut().zip(Feature::ALL) {
            *value = feature.value(record);
        }
        Row {
            time_ns: record.time_ns(),
            action: record.action() as u8,
            base_action: record.base_action() as u8,
            reason: record.reason() as u8,
            reward,
            values,
        }
    }
}

/// Recomputes rewards of rows read from a pool.
impl Rewards {
    /// Replaces the rewards of rows that follow those of the previous call.
    ///
    /// # Errors
    /// The missing feature.
    pub fn rewrite(&mut self, rows: &mut Rows, schema: &Schema) -> Result<(), Feature> {
        let need = |feature| schema.place(feature).ok_or(feature);
        let length = need(Feature::PacketLength)?;
        let delay = need(Feature::CurrentQueueDelay)?;
        let queue = match self.needs_queue() {
            true => Some(need(Feature::QueueType)?),
            false => None,
        };
        if rows.first {
            self.restart();
        }
        for i in 0..rows.len() {
            rows.reward[i] = self.next_of(
                queue.map_or(0, |queue| rows.features[queue][i] as u8),
                rows.action[i],
                rows.features[length][i],
                rows.features[delay][i],
            );
        }
        Ok(())
    }
}

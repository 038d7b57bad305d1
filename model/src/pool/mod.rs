//! Experience pools: what was seen, what was done, and how it turned out.
//!
//! A pool has one row per record, in the order of time within an episode (one
//! scheduler instance of one run).  As Parquet:
//!
//! | column | type | |
//! |---|---|---|
//! | `episode` | uint32 | counts from 0; rows of an episode are contiguous |
//! | `scenario` | string | what the episode was a run of, one for an episode |
//! | `time_ns` | uint64 | of the decision, ns since the start of the run; falls within an episode only between windows that [`Select`] took |
//! | `action` | uint8 | what was done: 0 enqueue, 1 drop, 2 mark |
//! | `base_action` | uint8 | what DualPI2 alone would have done |
//! | `reason` | uint8 | why, `L4S_REASON_*` |
//! | `reward` | double | see [`crate::Reward`]; bytes per µs by default |
//! | `done` | boolean | the episode ended with this row; one that was cut off has none |
//! | one per [`Feature`] | double | raw, in the record's unit ([`Feature::unit`]) |
//!
//! `time_ns`, `base_action` with `reason`, and each feature are columns of
//! those pools that know them ([`Schema`]): a kernel log lacks what
//! DualPI2 alone would have done, the authors' table also lacks times.  Readers ask for what they need; what is missing is named.
//! [`json`] has the same as JSON.  All numbers are finite, those of features within
//! [`Feature::range`], whatever they are read from.
//!
//! Values are raw: scaling is fitted in training and travels with the policy.
//!
//! A [`Source`] hands out [`Rows`], a [`Sink`] takes them; in between stands
//! what changes them, and nothing holds more than a row group.

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
    /// Reward.
    pub reward: f64,
    /// In the order of [`Feature::ALL`].
    pub values: [f64; Feature::ALL.len()],
}

impl Row {
    /// The row of a record that stands alone.
    pub fn new(record: &Record, reward: &Reward) -> Row {
        Row::with_reward(record, reward.of(record))
    }

    /// The row of a record that earned `reward`.
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

/// Rewards of rows that are read again.
impl Rewards {
    /// Replaces the rewards of rows that follow on those before.
    ///
    /// # Errors
    /// The feature that is missing.
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

//! Descriptions of a pool's episodes: `NAME.episodes.jsonl` next to
//! `NAME.parquet`, one JSON object per line, in the order of the episodes.
//!
//! The file is for people and for splits by scenario; it is optional.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PoolError;
use crate::files::open_regular;
use crate::{Gains, Outcome, RuleFacts};

/// One episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpisodeFacts {
    /// Its number in the pool.
    pub episode: u32,
    /// Its scenario's name in the pool.  Episodes of one condition share it.
    pub scenario: String,
    /// Rows in the pool.
    pub rows: u64,
    /// Seed of its traffic.
    pub seed: u64,
    /// Rate of the bottleneck at the beginning, bits per second.
    pub rate_bps: u64,
    /// Minimum and maximum rate, if it changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rates_bps: Option<[u64; 2]>,
    /// Round-trip time without queueing, ns.
    pub rtt_ns: u64,
    /// Traffic.
    pub flows: Vec<FlowFacts>,
    /// The behaviour.
    pub behaviour: BehaviourFacts,
    /// Its outcome, over the whole episode except the warm-up.
    pub outcome: Outcome,
}

/// Flows of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowFacts {
    /// Congestion control.
    pub cc: String,
    /// Number of flows.
    pub count: u32,
    /// Their round-trip time, ns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_ns: Option<u64>,
    /// Their rate, if any, bits per second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_bps: Option<u64>,
}

/// DualPI2's settings, and overrides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BehaviourFacts {
    /// Its name in the curriculum.
    pub name: String,
    /// Target delay, ns.
    pub target_ns: u64,
    /// Factors on RFC 9332's gains: `gain` if both are equal.
    #[serde(flatten)]
    pub gains: Gains,
    /// The controller's period, ns; 16 ms if missing in a file.
    #[serde(default = "tupdate_ns")]
    pub tupdate_ns: u64,
    /// Coupling factor k.
    pub coupling: f64,
    /// Native L4S threshold, ns.
    pub l4s_threshold_ns: u64,
    /// Whether signals were weighted by flow rates.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub flow_weights: bool,
    /// `once`, `hold` or `steer`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub noise: Option<String>,
    /// Records between two decisions of the noise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<u32>,
    /// Share of these decisions that became overrides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub share: Option<f64>,
    /// The rule that steered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<RuleFacts>,
}

fn tupdate_ns() -> u64 {
    l4sllm_abi::Params::default().tupdate_ns
}

/// Path of the file that describes a pool's episodes.
pub fn episodes_path(pool: &Path) -> PathBuf {
    pool.with_extension("episodes.jsonl")
}

/// Reads the descriptions of `pool`'s episodes; none if the file does not
/// exist.
///
/// # Errors
/// It cannot be read, or a line is not an episode's.
pub fn read_episodes(pool: &Path) -> Result<Option<Vec<EpisodeFacts>>, PoolError> {
    let path = episodes_path(pool);
    let io = PoolError::io("read", &path);
    let file = match open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut episodes = Vec::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(&io)?;
        let episode = serde_json::from_str(&line).map_err(|error| {
            let reason = format!("line {}: {error}", at + 1);
            io(std::io::Error::new(std::io::ErrorKind::InvalidData, reason))
        })?;
        episodes.push(episode);
    }
    Ok(Some(episodes))
}

/// Appends lines to a text as [`read_episodes`] reads it.
pub fn write_episodes(text: &mut Vec<u8>, episodes: &[EpisodeFacts]) {
    for episode in episodes {
        serde_json::to_writer(&mut *text, episode)
            .expect("plain structs into memory: nothing to fail");
        text.push(b'\n');
    }
}

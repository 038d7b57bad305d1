//! Pools as JSON: the published `ExperiencePool` (lists `states`, `actions`,
//! `rewards`, `dones`) and the other columns of a pool.
//!
//! ```json
//! {
//! "format": "l4sllm pool 1",
//! "features": ["queue_type", "packet_length"],
//! "states": [
//! [0, 1500],
//! [1, 52]
//! ],
//! "actions": [0, 2],
//! "rewards": [1.5, 0.052],
//! "dones": [false, true],
//! "episodes": [0, 0],
//! "times_ns": [0, 1200],
//! "base_actions": [0, 0],
//! "reasons": [0, 1],
//! "scenarios": ["paper"]
//! }
//! ```
//!
//! Each list has one element per row, `scenarios` one per episode.
//! `times_ns`, `base_actions` and `reasons` are present in pools that have
//! them. Numbers are restored exactly. For pools from other programs the first
//! four lists suffice: states of seven numbers are
//! [`Feature::PAPER7`](crate::Feature::PAPER7), states of eight
//! [`PAPER8`](crate::Feature::PAPER8); an episode ends where `dones` is true or
//! 1; the scenario is the file's name.
//!
//! Consecutive lists are awkward for files larger than memory. The writer
//! keeps each list but the first in a temporary file and appends it at the end;
//! the reader locates the lists in one pass and then reads them in parallel.

mod read;
mod text;
mod write;

pub use read::JsonReader;
pub use write::JsonWriter;

pub(super) const FORMAT: &str = "l4sllm pool 1";
const STATES: &str = "states";
const ACTIONS: &str = "actions";
const REWARDS: &str = "rewards";
const DONES: &str = "dones";
const EPISODES: &str = "episodes";
const TIMES: &str = "times_ns";
const BASE_ACTIONS: &str = "base_actions";
const REASONS: &str = "reasons";

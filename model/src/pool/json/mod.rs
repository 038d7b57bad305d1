//! Pools as JSON: the published `ExperiencePool` (lists `states`, `actions`,
//! `rewards`, `dones`), together with what else a pool holds.
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
//! Lists have an element a row, `scenarios` one an episode.  `times_ns`,
//! `base_actions` and `reasons` are there in pools that have them.  Numbers
//! come back to the bit.  Of a pool of others the first four lists suffice:
//! states of seven numbers are [`Feature::PAPER7`](crate::Feature::PAPER7), of
//! eight [`PAPER8`](crate::Feature::PAPER8), an episode ends where `dones` is
//! true or 1, its scenario is the file's name.
//!
//! One list after the other is awkward for files larger than memory.  Writing,
//! each list but the first goes to a file of its own and is appended at the
//! end; reading, the lists are found in one pass and then read side by side.

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

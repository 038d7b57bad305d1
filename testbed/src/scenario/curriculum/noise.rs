//! Overrides at random: of which kind, how often, and their limits.

use l4sllm_abi::{Action, Factors};

use super::range::Range;

/// Records between two decisions at the most: twice as many fit into the ring.
pub(super) const MAX_INTERVAL: u64 = 2000;

/// Packets that one override may hold, as in the default limits.
pub(super) const MAX_HOLD: u64 = 1000;

/// Overrides at random.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// Kind of the overrides.
    pub mode: NoiseMode,
    /// Records between two decisions.
    pub interval: Range,
    /// Share of the decisions that are taken, 0 to 1; `steer` takes all.
    pub share: Range,
}

/// Kind of random overrides.
#[derive(Debug, Clone, PartialEq)]
pub enum NoiseMode {
    /// One of the actions for the next packet.
    Once {
        /// Which.
        actions: Vec<Action>,
    },
    /// One of the actions for some packets.
    Hold {
        /// Which.
        actions: Vec<Action>,
        /// Number of packets.
        packets: Range,
    },
    /// Set-points shifted by factors, which stay for a while.
    Steer {
        /// How long, ns.
        hold_ns: Range,
        /// Factor on each set-point.
        factors: Box<Factors<Range>>,
        /// Factor on the gains that have none in `factors`.
        gain: Option<Range>,
    },
}

impl NoiseMode {
    /// Name in files.
    pub fn name(&self) -> &'static str {
        match self {
            NoiseMode::Once { .. } => "once",
            NoiseMode::Hold { .. } => "hold",
            NoiseMode::Steer { .. } => "steer",
        }
    }
}

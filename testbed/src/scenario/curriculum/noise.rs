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
    /// Of which kind.
    pub mode: NoiseMode,
    /// Records between two decisions.
    pub interval: Range,
    /// Share of the decisions that are taken, 0 to 1; `steer` takes all.
    pub share: Range,
}

/// Which overrides.
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
        /// For how many.
        packets: Range,
    },
    /// Set-points shifted by factors, which stay for a while.
    Steer {
        /// How long, ns.
        hold_ns: Range,
        /// On each set-point.
        factors: Box<Factors<Range>>,
        /// On those of the gains that have none in `factors`, the same.
        gain: Option<Range>,
    },
}

impl NoiseMode {
    /// Its name in files.
    pub fn name(&self) -> &'static str {
        match self {
            NoiseMode::Once { .. } => "once",
            NoiseMode::Hold { .. } => "hold",
            NoiseMode::Steer { .. } => "steer",
        }
    }
}

//! Random overrides: kind, frequency and limits.

use l4sllm_abi::{Action, Factors};

use super::range::Range;

/// Maximum number of records between two decisions: twice as many fit in the
/// ring.
pub(super) const MAX_INTERVAL: u64 = 2000;

/// Maximum packets of a `hold` override, as in the default limits.
pub(super) const MAX_HOLD: u64 = 1000;

/// Random overrides.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// Kind of the overrides.
    pub mode: NoiseMode,
    /// Records between two decisions.
    pub interval: Range,
    /// Share of the decisions that become overrides, 0 to 1; always 1 for
    /// `steer`.
    pub share: Range,
}

/// Kind of random overrides.
#[derive(Debug, Clone, PartialEq)]
pub enum NoiseMode {
    /// One of the actions for the next packet.
    Once {
        /// The actions.
        actions: Vec<Action>,
    },
    /// One of the actions for some packets.
    Hold {
        /// The actions.
        actions: Vec<Action>,
        /// Number of packets.
        packets: Range,
    },
    /// Set-points shifted by factors for some time.
    Steer {
        /// Duration, ns.
        hold_ns: Range,
        /// Factor on each set-point.
        factors: Box<Factors<Range>>,
        /// Factor on gains without one in `factors`.
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

//! The control socket: selects the engine of a running daemon.
//!
//! A client sends one line, `engine NAME`, and gets one line: `ok`, once the engine
//! is in force, or `error: ` and the reason.

mod client;
mod socket;

use serde::{Deserialize, Serialize};

pub use client::{ControlError, select};
pub(crate) use socket::{ControlSocket, Switch};

/// An engine that the operator can select.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The configured engine.
    #[default]
    Config,
    /// DualPI2 without overrides.
    Plain,
    /// DualPI2 with a target of 10 ms and gains × 4.
    Tuned,
    /// The adaptive rule.
    Adaptive,
    /// The policy of the configuration.
    Policy,
}

impl Choice {
    /// Every choice.
    pub const ALL: [Choice; 5] = [
        Choice::Config,
        Choice::Plain,
        Choice::Tuned,
        Choice::Adaptive,
        Choice::Policy,
    ];

    /// Its name on the socket.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Config => "config",
            Choice::Plain => "plain",
            Choice::Tuned => "tuned",
            Choice::Adaptive => "adaptive",
            Choice::Policy => "policy",
        }
    }

    /// The choice of this name.
    pub fn named(name: &str) -> Option<Choice> {
        Choice::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

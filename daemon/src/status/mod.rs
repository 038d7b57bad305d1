//! What the daemon reports of itself: one JSON object a connection to the
//! status socket.

mod client;
mod socket;

use std::path::PathBuf;

use l4sllm_model::RunsOn;
use serde::{Deserialize, Serialize};

pub use crate::metrics::{Counters, Quantiles};
pub use client::ask;
pub(crate) use socket::{Question, StatusSocket};

/// The object. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Release of the daemon.
    pub version: String,
    /// Process ID of the daemon.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// Whether there is a device.
    pub state: State,
    /// Least and greatest version of the interface that it speaks.
    pub abi: (u16, u16),
    /// The device.
    pub device: DeviceStatus,
    /// What decides.
    pub engine: EngineStatus,
    /// Records between two decisions.
    pub interval: u32,
    /// Milliseconds between two decisions on summaries; 0 where none are read.
    #[serde(default)]
    pub period_ms: u64,
    /// Life of an override, ms; 0 where the daemon does not say.
    #[serde(default)]
    pub ttl_ms: u64,
    /// Share of the link's time that may be idle, as set by the operator; none:
    /// each engine has its own.
    #[serde(default)]
    pub idle_budget: Option<f64>,
    /// Successful reloads, failed ones, and why the last one failed.
    pub reloads: Reloads,
    /// Counters.
    pub counters: Counters,
    /// Decision latency: from the record that completes an interval being
    /// readable to the override being in force.
    pub latency_us: Quantiles,
    /// The same over the last minute.
    #[serde(default)]
    pub latency_minute_us: Quantiles,
    /// Part of the latency that computing the decision takes.
    pub decision_us: Quantiles,
    /// The same over the last minute.
    #[serde(default)]
    pub decision_minute_us: Quantiles,
    /// Seconds that the decision under way has taken; 0 while there is none.
    #[serde(default)]
    pub deciding_s: f64,
}

impl Status {
    /// How often it decides, in words.
    pub fn pace(&self) -> String {
        match self.engine {
            EngineStatus::Adaptive { .. } => format!("every {} ms", self.period_ms),
            EngineStatus::Policy {
                period_ms: Some(ms),
                ..
            } => format!("every {ms} ms"),
            _ => format!("every {} records", self.interval),
        }
    }
}

/// Whether there is a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waiting for one.
    Waiting,
    /// Reading and deciding.
    Running,
}

/// The device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Path of the device.
    pub path: PathBuf,
    /// Release of the module, while a device is open.
    pub module: Option<String>,
    /// Versions of the interface that it speaks.
    pub abi: Option<(u16, u16)>,
    /// How often it was opened.
    pub opened: u64,
}

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EngineStatus {
    /// The adaptive rule.
    Adaptive {
        /// Name of its constants.
        preset: String,
    },
    /// A trained policy.
    Policy {
        /// Name of the policy.
        name: String,
        /// Directory of the policy.
        path: PathBuf,
        /// SHA-256 over its files.
        hash: String,
        /// What runs it, where the daemon says so.
        #[serde(default)]
        runs_on: Option<RunsOn>,
        /// Constants of the adaptive rule that decides while the policy fails;
        /// none where DualPI2 does.
        #[serde(default)]
        fallback: Option<String>,
        /// Length of the periods that it sees summaries of, ms; none: it sees
        /// records.
        #[serde(default)]
        period_ms: Option<u64>,
    },
    /// A fixed list of decisions.
    Script {
        /// How many.
        steps: usize,
    },
}

impl std::fmt::Display for EngineStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EngineStatus::Policy {
                name,
                path,
                hash,
                runs_on,
                ..
            } => {
                let (path, hash) = (path.display(), &hash[..hash.len().min(12)]);
                write!(f, "policy {name} in {path} ({hash})")?;
                runs_on.iter().try_for_each(|on| write!(f, ", {on}"))
            }
            EngineStatus::Adaptive { preset } => write!(f, "adaptive rule {preset}"),
            EngineStatus::Script { steps } => write!(f, "script of {steps} steps"),
        }
    }
}

/// Reloads of configuration and policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// Those that took effect.
    pub succeeded: u64,
    /// Those that left everything as it was.
    pub failed: u64,
    /// Why the last of these failed.
    pub last_error: Option<String>,
}

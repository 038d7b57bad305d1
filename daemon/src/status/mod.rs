//! Status of the daemon: one JSON object per connection to the status socket.

mod client;
mod socket;

use std::path::PathBuf;

use l4sllm_abi::{Factor, Mode, Override};
use l4sllm_model::RunsOn;
use serde::{Deserialize, Serialize};

use crate::control::Choice;
pub use crate::metrics::{Counters, Quantiles};
pub use client::ask;
pub(crate) use socket::{Question, StatusSocket};

/// The status object. Fields are never removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Release of the daemon.
    pub version: String,
    /// Process ID of the daemon.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// State of the daemon.
    pub state: State,
    /// Minimum and maximum interface version that it supports.
    pub abi: (u16, u16),
    /// The device.
    pub device: DeviceStatus,
    /// The engine.
    pub engine: EngineStatus,
    /// Records between two decisions.
    pub interval: u32,
    /// Milliseconds between two decisions on summaries; 0 if none are read.
    #[serde(default)]
    pub period_ms: u64,
    /// Lifetime of an override, ms; 0 if the daemon does not report it.
    #[serde(default)]
    pub ttl_ms: u64,
    /// Share of the link's time that may be idle, as set by the operator; none
    /// if each engine uses its own.
    #[serde(default)]
    pub idle_budget: Option<f64>,
    /// Numbers of successful and failed reloads, and the last error.
    pub reloads: Reloads,
    /// Counters.
    pub counters: Counters,
    /// Decision latency: from when the record that completes an interval is
    /// readable until the override takes effect.
    pub latency_us: Quantiles,
    /// Decision latency over the last minute.
    #[serde(default)]
    pub latency_minute_us: Quantiles,
    /// Part of the latency spent computing the decision.
    pub decision_us: Quantiles,
    /// That part over the last minute.
    #[serde(default)]
    pub decision_minute_us: Quantiles,
    /// Duration of the current decision so far, s; 0 if none is in progress.
    #[serde(default)]
    pub deciding_s: f64,
    /// The last override of set-points that the device accepted, until it expires.
    #[serde(default)]
    pub in_force: Option<InForce>,
    /// The flight recorder, if it is on.
    #[serde(default)]
    pub recorder: Option<RecorderStatus>,
    /// The selection of engines, if the control socket is on.
    #[serde(default)]
    pub control: Option<ControlStatus>,
    /// The connection to a server, if the engine has one.
    #[serde(default)]
    pub remote: Option<RemoteStatus>,
}

impl Status {
    /// The decision interval, in words.
    pub fn pace(&self) -> String {
        match self.engine {
            EngineStatus::Adaptive { .. } | EngineStatus::Fixed { .. } => {
                format!("every {} ms", self.period_ms)
            }
            EngineStatus::Policy {
                period_ms: Some(ms),
                ..
            }
            | EngineStatus::Remote {
                period_ms: Some(ms),
                ..
            } => format!("every {ms} ms"),
            _ => format!("every {} records", self.interval),
        }
    }
}

/// Factors on DualPI2's set-points that are in force; none: unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// The scheduler.
    pub sched: u32,
    /// Its instance.
    pub instance: u32,
    /// Factor on the target delay.
    pub target: Option<f64>,
    /// Factor on the native L4S threshold.
    pub threshold: Option<f64>,
    /// Factor on the coupling factor k.
    pub coupling: Option<f64>,
    /// Factor on the integral gain.
    pub alpha: Option<f64>,
    /// Factor on the proportional gain.
    pub beta: Option<f64>,
    /// Factor on the controller's period.
    pub tupdate: Option<f64>,
    /// Time until it expires, s.
    pub expires_s: f64,
}

impl InForce {
    /// The factors of an override; `None` if it has none, or has expired.
    pub(crate) fn of(order: &Override, now_ns: u64) -> Option<InForce> {
        let Mode::Steer(steer) = order.mode else {
            return None;
        };
        let left = order.expires_ns.checked_sub(now_ns)?;
        let value = |factor: Option<Factor>| factor.map(|f| f64::from(f.q16()) / 65_536.0);
        let factors = steer.factors();
        Some(InForce {
            sched: order.sched,
            instance: order.instance,
            target: value(factors.target),
            threshold: value(factors.threshold),
            coupling: value(factors.coupling),
            alpha: value(factors.alpha),
            beta: value(factors.beta),
            tupdate: value(factors.tupdate),
            expires_s: left as f64 / 1e9,
        })
    }
}

/// The flight recorder, since the daemon's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecorderStatus {
    /// Frames written.
    pub frames: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Frames not written, because the disk was too slow or failed.
    pub lost: u64,
    /// Failed writes, as on a full disk.
    pub failures: u64,
}

/// The connection to a server, since the engine was loaded.
///
/// Always true: `requests = answered + late + invalid + failed + abandoned + waiting`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteStatus {
    /// Whether the server is connected, and has the policy's tensors.
    pub connected: bool,
    /// Requests sent.
    pub requests: u64,
    /// Valid answers in time.
    pub answered: u64,
    /// Valid answers after their deadline, dropped.
    pub late: u64,
    /// Invalid answers: wrong tensors or values.
    pub invalid: u64,
    /// Requests that ended with an error of the server or the connection.
    pub failed: u64,
    /// Requests cancelled without an answer.
    pub abandoned: u64,
    /// Requests in flight.
    pub waiting: u64,
    /// Deadlines missed, whatever became of the request.
    pub missed: u64,
    /// Intervals for which no request was sent.
    pub unsent: u64,
    /// Connections made.
    pub connects: u64,
    /// Failed attempts to connect.
    pub refused: u64,
}

/// The selection of engines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// Path of the control socket.
    pub socket: PathBuf,
    /// The engine in force.
    pub selected: Choice,
    /// Engines that can be selected.
    pub available: Vec<Choice>,
}

/// State of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waiting for a device.
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
    /// Interface versions that it supports.
    pub abi: Option<(u16, u16)>,
    /// Number of times it was opened.
    pub opened: u64,
}

/// An engine.
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
        /// Engine that runs it, if reported.
        #[serde(default)]
        runs_on: Option<RunsOn>,
        /// Preset of the adaptive rule that decides while the policy fails;
        /// none if DualPI2 does.
        #[serde(default)]
        fallback: Option<String>,
        /// Length of its periods of summaries, ms; none for a policy on
        /// records.
        #[serde(default)]
        period_ms: Option<u64>,
    },
    /// A server's policy.
    Remote {
        /// Name of the policy.
        name: String,
        /// Directory of its configuration.
        path: PathBuf,
        /// The server.
        url: String,
        /// The server's name of the model.
        model: String,
        /// Name of the policy that decides while the server does not.
        local: Option<String>,
        /// Preset of the adaptive rule that decides while neither does; none if
        /// DualPI2 does.
        fallback: Option<String>,
        /// Length of its periods of summaries, ms; none for a policy on records.
        period_ms: Option<u64>,
    },
    /// A fixed list of decisions.
    Script {
        /// Number of steps.
        steps: usize,
    },
    /// DualPI2 with fixed set-points.
    Fixed {
        /// `plain`: no overrides; `tuned`: a target of 10 ms and gains × 4.
        profile: String,
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
            EngineStatus::Remote {
                name, url, model, ..
            } => write!(f, "policy {name}, model {model} of {url}"),
            EngineStatus::Adaptive { preset } => write!(f, "adaptive rule {preset}"),
            EngineStatus::Script { steps } => write!(f, "script of {steps} steps"),
            EngineStatus::Fixed { profile } => write!(f, "{profile} DualPI2"),
        }
    }
}

/// Reloads of configuration and policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// Successful reloads.
    pub succeeded: u64,
    /// Failed reloads, which changed nothing.
    pub failed: u64,
    /// The last error.
    pub last_error: Option<String>,
}

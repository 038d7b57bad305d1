//! Configuration: a TOML file, checked completely before anything starts.
//!
//! Every error names the file, the line, the key and what was expected. The
//! installed sample file documents each key.

mod check;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use l4sllm_abi::Limits;
use l4sllm_model::EngineOptions;

use crate::engine::{Input, Preset, Profile, Step};
use crate::files::Files;
use crate::pipeline::PipelineConfig;

pub use check::ConfigError;

/// Default path of the configuration.
pub const DEFAULT_PATH: &str = if cfg!(target_os = "freebsd") {
    "/usr/local/etc/l4sllmd.toml"
} else {
    "/etc/l4sllmd.toml"
};

/// Default path of the status socket, in the sample configuration and in
/// clients. Its directory is owned by the service's user, which may not write to
/// the parent directory.
pub const DEFAULT_SOCKET: &str = if cfg!(target_os = "freebsd") {
    "/var/run/l4sllmd/status.sock"
} else {
    "/run/l4sllmd/status.sock"
};

/// Default path of the control socket.
pub const DEFAULT_CONTROL: &str = if cfg!(target_os = "freebsd") {
    "/var/run/l4sllmd/control.sock"
} else {
    "/run/l4sllmd/control.sock"
};

/// Default address of the metrics endpoint: this host only.
pub const DEFAULT_METRICS: &str = "127.0.0.1:9594";

/// Maximum size of a configuration, bytes; the sample has about 4000.
const MOST_BYTES: u64 = 1 << 20;

/// The content of the file, with defaults filled in and ranges checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Whether to sandbox the daemon after startup.
    pub sandbox: bool,
    /// The device, and what to do if it is missing.
    pub device: DeviceConfig,
    /// The handling of decisions.
    pub pipeline: PipelineConfig,
    /// The engine.
    pub engine: EngineConfig,
    /// Limits to set on the device.
    pub limits: LimitsConfig,
    /// The status socket.
    pub status: Option<StatusConfig>,
    /// The control socket.
    pub control: Option<ControlConfig>,
    /// `[metrics]`: the address of the metrics endpoint.
    pub metrics: Option<SocketAddr>,
    /// The flight recorder.
    pub recorder: Option<RecorderConfig>,
    /// The log.
    pub log: LogConfig,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a key that is unknown, of
    /// the wrong type or out of its range.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::load_from(&Files::by_path(), path)
    }

    /// Reads and checks a file through `files`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(files: &Files, path: &Path) -> Result<Config, ConfigError> {
        let text = files.read_text(path, MOST_BYTES);
        let text = text.map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        Config::parse(path, &text)
    }

    /// Checks the text of a file; `path` is for errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        check::config(path, text)
    }
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Character device or socket.
    pub kind: DeviceKind,
    /// Path of the device.
    pub path: PathBuf,
    /// Whether to wait for a device that is missing at startup; otherwise exit.
    pub wait_missing: bool,
    /// Whether to reopen a device that disappeared; otherwise exit.
    pub reconnect: bool,
    /// Pause before the first retry, and maximum pause.
    pub retry: (Duration, Duration),
    /// Timeout of a request.
    pub timeout: Duration,
    /// Number of consecutive torn reads after which the device is abandoned.
    pub max_torn_reads: u32,
    /// When to wake for records.
    pub wake: Wake,
}

impl DeviceConfig {
    /// Configuration for a program that queries a device once without
    /// controlling it.
    pub fn observer(kind: DeviceKind, path: PathBuf) -> DeviceConfig {
        let second = Duration::from_secs(1);
        DeviceConfig {
            kind,
            path,
            wait_missing: false,
            reconnect: false,
            retry: (second, second),
            timeout: second,
            max_torn_reads: 1,
            wake: Wake::Interval,
        }
    }
}

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `/dev/l4sllm`.
    Character,
    /// The Unix socket of an emulated device.
    Socket,
}

/// When to wake for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// One record before a decision is due, and when it is due: all but the
    /// newest record are processed in advance.
    Early,
    /// When a decision is due: half the wake-ups, later decisions.
    Interval,
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq)]
pub enum EngineConfig {
    /// The adaptive rule.
    Adaptive(Preset),
    /// A trained policy.
    Policy {
        /// Its directory.
        path: PathBuf,
        /// The engine that runs it.
        engine: EngineOptions,
        /// Random seed for policies that draw their actions.
        seed: u64,
        /// The rule that decides while the policy fails; `None`: DualPI2.
        fallback: Option<Preset>,
    },
    /// A server's policy.
    Remote(Box<RemoteConfig>),
    /// A fixed list of decisions.
    Script(Vec<Step>),
    /// Fixed set-points. No configuration has them; the operator can select them.
    Fixed(Profile),
}

/// `[engine.remote]`: a server that decides, and what decides while it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Directory with the policy's configuration.
    pub policy: PathBuf,
    /// Random seed for policies that draw their actions.
    pub seed: u64,
    /// The rule that decides if server and local policy both fail; `None`: DualPI2.
    pub fallback: Option<Preset>,
    /// Directory of the policy that decides while the server does not.
    pub local_policy: Option<PathBuf>,
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: String,
    /// Name of the server's model; `None`: the policy's.
    pub model: Option<String>,
    /// Time for an answer; `None`: the policy's period, or 1 s on records. The end of
    /// the next interval is a deadline in any case.
    pub deadline: Option<Duration>,
    /// Certificates that sign the server's, PEM.
    pub ca_file: Option<PathBuf>,
    /// A bearer token.
    pub token_file: Option<PathBuf>,
    /// Pause before the first attempt to reconnect, and maximum pause.
    pub retry: (Duration, Duration),
}

impl EngineConfig {
    /// Input of its engines.
    pub fn input(&self) -> Input {
        match self {
            EngineConfig::Adaptive(_) | EngineConfig::Fixed(_) => Input::Summaries,
            EngineConfig::Policy {
                fallback: Some(_), ..
            } => Input::Both,
            EngineConfig::Remote(remote) if remote.fallback.is_some() => Input::Both,
            EngineConfig::Policy { fallback: None, .. }
            | EngineConfig::Remote(_)
            | EngineConfig::Script(_) => Input::Records,
        }
    }
}

/// `[limits]`: limits that replace the device's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// See [`Limits::ceiling_ns`].
    pub ceiling_ns: Option<u64>,
    /// See [`Limits::max_ttl_ns`].
    pub max_ttl_ns: Option<u64>,
    /// See [`Limits::watchdog_ns`].
    pub watchdog_ns: Option<u64>,
    /// See [`Limits::max_hold`].
    pub max_hold: Option<u32>,
    /// See [`Limits::drop_share`].
    pub drop_share: Option<u32>,
    /// See [`Limits::mark_share`].
    pub mark_share: Option<u32>,
    /// See [`Limits::factor_min`].
    pub factor_min: Option<u32>,
    /// See [`Limits::factor_max`].
    pub factor_max: Option<u32>,
    /// See [`Limits::gain_min`].
    pub gain_min: Option<u32>,
    /// See [`Limits::gain_max`].
    pub gain_max: Option<u32>,
}

impl LimitsConfig {
    /// `device`'s limits with the given ones replaced.
    pub fn over(&self, device: Limits) -> Limits {
        Limits {
            ceiling_ns: self.ceiling_ns.unwrap_or(device.ceiling_ns),
            max_ttl_ns: self.max_ttl_ns.unwrap_or(device.max_ttl_ns),
            watchdog_ns: self.watchdog_ns.unwrap_or(device.watchdog_ns),
            max_hold: self.max_hold.unwrap_or(device.max_hold),
            drop_share: self.drop_share.unwrap_or(device.drop_share),
            mark_share: self.mark_share.unwrap_or(device.mark_share),
            factor_min: self.factor_min.unwrap_or(device.factor_min),
            factor_max: self.factor_max.unwrap_or(device.factor_max),
            gain_min: self.gain_min.unwrap_or(device.gain_min),
            gain_max: self.gain_max.unwrap_or(device.gain_max),
        }
    }
}

/// `[status]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusConfig {
    /// Path of the socket; default [`DEFAULT_SOCKET`].
    pub socket: PathBuf,
    /// Its file mode.
    pub mode: u32,
}

/// `[control]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// Path of the socket; default [`DEFAULT_CONTROL`].
    pub socket: PathBuf,
    /// Its file mode.
    pub mode: u32,
    /// The policy that can be selected if `[engine]` has none.
    pub policy: Option<PathBuf>,
}

/// `[recorder]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Directory of its files.
    pub directory: PathBuf,
    /// Maximum size of all files, bytes.
    pub bytes: u64,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// The lowest level that is written.
    pub level: tracing::Level,
    /// Whether to write one JSON object per line instead of text.
    pub json: bool,
}

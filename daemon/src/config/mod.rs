//! Configuration: a TOML file, checked completely before anything starts.
//!
//! Every error names the file, the line, the key and what was expected. The sample file
//! that is installed with the program documents each key.

mod check;

use std::path::{Path, PathBuf};
use std::time::Duration;

use l4sllm_abi::Limits;
use l4sllm_model::EngineOptions;

use crate::engine::{Input, Preset, Step};
use crate::files::Files;
use crate::pipeline::PipelineConfig;

pub use check::ConfigError;

/// Where the configuration is unless `-c` says otherwise.
pub const DEFAULT_PATH: &str = if cfg!(target_os = "freebsd") {
    "/usr/local/etc/l4sllmd.toml"
} else {
    "/etc/l4sllmd.toml"
};

/// Where the sample configuration puts the status socket and clients look for
/// it: a directory of the service's user, who may not write to its parent.
pub const DEFAULT_SOCKET: &str = if cfg!(target_os = "freebsd") {
    "/var/run/l4sllmd/status.sock"
} else {
    "/run/l4sllmd/status.sock"
};

/// Longest configuration that is read, bytes; the sample has four thousand.
const MOST_BYTES: u64 = 1 << 20;

/// What the file says, with defaults filled in and ranges checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Whether to sandbox the daemon after startup.
    pub sandbox: bool,
    /// The device and what to do when there is none.
    pub device: DeviceConfig,
    /// What is done with decisions.
    pub pipeline: PipelineConfig,
    /// What makes decisions.
    pub engine: EngineConfig,
    /// Limits to set on the device.
    pub limits: LimitsConfig,
    /// Where counters can be read.
    pub status: Option<StatusConfig>,
    /// What is logged.
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

    /// The same through `files`.
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
    /// Its path.
    pub path: PathBuf,
    /// Wait for a device that is missing at start; else exit.
    pub wait_missing: bool,
    /// Open a device again that went away; else exit.
    pub reconnect: bool,
    /// Pause before the first and the longest before later attempts.
    pub retry: (Duration, Duration),
    /// A request that takes longer has failed.
    pub timeout: Duration,
    /// Torn reads in a row after which the device is given up.
    pub max_torn_reads: u32,
    /// When to wake for records.
    pub wake: Wake,
}

impl DeviceConfig {
    /// For a program that looks at a device once and does not control it.
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

/// What a device is.
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
    /// newest record are computed before it is there.
    Early,
    /// When a decision is due: half the wake-ups, a later decision.
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
        /// What runs it.
        engine: EngineOptions,
        /// For policies that draw their actions at random.
        seed: u64,
        /// The rule that decides while the policy fails; `None`: DualPI2 does.
        fallback: Option<Preset>,
    },
    /// A fixed list of decisions.
    Script(Vec<Step>),
}

impl EngineConfig {
    /// What its engines decide from.
    pub fn input(&self) -> Input {
        match self {
            EngineConfig::Adaptive(_) => Input::Summaries,
            EngineConfig::Policy {
                fallback: Some(_), ..
            } => Input::Both,
            EngineConfig::Policy { fallback: None, .. } | EngineConfig::Script(_) => Input::Records,
        }
    }
}

/// `[limits]`: those given replace the device's.
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
    /// `device`'s limits with those given in their place.
    pub fn over(&self, device: Limits) -> Limits {
        Limits {
            ceiling_ns: self.ceiling_ns.unwrap_or(device.ceiling_ns),
            max_ttl_ns: self.max_ttl_ns.unwrap_or(device.max_ttl_ns),
            watchdog_ns: self.watchdog_ns.unwrap_or(device.watchdog_ns),
            max_hold: self.max_hold.unwrap_or(device.max_hold),
            drop_share: self.drop_share.unwrap_or(device.drop_share),
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
    /// The socket; [`DEFAULT_SOCKET`] unless the section names another.
    pub socket: PathBuf,
    /// Its file mode.
    pub mode: u32,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important level that is written.
    pub level: tracing::Level,
    /// One JSON object a line; else text.
    pub json: bool,
}

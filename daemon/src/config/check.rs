//! From the file to what it means: unknown keys, types, ranges.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use l4sllm_abi::{Action, Factor, Steer};
use l4sllm_model::{EngineKind, EngineOptions, Precision};
use toml::Value;

use super::file::{self, File, keys};
use super::{
    Config, DEFAULT_SOCKET, DeviceConfig, DeviceKind, EngineConfig, LimitsConfig, LogConfig,
    StatusConfig, Wake,
};
use crate::apply::{OverrideMode, Scope};
use crate::engine::{Decision, Step};
use crate::pipeline::PipelineConfig;

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("configuration {path}: cannot read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("configuration {path}: not TOML: {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A key that no section has.
    #[error("configuration {path}: {key}: no such key{hint}", path = path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key with its section.
        key: String,
        /// The key that was perhaps meant, or all there are.
        hint: String,
    },
    /// A value of the wrong type, out of its range, or missing.
    #[error("configuration {path}: {key}: {reason}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key with its section.
        key: String,
        /// What is there and what was expected.
        reason: String,
    },
}

const HOUR_MS: u64 = 3_600_000;

pub(super) fn config(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| ConfigError::Syntax {
            path: path.into(),
            reason: e.to_string().trim_end().to_owned(),
        })?;
    unknown_keys(path, "", &table)?;
    let file: File =
        serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| ConfigError::Value {
            path: path.into(),
            key: e.path().to_string(),
            reason: e
                .inner()
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        })?;
    let checker = Checker { path };
    Ok(Config {
        sandbox: file.sandbox.unwrap_or(cfg!(target_os = "freebsd")),
        device: checker.device(file.device.unwrap_or_default())?,
        pipeline: checker.pipeline(file.pipeline.unwrap_or_default())?,
        engine: checker.engine(file.engine.unwrap_or_default())?,
        limits: checker.limits(file.limits.unwrap_or_default())?,
        status: checker.status(file.status)?,
        log: log(file.log.unwrap_or_default()),
    })
}

fn unknown_keys(path: &Path, section: &str, table: &toml::Table) -> Result<(), ConfigError> {
    let Some(known) = keys(section) else {
        return Ok(());
    };
    for (key, value) in table {
        let full = if section.is_empty() {
            key.clone()
        } else {
            format!("{section}.{key}")
        };
        if !known.contains(&key.as_str()) {
            let hint = similar(key, known).map_or_else(
                || format!(" (there are: {})", known.join(", ")),
                |near| format!("; did you mean `{near}'?"),
            );
            return Err(ConfigError::UnknownKey {
                path: path.into(),
                key: full,
                hint,
            });
        }
        match value {
            Value::Table(inner) => unknown_keys(path, &full, inner)?,
            Value::Array(items) => {
                for inner in items.iter().filter_map(Value::as_table) {
                    unknown_keys(path, &full, inner)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn similar(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let likeness = |k: &str| strsim::jaro_winkler(key, k);
    let near = known
        .iter()
        .copied()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(near) > 0.8).then_some(near)
}

/// Checks sections of one file.
struct Checker<'a> {
    path: &'a Path,
}

impl Checker<'_> {
    fn device(&self, d: file::Device) -> Result<DeviceConfig, ConfigError> {
        let (kind, path) = match (d.path, d.socket) {
            (Some(_), Some(_)) => {
                return Err(self.value(
                    "device.socket",
                    "only one of `path' and `socket' may be given",
                ));
            }
            (None, Some(socket)) => (DeviceKind::Socket, socket),
            (path, None) => (
                DeviceKind::Character,
                path.unwrap_or_else(|| "/dev/l4sllm".into()),
            ),
        };
        let least = self.within("device.retry_min_ms", d.retry_min_ms, 100, 1, HOUR_MS)?;
        let most = self.within(
            "device.retry_max_ms",
            d.retry_max_ms,
            least.max(10_000),
            least,
            HOUR_MS,
        )?;
        let timeout = self.within(
            "device.request_timeout_ms",
            d.request_timeout_ms,
            1000,
            1,
            HOUR_MS,
        )?;
        let torn = d.max_torn_reads.map(u64::from);
        Ok(DeviceConfig {
            kind,
            path,
            wait_missing: d.on_missing == Some(file::OnMissing::Wait),
            reconnect: d.on_gone != Some(file::OnGone::Exit),
            retry: (Duration::from_millis(least), Duration::from_millis(most)),
            timeout: Duration::from_millis(timeout),
            max_torn_reads: self.within("device.max_torn_reads", torn, 8, 1, 1 << 20)? as u32,
            wake: match d.wake {
                None | Some(file::Wake::Early) => Wake::Early,
                Some(file::Wake::Interval) => Wake::Interval,
            },
        })
    }

    fn pipeline(&self, p: file::Pipeline) -> Result<PipelineConfig, ConfigError> {
        let base = PipelineConfig::default();
        let hold = self.count("pipeline.hold", p.hold, 1, u32::MAX)?;
        let mode = match p.mode {
            Some(file::Mode::Hold) => OverrideMode::Hold(hold),
            None | Some(file::Mode::Once) if p.hold.is_some() => {
                return Err(self.value("pipeline.hold", "only with mode = \"hold\""));
            }
            None | Some(file::Mode::Once) => OverrideMode::Once,
        };
        let ttl_ms = base.ttl_ns / 1_000_000;
        let instances = p.max_instances.map(u64::from);
        Ok(PipelineConfig {
            interval: self.count("pipeline.interval", p.interval, base.interval.get(), 65_536)?,
            mode,
            queue: match p.queue {
                None | Some(file::Queue::Same) => Scope::Same,
                Some(file::Queue::Any) => Scope::Any,
            },
            ttl_ns: 1_000_000 * self.within("pipeline.ttl_ms", p.ttl_ms, ttl_ms, 1, HOUR_MS)?,
            max_instances: self.within(
                "pipeline.max_instances",
                instances,
                base.max_instances as u64,
                1,
                65_536,
            )? as usize,
        })
    }

    fn engine(&self, e: file::Engine) -> Result<EngineConfig, ConfigError> {
        match (e.policy, e.script) {
            (Some(path), None) => {
                // What asks for an engine that this build has not.
                for (key, asks) in [
                    ("engine.engine", e.engine == Some(EngineKind::Libtorch)),
                    (
                        "engine.device",
                        e.device.as_ref().is_some_and(|d| d != "cpu"),
                    ),
                    ("engine.precision", e.precision == Some(Precision::Bf16)),
                ] {
                    if let (true, Err(error)) = (asks, EngineKind::Libtorch.check_built()) {
                        return Err(self.value(key, &error.to_string()));
                    }
                }
                Ok(EngineConfig::Policy {
                    path,
                    engine: EngineOptions {
                        engine: e.engine,
                        device: e.device,
                        precision: e.precision,
                        ..EngineOptions::default()
                    },
                    seed: e.seed.unwrap_or(0),
                })
            }
            (None, Some(script)) => {
                for (key, given) in [
                    ("engine.engine", e.engine.is_some()),
                    ("engine.device", e.device.is_some()),
                    ("engine.precision", e.precision.is_some()),
                    ("engine.seed", e.seed.is_some()),
                ] {
                    if given {
                        return Err(self.value(key, "only with a policy"));
                    }
                }
                let steps = script
                    .iter()
                    .enumerate()
                    .map(|(i, step)| self.step(i, step));
                steps.collect::<Result<_, _>>().map(EngineConfig::Script)
            }
            (Some(_), Some(_)) => Err(self.value(
                "engine.script",
                "only one of `policy' and `script' may be given",
            )),
            (None, None) => Err(self.value(
                "engine.policy",
                "missing: the directory of a policy is needed (or a script)",
            )),
        }
    }

    fn step(&self, index: usize, step: &file::ScriptStep) -> Result<Step, ConfigError> {
        let key = |name: &str| format!("engine.script[{index}].{name}");
        let at_ms = step
            .at_ms
            .ok_or_else(|| self.value(&key("at_ms"), "missing: ms after the first record"))?;
        let factor = |name: &str, value: Option<f64>| {
            value
                .map(Factor::new)
                .transpose()
                .map_err(|_| self.value(&key(name), "expected a factor above 0 and below 65536"))
        };
        let steer = Steer::new(
            factor("target", step.target)?,
            factor("threshold", step.threshold)?,
            factor("coupling", step.coupling)?,
            factor("gain", step.gain)?,
        );
        let decision = match (step.action, steer) {
            (Some(action), Err(_)) => {
                let action = match action {
                    file::Action::Enqueue => Action::Enqueue,
                    file::Action::Drop => Action::Drop,
                    file::Action::Mark => Action::Mark,
                };
                let mut probabilities = [0.0; 3];
                probabilities[action.index()] = 1.0;
                Decision::Action {
                    action,
                    probabilities,
                }
            }
            (None, Ok(steer)) => Decision::Steer(steer),
            (Some(_), Ok(_)) => {
                return Err(self.value(&key("action"), "not together with factors"));
            }
            (None, Err(_)) => {
                return Err(self.value(
                    &key("action"),
                    "missing: an action, or at least one of target, threshold, coupling, gain",
                ));
            }
        };
        Ok(Step {
            at_ns: at_ms.saturating_mul(1_000_000),
            decision,
        })
    }

    fn limits(&self, l: file::Limits) -> Result<LimitsConfig, ConfigError> {
        let ms = |key: &str, given: Option<u64>, least: u64| {
            given
                .map(|given| Ok(1_000_000 * self.within(key, Some(given), 0, least, HOUR_MS)?))
                .transpose()
        };
        // The device has the exact ranges; these keep Q16 meaningful.
        let q16 = |key: &str, given: Option<f64>, least: f64, most: f64| {
            let Some(given) = given else { return Ok(None) };
            if !(least..=most).contains(&given) {
                return Err(self.value(key, &format!("{given}: expected {least} to {most}")));
            }
            Ok(Some((given * 65_536.0).round() as u32))
        };
        Ok(LimitsConfig {
            ceiling_ns: ms("limits.ceiling_ms", l.ceiling_ms, 1)?,
            max_ttl_ns: ms("limits.max_ttl_ms", l.max_ttl_ms, 1)?,
            watchdog_ns: ms("limits.watchdog_ms", l.watchdog_ms, 0)?,
            max_hold: l
                .max_hold
                .map(|n| self.count("limits.max_hold", Some(n), 1, u32::MAX))
                .transpose()?
                .map(NonZeroU32::get),
            drop_share: q16("limits.drop_share", l.drop_share, 0.0, 1.0)?,
            factor_min: q16("limits.factor_min", l.factor_min, 0.001, 1.0)?,
            factor_max: q16("limits.factor_max", l.factor_max, 1.0, 1000.0)?,
        })
    }

    fn status(&self, s: Option<file::Status>) -> Result<Option<StatusConfig>, ConfigError> {
        let Some(s) = s else { return Ok(None) };
        let socket = s.socket.unwrap_or_else(|| DEFAULT_SOCKET.into());
        let mode = s.mode.as_deref().unwrap_or("0660");
        let mode = u32::from_str_radix(mode, 8)
            .ok()
            .filter(|m| *m <= 0o777)
            .ok_or_else(|| self.value("status.mode", "expected octal digits, as in \"0660\""))?;
        Ok(Some(StatusConfig { socket, mode }))
    }

    fn count(
        &self,
        key: &str,
        given: Option<u32>,
        default: u32,
        most: u32,
    ) -> Result<NonZeroU32, ConfigError> {
        let value = self.within(key, given.map(u64::from), default.into(), 1, most.into())?;
        Ok(NonZeroU32::new(value as u32).expect("at least 1"))
    }

    fn within(
        &self,
        key: &str,
        given: Option<u64>,
        default: u64,
        least: u64,
        most: u64,
    ) -> Result<u64, ConfigError> {
        match given {
            None => Ok(default),
            Some(value) if (least..=most).contains(&value) => Ok(value),
            Some(value) => Err(self.value(key, &format!("{value}: expected {least} to {most}"))),
        }
    }

    fn value(&self, key: &str, reason: &str) -> ConfigError {
        ConfigError::Value {
            path: self.path.into(),
            key: key.into(),
            reason: reason.into(),
        }
    }
}

fn log(l: file::Log) -> LogConfig {
    LogConfig {
        level: match l.level {
            Some(file::Level::Error) => tracing::Level::ERROR,
            Some(file::Level::Warn) => tracing::Level::WARN,
            None | Some(file::Level::Info) => tracing::Level::INFO,
            Some(file::Level::Debug) => tracing::Level::DEBUG,
            Some(file::Level::Trace) => tracing::Level::TRACE,
        },
        json: l.format == Some(file::Format::Json),
    }
}

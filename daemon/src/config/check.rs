//! Checks and interprets the file: every key with its range and default.

mod remote;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use l4sllm_abi::{Action, Factor, Factors, Steer};
use l4sllm_model::strict_toml::{Field, Section, Source, TomlError};
use l4sllm_model::text::shown;
use l4sllm_model::{EngineKind, EngineOptions, IdleBudget, Precision};

use super::{
    Config, ControlConfig, DEFAULT_CONTROL, DEFAULT_METRICS, DEFAULT_SOCKET, DeviceConfig,
    DeviceKind, EngineConfig, LimitsConfig, LogConfig, RecorderConfig, StatusConfig, Wake,
};
use crate::apply::{OverrideMode, Scope};
use crate::engine::{Decision, Preset, Step};
use crate::os_error::explain;
use crate::pipeline::PipelineConfig;

/// An error in a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("configuration {}: cannot read: {}", shown(path), explain(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not TOML, or a key is unknown, missing or out of range.
    #[error("configuration {0}")]
    Toml(#[from] TomlError),
}

type Result<T> = std::result::Result<T, TomlError>;

const HOUR_MS: u64 = 3_600_000;
const MS: u64 = 1_000_000;

pub(super) fn config(path: &Path, text: &str) -> std::result::Result<Config, ConfigError> {
    Ok(Source { path, text }.read(read)?)
}

fn read(mut section: Section<'_>) -> Result<Config> {
    let sandbox = section.field("sandbox").map(|field| field.boolean());
    let device = table(&mut section, "device", device)?;
    let (mut pipeline, ends_early) = table(&mut section, "pipeline", pipeline)?;
    let mut idle_budget = None;
    let engine = table(&mut section, "engine", |section| {
        idle_budget = self::idle_budget(section)?;
        engine(section)
    });
    let limits = table(&mut section, "limits", limits)?;
    let status = match section.field("status") {
        Some(field) => Some(within(field.section()?, status)?),
        None => None,
    };
    let control = match section.field("control") {
        Some(field) => Some(within(field.section()?, control)?),
        None => None,
    };
    let metrics = match section.field("metrics") {
        Some(field) => Some(within(field.section()?, metrics)?),
        None => None,
    };
    let recorder = match section.field("recorder") {
        Some(field) => Some(within(field.section()?, recorder)?),
        None => None,
    };
    let log = table(&mut section, "log", log)?;
    let sandboxed = section.error(
        "sandbox",
        "expected sandbox = false with engine \"remote\": a sandbox forbids connections to servers",
    );
    section.finish()?;
    // Checked after unknown sections, because one of them may be a misspelling
    // of this one.
    let engine = engine?;
    pipeline.input = engine.input();
    pipeline.idle_budget = idle_budget;
    if pipeline.ends_early() {
        return Err(ends_early);
    }
    let sandbox = sandbox.transpose()?.unwrap_or(cfg!(target_os = "freebsd"));
    if sandbox && matches!(engine, EngineConfig::Remote(_)) {
        return Err(sandboxed);
    }
    Ok(Config {
        sandbox,
        device,
        pipeline,
        engine,
        limits,
        status,
        control,
        metrics,
        recorder,
        log,
    })
}

/// Reads the table `key`, or an empty table if it is missing.
fn table<T>(
    section: &mut Section<'_>,
    key: &'static str,
    read: impl FnOnce(&mut Section<'_>) -> Result<T>,
) -> Result<T> {
    within(section.table(key)?, read)
}

/// Reads a table completely: remaining keys are unknown.
fn within<T>(
    mut section: Section<'_>,
    read: impl FnOnce(&mut Section<'_>) -> Result<T>,
) -> Result<T> {
    let value = read(&mut section)?;
    section.finish()?;
    Ok(value)
}

fn device(section: &mut Section<'_>) -> Result<DeviceConfig> {
    let (kind, path) = match (section.field("path"), section.field("socket")) {
        (Some(_), Some(socket)) => {
            return Err(socket.error("only one of `path' and `socket' may be given"));
        }
        (None, Some(socket)) => (DeviceKind::Socket, socket.text()?.into()),
        (Some(path), None) => (DeviceKind::Character, path.text()?.into()),
        (None, None) => (DeviceKind::Character, "/dev/l4sllm".into()),
    };
    let wait = choice(section, "on_missing", &[("exit", false), ("wait", true)])?;
    let reconnect = choice(section, "on_gone", &[("reconnect", true), ("exit", false)])?;
    let least = whole(section, "retry_min_ms", 100, 1, HOUR_MS)?;
    let most = whole(section, "retry_max_ms", least.max(10_000), least, HOUR_MS)?;
    let timeout = whole(section, "request_timeout_ms", 1000, 1, HOUR_MS)?;
    Ok(DeviceConfig {
        kind,
        path,
        wait_missing: wait,
        reconnect,
        retry: (Duration::from_millis(least), Duration::from_millis(most)),
        timeout: Duration::from_millis(timeout),
        max_torn_reads: whole(section, "max_torn_reads", 8, 1, 1 << 20)? as u32,
        wake: choice(
            section,
            "wake",
            &[("early", Wake::Early), ("interval", Wake::Interval)],
        )?,
    })
}

/// The table, and the error to report if [`PipelineConfig::ends_early`], which
/// depends on the engine.
fn pipeline(section: &mut Section<'_>) -> Result<(PipelineConfig, TomlError)> {
    let base = PipelineConfig::default();
    let modes = [("once", false), ("hold", true)];
    let mode = match (choice(section, "mode", &modes)?, section.field("hold")) {
        (true, Some(field)) => OverrideMode::Hold(field.positive(u32::MAX)?),
        (true, None) => OverrideMode::Hold(NonZeroU32::MIN),
        (false, Some(field)) => return Err(field.error("only with mode = \"hold\"")),
        (false, None) => OverrideMode::Once,
    };
    let interval = section
        .field("interval")
        .map(|field| field.positive(65_536));
    let instances = base.max_instances as u64;
    let period_ms = whole(section, "period_ms", base.period_ns / MS, 1, 60_000)?;
    let ttl_ms = whole(section, "ttl_ms", base.ttl_ns / MS, 1, HOUR_MS)?;
    let key = if section.has("ttl_ms") {
        "ttl_ms"
    } else {
        "period_ms"
    };
    let ends_early = section.error(
        key,
        format!(
            "pipeline.ttl_ms ({ttl_ms}) must be greater than pipeline.period_ms ({period_ms}): an \
             override would end before the next decision of the adaptive rule"
        ),
    );
    let config = PipelineConfig {
        period_ns: MS * period_ms,
        interval: interval.transpose()?.unwrap_or(base.interval),
        mode,
        queue: choice(
            section,
            "queue",
            &[("same", Scope::Same), ("any", Scope::Any)],
        )?,
        input: base.input,
        idle_budget: base.idle_budget,
        ttl_ns: MS * ttl_ms,
        max_instances: whole(section, "max_instances", instances, 1, 65_536)? as usize,
    };
    Ok((config, ends_early))
}

fn idle_budget(section: &mut Section<'_>) -> Result<Option<IdleBudget>> {
    let Some(field) = section.field("idle_budget") else {
        return Ok(None);
    };
    Ok(IdleBudget::new(field.number(IdleBudget::SHARES)?))
}

fn engine(section: &mut Section<'_>) -> Result<EngineConfig> {
    let steps = section.sections("script")?;
    if !steps.is_empty() {
        if section.has("policy") {
            return Err(section.error("script", "only one of `policy' and `script' may be given"));
        }
        only_with(
            section,
            &[
                "engine",
                "accelerator",
                "precision",
                "seed",
                "fallback",
                "remote",
            ],
            "a policy",
        )?;
        only_with(section, &["preset"], "the adaptive rule")?;
        only_with(section, &["idle_budget"], "a policy or the adaptive rule")?;
        let steps = steps.into_iter().map(|step| within(step, self::step));
        return steps.collect::<Result<_>>().map(EngineConfig::Script);
    }
    let decides = decides(section)?;
    if decides != Decides::Server {
        only_with(section, &["remote"], "engine = \"remote\"")?;
    }
    if decides == Decides::Rule {
        only_with(section, &["policy"], "a policy's own engine")?;
        let keys = ["accelerator", "precision", "seed", "fallback"];
        only_with(section, &keys, "a policy")?;
        return Ok(EngineConfig::Adaptive(choice(
            section,
            "preset",
            &Preset::NAMES,
        )?));
    }
    let Some(policy) = section.field("policy") else {
        return Err(section.error(
            "policy",
            "missing: expected the directory of a policy (or engine = \"adaptive\", or a script)",
        ));
    };
    let path = policy.text()?.into();
    let seed = section
        .field("seed")
        .map(|field| field.integer(0..=u64::MAX));
    let adaptive = choice(
        section,
        "fallback",
        &[("adaptive", true), ("dualpi2", false)],
    )?;
    if !adaptive {
        only_with(section, &["preset"], "the adaptive rule")?;
    }
    let preset = choice(section, "preset", &Preset::NAMES)?;
    let seed = seed.transpose()?.unwrap_or(0);
    let fallback = adaptive.then_some(preset);
    if decides == Decides::Server {
        only_with(
            section,
            &["accelerator", "precision"],
            "a policy's own engine",
        )?;
        return remote::remote(section, path, seed, fallback);
    }
    Ok(EngineConfig::Policy {
        path,
        engine: engine_options(section)?,
        seed,
        fallback,
    })
}

/// The kind of an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decides {
    Policy,
    Rule,
    Server,
}

fn decides(section: &mut Section<'_>) -> Result<Decides> {
    let field = section.field("engine");
    field.map_or(Ok(Decides::Policy), |field| {
        field.choice(&[
            (EngineKind::Plain.name(), Decides::Policy),
            (EngineKind::Libtorch.name(), Decides::Policy),
            ("adaptive", Decides::Rule),
            ("remote", Decides::Server),
        ])
    })
}

/// Refuses keys that are valid only with `what`.
fn only_with(section: &mut Section<'_>, keys: &[&'static str], what: &str) -> Result<()> {
    for key in keys {
        if let Some(field) = section.field(key) {
            return Err(field.error(format!("only with {what}")));
        }
    }
    Ok(())
}

/// The engine of the policy; engines missing from this build are refused.
fn engine_options(section: &mut Section<'_>) -> Result<EngineOptions> {
    let built = |field: &Field<'_>| {
        let built = EngineKind::Libtorch.check_built();
        built.map_err(|error| field.error(error))
    };
    let mut options = EngineOptions::default();
    if let Some(field) = section.field("engine") {
        let kinds = [EngineKind::Plain, EngineKind::Libtorch].map(|kind| (kind.name(), kind));
        options.engine = Some(field.choice(&kinds)?);
        if options.engine == Some(EngineKind::Libtorch) {
            built(&field)?;
        }
    }
    if let Some(field) = section.field("accelerator") {
        options.device = Some(field.text()?.to_owned());
        if field.text()? != "cpu" {
            built(&field)?;
        }
    }
    if let Some(field) = section.field("precision") {
        let precisions = [Precision::F32, Precision::Bf16].map(|p| (p.name(), p));
        options.precision = Some(field.choice(&precisions)?);
        if options.precision == Some(Precision::Bf16) {
            built(&field)?;
        }
    }
    Ok(options)
}

/// One `[[engine.script]]`.
fn step(section: &mut Section<'_>) -> Result<Step> {
    let Some(at_ms) = section.field("at_ms") else {
        return Err(section.error("at_ms", "missing: ms after the first record"));
    };
    let at_ms = at_ms.integer(0..=u64::MAX)?;
    let factors = Factors::read(|key| {
        let factor = section.field(key).map(|field| {
            let factor = Factor::new(field.number(f64::MIN..=f64::MAX)?);
            factor.map_err(|_| field.error("expected a factor above 0 and below 65536"))
        });
        factor.transpose()
    })?;
    let decision = match (section.field("action"), Steer::new(factors)) {
        (Some(field), Err(_)) => {
            let action = field.choice(&[
                ("enqueue", Action::Enqueue),
                ("drop", Action::Drop),
                ("mark", Action::Mark),
            ])?;
            let mut probabilities = [0.0; 3];
            probabilities[action.index()] = 1.0;
            Decision::Action {
                action,
                probabilities,
            }
        }
        (None, Ok(steer)) => Decision::Steer(steer),
        (Some(field), Ok(_)) => return Err(field.error("not allowed together with factors")),
        (None, Err(_)) => {
            return Err(section.error(
                "action",
                "missing: an action, or at least one of target, threshold, coupling, gain, \
                 alpha, beta, tupdate",
            ));
        }
    };
    Ok(Step {
        at_ns: at_ms.saturating_mul(MS),
        decision,
    })
}

fn limits(section: &mut Section<'_>) -> Result<LimitsConfig> {
    let mut ms = |key, least| {
        let value = section
            .field(key)
            .map(|field| field.integer(least..=HOUR_MS));
        Ok(value.transpose()?.map(|value| value * MS))
    };
    let (ceiling_ns, max_ttl_ns) = (ms("ceiling_ms", 1)?, ms("max_ttl_ms", 1)?);
    let watchdog_ns = ms("watchdog_ms", 0)?;
    let hold = section
        .field("max_hold")
        .map(|field| field.positive(u32::MAX));
    // The device checks the exact ranges; these keep Q16 meaningful.
    let mut q16 = |key, least, most| {
        let value = section.field(key).map(|field| field.number(least..=most));
        Ok(value
            .transpose()?
            .map(|value| (value * 65_536.0).round() as u32))
    };
    Ok(LimitsConfig {
        ceiling_ns,
        max_ttl_ns,
        watchdog_ns,
        drop_share: q16("drop_share", 0.0, 1.0)?,
        mark_share: q16("mark_share", 0.0, 1.0)?,
        factor_min: q16("factor_min", 0.001, 1.0)?,
        factor_max: q16("factor_max", 1.0, 256.0)?,
        gain_min: q16("gain_min", 0.001, 1.0)?,
        gain_max: q16("gain_max", 1.0, 256.0)?,
        max_hold: hold.transpose()?.map(NonZeroU32::get),
    })
}

fn status(section: &mut Section<'_>) -> Result<StatusConfig> {
    let (socket, mode) = unix_socket(section, DEFAULT_SOCKET, 0o660)?;
    Ok(StatusConfig { socket, mode })
}

fn control(section: &mut Section<'_>) -> Result<ControlConfig> {
    let (socket, mode) = unix_socket(section, DEFAULT_CONTROL, 0o600)?;
    let policy = match section.field("policy") {
        Some(field) => Some(field.text()?.into()),
        None => None,
    };
    Ok(ControlConfig {
        socket,
        mode,
        policy,
    })
}

/// The keys of a socket: its path and its file mode.
fn unix_socket(
    section: &mut Section<'_>,
    default: &str,
    default_mode: u32,
) -> Result<(PathBuf, u32)> {
    let socket = match section.field("socket") {
        Some(field) => field.text()?.into(),
        None => default.into(),
    };
    let mode = match section.field("mode") {
        Some(field) => u32::from_str_radix(field.text()?, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| field.error("expected octal digits, as in \"0660\""))?,
        None => default_mode,
    };
    Ok((socket, mode))
}

fn metrics(section: &mut Section<'_>) -> Result<SocketAddr> {
    let Some(field) = section.field("listen") else {
        return Ok(DEFAULT_METRICS.parse().expect("an address"));
    };
    let text = field.text()?;
    text.parse()
        .map_err(|_| field.error("expected an address and a port, as in \"127.0.0.1:9594\""))
}

fn recorder(section: &mut Section<'_>) -> Result<RecorderConfig> {
    let Some(directory) = section.field("directory") else {
        return Err(section.error("directory", "missing: the directory of its files"));
    };
    let directory = directory.text()?.into();
    let size_mb = whole(section, "size_mb", 64, 1, 1 << 20)?;
    Ok(RecorderConfig {
        directory,
        bytes: size_mb << 20,
    })
}

fn log(section: &mut Section<'_>) -> Result<LogConfig> {
    let levels = [
        ("info", tracing::Level::INFO),
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    Ok(LogConfig {
        level: choice(section, "level", &levels)?,
        json: choice(section, "format", &[("text", false), ("json", true)])?,
    })
}

/// One of the names; the first if the key is not given.
fn choice<T: Copy>(section: &mut Section<'_>, key: &'static str, names: &[(&str, T)]) -> Result<T> {
    section
        .field(key)
        .map_or(Ok(names[0].1), |field| field.choice(names))
}

/// A whole number of `least` to `most`.
fn whole(
    section: &mut Section<'_>,
    key: &'static str,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64> {
    section
        .field(key)
        .map_or(Ok(default), |field| field.integer(least..=most))
}

//! Settings of the operator that take precedence over the configuration:
//! `net.inet.l4sllm.interval`, `period`, `mode`, `hold`, `engine` and
//! `idle_budget`.
//!
//! When one of them changes, the device writes an event, and they are read
//! again. They last until the module is unloaded and do not change the
//! configuration.

#[cfg(target_os = "freebsd")]
mod sysctl;

use std::num::NonZeroU32;

use l4sllm_model::IdleBudget;

use crate::apply::OverrideMode;
use crate::config::DeviceKind;
use crate::pipeline::PipelineConfig;

/// A source of advice.
pub trait Source: Send + std::fmt::Debug {
    /// Reads the current advice.
    ///
    /// # Errors
    /// It cannot be read or is invalid.
    fn read(&mut self) -> Result<Advice, AdviceError>;
}

/// Settings of the operator; `None` means the configured value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advice {
    /// Records between two decisions, 1 to 65536.
    pub interval: Option<NonZeroU32>,
    /// Time between two decisions of the adaptive rule, ms, 1 to 60000.
    pub period_ms: Option<NonZeroU32>,
    /// How decisions become overrides.
    pub mode: Option<AdvisedMode>,
    /// Number of packets of an action with mode hold.
    pub hold: Option<NonZeroU32>,
    /// Engine that decides.
    pub engine: Option<AdvisedEngine>,
    /// Share of the link's time that may be idle.
    pub idle_budget: Option<IdleBudget>,
}

/// An engine that replaces the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvisedEngine {
    /// The adaptive rule, with the configured preset.
    Adaptive,
}

/// How decisions become overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvisedMode {
    /// An action applies to the next packet.
    Once,
    /// An action applies to the next [`Advice::hold`] packets.
    Hold,
    /// Set-points are shifted. This depends on the engine, so actions are
    /// applied as configured.
    Steer,
}

/// Why advice is ignored.
#[derive(Debug, thiserror::Error)]
pub enum AdviceError {
    /// The variable cannot be read.
    #[error("sysctl {name}: cannot read: {source}")]
    Read {
        /// The variable.
        name: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The variable's value is invalid.
    #[error("sysctl {name}: {value}: expected {expected}")]
    Value {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The expected values.
        expected: &'static str,
    },
}

pub(crate) const INTERVAL: &str = "net.inet.l4sllm.interval";
pub(crate) const PERIOD: &str = "net.inet.l4sllm.period";
pub(crate) const MODE: &str = "net.inet.l4sllm.mode";
pub(crate) const HOLD: &str = "net.inet.l4sllm.hold";
pub(crate) const ENGINE: &str = "net.inet.l4sllm.engine";
pub(crate) const IDLE_BUDGET: &str = "net.inet.l4sllm.idle_budget";

impl Advice {
    /// Creates advice from the variables' values: numbers from 0 to 65536
    /// (60000 for a period), where 0 means no advice, and "once", "hold",
    /// "steer", or "config" for no advice. [`Advice::with_engine`] and
    /// [`Advice::with_idle_budget`] add the others.
    ///
    /// # Errors
    /// [`AdviceError::Value`] for anything else.
    pub fn of_values(
        interval: u32,
        period_ms: u32,
        mode: &str,
        hold: u32,
    ) -> Result<Advice, AdviceError> {
        let count = |name, value: u32, most, expected| {
            if value <= most {
                return Ok(NonZeroU32::new(value));
            }
            Err(AdviceError::Value {
                name,
                value: value.to_string(),
                expected,
            })
        };
        Ok(Advice {
            interval: count(INTERVAL, interval, 65_536, "0 to 65536")?,
            period_ms: count(PERIOD, period_ms, 60_000, "0 to 60000 (ms)")?,
            mode: match mode {
                "config" => None,
                "once" => Some(AdvisedMode::Once),
                "hold" => Some(AdvisedMode::Hold),
                "steer" => Some(AdvisedMode::Steer),
                other => {
                    return Err(AdviceError::Value {
                        name: MODE,
                        value: other.into(),
                        expected: "config, once, hold or steer",
                    });
                }
            },
            hold: count(HOLD, hold, 65_536, "0 to 65536")?,
            engine: None,
            idle_budget: None,
        })
    }

    /// Adds an engine: "adaptive", or "config" for none.
    ///
    /// # Errors
    /// [`AdviceError::Value`] for anything else.
    pub fn with_engine(self, engine: &str) -> Result<Advice, AdviceError> {
        let engine = match engine {
            "config" => None,
            "adaptive" => Some(AdvisedEngine::Adaptive),
            other => {
                return Err(AdviceError::Value {
                    name: ENGINE,
                    value: other.into(),
                    expected: "config or adaptive",
                });
            }
        };
        Ok(Advice { engine, ..self })
    }

    /// Adds an idle budget in millionths, 1000 to 20000; 0 for none.
    ///
    /// # Errors
    /// [`AdviceError::Value`] for anything else.
    pub fn with_idle_budget(self, millionths: u32) -> Result<Advice, AdviceError> {
        let idle_budget = IdleBudget::from_millionths(millionths);
        match (idle_budget, millionths) {
            (None, 1..) => Err(AdviceError::Value {
                name: IDLE_BUDGET,
                value: millionths.to_string(),
                expected: "0, or 1000 to 20000 (millionths)",
            }),
            _ => Ok(Advice {
                idle_budget,
                ..self
            }),
        }
    }

    /// Returns `config` with the advice applied.
    pub fn over(&self, config: &PipelineConfig) -> PipelineConfig {
        let configured_hold = match config.mode {
            OverrideMode::Once => None,
            OverrideMode::Hold(packets) => Some(packets),
        };
        let hold = self.hold.or(configured_hold).unwrap_or(NonZeroU32::MIN);
        let mode = match (self.mode, config.mode) {
            (Some(AdvisedMode::Once), _) => OverrideMode::Once,
            (Some(AdvisedMode::Hold), _) => OverrideMode::Hold(hold),
            (Some(AdvisedMode::Steer) | None, OverrideMode::Once) => OverrideMode::Once,
            (Some(AdvisedMode::Steer) | None, OverrideMode::Hold(_)) => OverrideMode::Hold(hold),
        };
        PipelineConfig {
            interval: self.interval.unwrap_or(config.interval),
            period_ns: self
                .period_ms
                .map_or(config.period_ns, |ms| u64::from(ms.get()) * 1_000_000),
            mode,
            idle_budget: self.idle_budget.or(config.idle_budget),
            ..config.clone()
        }
    }
}

/// The source for a device: the module's sysctls for the module's device, and
/// none for an emulated one.
pub fn source(device: DeviceKind) -> Box<dyn Source> {
    match device {
        #[cfg(target_os = "freebsd")]
        DeviceKind::Character => Box::new(sysctl::Sysctl),
        _ => Box::new(Nobody),
    }
}

/// Gives no advice.
#[derive(Debug)]
struct Nobody;

impl Source for Nobody {
    fn read(&mut self) -> Result<Advice, AdviceError> {
        Ok(Advice::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn zero_and_config_keep_the_configuration() {
        let advice = Advice::of_values(0, 0, "config", 0).unwrap();
        assert_eq!(advice, Advice::default());
        let config = PipelineConfig {
            mode: OverrideMode::Hold(packets(9)),
            ..Default::default()
        };
        assert_eq!(advice.over(&config), config);
    }

    #[test]
    fn advice_overrides_the_configuration() {
        let (once, hold) = (OverrideMode::Once, |n| OverrideMode::Hold(packets(n)));
        for (configured, interval, mode, held, wanted_interval, wanted) in [
            (once, 7, "config", 0, 7, once),
            (once, 0, "config", 5, 100, once),
            (once, 0, "hold", 0, 100, hold(1)),
            (once, 65_536, "hold", 5, 65_536, hold(5)),
            (hold(9), 0, "once", 5, 100, once),
            (hold(9), 0, "hold", 0, 100, hold(9)),
            (hold(9), 0, "config", 5, 100, hold(5)),
            (hold(9), 0, "steer", 0, 100, hold(9)),
            (once, 0, "steer", 5, 100, once),
        ] {
            let config = PipelineConfig {
                mode: configured,
                ..Default::default()
            };
            let merged = Advice::of_values(interval, 0, mode, held)
                .unwrap()
                .over(&config);
            let wanted = PipelineConfig {
                interval: packets(wanted_interval),
                mode: wanted,
                ..config
            };
            assert_eq!(merged, wanted, "{interval} {mode} {held}");
        }
    }

    #[test]
    fn a_period_is_in_milliseconds() {
        let config = PipelineConfig::default();
        let merged = Advice::of_values(0, 250, "config", 0)
            .unwrap()
            .over(&config);
        let wanted = PipelineConfig {
            period_ns: 250_000_000,
            ..config
        };
        assert_eq!(merged, wanted);
    }

    #[test]
    fn an_idle_budget_is_in_millionths() {
        let config = PipelineConfig {
            idle_budget: IdleBudget::new(0.002),
            ..PipelineConfig::default()
        };
        let merged = |millionths| {
            let advice = Advice::default().with_idle_budget(millionths).unwrap();
            advice.over(&config).idle_budget.map(IdleBudget::share)
        };
        assert_eq!(merged(0), Some(0.002));
        assert_eq!(merged(20_000), Some(0.02));
        for wrong in [1, 999, 20_001, u32::MAX] {
            let error = Advice::default().with_idle_budget(wrong).unwrap_err();
            assert!(error.to_string().contains(IDLE_BUDGET), "{error}");
        }
    }

    #[test]
    fn engine_parses_as_a_word() {
        let engine = |word| Advice::default().with_engine(word).map(|a| a.engine);
        assert_eq!(engine("config").unwrap(), None);
        assert_eq!(engine("adaptive").unwrap(), Some(AdvisedEngine::Adaptive));
        for wrong in ["", "Adaptive", "policy"] {
            let error = engine(wrong).unwrap_err().to_string();
            assert!(error.contains(ENGINE), "{error}");
        }
    }

    #[test]
    fn names_invalid_values() {
        for (interval, period, mode, hold, name) in [
            (65_537, 0, "config", 0, INTERVAL),
            (0, 60_001, "config", 0, PERIOD),
            (0, 0, "sometimes", 0, MODE),
            (0, 0, "hold", u32::MAX, HOLD),
        ] {
            let error = Advice::of_values(interval, period, mode, hold).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

//! Engines that compute a policy's decisions.
//!
//! | engine | runs | on |
//! |---|---|---|
//! | plain | GPT-2, all weights in one file | the processor, f32 |
//! | libtorch | every backbone, unmerged adapters too | the processor or a GPU, f32 or bf16 |

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plain::shape::Shape;
use crate::{PolicyConfig, PolicyError};

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// This crate's own engine, available in every build.
    Plain,
    /// libtorch, in builds with feature `torch`.
    Libtorch,
}

/// Precision of frozen weights and of a backbone's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    F32,
    /// bfloat16: half the memory, eight bits of significand.
    Bf16,
}

/// The requested engine; unset options depend on the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// None: the plain one if possible, otherwise libtorch.
    pub engine: Option<EngineKind>,
    /// `cpu`, `cuda` or `cuda:N`; none: `cpu`.
    pub device: Option<String>,
    /// None: f32 on the processor, bf16 on a GPU.
    pub precision: Option<Precision>,
    /// Threads used by libtorch on the processor, at least 1. More than one may
    /// change the order of sums.
    pub threads: usize,
}

/// The engine of a loaded policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsOn {
    /// The engine.
    pub engine: EngineKind,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Precision of the backbone.
    pub precision: Precision,
}

impl EngineKind {
    /// Both.
    pub const ALL: [EngineKind; 2] = [EngineKind::Plain, EngineKind::Libtorch];

    /// `plain` or `libtorch`.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Plain => "plain",
            EngineKind::Libtorch => "libtorch",
        }
    }

    /// Checks that this build includes it; the error explains how to build one
    /// that does.
    ///
    /// # Errors
    /// [`PolicyError::NotBuilt`].
    pub fn check_built(self) -> Result<(), PolicyError> {
        match self == EngineKind::Plain || cfg!(feature = "torch") {
            true => Ok(()),
            false => Err(self.not_built()),
        }
    }

    /// The error for an engine missing from this build.
    pub(crate) fn not_built(self) -> PolicyError {
        PolicyError::NotBuilt {
            engine: self.name(),
        }
    }
}

impl Precision {
    /// `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

impl Default for EngineOptions {
    /// The engine that the policy needs, on the processor, with one thread.
    fn default() -> Self {
        EngineOptions {
            engine: None,
            device: None,
            precision: None,
            threads: 1,
        }
    }
}

impl EngineOptions {
    /// The device's name.
    pub fn device(&self) -> &str {
        self.device.as_deref().unwrap_or("cpu")
    }

    /// The computing precision.
    pub fn precision(&self) -> Precision {
        self.precision.unwrap_or(match self.device() {
            "cpu" => Precision::F32,
            _ => Precision::Bf16,
        })
    }

    /// The engine for a policy. A GPU or bf16 requires libtorch.
    ///
    /// # Errors
    /// The requested engine cannot run it, or this build lacks a suitable one;
    /// the error gives the reason and the remedy.
    pub fn choose(&self, config: &PolicyConfig) -> Result<EngineKind, PolicyError> {
        let plain = Shape::of(&config.name, config).map(drop);
        let elsewhere = self.device() != "cpu" || self.precision() != Precision::F32;
        let engine = match self.engine {
            Some(EngineKind::Plain) => {
                plain?;
                if elsewhere {
                    return Err(PolicyError::Unsupported {
                        policy: config.name.clone(),
                        what: format!(
                            "the plain engine computes on cpu in f32, not on {} in {}",
                            self.device(),
                            self.precision().name()
                        ),
                        remedy: "use engine libtorch".into(),
                    });
                }
                EngineKind::Plain
            }
            None if !elsewhere && (plain.is_ok() || !cfg!(feature = "torch")) => {
                plain?;
                EngineKind::Plain
            }
            _ => EngineKind::Libtorch,
        };
        engine.check_built()?;
        Ok(engine)
    }
}

impl RunsOn {
    /// The plain engine.
    pub(crate) fn plain() -> RunsOn {
        RunsOn {
            engine: EngineKind::Plain,
            device: "cpu".into(),
            precision: Precision::F32,
        }
    }
}

impl fmt::Display for RunsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engine, precision) = (self.engine.name(), self.precision.name());
        write!(f, "{engine}, {}, {precision}", self.device)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::Feature;
    use crate::backbone::{BackboneConfig, OptConfig};

    fn gpt2() -> PolicyConfig {
        PolicyConfig::new("small", &Feature::PAPER7)
    }

    fn opt() -> PolicyConfig {
        let backbone = BackboneConfig::Opt(OptConfig::default());
        PolicyConfig { backbone, ..gpt2() }
    }

    fn asked(engine: Option<EngineKind>, device: &str, precision: Precision) -> EngineOptions {
        EngineOptions {
            engine,
            device: Some(device.into()),
            precision: Some(precision),
            threads: 1,
        }
    }

    #[test]
    fn unset_options_follow_the_policy() {
        let open = EngineOptions::default();
        assert_eq!(open.choose(&gpt2()).unwrap(), EngineKind::Plain);
        let gpu = EngineOptions {
            device: Some("cuda".into()),
            ..EngineOptions::default()
        };
        assert_eq!(open.precision(), Precision::F32);
        assert_eq!(gpu.precision(), Precision::Bf16);
        let others = [
            open.choose(&opt()),
            gpu.choose(&gpt2()),
            asked(None, "cpu", Precision::Bf16).choose(&gpt2()),
            asked(Some(EngineKind::Libtorch), "cpu", Precision::F32).choose(&gpt2()),
        ];
        for engine in others {
            assert_eq!(engine.is_ok(), cfg!(feature = "torch"));
            match engine {
                Ok(engine) => assert_eq!(engine, EngineKind::Libtorch),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("--features torch"), "{error}");
                }
            }
        }
    }

    #[test]
    fn plain_engine_names_unsupported_options() {
        let plain = asked(Some(EngineKind::Plain), "cpu", Precision::F32);
        assert_eq!(plain.choose(&gpt2()).unwrap(), EngineKind::Plain);
        let error = plain.choose(&opt()).unwrap_err().to_string();
        assert!(
            error.contains("policy small: its backbone is opt"),
            "{error}"
        );
        let plain = asked(Some(EngineKind::Plain), "cuda:1", Precision::Bf16);
        let error = plain.choose(&gpt2()).unwrap_err().to_string();
        assert!(error.contains("not on cuda:1 in bf16"), "{error}");
    }
}

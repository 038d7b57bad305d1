//! Engines, loaded once for all scheduler instances.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use l4sllm_model::{EngineKind, EngineOptions, Policy, PolicyError};

use crate::advice::AdvisedEngine;
use crate::batch::{MakeEngine, Scheduler};
use crate::config::EngineConfig;
use crate::engine::{Adaptive, Engine, Fallback, Input, PolicyEngine, Preset, Scripted, Step};
use crate::error::Error;
use crate::files::Files;
use crate::pipeline::PipelineConfig;
use crate::status::EngineStatus;

/// The configured engine: makes engines for any interval.
#[derive(Clone)]
pub struct Engines {
    kind: Kind,
    input: Input,
    /// The period of a policy on summaries, which the configuration cannot
    /// change.
    period_ns: Option<u64>,
    status: EngineStatus,
}

#[derive(Clone)]
enum Kind {
    Adaptive(Preset),
    Policy {
        policy: Arc<Policy>,
        seed: u64,
        fallback: Option<Preset>,
    },
    Script(Vec<Step>),
    Made(Arc<dyn Fn(Scheduler) -> Box<dyn Engine> + Send + Sync>),
}

impl Engines {
    /// Engines of any kind.
    pub fn made_by(make: impl Fn(Scheduler) -> Box<dyn Engine> + Send + Sync + 'static) -> Engines {
        Engines {
            kind: Kind::Made(Arc::new(make)),
            input: Input::Records,
            period_ns: None,
            status: EngineStatus::Script { steps: 0 },
        }
    }

    /// Loads the configured engine.
    ///
    /// # Errors
    /// The policy cannot be loaded, or its decisions are not finite.
    pub fn load(config: &EngineConfig, files: &Files) -> Result<Engines, Error> {
        let input = config.input();
        match config {
            EngineConfig::Adaptive(preset) => Ok(Engines::adaptive(*preset)),
            EngineConfig::Policy {
                path,
                engine,
                seed,
                fallback,
            } => {
                let policy = load(path, engine, files).map_err(|source| Error::Policy {
                    path: path.clone(),
                    source,
                })?;
                let period_ns = policy.config().period_ns();
                let status = EngineStatus::Policy {
                    name: policy.config().name.clone(),
                    path: path.clone(),
                    hash: policy.hash().to_owned(),
                    runs_on: Some(policy.runs_on().clone()),
                    fallback: fallback.map(|preset| preset.name().to_owned()),
                    period_ms: period_ns.map(|ns| ns / 1_000_000),
                };
                let kind = Kind::Policy {
                    policy,
                    seed: *seed,
                    fallback: *fallback,
                };
                Ok(Engines {
                    kind,
                    input,
                    period_ns,
                    status,
                })
            }
            EngineConfig::Script(steps) => Ok(Engines {
                kind: Kind::Script(steps.clone()),
                input,
                period_ns: None,
                status: EngineStatus::Script { steps: steps.len() },
            }),
        }
    }

    /// The adaptive rule.
    fn adaptive(preset: Preset) -> Engines {
        Engines {
            kind: Kind::Adaptive(preset),
            input: Input::Summaries,
            period_ns: None,
            status: EngineStatus::Adaptive {
                preset: preset.name().to_owned(),
            },
        }
    }

    /// The engine that replaces the configured one if the operator selects
    /// `engine`. The rule uses the preset configured for the engine or the
    /// fallback.
    pub(super) fn advised(&self, engine: Option<AdvisedEngine>) -> Engines {
        match (engine, &self.kind) {
            (None, _) | (Some(AdvisedEngine::Adaptive), Kind::Adaptive(_)) => self.clone(),
            (Some(AdvisedEngine::Adaptive), Kind::Policy { fallback, .. }) => {
                Engines::adaptive(fallback.unwrap_or_default())
            }
            (Some(AdvisedEngine::Adaptive), Kind::Script(_) | Kind::Made(_)) => {
                Engines::adaptive(Preset::default())
            }
        }
    }

    /// Returns the configuration with the input of these engines and their
    /// period, if they have one.
    pub(super) fn over(&self, config: &PipelineConfig) -> PipelineConfig {
        let config = PipelineConfig {
            input: self.input,
            ..config.clone()
        };
        match self.period_ns {
            None => config,
            Some(period_ns) => config.with_period(period_ns),
        }
    }

    /// Status of the engine.
    pub fn status(&self) -> &EngineStatus {
        &self.status
    }

    /// Makes engines that decide after every `interval` records.
    pub(super) fn maker(&self, interval: NonZeroU32) -> MakeEngine {
        let kind = self.kind.clone();
        Box::new(move |scheduler| -> Box<dyn Engine> {
            match &kind {
                Kind::Adaptive(preset) => Box::new(Adaptive::new(preset.config())),
                Kind::Policy {
                    policy,
                    seed,
                    fallback,
                } => {
                    let engine = PolicyEngine::new(Arc::clone(policy), interval, *seed);
                    match fallback {
                        Some(preset) => {
                            let rule = Adaptive::new(preset.config());
                            Box::new(Fallback::new(Box::new(engine), rule))
                        }
                        None => Box::new(engine),
                    }
                }
                Kind::Script(steps) => Box::new(Scripted::new(None, steps.clone())),
                Kind::Made(make) => make(scheduler),
            }
        })
    }
}

/// Loads a policy into the engine that it needs or that is requested.
fn load(dir: &Path, options: &EngineOptions, files: &Files) -> Result<Arc<Policy>, PolicyError> {
    let open = |file: &Path| files.read(file);
    let config = Policy::load_config_by(dir, open)?;
    match options.choose(&config)? {
        EngineKind::Plain => Policy::load_by(dir, open),
        EngineKind::Libtorch if files.is_limited() => Err(PolicyError::Unsupported {
            policy: config.name,
            what: "it runs through libtorch, which opens files by their paths".to_owned(),
            remedy: "set sandbox = false".to_owned(),
        }),
        EngineKind::Libtorch => Policy::load_with(dir, options),
    }
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engines({})", self.status)
    }
}

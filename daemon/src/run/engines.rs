//! Engines, loaded once for all scheduler instances.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use l4sllm_model::{EngineKind, EngineOptions, Policy, PolicyError};

use super::board::RemoteCounters;
#[cfg(feature = "remote")]
use super::remote::Remote;
use crate::advice::AdvisedEngine;
use crate::batch::{MakeEngine, Scheduler};
use crate::config::{Config, EngineConfig};
use crate::control::Choice;
use crate::engine::{
    Adaptive, Engine, Fallback, Fixed, Input, PolicyEngine, Preset, Profile, Scripted, Step,
};
use crate::error::Error;
use crate::files::Files;
use crate::pipeline::PipelineConfig;
use crate::recorder::frame::FrameError;
use crate::recorder::{Bits, EngineSpec};
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

/// Engines of a recording that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Loading failed.
    #[error(transparent)]
    Load(#[from] Box<Error>),
    /// The policy is not the recorded one.
    #[error(
        "policy {}: its hash is {found:.12}, that of the recording is {recorded:.12}: it was \
         changed since",
        path.display()
    )]
    Changed {
        /// Directory of the policy.
        path: PathBuf,
        /// Hash in the recording.
        recorded: String,
        /// Hash of the directory.
        found: String,
    },
    /// An unknown preset.
    #[error("unknown preset {0:?} of the adaptive rule")]
    Preset(String),
    /// An unknown profile.
    #[error("unknown profile {0:?} of DualPI2")]
    Profile(String),
    /// A step of a script.
    #[error("a step of the script: {0}")]
    Script(#[from] FrameError),
    /// The engine `remote`.
    #[error(
        "policy {name}: {url} made its decisions, which cannot be made again, because the \
         answers of a server are not recorded"
    )]
    Remote {
        /// Name of the policy.
        name: String,
        /// The server.
        url: String,
    },
    /// The engines of a test.
    #[error("the recorded engines cannot be made from a configuration")]
    Other,
}

#[derive(Clone)]
enum Kind {
    Adaptive(Preset),
    Policy {
        policy: Arc<Policy>,
        seed: u64,
        fallback: Option<Preset>,
    },
    #[cfg(feature = "remote")]
    Remote(Arc<Remote>),
    Script(Vec<Step>),
    Fixed(Profile),
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
            #[cfg(feature = "remote")]
            EngineConfig::Remote(config) => {
                let remote = Remote::start(config, files)?;
                Ok(Engines {
                    input,
                    period_ns: remote.period_ns(),
                    status: remote.status(),
                    kind: Kind::Remote(Arc::new(remote)),
                })
            }
            #[cfg(not(feature = "remote"))]
            EngineConfig::Remote(_) => Err(Error::NoRemote),
            EngineConfig::Script(steps) => Ok(Engines {
                kind: Kind::Script(steps.clone()),
                input,
                period_ns: None,
                status: EngineStatus::Script { steps: steps.len() },
            }),
            EngineConfig::Fixed(profile) => Ok(Engines {
                kind: Kind::Fixed(*profile),
                input,
                period_ns: None,
                status: EngineStatus::Fixed {
                    profile: profile.name().to_owned(),
                },
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
            #[cfg(feature = "remote")]
            (Some(AdvisedEngine::Adaptive), Kind::Remote(remote)) => {
                Engines::adaptive(remote.config.fallback.unwrap_or_default())
            }
            (Some(AdvisedEngine::Adaptive), Kind::Script(_) | Kind::Fixed(_) | Kind::Made(_)) => {
                Engines::adaptive(Preset::default())
            }
        }
    }

    /// Returns the configuration with the input of these engines and their
    /// period, if they have one.
    pub fn over(&self, config: &PipelineConfig) -> PipelineConfig {
        let config = PipelineConfig {
            input: self.input,
            ..config.clone()
        };
        match self.period_ns {
            None => config,
            Some(period_ns) => config.with_period(period_ns),
        }
    }

    /// Whether no override is ever sent.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.kind, Kind::Fixed(Profile::Plain))
    }

    /// Waits until a decision of [`Engine::ready`] may be available. Waits forever for
    /// engines that decide immediately. Cancel safe.
    pub(super) async fn progressed(&self) {
        match &self.kind {
            #[cfg(feature = "remote")]
            Kind::Remote(remote) => remote.client.progressed().await,
            _ => std::future::pending().await,
        }
    }

    /// A reader of the counters of a server's client, if there is one.
    pub(super) fn remote_counters(&self) -> Option<RemoteCounters> {
        match &self.kind {
            #[cfg(feature = "remote")]
            Kind::Remote(remote) => Some(remote.counters()),
            _ => None,
        }
    }

    /// Status of the engine.
    pub fn status(&self) -> &EngineStatus {
        &self.status
    }

    /// The engines of a recording. Its policies are loaded from their recorded
    /// directories.
    ///
    /// # Errors
    /// A policy cannot be loaded, or a script is damaged.
    pub fn of_spec(spec: &EngineSpec) -> Result<Engines, SpecError> {
        let preset = |name: &str| {
            let named = Preset::NAMES.iter().find(|(known, _)| *known == name);
            let preset = named.map(|(_, preset)| *preset);
            preset.ok_or_else(|| SpecError::Preset(name.to_owned()))
        };
        let config = match spec {
            EngineSpec::Adaptive(name) => EngineConfig::Adaptive(preset(name)?),
            EngineSpec::Policy {
                path,
                runs_on,
                seed,
                fallback,
                ..
            } => EngineConfig::Policy {
                path: path.into(),
                engine: EngineOptions {
                    engine: Some(runs_on.engine),
                    device: Some(runs_on.device.clone()),
                    precision: Some(runs_on.precision),
                    ..EngineOptions::default()
                },
                seed: *seed,
                fallback: fallback.as_deref().map(preset).transpose()?,
            },
            EngineSpec::Script(steps) => {
                let steps = steps.iter().map(|(at_ns, bits)| {
                    let decision = bits.decision()?;
                    let at_ns = *at_ns;
                    Ok(Step { at_ns, decision })
                });
                EngineConfig::Script(steps.collect::<Result<_, FrameError>>()?)
            }
            EngineSpec::Remote { name, url } => {
                let (name, url) = (name.clone(), url.clone());
                return Err(SpecError::Remote { name, url });
            }
            EngineSpec::Other => return Err(SpecError::Other),
            EngineSpec::Fixed(name) => {
                let mut profiles = Profile::NAMES.iter();
                let profile = profiles.find(|(known, _)| *known == name);
                let (_, profile) = profile.ok_or_else(|| SpecError::Profile(name.clone()))?;
                EngineConfig::Fixed(*profile)
            }
        };
        let engines = Engines::load(&config, &Files::by_path()).map_err(Box::new)?;
        match (spec, engines.status()) {
            (EngineSpec::Policy { hash, path, .. }, EngineStatus::Policy { hash: found, .. })
                if hash != found =>
            {
                Err(SpecError::Changed {
                    path: path.into(),
                    recorded: hash.clone(),
                    found: found.clone(),
                })
            }
            _ => Ok(engines),
        }
    }

    /// The description from which [`Engines::of_spec`] makes equal ones.
    pub(crate) fn spec(&self) -> EngineSpec {
        match (&self.kind, &self.status) {
            (Kind::Adaptive(preset), _) => EngineSpec::Adaptive(preset.name().to_owned()),
            (
                Kind::Policy {
                    policy,
                    seed,
                    fallback,
                },
                EngineStatus::Policy { path, .. },
            ) => EngineSpec::Policy {
                name: policy.config().name.clone(),
                // Replay may start elsewhere.
                path: std::path::absolute(path)
                    .unwrap_or_else(|_| path.clone())
                    .to_string_lossy()
                    .into_owned(),
                hash: policy.hash().to_owned(),
                runs_on: policy.runs_on().clone(),
                seed: *seed,
                fallback: fallback.map(|preset| preset.name().to_owned()),
            },
            (Kind::Script(steps), _) => {
                let step = |step: &Step| (step.at_ns, Bits::of(&step.decision));
                EngineSpec::Script(steps.iter().map(step).collect())
            }
            (Kind::Fixed(profile), _) => EngineSpec::Fixed(profile.name().to_owned()),
            #[cfg(feature = "remote")]
            (Kind::Remote(_), EngineStatus::Remote { name, url, .. }) => EngineSpec::Remote {
                name: name.clone(),
                url: url.clone(),
            },
            #[cfg(feature = "remote")]
            (Kind::Remote(_), _) => EngineSpec::Other,
            (Kind::Policy { .. } | Kind::Made(_), _) => EngineSpec::Other,
        }
    }

    /// Makes engines that decide after every `interval` records.
    pub fn maker(&self, interval: NonZeroU32) -> MakeEngine {
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
                #[cfg(feature = "remote")]
                Kind::Remote(remote) => {
                    let engine = Box::new(remote.engine(interval));
                    match remote.config.fallback {
                        Some(preset) => {
                            Box::new(Fallback::new(engine, Adaptive::new(preset.config())))
                        }
                        None => engine,
                    }
                }
                Kind::Script(steps) => Box::new(Scripted::new(None, steps.clone())),
                Kind::Fixed(profile) => Box::new(Fixed::new(*profile)),
                Kind::Made(make) => make(scheduler),
            }
        })
    }
}

/// The engine of a choice; `None` if the configuration has no policy for it.
pub(super) fn chosen(choice: Choice, config: &Config) -> Option<EngineConfig> {
    let preset = match &config.engine {
        EngineConfig::Adaptive(preset) => Some(*preset),
        EngineConfig::Policy { fallback, .. } => *fallback,
        EngineConfig::Remote(remote) => remote.fallback,
        EngineConfig::Script(_) | EngineConfig::Fixed(_) => None,
    };
    match (choice, &config.engine) {
        (Choice::Config, engine) => Some(engine.clone()),
        (Choice::Plain, _) => Some(EngineConfig::Fixed(Profile::Plain)),
        (Choice::Tuned, _) => Some(EngineConfig::Fixed(Profile::Tuned)),
        (Choice::Adaptive, _) => Some(EngineConfig::Adaptive(preset.unwrap_or_default())),
        (Choice::Policy, engine @ (EngineConfig::Policy { .. } | EngineConfig::Remote(_))) => {
            Some(engine.clone())
        }
        (Choice::Policy, _) => {
            let path = config.control.as_ref()?.policy.clone()?;
            Some(EngineConfig::Policy {
                path,
                engine: EngineOptions::default(),
                seed: 0,
                fallback: Some(preset.unwrap_or_default()),
            })
        }
    }
}

/// Loads a policy into the engine that it needs or that is requested.
pub(super) fn load(
    dir: &Path,
    options: &EngineOptions,
    files: &Files,
) -> Result<Arc<Policy>, PolicyError> {
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

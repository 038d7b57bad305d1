//! What decides, loaded once for all scheduler instances.

use std::num::NonZeroU32;
use std::sync::Arc;

use l4sllm_model::Policy;

use crate::batch::MakeEngine;
use crate::config::EngineConfig;
use crate::engine::{Engine, PolicyEngine, Scripted, Step};
use crate::error::Error;
use crate::files::Files;
use crate::status::EngineStatus;

/// What the configuration says decides: makes engines for any interval.
#[derive(Clone)]
pub struct Engines {
    kind: Kind,
    status: EngineStatus,
}

#[derive(Clone)]
enum Kind {
    Policy { policy: Arc<Policy>, seed: u64 },
    Script(Vec<Step>),
}

impl Engines {
    /// Loads it.
    ///
    /// # Errors
    /// The policy does not load.
    pub fn load(config: &EngineConfig, files: &Files) -> Result<Engines, Error> {
        match config {
            EngineConfig::Policy { path, seed } => {
                let policy = Policy::load_by(path, |file| files.read(file));
                let policy = policy.map_err(|source| Error::Policy {
                    path: path.clone(),
                    source,
                })?;
                let status = EngineStatus::Policy {
                    name: policy.config().name.clone(),
                    path: path.clone(),
                    hash: policy.hash().to_owned(),
                };
                let kind = Kind::Policy {
                    policy,
                    seed: *seed,
                };
                Ok(Engines { kind, status })
            }
            EngineConfig::Script(steps) => Ok(Engines {
                kind: Kind::Script(steps.clone()),
                status: EngineStatus::Script { steps: steps.len() },
            }),
        }
    }

    /// What it is.
    pub fn status(&self) -> &EngineStatus {
        &self.status
    }

    /// Makes engines that decide after every `interval` records.
    pub(super) fn maker(&self, interval: NonZeroU32) -> MakeEngine {
        let kind = self.kind.clone();
        Box::new(move |_| -> Box<dyn Engine> {
            match &kind {
                Kind::Policy { policy, seed } => {
                    Box::new(PolicyEngine::new(Arc::clone(policy), interval, *seed))
                }
                Kind::Script(steps) => Box::new(Scripted::new(None, steps.clone())),
            }
        })
    }
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engines({})", self.status)
    }
}

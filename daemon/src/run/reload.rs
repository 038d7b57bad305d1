//! SIGHUP: new configuration and policy, or the old ones where that fails.

use std::sync::Arc;

use l4sllm_model::Policy;
use tracing::{error, info, warn};

use super::Daemon;
use super::connect::apply_limits;
use crate::batch::Scheduler;
use crate::config::{Config, EngineConfig};
use crate::device::Device;
use crate::engine::{Engine, PolicyEngine, Scripted};
use crate::error::Error;
use crate::status::EngineStatus;

impl Daemon {
    /// Reads configuration and policy again. Windows start anew; the stream,
    /// counters and overrides in force go on.
    pub(super) async fn reload(&mut self, device: Option<&mut Device>) {
        match self.try_reload(device).await {
            Ok(()) => {
                self.reloads.succeeded += 1;
                info!(engine = %self.engine, interval = self.config.pipeline.interval, "reloaded");
            }
            Err(error) => {
                self.reloads.failed += 1;
                self.reloads.last_error = Some(error.to_string());
                error!(%error, "reload failed, everything stays as it was");
            }
        }
    }

    async fn try_reload(&mut self, device: Option<&mut Device>) -> Result<(), Error> {
        let mut config = Config::load(&self.path)?;
        for (section, changed) in [
            ("device", config.device != self.config.device),
            ("status", config.status != self.config.status),
        ] {
            if changed {
                warn!(section, "changes take effect on restart");
            }
        }
        config.device = self.config.device.clone();
        config.status = self.config.status.clone();
        let (make_engine, engine) = load_engine(&config)?;
        if let Some(device) = device {
            apply_limits(device, &config).await?;
        }
        // From here on nothing fails.
        self.pipeline
            .reconfigure(config.pipeline.clone(), make_engine);
        self.engine = engine;
        self.log.set(config.log);
        self.config = config;
        Ok(())
    }
}

/// Makes an engine for a scheduler instance.
pub type MakeEngine = Box<dyn Fn(Scheduler) -> Box<dyn Engine> + Send>;

/// Loads what the configuration says decides.
///
/// # Errors
/// The policy does not load.
pub fn load_engine(config: &Config) -> Result<(MakeEngine, EngineStatus), Error> {
    match &config.engine {
        EngineConfig::Policy { path, seed } => {
            let policy = Policy::load(path).map_err(|source| Error::Policy {
                path: path.clone(),
                source,
            })?;
            let status = EngineStatus::Policy {
                name: policy.config().name.clone(),
                path: path.clone(),
                hash: policy.hash().to_owned(),
            };
            let (interval, seed) = (config.pipeline.interval, *seed);
            let make = move |_: Scheduler| -> Box<dyn Engine> {
                Box::new(PolicyEngine::new(Arc::clone(&policy), interval, seed))
            };
            Ok((Box::new(make), status))
        }
        EngineConfig::Script(steps) => {
            let status = EngineStatus::Script { steps: steps.len() };
            let steps = steps.clone();
            let make = move |_: Scheduler| -> Box<dyn Engine> {
                Box::new(Scripted::new(None, steps.clone()))
            };
            Ok((Box::new(make), status))
        }
    }
}

//! What changes while the program runs: SIGHUP brings a new configuration and
//! policy, or keeps the old ones where that fails; an event of the device
//! brings new advice.

use tracing::{error, info, warn};

use super::Daemon;
use super::connect::{apply_limits, check_limits};
use super::engines::Engines;
use crate::advice::AdvisedMode;
use crate::config::Config;
use crate::device::Device;
use crate::error::Error;
use crate::pipeline::PipelineConfig;

/// Why the operator's settings are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The device said that they changed, or was just opened.
    Told,
    /// The stream, which would say so, stands still: nothing new is no news.
    Looking,
}

impl Daemon {
    /// Reads configuration and policy again. Windows start anew; the stream,
    /// counters and overrides in force go on.
    pub(super) async fn reload(&mut self, device: Option<&mut Device>) {
        match self.try_reload(device).await {
            Ok(()) => {
                self.reloads.succeeded += 1;
                info!(engine = %self.engines.status(), interval = self.in_force.interval, "reloaded");
            }
            Err(error) => {
                self.reloads.failed += 1;
                self.reloads.last_error = Some(error.to_string());
                error!(%error, "reload failed, everything stays as it was");
            }
        }
    }

    async fn try_reload(&mut self, device: Option<&mut Device>) -> Result<(), Error> {
        let mut config = Config::load_from(&self.files, &self.path)?;
        for (section, changed) in [
            ("device", config.device != self.config.device),
            ("status", config.status != self.config.status),
            ("sandbox", config.sandbox != self.config.sandbox),
        ] {
            if changed {
                warn!(section, "changes take effect on restart");
            }
        }
        config.device = self.config.device.clone();
        config.status = self.config.status.clone();
        config.sandbox = self.config.sandbox;
        let engines = Engines::load(&config.engine, &self.files)?;
        let pipeline = self.advice.over(&config.pipeline);
        if let Some(device) = device {
            apply_limits(device, &config.limits, &pipeline).await?;
        }
        // From here on nothing fails.
        self.engines = engines;
        self.put_in_force(pipeline);
        self.log.set(config.log);
        self.config = config;
        Ok(())
    }

    /// Puts in force what the operator asks for, where that is something else
    /// than what is in force. What cannot be is said, and changes nothing.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) async fn heed_advice(
        &mut self,
        device: &mut Device,
        asked: Asked,
    ) -> Result<(), Error> {
        let read = self.advice_source.read();
        let before = std::mem::replace(&mut self.advice_read, read.as_ref().ok().copied());
        if asked == Asked::Looking && before == self.advice_read {
            return Ok(());
        }
        let advice = match read {
            Ok(advice) => advice,
            Err(error) => {
                warn!(%error, "not known what the operator asks for; nothing changes");
                return Ok(());
            }
        };
        let pipeline = advice.over(&self.config.pipeline);
        if pipeline != self.in_force {
            let limits = device.limits().await?;
            if let Err(error) = check_limits(&pipeline, &limits) {
                warn!(%error, ?advice, "what the operator asks for cannot be; nothing changes");
                return Ok(());
            }
        }
        if advice.mode == Some(AdvisedMode::Steer) && self.advice.mode != advice.mode {
            warn!(engine = %self.engines.status(),
                "mode steer: an engine that decides actions goes on doing so; \
                 set-points are shifted by those that decide to");
        }
        self.advice = advice;
        if pipeline != self.in_force {
            self.put_in_force(pipeline);
            let (interval, mode) = (self.in_force.interval, self.in_force.mode);
            info!(
                interval,
                ?mode,
                ?advice,
                "the operator's settings are in force"
            );
        }
        Ok(())
    }

    fn put_in_force(&mut self, pipeline: PipelineConfig) {
        let make_engine = self.engines.maker(pipeline.interval);
        self.pipeline.reconfigure(pipeline.clone(), make_engine);
        self.in_force = pipeline;
    }
}

//! From a path to a device that will take overrides.

use std::sync::Arc;

use l4sllm_abi::{Limits, Refusal, VERSIONS, Version};
use tracing::{info, warn};

use super::Daemon;
use super::control::{Command, Control};
use crate::apply::OverrideMode;
use crate::config::{Config, LimitsConfig};
use crate::device::{Device, DeviceError};
use crate::error::Error;
use crate::files::Files;
use crate::pipeline::PipelineConfig;

impl Daemon {
    /// Opens the device, waiting for it if configured so; the inner `Err` is
    /// the signal that ended the wait.
    pub(super) async fn connect(
        &mut self,
        control: &mut Control,
    ) -> Result<Result<Device, &'static str>, Error> {
        let again = self.device.opened > 0;
        let wait = if again {
            self.config.device.reconnect
        } else {
            self.config.device.wait_missing
        };
        let (mut pause, longest) = self.config.device.retry;
        let mut attempts = 0u64;
        loop {
            let (config, files) = (self.config.clone(), Arc::clone(&self.files));
            let opened = tokio::select! {
                biased;
                command = control.next() => {
                    match self.while_waiting(command).await {
                        Some(signal) => return Ok(Err(signal)),
                        None => continue,
                    }
                }
                opened = open(&files, &config) => opened,
            };
            let error = match opened {
                Ok((device, version)) => {
                    self.opened(&version);
                    return Ok(Ok(device));
                }
                Err(Error::Device(error)) if wait && may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            attempts += 1;
            if attempts == 1 {
                warn!(%error, "no device yet, trying again until there is one");
            }
            let sleep = tokio::time::sleep(pause);
            tokio::pin!(sleep);
            loop {
                tokio::select! {
                    biased;
                    command = control.next() => {
                        if let Some(signal) = self.while_waiting(command).await {
                            return Ok(Err(signal));
                        }
                    }
                    () = &mut sleep => break,
                }
            }
            pause = (pause * 2).min(longest);
        }
    }

    async fn while_waiting(&mut self, command: Command) -> Option<&'static str> {
        match command {
            Command::Stop(signal) => return Some(signal),
            Command::Reload => self.reload(None).await,
            Command::Tell(question) => self.answer(question),
        }
        None
    }

    fn opened(&mut self, version: &Version) {
        self.device.opened += 1;
        self.device.module = Some(version.module.clone());
        self.device.abi = Some((version.min, version.max));
        self.pipeline.restart();
        self.torn_in_a_row = 0;
        info!(
            device = %self.device.path.display(),
            module = version.module,
            device_abi = ?(version.min, version.max),
            own_abi = ?VERSIONS,
            opened = self.device.opened,
            "controlling the device"
        );
    }
}

/// Sets the limits that are configured and checks that overrides as
/// configured can stay within those in force.
pub(super) async fn apply_limits(
    device: &mut Device,
    config: &LimitsConfig,
    pipeline: &PipelineConfig,
) -> Result<(), Error> {
    let before = device.limits().await?;
    let limits = config.over(before);
    check_limits(pipeline, &limits)?;
    if limits != before {
        device.set_limits(&limits).await?;
    }
    Ok(())
}

async fn open(files: &Files, config: &Config) -> Result<(Device, Version), Error> {
    let mut device = Device::open(files, &config.device).await?;
    let version = device.version().await?;
    device.control().await?;
    apply_limits(&mut device, &config.limits, &config.pipeline).await?;
    Ok((device, version))
}

/// True when waiting may help.
fn may_pass(error: &DeviceError) -> bool {
    error.is_gone()
        || matches!(
            error,
            DeviceError::Refused {
                refusal: Refusal::Busy,
                ..
            }
        )
}

/// Checks that overrides as `pipeline` has them stay within `limits`.
pub(super) fn check_limits(pipeline: &PipelineConfig, limits: &Limits) -> Result<(), Error> {
    const MS: u64 = 1_000_000;
    if pipeline.ttl_ns > limits.max_ttl_ns {
        return Err(Error::BeyondLimits {
            key: "pipeline.ttl_ms",
            given: pipeline.ttl_ns / MS,
            limit: limits.max_ttl_ns / MS,
            limit_key: "limits.max_ttl_ms",
        });
    }
    match pipeline.mode {
        OverrideMode::Hold(packets) if packets.get() > limits.max_hold => {
            Err(Error::BeyondLimits {
                key: "pipeline.hold",
                given: packets.get().into(),
                limit: limits.max_hold.into(),
                limit_key: "limits.max_hold",
            })
        }
        _ => Ok(()),
    }
}

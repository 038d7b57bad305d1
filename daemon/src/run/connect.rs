//! Opens a device and takes control of it.

use std::sync::Arc;
use std::time::Duration;

use l4sllm_abi::{Limits, Refusal, VERSIONS, Version};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::orders::Order;
use super::worker::Worker;
use crate::apply::OverrideMode;
use crate::config::{Config, LimitsConfig};
use crate::device::{Device, DeviceError};
use crate::error::Error;
use crate::files::Files;
use crate::pipeline::PipelineConfig;
use crate::recorder::Frame;

impl Worker {
    /// Opens the device, waiting for it if configured; `None` if a stop was
    /// requested.
    pub(super) async fn connect(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Option<Device>, Error> {
        // The device may need a moment to notice that it was released.
        let released = std::mem::take(&mut self.releases);
        let wait = if self.opened > 0 {
            self.config.device.reconnect || released
        } else {
            self.config.device.wait_missing
        };
        let mut attempts = 0u64;
        loop {
            let (config, files) = (self.config.clone(), Arc::clone(&self.files));
            let pipeline = self.engines.over(&config.pipeline);
            let opened = tokio::select! {
                biased;
                order = orders.recv() => {
                    if self.obey(order, None).await {
                        return Ok(None);
                    }
                    continue;
                }
                opened = open(&files, &config, &pipeline) => opened,
            };
            let error = match opened {
                Ok((device, version)) => {
                    self.note_opened(&version);
                    return Ok(Some(device));
                }
                Err(Error::Device(error)) if wait && may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            attempts += 1;
            if attempts == 1 {
                if let Some(suppressed) = self.logs.missing.allow() {
                    warn!(%error, suppressed, "no device yet, retrying");
                }
            }
            let pause = self.backoff.failed();
            if self.pause(pause, orders).await {
                return Ok(None);
            }
        }
    }

    /// Waits while executing orders; true if a stop was requested.
    pub(super) async fn pause(
        &mut self,
        pause: Duration,
        orders: &mut mpsc::Receiver<Order>,
    ) -> bool {
        let sleep = tokio::time::sleep(pause);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => {
                    if self.obey(order, None).await {
                        return true;
                    }
                }
                () = &mut sleep => return false,
            }
        }
    }

    /// Executes an order; true if a stop was requested. `None` means that the
    /// control task has ended.
    pub(super) async fn obey(&mut self, order: Option<Order>, device: Option<&mut Device>) -> bool {
        match order {
            None | Some(Order::Stop) => true,
            Some(Order::Apply(candidate, answer)) => {
                // The control task may have ended already.
                let _ = answer.send(self.apply(*candidate, device).await);
                false
            }
        }
    }

    fn note_opened(&mut self, version: &Version) {
        self.opened += 1;
        self.pipeline.restart();
        self.record(Frame::Opened);
        self.torn_in_a_row = 0;
        let path = {
            let mut live = self.board.live();
            live.device.opened = self.opened;
            live.device.module = Some(version.module.clone());
            live.device.abi = Some((version.min, version.max));
            live.device.path.clone()
        };
        if let Some(suppressed) = self.logs.opened.allow() {
            info!(
                device = %path.display(),
                module = version.module,
                device_abi = ?(version.min, version.max),
                own_abi = ?VERSIONS,
                opened = self.opened,
                suppressed,
                "controlling the device"
            );
        }
    }
}

/// Sets the configured limits and checks that the configured overrides fit
/// within the effective ones.
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

async fn open(
    files: &Files,
    config: &Config,
    pipeline: &PipelineConfig,
) -> Result<(Device, Version), Error> {
    let mut device = Device::open(files, &config.device).await?;
    let version = device.version().await?;
    device.control().await?;
    apply_limits(&mut device, &config.limits, pipeline).await?;
    Ok((device, version))
}

/// True if waiting may help.
fn may_pass(error: &DeviceError) -> bool {
    error.is_gone()
        || error.is_shortage()
        || matches!(
            error,
            DeviceError::Refused {
                refusal: Refusal::Busy,
                ..
            }
        )
}

/// Checks that the overrides configured in `pipeline` stay within `limits` and
/// last until the next decision.
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
    if pipeline.ends_early() {
        return Err(Error::EndsEarly {
            ttl_ms: pipeline.ttl_ns / MS,
            period_ms: pipeline.period_ms(),
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

//! Queries the device, the daemon and the system.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use l4sllm_model::text::shown;
use l4sllmd::config::{DeviceConfig, DeviceKind};
use l4sllmd::device::{self, DeviceError};
use l4sllmd::files::Files;
use l4sllmd::os_error::explain;
use l4sllmd::status::ask;

use super::DoctorArgs;
use super::facts::{Device, Facts, System};

/// Collects all facts; a failed query is also a fact.
///
/// # Errors
/// The system provides no event loop.
pub fn facts(args: &DoctorArgs) -> anyhow::Result<Facts> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let device = match &args.device {
        Some(path) => Some((DeviceKind::Socket, path.clone())),
        None if cfg!(target_os = "freebsd") => {
            Some((DeviceKind::Character, PathBuf::from("/dev/l4sllm")))
        }
        None => None,
    };
    Ok(Facts {
        device: match device {
            Some((kind, path)) => {
                let watch = Duration::from_nanos(args.watch_ns);
                runtime.block_on(look(kind, path, watch))
            }
            None => Device::NoModuleHere,
        },
        daemon: ask(&args.socket).map_err(|error| {
            format!(
                "none answers on {}: {}",
                shown(&args.socket),
                explain(&error)
            )
        }),
        system: if args.device.is_none() {
            system()
        } else {
            None
        },
    })
}

/// The device as seen by an observer; the controller keeps control.
async fn look(kind: DeviceKind, path: PathBuf, watch: Duration) -> Device {
    let config = DeviceConfig::observer(kind, path.clone());
    counts(&config, watch)
        .await
        .unwrap_or_else(|error| match error {
            DeviceError::Missing { path, .. } => Device::Missing { path },
            DeviceError::Version { .. } => Device::Version {
                reason: error.to_string(),
            },
            _ => Device::Silent {
                path,
                reason: error.to_string(),
            },
        })
}

async fn counts(config: &DeviceConfig, watch: Duration) -> Result<Device, DeviceError> {
    let mut device = device::Device::open(&Files::by_path(), config).await?;
    let module = device.version().await?.module;
    let before = Box::new(device.stats().await?);
    tokio::time::sleep(watch).await;
    Ok(Device::Counts {
        module,
        before,
        after: Box::new(device.stats().await?),
        watched_ms: watch.as_millis() as u64,
    })
}

#[cfg(target_os = "freebsd")]
fn system() -> Option<System> {
    Some(super::freebsd::system())
}

#[cfg(not(target_os = "freebsd"))]
fn system() -> Option<System> {
    None
}

//! Errors of a device, grouped by the operator's remedy.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use l4sllm_abi::{AbiError, Refusal};
use nix::errno::Errno;

use crate::config::{DeviceConfig, DeviceKind};
use crate::os_error::explain;

/// The reason why a device could not be opened or queried.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no device.
    #[error("{path}: no device: {hint} ({source})", path = path.display())]
    Missing {
        /// The device.
        path: PathBuf,
        /// The probable cause.
        hint: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The device cannot be opened.
    #[error("{path}: cannot open: {}", explain(source), path = path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The two sides have no version of the interface in common.
    #[error(
        "{path}: version mismatch: the device (release {module}) supports versions {} to {}, \
         this program {} to {}; install matching releases", theirs.0, theirs.1, ours.0, ours.1,
        path = path.display()
    )]
    Version {
        /// The device.
        path: PathBuf,
        /// Its release.
        module: String,
        /// Versions that it supports.
        theirs: (u16, u16),
        /// Versions that this program supports.
        ours: (u16, u16),
    },
    /// The device refused a request.
    #[error("{path}: cannot {what}: {refusal}", path = path.display())]
    Refused {
        /// The request.
        what: &'static str,
        /// The device.
        path: PathBuf,
        /// The error that it returned.
        refusal: Refusal,
    },
    /// The device disappeared.
    #[error("{path}: the device disappeared: cannot {what}: {reason}", path = path.display())]
    Gone {
        /// The request.
        what: &'static str,
        /// The device.
        path: PathBuf,
        /// The symptom.
        reason: String,
    },
    /// A reply that violates the interface.
    #[error("{path}: cannot {what}: unexpected reply: {source}", path = path.display())]
    Answer {
        /// The request.
        what: &'static str,
        /// The device.
        path: PathBuf,
        /// The error in the reply.
        source: AbiError,
    },
}

impl DeviceError {
    /// True if the system, not the device, lacks a resource.
    pub fn is_shortage(&self) -> bool {
        let DeviceError::Open { source, .. } = self else {
            return false;
        };
        matches!(
            source.raw_os_error().map(Errno::from_raw),
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)
        )
    }

    /// True if another attempt may succeed.
    pub fn is_gone(&self) -> bool {
        matches!(self, DeviceError::Missing { .. } | DeviceError::Gone { .. })
    }
}

/// The reason for a front end's failure.
pub(super) enum Failure {
    Refused(Refusal),
    Io(io::Error),
    Closed,
    Timeout(Duration),
    Answer(AbiError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<AbiError> for Failure {
    fn from(error: AbiError) -> Failure {
        Failure::Answer(error)
    }
}

/// Converts a host errno to the interface's error, if there is one.
pub(super) fn refusal(errno: Errno) -> Option<Refusal> {
    Some(match errno {
        Errno::EPERM => Refusal::Permission,
        Errno::ENOENT => Refusal::NotFound,
        Errno::EBUSY => Refusal::Busy,
        Errno::EINVAL => Refusal::Invalid,
        Errno::EPROTO => Refusal::Protocol,
        Errno::ERANGE => Refusal::BeyondLimits,
        Errno::ENOTTY => Refusal::Unsupported,
        Errno::ENOMEM => Refusal::NoMemory,
        _ => return None,
    })
}

pub(super) fn open(config: &DeviceConfig, source: io::Error) -> DeviceError {
    let path = config.path.clone();
    // ENXIO and ENODEV: a node without a driver behind it.
    let no_driver = matches!(
        source.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENXIO | Errno::ENODEV)
    );
    let missing = no_driver
        || matches!(
            source.kind(),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused
        );
    if !missing {
        return DeviceError::Open { path, source };
    }
    let hint = match config.kind {
        DeviceKind::Character => "the module is not loaded; kldload dualpi2_llm",
        DeviceKind::Socket => {
            "no emulated device is listening there; start l4sllm device serve first"
        }
    };
    DeviceError::Missing { path, hint, source }
}

pub(super) fn request(what: &'static str, path: &Path, failure: Failure) -> DeviceError {
    let path = path.to_owned();
    let gone = |path, reason| DeviceError::Gone { what, path, reason };
    match failure {
        Failure::Refused(refusal) => DeviceError::Refused {
            what,
            path,
            refusal,
        },
        Failure::Answer(source) => DeviceError::Answer { what, path, source },
        Failure::Closed => gone(path, "it closed the connection".into()),
        Failure::Timeout(after) => gone(path, format!("no reply within {after:?}")),
        Failure::Io(error) => gone(path, error.to_string()),
    }
}

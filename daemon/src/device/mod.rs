//! Front ends of the device: the kernel's character device, and the Unix socket
//! of an emulated one. Both speak `l4sllm_abi`.

mod character;
mod error;
mod socket;

use std::path::PathBuf;

use l4sllm_abi::bytes::{Plain, as_bytes_mut};
use l4sllm_abi::raw::{
    l4s_limits, l4s_params, l4s_queues, l4s_stats, l4s_student_status, l4s_version,
};
use l4sllm_abi::{
    Interval, Limits, Op, Override, Params, Queues, Stats, StudentStatus, StudentSwitch, VERSIONS,
    Version,
};

use crate::config::{DeviceConfig, DeviceKind};
use crate::files::Files;
use character::CharacterDevice;
#[cfg(target_os = "freebsd")]
pub(crate) use character::ioctls;
pub use error::DeviceError;
use error::Failure;
use socket::SocketDevice;

/// An open device.
pub struct Device {
    front: Front,
    path: PathBuf,
    timeout: std::time::Duration,
}

enum Front {
    Character(CharacterDevice),
    Socket(SocketDevice),
}

impl Device {
    /// Opens the device without negotiating a version; see [`Device::version`].
    ///
    /// # Errors
    /// [`DeviceError::Missing`] if it does not exist or cannot be opened.
    pub async fn open(files: &Files, config: &DeviceConfig) -> Result<Device, DeviceError> {
        let path = &config.path;
        let front = match config.kind {
            DeviceKind::Character => CharacterDevice::open(files, path).map(Front::Character),
            DeviceKind::Socket => SocketDevice::open(files, path, config.timeout)
                .await
                .map(Front::Socket),
        };
        let front = front.map_err(|source| error::open(config, source))?;
        Ok(Device {
            front,
            path: config.path.clone(),
            timeout: config.timeout,
        })
    }

    /// Negotiates a version.
    ///
    /// # Errors
    /// [`DeviceError::Version`] with both ranges if there is no common version.
    pub async fn version(&mut self) -> Result<Version, DeviceError> {
        let what = "agree on a version";
        let mut answer = Version::question();
        let version = match self.request(what, Op::Version, &mut answer).await {
            Ok(()) => self.checked(what, Version::try_from(answer))?,
            Err(DeviceError::Refused {
                refusal: l4sllm_abi::Refusal::Protocol,
                ..
            }) => {
                // A refusal returns no data. Every device has a version in
                // common with this range, and returns its own.
                let mut any = l4s_version {
                    min: 0,
                    max: u16::MAX,
                    ..Default::default()
                };
                self.request(what, Op::Version, &mut any).await?;
                // Its record size does not matter then.
                any.record_size = l4sllm_abi::MESSAGE_SIZE as u32;
                self.checked(what, Version::try_from(any))?
            }
            Err(other) => return Err(other),
        };
        if version.is_compatible() {
            return Ok(version);
        }
        Err(DeviceError::Version {
            path: self.path.clone(),
            module: version.module,
            theirs: (version.min, version.max),
            ours: VERSIONS,
        })
    }

    /// Takes control, which is required for sending overrides.
    ///
    /// # Errors
    /// Refused with `Busy` while another descriptor has control.
    pub async fn control(&mut self) -> Result<(), DeviceError> {
        self.request_bytes("take control", Op::Control, &mut [])
            .await
    }

    /// Sets when the device becomes readable.
    ///
    /// # Errors
    /// The device refuses, or has disappeared.
    pub async fn interval(&mut self, interval: Interval) -> Result<(), DeviceError> {
        let what = "set the interval";
        let mut raw = self.checked(what, interval.to_raw())?;
        self.request(what, Op::Interval, &mut raw).await
    }

    /// Reads the queue parameters.
    ///
    /// # Errors
    /// The device refuses, or has disappeared.
    pub async fn params(&mut self) -> Result<Params, DeviceError> {
        let what = "read parameters";
        let mut raw = l4s_params::default();
        self.request(what, Op::GetParams, &mut raw).await?;
        self.checked(what, Params::try_from(raw))
    }

    /// Reads the limits.
    ///
    /// # Errors
    /// The device refuses, or has disappeared.
    pub async fn limits(&mut self) -> Result<Limits, DeviceError> {
        let what = "read limits";
        let mut raw = l4s_limits::default();
        self.request(what, Op::GetLimits, &mut raw).await?;
        self.checked(what, Limits::try_from(raw))
    }

    /// Changes limits.
    ///
    /// # Errors
    /// Refused without privilege, or if a limit is out of range.
    pub async fn set_limits(&mut self, limits: &Limits) -> Result<(), DeviceError> {
        let what = "set limits";
        let mut raw = self.checked(what, limits.to_raw())?;
        self.request(what, Op::SetLimits, &mut raw).await
    }

    /// Sends an override.
    ///
    /// # Errors
    /// Refused for a reason listed in the interface, or the device has
    /// disappeared.
    pub async fn send(&mut self, order: &Override) -> Result<(), DeviceError> {
        self.request("send an override", Op::Override, &mut order.to_raw())
            .await
    }

    /// Reads the counters over all schedulers.
    ///
    /// # Errors
    /// The device refuses, or has disappeared.
    pub async fn stats(&mut self) -> Result<Stats, DeviceError> {
        let what = "read counters";
        let mut raw: l4s_stats = Stats::question(0, 0);
        self.request(what, Op::Stats, &mut raw).await?;
        self.checked(what, Stats::try_from(raw))
    }

    /// Reads the statistics of both queues over all schedulers.
    ///
    /// # Errors
    /// The device refuses, or has disappeared.
    pub async fn queues(&mut self) -> Result<Queues, DeviceError> {
        let what = "read queue statistics";
        let mut raw: l4s_queues = Queues::question(0, 0);
        self.request(what, Op::Queues, &mut raw).await?;
        self.checked(what, Queues::try_from(raw))
    }

    /// Loads a student, or unloads it if `file` is empty.
    ///
    /// # Errors
    /// Refused without privilege, or if the file is invalid.
    pub async fn load_student(&mut self, file: &[u8]) -> Result<(), DeviceError> {
        let mut file = file.to_vec();
        self.request_bytes("load a student", Op::LoadStudent, &mut file)
            .await
    }

    /// Enables or disables the student.
    ///
    /// # Errors
    /// Refused without privilege or a loaded student.
    pub async fn set_student(&mut self, switch: &StudentSwitch) -> Result<(), DeviceError> {
        let what = "switch the student";
        let mut raw = self.checked(what, switch.to_raw())?;
        self.request(what, Op::SetStudent, &mut raw).await
    }

    /// Reads the state of the student.
    ///
    /// # Errors
    /// The device refuses, or has disappeared.
    pub async fn student(&mut self) -> Result<StudentStatus, DeviceError> {
        let what = "read the student's state";
        let mut raw = l4s_student_status::default();
        self.request(what, Op::GetStudent, &mut raw).await?;
        self.checked(what, StudentStatus::try_from(raw))
    }

    /// Waits until the device is readable and replaces the content of `into`
    /// with at most `most` bytes. May be dropped while it waits without losing
    /// data.
    ///
    /// # Errors
    /// [`DeviceError::Gone`] if the device disappeared.
    pub async fn read(&mut self, into: &mut Vec<u8>, most: usize) -> Result<(), DeviceError> {
        let read = match &mut self.front {
            Front::Character(device) => device.read(into, most).await,
            Front::Socket(device) => device.read(into, most).await,
        };
        read.map_err(|failure| error::request("read records", &self.path, failure))
    }

    /// Time that a readable device may take to return data.
    pub fn answer_time(&self) -> std::time::Duration {
        match self.front {
            // read(2) returns immediately.
            Front::Character(_) => std::time::Duration::ZERO,
            // Another process must run first.
            Front::Socket(_) => std::time::Duration::from_millis(50),
        }
    }

    async fn request<T: Plain>(
        &mut self,
        what: &'static str,
        op: Op,
        argument: &mut T,
    ) -> Result<(), DeviceError> {
        self.request_bytes(what, op, as_bytes_mut(argument)).await
    }

    async fn request_bytes(
        &mut self,
        what: &'static str,
        op: Op,
        argument: &mut [u8],
    ) -> Result<(), DeviceError> {
        let answer = match &mut self.front {
            Front::Character(device) => device.request(op, argument),
            Front::Socket(device) => {
                tokio::time::timeout(self.timeout, device.request(op, argument))
                    .await
                    .unwrap_or(Err(Failure::Timeout(self.timeout)))
            }
        };
        answer.map_err(|failure| error::request(what, &self.path, failure))
    }

    fn checked<T>(
        &self,
        what: &'static str,
        answer: Result<T, l4sllm_abi::AbiError>,
    ) -> Result<T, DeviceError> {
        answer.map_err(|e| error::request(what, &self.path, Failure::Answer(e)))
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

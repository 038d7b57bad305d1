//! Facts that the doctor collects before it diagnoses.

use std::path::PathBuf;

use l4sllm_abi::Stats;
use l4sllmd::status::Status;

/// All collected facts.
#[derive(Debug, Clone)]
pub struct Facts {
    pub device: Device,
    /// The daemon's answer, or the reason for its absence.
    pub daemon: Result<Status, String>,
    /// Facts available only on a FreeBSD system.
    pub system: Option<System>,
}

/// The device's answer.
#[derive(Debug, Clone)]
pub enum Device {
    /// Not queried: this system has no module, and no emulated device was
    /// given.
    NoModuleHere,
    /// The device does not exist.
    Missing { path: PathBuf },
    /// It cannot be opened, or does not answer.
    Silent { path: PathBuf, reason: String },
    /// It has incompatible interface versions.
    Version { reason: String },
    /// Its counters at the start and at the end of the watch.
    Counts {
        module: String,
        before: Box<Stats>,
        after: Box<Stats>,
        /// Length of the watch, ms.
        watched_ms: u64,
    },
}

/// A FreeBSD system.
#[derive(Debug, Clone, Default)]
pub struct System {
    /// Whether the module is loaded.
    pub loaded: bool,
    /// `net.inet.l4sllm.state`.
    pub state: Option<String>,
    /// `net.inet.ip.dummynet.dualpi2.ecn`.
    pub ecn: Option<bool>,
    /// `net.inet.ip.dummynet.dualpi2.limit_bytes`; 0: no limit.
    pub limit_bytes: Option<u64>,
    /// `net.inet.ip.dummynet.dualpi2.flow_weights`.
    pub flow_weights: Option<bool>,
    /// Interfaces that merge segments before or after the queue.
    pub offloads: Vec<Offload>,
}

/// An interface with segmentation offload on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offload {
    pub interface: String,
    /// Options in ifconfig(8)'s notation: `tso`, `lro`.
    pub options: Vec<&'static str>,
}

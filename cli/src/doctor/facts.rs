//! What the doctor knows before it thinks.

use std::path::PathBuf;

use l4sllm_abi::Stats;
use l4sllmd::status::Status;

/// Everything that was found out.
#[derive(Debug, Clone)]
pub struct Facts {
    pub device: Device,
    /// The daemon's answer, or why there is none.
    pub daemon: Result<Status, String>,
    /// What only a FreeBSD system can tell.
    pub system: Option<System>,
}

/// What the device said.
#[derive(Debug, Clone)]
pub enum Device {
    /// None was asked: this system has no module, and no other was named.
    NoModuleHere,
    /// There is none.
    Missing { path: PathBuf },
    /// It may not be opened, or does not answer.
    Silent { path: PathBuf, reason: String },
    /// It speaks other versions.
    Version { reason: String },
    /// It counted, at the start and at the end of the watch.
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
    /// `net.inet.ip.dummynet.dualpi2.limit_bytes`; 0: no such limit.
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
    /// Options as ifconfig(8) takes them: `tso`, `lro`.
    pub options: Vec<&'static str>,
}

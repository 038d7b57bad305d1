//! What the control task asks of the worker.

use tokio::sync::oneshot;

use super::engines::Engines;
use crate::config::Config;
use crate::device::DeviceError;
use crate::error::Error;

/// What the control task asks for.
pub(super) enum Order {
    /// Put a configuration and its engines in force, and report whether that
    /// worked.
    Apply(Box<Candidate>, oneshot::Sender<Result<(), Error>>),
    /// End.
    Stop,
}

/// Why the stream of one opened device ended.
pub(super) enum End {
    /// A stop was ordered.
    Stop,
    Gone(DeviceError),
}

/// A configuration with what it names, loaded and not yet in force.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) config: Config,
    pub(super) engines: Engines,
}

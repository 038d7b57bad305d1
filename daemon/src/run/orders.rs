//! Orders from the control task to the worker.

use tokio::sync::oneshot;

use super::engines::Engines;
use crate::config::Config;
use crate::control::Choice;
use crate::device::DeviceError;
use crate::error::Error;

/// An order from the control task.
pub(super) enum Order {
    /// Apply a configuration and its engines, and report the result.
    Apply(Box<Candidate>, oneshot::Sender<Result<(), Error>>),
    /// Stop.
    Stop,
}

/// The reason why the stream of a device ended.
pub(super) enum End {
    /// A stop was ordered.
    Stop,
    /// The device was released, so that no override stays in force.
    Released,
    Gone(DeviceError),
}

/// A loaded configuration with its engines, not yet applied.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) config: Config,
    pub(super) engines: Engines,
    /// What `engines` were selected by.
    pub(super) choice: Choice,
}

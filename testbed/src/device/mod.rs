//! An emulated device for other processes, in real time.
//!
//! [`DeviceServer`] offers the router's device on a Unix socket, framed as the
//! interface says; [`RealTime`] is the packet path behind it: a source, the
//! router, a link. Time is the host's monotonic clock. Experiments do not use
//! this: they run the daemon's pipeline in virtual time.

mod realtime;
mod server;

#[cfg(test)]
mod tests;

pub use realtime::{Load, RealTime};
pub use server::DeviceServer;

use std::sync::{Arc, Mutex};

use crate::router::Router;

/// A router that a packet path and device servers share. The packet path holds
/// the lock for one packet at a time; servers only to open the device.
pub type SharedRouter = Arc<Mutex<Router>>;

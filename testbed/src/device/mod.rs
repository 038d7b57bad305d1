//! An emulated device for other processes, in real time.
//!
//! [`DeviceServer`] serves the router's device on a Unix socket, with the
//! interface's framing. Behind it, [`Network`] runs a scenario, and [`RealTime`]
//! one source and a link, for tests. Time is the host's monotonic clock.
//! Experiments do not use this: they run the daemon's pipeline in virtual time.

mod network;
mod realtime;
mod server;

#[cfg(test)]
mod tests;

pub use network::{LAG, Network, NetworkError};
pub use realtime::{Load, RealTime};
pub use server::DeviceServer;

use std::sync::{Arc, Mutex};

use crate::router::Router;

/// A router that a packet path shares with a test. The packet path holds the lock
/// for one packet at a time.
pub type SharedRouter = Arc<Mutex<Router>>;

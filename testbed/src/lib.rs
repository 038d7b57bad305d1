//! A discrete-event testbed around the kernel's queue source.

pub mod aqm;
pub mod net;
pub mod result;
pub mod scenario;
pub mod sim;
pub mod transport;

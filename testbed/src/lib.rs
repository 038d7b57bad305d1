//! A discrete-event testbed around the kernel's queue source.

pub mod aqm;
pub mod control;
pub mod net;
pub mod report;
pub mod result;
pub mod router;
pub mod scenario;
pub mod sim;
pub mod transport;

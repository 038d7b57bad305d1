//! Drills in virtual time: what a malicious policy can do within the limits, and
//! whether memory stays flat over a day of traffic.

pub mod malicious;
pub mod soak;
pub mod usage;

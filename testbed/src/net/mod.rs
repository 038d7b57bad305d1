//! The network: access links, the bottleneck, the return path, and flows.

mod access;
mod bottleneck;
mod flow;
mod link;
mod rate;
mod segments;

pub use access::AccessLink;
pub use bottleneck::{Bottleneck, BottleneckCounts, Discipline, Transmission, Transmit};
pub use flow::{Flow, Side, Stats};
pub use link::{Bursts, Distribution, Link, Path, Service, Spread, Walk};
pub use rate::{RateCursor, RateError, RateSchedule, RateStep};
pub use segments::Segments;

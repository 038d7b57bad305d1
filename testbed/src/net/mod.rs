//! The network around the bottleneck: links and their rates.

mod access;
mod rate;

pub use access::AccessLink;
pub use rate::{RateCursor, RateError, RateSchedule, RateStep};

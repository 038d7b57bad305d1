//! Virtual time: events in order, random numbers from one seed.

mod queue;
mod random;

pub use queue::EventQueue;
pub use random::{Random, derive_seed};

pub(crate) use random::splitmix64;

//! Virtual time: events in order, random numbers from one seed, and the
//! [`Simulation`] that they drive.

mod accounting;
mod error;
mod events;
mod lanes;
mod queue;
mod random;
mod sampling;
mod simulation;
mod tournament;

pub use error::SimError;
pub use queue::{EventQueue, Lane};
pub use random::{Random, derive_seed};
pub use simulation::{Simulation, discipline};

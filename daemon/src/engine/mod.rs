//! Makes decisions from records.

mod policy;
mod scripted;

pub use policy::PolicyEngine;
pub use scripted::{Scripted, Step};

use l4sllm_abi::{Action, Record, Steer};

/// The decision maker of one scheduler instance.
pub trait Engine: Send {
    /// Takes the instance's next record. `Some` on the record that completes
    /// an interval, counted since the last reset.
    fn observe(&mut self, record: &Record) -> Option<Decision>;

    /// Takes the instance's next record without deciding, whether it completes
    /// an interval or not. At least `ahead` records follow, `ahead` not 0,
    /// before one that is decided on: an engine may leave out whatever that
    /// decision does not need.
    fn skip(&mut self, record: &Record, ahead: u32) {
        let _ = ahead;
        let _ = self.observe(record);
    }

    /// Forgets what it saw: records in between were lost.
    fn reset(&mut self);
}

/// What an engine decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// One of the three actions.
    Action {
        /// The action.
        action: Action,
        /// Probabilities of enqueue, drop and mark.
        probabilities: [f32; 3],
    },
    /// Shifted set-points.
    Steer(Steer),
}

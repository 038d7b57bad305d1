//! Budget of decisions per turn of the worker.

use l4sllm_abi::{Decoder, Message};

/// Time for decisions per turn, ns; at least one decision is made in any case.
const TURN_NS: u64 = 50_000_000;

/// State kept between turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Cost of a decision, ns: an exponential moving average.
    cost_ns: u64,
    /// Decoder of the open device's stream.
    pub(super) decoder: Decoder,
    /// Reused buffer of the backlog.
    pub(super) backlog: Vec<Message>,
}

impl Turns {
    /// Number of decisions that fit in one turn.
    pub(super) fn most(&self) -> usize {
        (TURN_NS / self.cost_ns.max(1)).max(1) as usize
    }

    pub(super) fn took(&mut self, ns: u64) {
        self.cost_ns = match self.cost_ns {
            0 => ns,
            cost => cost - cost / 8 + ns / 8,
        };
    }
}

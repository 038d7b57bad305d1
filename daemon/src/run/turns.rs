//! How much one turn of the worker decides.

use l4sllm_abi::{Decoder, Message};

/// How long one turn may decide, ns; it decides once in any case.
const TURN_NS: u64 = 50_000_000;

/// What one turn passes to the next.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Cost of a decision, ns: an exponential moving average.
    cost_ns: u64,
    /// Decoder of the open device's stream.
    pub(super) decoder: Decoder,
    /// Memory of the last backlog.
    pub(super) backlog: Vec<Message>,
}

impl Turns {
    /// Decisions for which one turn has the time.
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

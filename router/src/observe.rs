//! Hooks of a program around the router: it sees packets, and sets delays of
//! single flows.

use std::fmt;

use l4sllm_testbed::aqm::Departure;
use l4sllm_testbed::net::Bottleneck;

/// Sees every packet that leaves the queue.
pub trait Observer: fmt::Debug + Send {
    /// `packet` leaves the queue `at_ns` after the router's start, because its
    /// transmission begins or because it is dropped. A mark is set in it already.
    ///
    /// Runs in the forwarding thread: packets wait while it works.
    fn left(&mut self, at_ns: u64, departure: &Departure, packet: &[u8], bottleneck: &Bottleneck);
}

/// Propagation delays behind the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// From the queue to OUT, ns.
    pub forward_ns: u64,
    /// From OUT to IN, ns.
    pub back_ns: u64,
}

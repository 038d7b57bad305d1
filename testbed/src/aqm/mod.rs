//! Queue disciplines of the bottleneck.
//!
//! [`Aqm`] is the bottleneck's interface to them. DualPI2 is
//! [`crate::router::Router`], built from the kernel's own source; the others
//! are here, as baselines to compare with.

mod codel;
mod fifo;
mod fq_codel;
mod pie;

pub use codel::{Codel, CodelParams};
pub use fifo::{Fifo, FifoParams};
pub use fq_codel::{FqCodel, FqCodelParams};
pub use pie::{Pie, PieParams};

use std::collections::VecDeque;

use l4sllm_abi::{Action, Ecn, Queue, Reason};

/// A packet that enters a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Chosen by the caller and returned with the packet.
    pub cookie: u64,
    /// Its flow (for FQ-CoDel).
    pub flow: u32,
    /// Bytes on the wire.
    pub bytes: u32,
    /// Codepoint on arrival.
    pub ecn: Ecn,
    /// DiffServ codepoint, 0 to 63.
    pub dscp: u8,
}

/// A packet that leaves a queue: sent or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// As on arrival.
    pub cookie: u64,
    /// Bytes on the wire.
    pub bytes: u32,
    /// Codepoint after the decision.
    pub ecn: Ecn,
    /// The queue that it was in. A discipline with one queue classifies traffic
    /// by the codepoint on arrival, so that delays can be compared between
    /// disciplines.
    pub queue: Queue,
    /// The action taken.
    pub action: Action,
    /// Arrival to decision, ns; 0 for a drop on arrival.
    pub sojourn_ns: u64,
    /// The reason for the action; [`Reason::Base`] for disciplines other than
    /// DualPI2.
    pub reason: Reason,
}

/// A backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A queue discipline. Time is an argument, ns, and never goes back.
pub trait Aqm: Send {
    /// Enqueues a packet; it, or others instead, may be dropped.
    fn enqueue(&mut self, now_ns: u64, packet: Packet, drops: &mut Vec<Departure>);

    /// Dequeues the next packet to send, and those dropped before it.
    fn dequeue(&mut self, now_ns: u64, drops: &mut Vec<Departure>) -> Option<Departure>;

    /// The current backlog.
    fn backlog(&self) -> Backlog;
}

/// The queue of a dual queue for a codepoint (RFC 9331, section 5.1).
pub fn classify(ecn: Ecn) -> Queue {
    match ecn {
        Ecn::Ect1 | Ecn::Ce => Queue::L4s,
        Ecn::NotEct | Ecn::Ect0 => Queue::Classic,
    }
}

/// Packets in order, with their arrival times.
#[derive(Debug, Default)]
struct PacketQueue {
    packets: VecDeque<(u64, Packet)>,
    bytes: u64,
}

impl PacketQueue {
    fn push(&mut self, now_ns: u64, packet: Packet) {
        self.bytes += u64::from(packet.bytes);
        self.packets.push_back((now_ns, packet));
    }

    fn pop(&mut self) -> Option<(u64, Packet)> {
        let (arrived_ns, packet) = self.packets.pop_front()?;
        self.bytes -= u64::from(packet.bytes);
        Some((arrived_ns, packet))
    }

    fn backlog(&self) -> Backlog {
        Backlog {
            packets: self.packets.len() as u64,
            bytes: self.bytes,
        }
    }
}

fn depart(packet: Packet, sojourn_ns: u64, action: Action) -> Departure {
    Departure {
        cookie: packet.cookie,
        bytes: packet.bytes,
        ecn: if action == Action::Mark {
            Ecn::Ce
        } else {
            packet.ecn
        },
        queue: classify(packet.ecn),
        action,
        sojourn_ns,
        reason: Reason::Base,
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    pub const MS: u64 = 1_000_000;

    pub fn packet(cookie: u64, flow: u32, ecn: Ecn) -> Packet {
        Packet {
            cookie,
            flow,
            bytes: 1500,
            ecn,
            dscp: 0,
        }
    }

    /// Output of [`feed`].
    #[derive(Default)]
    pub struct Fed {
        pub sent: Vec<(u64, Departure)>,
        pub dropped: Vec<(u64, Departure)>,
    }

    /// Enqueues a packet every `arrival_ns` and dequeues one every
    /// `service_ns`.
    pub fn feed(
        aqm: &mut dyn Aqm,
        ecn: Ecn,
        arrival_ns: u64,
        service_ns: u64,
        start_ns: u64,
        end_ns: u64,
    ) -> Fed {
        let mut fed = Fed::default();
        let mut drops = Vec::new();
        let (mut arrival, mut service, mut cookie) = (start_ns, start_ns, 0);
        while arrival.min(service) < end_ns {
            if arrival <= service {
                aqm.enqueue(arrival, packet(cookie, 1, ecn), &mut drops);
                fed.dropped
                    .extend(drops.drain(..).map(|drop| (arrival, drop)));
                cookie += 1;
                arrival += arrival_ns;
            } else {
                let departure = aqm.dequeue(service, &mut drops);
                fed.dropped
                    .extend(drops.drain(..).map(|drop| (service, drop)));
                fed.sent
                    .extend(departure.map(|departure| (service, departure)));
                service += service_ns;
            }
        }
        fed
    }
}

//! The bottleneck: a queue discipline in front of a transmitter.

use super::{RateCursor, RateSchedule};
use crate::aqm::{Aqm, Backlog, Departure, Packet};
use crate::router::Router;

/// A queue discipline.
pub enum Discipline {
    /// The kernel's queue, which has a device.
    Router(Router),
    /// One of the baselines.
    Baseline(Box<dyn Aqm>),
}

/// A queue and the link behind it.
pub struct Bottleneck {
    discipline: Discipline,
    rate: RateCursor,
    transmitting: bool,
    counts: BottleneckCounts,
}

/// What the bottleneck itself has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BottleneckCounts {
    /// Packets that arrived.
    pub arrived: u64,
    /// Packets that the discipline gave to the transmitter.
    pub forwarded: u64,
    /// Packets that it dropped.
    pub dropped: u64,
}

/// A packet that begins its transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// The packet.
    pub departure: Departure,
    /// When its last bit has been sent, ns; none if the link is dead for good.
    pub end_ns: Option<u64>,
}

impl Bottleneck {
    /// An empty queue before an idle link.
    pub fn new(discipline: Discipline, rate: RateSchedule) -> Self {
        Bottleneck {
            discipline,
            rate: RateCursor::new(rate),
            transmitting: false,
            counts: BottleneckCounts::default(),
        }
    }

    /// A packet arrives. Dropped packets are added to `drops`.
    pub fn arrive(&mut self, now_ns: u64, packet: Packet, drops: &mut Vec<Departure>) {
        let before = drops.len();
        self.counts.arrived += 1;
        self.aqm().enqueue(now_ns, packet, drops);
        self.counts.dropped += (drops.len() - before) as u64;
    }

    /// Begins the next transmission, if the link is idle and a packet waits.
    pub fn transmit(&mut self, now_ns: u64, drops: &mut Vec<Departure>) -> Option<Transmission> {
        if self.transmitting {
            return None;
        }
        let before = drops.len();
        let departure = self.aqm().dequeue(now_ns, drops);
        self.counts.dropped += (drops.len() - before) as u64;
        let departure = departure?;
        self.counts.forwarded += 1;
        self.transmitting = true;
        Some(Transmission {
            departure,
            end_ns: self.rate.finish(now_ns, departure.bytes),
        })
    }

    /// The transmission has ended: the link is idle.
    pub fn transmitted(&mut self) {
        self.transmitting = false;
    }

    /// What waits, the packet being transmitted left out.
    pub fn backlog(&self) -> Backlog {
        match &self.discipline {
            Discipline::Router(router) => router.backlog(),
            Discipline::Baseline(aqm) => aqm.backlog(),
        }
    }

    /// What has passed.
    pub fn counts(&self) -> BottleneckCounts {
        self.counts
    }

    /// The kernel's queue, where it is one.
    pub fn router(&self) -> Option<&Router> {
        match &self.discipline {
            Discipline::Router(router) => Some(router),
            Discipline::Baseline(_) => None,
        }
    }

    /// The link's rate over time.
    pub fn rate(&self) -> &RateSchedule {
        self.rate.schedule()
    }

    fn aqm(&mut self) -> &mut dyn Aqm {
        match &mut self.discipline {
            Discipline::Router(router) => router,
            Discipline::Baseline(aqm) => aqm.as_mut(),
        }
    }
}

impl std::fmt::Debug for Bottleneck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bottleneck")
            .field("backlog", &self.backlog())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

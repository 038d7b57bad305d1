//! The router without its interfaces and its clock: what becomes of a packet,
//! and when.
//!
//! ```text
//! IN ──▶ header ──▶ queue ──▶ link ──▶ loss, jitter, delay ──▶ OUT
//! IN ◀────────── delay ◀── way back (rate, FIFO) ◀──────────── OUT
//! ```
//!
//! The link keeps its own time: a transmission begins when the one before it
//! ended, whenever the host gets round to it, so that lateness does not add up
//! and the rate is exact. How late packets are written is measured.

use std::io;

use l4sllm_abi::Ecn;
use l4sllm_testbed::aqm::{Departure, Packet};
use l4sllm_testbed::net::{AccessLink, Bottleneck, Discipline, Path, Transmission, Transmit};
use l4sllm_testbed::scenario::Scenario;

use crate::line::DelayLine;
use crate::packet::{Header, Malformed, mark};
use crate::pool::{Info, Pool, Slot};
use crate::summary::Measured;
use crate::{Side, schedule::Schedule};

/// Where packets are written, and the clock.
pub trait Wire {
    /// The time, ns. Never goes back.
    fn now_ns(&mut self) -> u64;
    /// Writes a packet.
    ///
    /// # Errors
    /// It was not taken.
    fn send(&mut self, to: Side, packet: &[u8]) -> io::Result<()>;
}

/// Buffer of the way back, bytes, where it has a rate.
const RETURN_BUFFER_BYTES: u64 = 1_000_000;

/// Most memory of packets, bytes.
const POOL_BYTES: usize = 256 << 20;

/// Flows that keep their order behind a link with jitter; more share.
const FLOWS: u32 = 4096;

/// The queue, the link and the packets in them.
#[derive(Debug)]
pub struct Forwarder {
    mtu: usize,
    /// Time 0 of the bottleneck, ns.
    epoch_ns: u64,
    schedule: Schedule,
    bottleneck: Bottleneck,
    path: Path,
    forward_ns: u64,
    way_back: AccessLink,
    pool: Pool,
    line: DelayLine,
    /// When the transmitter has something to do, ns.
    due_ns: Option<u64>,
    drops: Vec<Departure>,
    measured: Measured,
}

impl Forwarder {
    /// An idle router from `epoch_ns` on: the bottleneck, its link, the
    /// round-trip time and the way back are the scenario's. Packets of more than
    /// `mtu` bytes are refused.
    pub fn new(
        scenario: &Scenario,
        mut discipline: Discipline,
        mtu: usize,
        epoch_ns: u64,
    ) -> Forwarder {
        if let Discipline::Router(router) = &mut discipline {
            router.set_epoch(epoch_ns);
        }
        let schedule = Schedule::new(scenario);
        let bottleneck = Bottleneck::new(discipline, schedule.rate(), scenario.link.service());
        // One byte more shows that a packet is longer; lines are not shared.
        let buffer_bytes = (mtu + 1).next_multiple_of(64);
        let forward_ns = scenario.rtt_ns / 2;
        Forwarder {
            mtu,
            epoch_ns,
            path: Path::new(&scenario.link, scenario.repetition_seed(0)),
            schedule,
            bottleneck,
            forward_ns,
            way_back: AccessLink::new(
                scenario.return_bps,
                scenario.rtt_ns - forward_ns,
                RETURN_BUFFER_BYTES,
            ),
            pool: Pool::new(buffer_bytes, POOL_BYTES / buffer_bytes),
            line: DelayLine::default(),
            due_ns: None,
            drops: Vec::with_capacity(64),
            measured: Measured::default(),
        }
    }

    /// A buffer to read the next packet into; none while memory is full.
    pub fn buffer(&mut self) -> Option<(Slot, &mut [u8])> {
        let slot = self.pool.take()?;
        Some((slot, self.pool.buffer(slot)))
    }

    /// Returns a buffer that nothing was read into.
    pub fn unused(&mut self, slot: Slot) {
        self.pool.give(slot);
    }

    /// A packet was read and there was no buffer for it.
    pub fn refuse_for_memory(&mut self, from: Side) {
        self.measured.counts.received(from);
        self.measured.counts.refused.no_memory += 1;
    }

    /// The packet of `length` bytes in `slot` arrives at `now_ns`, up to which
    /// [`Forwarder::advance`] has brought the router.
    pub fn arrive(&mut self, from: Side, slot: Slot, length: usize, now_ns: u64) {
        self.measured.counts.received(from);
        if length > self.mtu {
            self.measured.counts.refused.too_long += 1;
            return self.pool.give(slot);
        }
        let header = match Header::parse(&self.pool.buffer(slot)[..length]) {
            Ok(header) => header,
            Err(error) => {
                match error {
                    Malformed::NotIp => self.measured.counts.refused.not_ip += 1,
                    Malformed::Short => self.measured.counts.refused.short += 1,
                }
                return self.pool.give(slot);
            }
        };
        let info = Info {
            length: length as u32,
            ecn: header.ecn,
            flow: header.flow,
            arrived_ns: now_ns,
        };
        self.pool.set_info(slot, info);
        match from {
            Side::In => self.enqueue(slot, &header, now_ns),
            Side::Out => self.send_back(slot, length as u32, now_ns),
        }
    }

    /// When something happens without an arrival, ns; none: never.
    pub fn next_ns(&self) -> Option<u64> {
        match (self.due_ns, self.line.next_ns()) {
            (Some(due), Some(line)) => Some(due.min(line)),
            (due, line) => due.or(line),
        }
    }

    /// Does what is due, in order of time; returns the time, ns.
    pub fn advance(&mut self, wire: &mut impl Wire) -> u64 {
        let mut now_ns = wire.now_ns();
        while let Some(at_ns) = self.next_ns().filter(|at_ns| *at_ns <= now_ns) {
            // A packet that leaves makes room on the link: it goes first.
            if self.line.next_ns() == Some(at_ns) {
                self.deliver(wire);
            } else {
                self.bottleneck.transmitted();
                self.transmit(at_ns);
            }
            now_ns = wire.now_ns();
        }
        now_ns
    }

    /// What was counted and measured up to `now_ns`.
    pub fn measured(&self, now_ns: u64) -> Measured {
        let elapsed_ns = now_ns - self.epoch_ns;
        Measured {
            elapsed_ns,
            capacity_bits: self.schedule.capacity_bits(elapsed_ns),
            queue: self.bottleneck.counts(),
            queued: self.bottleneck.backlog().packets,
            under_way: self.pool.in_use() as u64 - self.bottleneck.backlog().packets,
            ..self.measured.clone()
        }
    }

    /// The bottleneck's queue.
    pub fn bottleneck(&self) -> &Bottleneck {
        &self.bottleneck
    }

    fn enqueue(&mut self, slot: Slot, header: &Header, now_ns: u64) {
        let packet = Packet {
            cookie: slot.into(),
            flow: header.flow,
            bytes: self.pool.info(slot).length,
            ecn: header.ecn,
            dscp: header.dscp,
        };
        let now = now_ns - self.epoch_ns;
        self.bottleneck.arrive(now, packet, &mut self.drops);
        if self.due_ns.is_none() {
            self.transmit(now_ns);
        } else {
            self.take_drops();
        }
    }

    fn send_back(&mut self, slot: Slot, bytes: u32, now_ns: u64) {
        match self.way_back.send(now_ns, bytes) {
            Some(at_ns) => self.line.push(at_ns, Side::In, slot),
            None => {
                self.measured.counts.back_dropped += 1;
                self.pool.give(slot);
            }
        }
    }

    /// Begins the next transmission, if the link is free.
    fn transmit(&mut self, at_ns: u64) {
        let at = at_ns - self.epoch_ns;
        if let Some(rate) = self.schedule.next(at) {
            self.bottleneck.set_rate(rate);
        }
        self.due_ns = match self.bottleneck.transmit(at, &mut self.drops) {
            Transmit::Begun(transmission) => Some(self.begin(&transmission)),
            Transmit::Wait(at) => Some(self.epoch_ns.saturating_add(at)),
            Transmit::Nothing if self.bottleneck.backlog().packets > 0 => {
                Some(self.epoch_ns.saturating_add(self.schedule.repeats_ns()))
            }
            Transmit::Nothing => None,
        };
        self.take_drops();
    }

    /// Sends a packet that left the queue along its path; returns when the link
    /// is free.
    fn begin(&mut self, transmission: &Transmission) -> u64 {
        let departure = &transmission.departure;
        // Cookies are slots.
        let slot = departure.cookie as Slot;
        let info = *self.pool.info(slot);
        self.measured.sojourns[departure.queue as usize].add(departure.sojourn_ns);
        if departure.ecn == Ecn::Ce && info.ecn != Ecn::Ce {
            self.measured.counts.marked[departure.queue as usize] += 1;
            mark(self.pool.packet_mut(slot));
        }
        // A link whose schedule ends in an outage sends when it repeats.
        let (end, free) = match transmission.end_ns {
            Some(end) => (end, transmission.free_ns),
            None => (self.schedule.repeats_ns(), self.schedule.repeats_ns()),
        };
        let end_ns = self.epoch_ns.saturating_add(end);
        match self
            .path
            .cross(info.flow % FLOWS, end_ns.saturating_add(self.forward_ns))
        {
            Some(at_ns) => self.line.push(at_ns, Side::Out, slot),
            None => {
                self.measured.counts.lost += 1;
                self.pool.give(slot);
            }
        }
        self.epoch_ns.saturating_add(free)
    }

    /// Writes the packet that is due first.
    fn deliver(&mut self, wire: &mut impl Wire) {
        let Some(due) = self.line.pop() else {
            return;
        };
        if due.to == Side::Out {
            let late_ns = wire.now_ns().saturating_sub(due.at_ns);
            self.measured.lateness.add(late_ns);
        }
        let packet = self.pool.packet(due.slot);
        let sent = wire.send(due.to, packet);
        self.measured
            .counts
            .sent(due.to, packet.len(), sent.is_ok());
        self.pool.give(due.slot);
    }

    fn take_drops(&mut self) {
        for drop in self.drops.drain(..) {
            self.measured.counts.dropped[drop.queue as usize] += 1;
            self.pool.give(drop.cookie as Slot);
        }
    }
}

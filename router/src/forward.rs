//! The router without its interfaces and clock: the path and timing of each
//! packet.
//!
//! ```text
//! IN ──▶ header ──▶ queue ──▶ link ──▶ loss, jitter, delay ──▶ OUT
//! IN ◀────────── delay ◀── return path (rate, FIFO) ◀───────── OUT
//! ```
//!
//! The link keeps its own time: a transmission begins when the previous one
//! ends, even if the host handles it later. Delays of the host therefore do not
//! accumulate, and the rate is exact. The lateness of each write is measured.

use std::collections::HashMap;
use std::io;

use l4sllm_abi::Ecn;
use l4sllm_testbed::aqm::{Departure, Packet};
use l4sllm_testbed::net::{AccessLink, Bottleneck, Discipline, Path, Transmission, Transmit};
use l4sllm_testbed::scenario::Scenario;

use crate::line::DelayLine;
use crate::observe::{Delay, Observer};
use crate::packet::{Header, Malformed, mark, ports};
use crate::pool::{Info, Pool, Slot};
use crate::summary::Measured;
use crate::{Side, schedule::Schedule};

/// The router's outputs and its clock.
pub trait Wire {
    /// The time, ns. Never goes back.
    fn now_ns(&mut self) -> u64;
    /// Writes a packet.
    ///
    /// # Errors
    /// The interface did not accept the packet.
    fn send(&mut self, to: Side, packet: &[u8]) -> io::Result<()>;
}

/// Buffer of the return path, bytes, if its rate is limited.
const RETURN_BUFFER_BYTES: u64 = 1_000_000;

/// Maximum memory for packets, bytes.
const POOL_BYTES: usize = 256 << 20;

/// Number of flows for which packets stay in order after a link with jitter;
/// further flows share an entry.
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
    delay: Delay,
    /// By the port of the host at OUT.
    delays: HashMap<u16, Delay>,
    way_back: AccessLink,
    pool: Pool,
    line: DelayLine,
    /// Next event of the transmitter, ns.
    due_ns: Option<u64>,
    drops: Vec<Departure>,
    measured: Measured,
    observer: Option<Box<dyn Observer>>,
}

impl Forwarder {
    /// An idle router that starts at `epoch_ns`, with the scenario's bottleneck,
    /// link, round-trip time and return path. Packets longer than `mtu` bytes are
    /// refused.
    pub fn new(
        scenario: &Scenario,
        discipline: Discipline,
        mtu: usize,
        epoch_ns: u64,
    ) -> Forwarder {
        Forwarder::repeating(scenario, 0, discipline, mtu, epoch_ns)
    }

    /// As [`Forwarder::new`], with the rates and random draws of repetition `first`
    /// of the scenario, followed by those of the next ones.
    pub fn repeating(
        scenario: &Scenario,
        first: u32,
        mut discipline: Discipline,
        mtu: usize,
        epoch_ns: u64,
    ) -> Forwarder {
        if let Discipline::Router(router) = &mut discipline {
            router.set_epoch(epoch_ns);
        }
        let schedule = Schedule::new(scenario, first);
        let bottleneck = Bottleneck::new(discipline, schedule.rate(), scenario.link.service());
        // One more byte detects longer packets; rounding up avoids shared cache
        // lines.
        let buffer_bytes = (mtu + 1).next_multiple_of(64);
        let forward_ns = scenario.rtt_ns / 2;
        Forwarder {
            mtu,
            epoch_ns,
            path: Path::new(&scenario.link, scenario.repetition_seed(first)),
            schedule,
            bottleneck,
            delay: Delay {
                forward_ns,
                back_ns: scenario.rtt_ns - forward_ns,
            },
            delays: HashMap::new(),
            way_back: AccessLink::new(scenario.return_bps, 0, RETURN_BUFFER_BYTES),
            pool: Pool::new(buffer_bytes, POOL_BYTES / buffer_bytes),
            line: DelayLine::default(),
            due_ns: None,
            drops: Vec::with_capacity(64),
            measured: Measured::default(),
            observer: None,
        }
    }

    /// Sets the delays of packets from and to single ports of the host at OUT;
    /// other packets have half of the scenario's round-trip time each way.
    pub fn set_delays(&mut self, delays: HashMap<u16, Delay>) {
        self.delays = delays;
    }

    /// Shows every packet that leaves the queue to `observer`.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observer = Some(observer);
    }

    /// A buffer for the next packet; `None` while memory is full.
    pub fn buffer(&mut self) -> Option<(Slot, &mut [u8])> {
        let slot = self.pool.take()?;
        Some((slot, self.pool.buffer(slot)))
    }

    /// Gives back an unused buffer.
    pub fn unused(&mut self, slot: Slot) {
        self.pool.give(slot);
    }

    /// Counts a packet that was read without a buffer for it.
    pub fn refuse_for_memory(&mut self, from: Side) {
        self.measured.counts.received(from);
        self.measured.counts.refused.no_memory += 1;
    }

    /// Handles the arrival of the packet of `length` bytes in `slot` at `now_ns`.
    /// [`Forwarder::advance`] must have handled all events up to then.
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

    /// Time of the next event other than an arrival, ns; `None` if no event is
    /// pending.
    pub fn next_ns(&self) -> Option<u64> {
        match (self.due_ns, self.line.next_ns()) {
            (Some(due), Some(line)) => Some(due.min(line)),
            (due, line) => due.or(line),
        }
    }

    /// Handles all due events in order of time; returns the current time, ns.
    pub fn advance(&mut self, wire: &mut impl Wire) -> u64 {
        let mut now_ns = wire.now_ns();
        while let Some(at_ns) = self.next_ns().filter(|at_ns| *at_ns <= now_ns) {
            // Deliveries come first, because they free space on the link.
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

    /// Counters and measurements up to `now_ns`.
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
            self.take_drops(now);
        }
    }

    fn send_back(&mut self, slot: Slot, bytes: u32, now_ns: u64) {
        let back_ns = self.delay_of(Side::Out, slot).back_ns;
        match self.way_back.send(now_ns, bytes) {
            Some(at_ns) => self.line.push(at_ns + back_ns, Side::In, slot),
            None => {
                self.measured.counts.back_dropped += 1;
                self.pool.give(slot);
            }
        }
    }

    /// The delays of a packet that was read at `from`.
    fn delay_of(&self, from: Side, slot: Slot) -> Delay {
        if self.delays.is_empty() {
            return self.delay;
        }
        let port = ports(self.pool.packet(slot)).map(|(source, destination)| match from {
            Side::In => destination,
            Side::Out => source,
        });
        let own = port.and_then(|port| self.delays.get(&port));
        own.copied().unwrap_or(self.delay)
    }

    /// Begins the next transmission if the link is free.
    fn transmit(&mut self, at_ns: u64) {
        let at = at_ns - self.epoch_ns;
        if let Some(rate) = self.schedule.next(at) {
            self.bottleneck.set_rate(rate);
        }
        self.due_ns = match self.bottleneck.transmit(at, &mut self.drops) {
            Transmit::Begun(transmission) => Some(self.begin(at, &transmission)),
            Transmit::Wait(at) => Some(self.epoch_ns.saturating_add(at)),
            Transmit::Nothing if self.bottleneck.backlog().packets > 0 => {
                Some(self.epoch_ns.saturating_add(self.schedule.repeats_ns()))
            }
            Transmit::Nothing => None,
        };
        self.take_drops(at);
    }

    /// Sends a packet from the queue over the link; returns the time at which the
    /// link is free.
    fn begin(&mut self, at: u64, transmission: &Transmission) -> u64 {
        let departure = &transmission.departure;
        // Cookies are slots.
        let slot = departure.cookie as Slot;
        let info = *self.pool.info(slot);
        self.measured.sojourns[departure.queue as usize].add(departure.sojourn_ns);
        if departure.ecn == Ecn::Ce && info.ecn != Ecn::Ce {
            self.measured.counts.marked[departure.queue as usize] += 1;
            mark(self.pool.packet_mut(slot));
        }
        self.show(at, departure);
        // If the schedule ends in an outage, the link sends when it repeats.
        let (end, free) = match transmission.end_ns {
            Some(end) => (end, transmission.free_ns),
            None => (self.schedule.repeats_ns(), self.schedule.repeats_ns()),
        };
        let end_ns = self.epoch_ns.saturating_add(end);
        let forward_ns = self.delay_of(Side::In, slot).forward_ns;
        match self
            .path
            .cross(info.flow % FLOWS, end_ns.saturating_add(forward_ns))
        {
            Some(at_ns) => self.line.push(at_ns, Side::Out, slot),
            None => {
                self.measured.counts.lost += 1;
                self.pool.give(slot);
            }
        }
        self.epoch_ns.saturating_add(free)
    }

    /// Writes the packet with the earliest departure time.
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

    fn take_drops(&mut self, at: u64) {
        let mut drops = std::mem::take(&mut self.drops);
        for drop in drops.drain(..) {
            self.measured.counts.dropped[drop.queue as usize] += 1;
            self.show(at, &drop);
            self.pool.give(drop.cookie as Slot);
        }
        self.drops = drops;
    }

    /// Shows a packet that left the queue to the observer.
    fn show(&mut self, at: u64, departure: &Departure) {
        if let Some(observer) = &mut self.observer {
            let packet = self.pool.packet(departure.cookie as Slot);
            observer.left(at, departure, packet, &self.bottleneck);
        }
    }
}

//! Event handlers of a network, and the events that they schedule.

use crate::aqm::{Departure, Packet};
use crate::control::Controller;
use crate::net::{Side, Transmission, Transmit};
use crate::result::PacketRow;
use crate::transport::{Body, Segment};

use super::{SimError, Simulation};

/// An event with a due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A flow begins or its application ends.
    Begin(u32),
    Stop(u32),
    /// A segment reaches the bottleneck, or its destination.
    Arrive(u32),
    Deliver(u32),
    /// The bottleneck has sent a packet.
    Transmitted,
    /// An end's deadline.
    Timer(u32, Side),
    /// Time to send an override: the pipeline's, or the script's next.
    Order,
    Script,
    /// The measured time begins.
    Measure,
    /// Flows are sampled.
    Sample,
}

impl Simulation {
    pub(super) fn handle(&mut self, now_ns: u64, event: Event) -> Result<(), SimError> {
        match event {
            Event::Arrive(slot) => self.arrive(now_ns, slot)?,
            Event::Deliver(slot) => self.deliver(now_ns, slot),
            Event::Transmitted => {
                self.bottleneck.transmitted();
                self.transmit(now_ns)?;
            }
            Event::Timer(number, side) => {
                let flow = &mut self.flows[number as usize];
                if flow.fire(side, now_ns) {
                    flow.on_timer(side, now_ns);
                    self.pump(now_ns, number, side);
                } else {
                    self.arm(now_ns, number, side);
                }
            }
            Event::Begin(number) => {
                self.flows[number as usize].begin();
                self.pump(now_ns, number, Side::Sender);
            }
            Event::Stop(number) => {
                self.flows[number as usize].stop();
                self.flows[number as usize].free_if_done();
            }
            Event::Order => {
                if let Some(controller) = &mut self.controller {
                    controller.send_pending(now_ns)?;
                }
            }
            Event::Script => self.send_script(now_ns)?,
            Event::Measure => {
                self.delivered_before = self.reported_flows_with(|stats| stats.delivered);
            }
            Event::Sample => {
                self.sample(now_ns);
                self.events.schedule(now_ns + self.sample_ns, Event::Sample);
            }
        }
        Ok(())
    }

    #[cold]
    fn send_script(&mut self, now_ns: u64) -> Result<(), SimError> {
        // An override is based on the newest record.
        self.read_device(now_ns)?;
        if let Some(controller) = &mut self.controller {
            controller.send_script(now_ns)?;
            if let Some(at_ns) = controller.next_script() {
                self.events.schedule(at_ns, Event::Script);
            }
        }
        Ok(())
    }

    /// Sends the pending segments of an end, and arms its timer.
    fn pump(&mut self, now_ns: u64, number: u32, side: Side) {
        while let Some(segment) = self.flows[number as usize].poll_transmit(side, now_ns) {
            self.send(now_ns, number, side, segment);
        }
        self.arm(now_ns, number, side);
        self.flows[number as usize].free_if_done();
    }

    fn arm(&mut self, now_ns: u64, number: u32, side: Side) {
        if let Some(at_ns) = self.flows[number as usize].arm(side, now_ns) {
            self.events.schedule(at_ns, Event::Timer(number, side));
        }
    }

    /// Puts a segment on its first link.
    fn send(&mut self, now_ns: u64, number: u32, side: Side, segment: Segment) {
        let flow = &mut self.flows[number as usize];
        let (link, way) = match side {
            Side::Sender => (&mut self.access[flow.plan.client], &mut self.traffic.data),
            Side::Receiver => (&mut self.way_back, &mut self.traffic.feedback),
        };
        way.sent += 1;
        let Some(at_ns) = link.send(now_ns, segment.bytes) else {
            way.lost += 1;
            return;
        };
        flow.under_way += 1;
        let slot = self.segments.insert(segment);
        let (lane, at_ns, event) = match side {
            Side::Sender => {
                self.traffic.on_access += 1;
                let lane = self.lanes.access[flow.plan.client];
                (lane, at_ns, Event::Arrive(slot))
            }
            Side::Receiver => {
                let at_ns = at_ns + flow.plan.return_ns;
                (
                    self.lanes.back[number as usize],
                    at_ns,
                    Event::Deliver(slot),
                )
            }
        };
        self.events.schedule_in(lane, at_ns, event);
    }

    fn arrive(&mut self, now_ns: u64, slot: u32) -> Result<(), SimError> {
        self.traffic.on_access -= 1;
        let Some(segment) = self.segments.get(slot) else {
            return Ok(());
        };
        let packet = Packet {
            cookie: slot.into(),
            flow: self.flows[segment.flow as usize].plan.seen_as(now_ns),
            bytes: segment.bytes,
            ecn: segment.ecn,
            dscp: 0,
        };
        self.bottleneck.arrive(now_ns, packet, &mut self.drops);
        self.transmit(now_ns)
    }

    /// Begins a transmission if possible, accounts for dropped packets, and
    /// lets the controller read.
    fn transmit(&mut self, now_ns: u64) -> Result<(), SimError> {
        let transmission = self.bottleneck.transmit(now_ns, &mut self.drops);
        if !self.drops.is_empty() {
            self.lose_drops(now_ns);
        }
        match transmission {
            Transmit::Begun(transmission) => self.begun(now_ns, transmission),
            Transmit::Wait(at_ns) => self.schedule_transmitted(at_ns),
            Transmit::Nothing => {}
        }
        if self.controller.as_ref().is_some_and(Controller::is_due) {
            self.read_device(now_ns)?;
        }
        Ok(())
    }

    /// Accounts for packets dropped by the queue.
    fn lose_drops(&mut self, now_ns: u64) {
        let mut drops = std::mem::take(&mut self.drops);
        for drop in drops.drain(..) {
            // A cookie is a slot, which is a u32.
            let slot = drop.cookie as u32;
            if let Some(flow) = self.segments.get(slot).map(|segment| segment.flow) {
                self.record(now_ns, flow, &drop);
                self.lose(slot, flow);
            }
        }
        self.drops = drops;
    }

    /// Accounts for lost data of `flow`.
    fn lose(&mut self, slot: u32, flow: u32) {
        self.traffic.data.lost += 1;
        self.segments.remove(slot);
        let flow = &mut self.flows[flow as usize];
        flow.under_way -= 1;
        flow.free_if_done();
    }

    /// Lets the controller read the waiting messages, and schedules its
    /// decisions.
    pub(super) fn read_device(&mut self, now_ns: u64) -> Result<(), SimError> {
        if let Some(controller) = &mut self.controller {
            controller.read(now_ns, &mut self.due_ns)?;
            self.schedule_orders();
        }
        Ok(())
    }

    /// Schedules the overrides of the controller's last decisions.
    pub(super) fn schedule_orders(&mut self) {
        for at_ns in self.due_ns.drain(..) {
            self.events.schedule(at_ns, Event::Order);
        }
    }

    /// Sends packets that left the queue along their path.
    fn begun(&mut self, now_ns: u64, transmission: Transmission) {
        let departure = transmission.departure;
        let slot = departure.cookie as u32;
        self.traffic.on_wire += 1;
        let Some(segment) = self.segments.get_mut(slot) else {
            return;
        };
        segment.ecn = departure.ecn;
        let flow = segment.flow;
        self.record(now_ns, flow, &departure);
        let Some(end_ns) = transmission.end_ns else {
            return;
        };
        self.schedule_transmitted(transmission.free_ns);
        let forward_ns = self.flows[flow as usize].plan.forward_ns;
        match self.path.cross(flow, end_ns + forward_ns) {
            Some(at_ns) => {
                let lane = self.lanes.forward[flow as usize];
                self.events.schedule_in(lane, at_ns, Event::Deliver(slot));
            }
            None => {
                self.traffic.on_wire -= 1;
                self.lose(slot, flow);
            }
        }
    }

    fn schedule_transmitted(&mut self, at_ns: u64) {
        let lane = self.lanes.bottleneck;
        self.events.schedule_in(lane, at_ns, Event::Transmitted);
    }

    fn deliver(&mut self, now_ns: u64, slot: u32) {
        let Some(segment) = self.segments.get(slot) else {
            return;
        };
        let side = match segment.body {
            Body::Data { .. } | Body::Datagram { .. } => {
                self.traffic.on_wire -= 1;
                self.traffic.data.delivered += 1;
                Side::Receiver
            }
            Body::Ack { .. } | Body::DatagramAck { .. } => {
                self.traffic.feedback.delivered += 1;
                Side::Sender
            }
        };
        let number = segment.flow;
        let flow = &mut self.flows[number as usize];
        flow.under_way -= 1;
        flow.on_segment(side, now_ns, segment);
        if side == Side::Receiver {
            flow.note_chunks(now_ns);
        }
        self.segments.remove(slot);
        self.pump(now_ns, number, side);
    }

    fn record(&mut self, now_ns: u64, flow: u32, departure: &Departure) {
        if self.capture.is_some() {
            self.add_to_capture(now_ns, flow, departure);
        }
        self.rows.packets.push(PacketRow {
            time_ns: now_ns,
            flow: self.plan.flows[flow as usize].reported,
            queue: departure.queue.code(),
            action: departure.action.code(),
            ecn: departure.ecn.code(),
            bytes: departure.bytes,
            sojourn_ns: departure.sojourn_ns,
        });
    }

    #[cold]
    fn add_to_capture(&mut self, now_ns: u64, flow: u32, departure: &Departure) {
        let segment = self.segments.get(departure.cookie as u32);
        if let (Some(capture), Some(segment)) = (&mut self.capture, segment) {
            let plan = &self.flows[flow as usize].plan;
            capture.left(now_ns, departure, segment, plan, &self.bottleneck);
        }
    }
}

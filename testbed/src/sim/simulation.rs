//! One repetition of one arm: endpoints, links, the bottleneck and the
//! controller, driven by one event queue.

use std::time::Instant;

use l4sllm_abi::Params;

use crate::aqm::{Codel, Departure, Fifo, FqCodel, Packet, Pie};
use crate::control::{Controller, EngineFactory, Tap, built_in};
use crate::net::{
    AccessLink, Bottleneck, Discipline, Flow, Path, Segments, Side, Transmission, Transmit,
};
use crate::result::{FlowRow, PacketRow, RateStep, Rows, Run, RunMeta, SetPointRow, Window};
use crate::router::{Handle, Router, RouterError};
use crate::scenario::{Aqm, Arm, Plan, Scenario};
use crate::transport::{Body, Segment};

use super::accounting::{self, Traffic};
use super::lanes::Lanes;
use super::{EventQueue, SimError, derive_seed};

/// A network in virtual time.
#[derive(Debug)]
pub struct Simulation {
    events: EventQueue<Event>,
    lanes: Lanes,
    duration_ns: u64,
    warmup_ns: u64,
    sample_ns: u64,
    seed: u64,
    aqm: Aqm,
    flows: Vec<Flow>,
    segments: Segments,
    access: Vec<AccessLink>,
    bottleneck: Bottleneck,
    path: Path,
    way_back: AccessLink,
    controller: Option<Controller>,
    traffic: Traffic,
    plan: Plan,
    /// Payload delivered before the measured time, by reported flow.
    delivered_before: Vec<u64>,
    /// Since [`Simulation::take_rows`].
    rows: Rows,
    /// Whether set-points are sampled.
    controlled: bool,
    /// Those of the last row.
    set_points: Option<Params>,
    /// Scratch: drops of one call, and times at which overrides are due.
    drops: Vec<Departure>,
    due_ns: Vec<u64>,
    began: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
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
    /// An override is due: the pipeline's, or the script's next.
    Order,
    Script,
    /// The measured time begins.
    Measure,
    /// Flows are sampled.
    Sample,
}

impl Simulation {
    /// Repetition `repetition` of `arm`, before its first event. An arm with a
    /// policy needs `engine`; the adaptive rule has its own.
    ///
    /// # Errors
    /// Parameters that the router refuses, or no engine for a policy.
    pub fn new(
        scenario: &Scenario,
        arm: &Arm,
        repetition: u32,
        engine: Option<EngineFactory>,
    ) -> Result<Simulation, SimError> {
        let seed = scenario.repetition_seed(repetition);
        let controlled = arm.is_controlled();
        let discipline = discipline(&arm.aqm, controlled, derive_seed(seed, "aqm", 0))?;
        let mut simulation = Simulation::around(scenario, arm, repetition, discipline);
        simulation.controlled = controlled;
        if controlled {
            let control = match &arm.control {
                None => None,
                Some(control) => {
                    let missing = || SimError::NoEngine {
                        arm: arm.name.clone(),
                    };
                    let engine = engine.or_else(|| built_in(control));
                    Some((control, engine.ok_or_else(missing)?))
                }
            };
            let handle = simulation.open()?;
            simulation.controller = Some(Controller::new(handle, control, &arm.script)?);
        }
        simulation.schedule_beginnings();
        simulation.sample_set_points(0);
        Ok(simulation)
    }

    /// Repetition `repetition` of the scenario around a queue that others read
    /// and control through its device; `arm`'s own control is left out.
    pub fn with_router(
        scenario: &Scenario,
        arm: &Arm,
        repetition: u32,
        router: Router,
    ) -> Simulation {
        let discipline = Discipline::Router(router);
        let mut simulation = Simulation::around(scenario, arm, repetition, discipline);
        simulation.schedule_beginnings();
        simulation
    }

    /// The network around a queue, with no event scheduled.
    fn around(
        scenario: &Scenario,
        arm: &Arm,
        repetition: u32,
        discipline: Discipline,
    ) -> Simulation {
        let seed = scenario.repetition_seed(repetition);
        let plan = Plan::draw(scenario, seed);
        let mut events = EventQueue::new();
        let path = Path::new(&scenario.link, seed);
        Simulation {
            lanes: Lanes::new(&mut events, scenario.clients.len(), &path, &plan.flows),
            events,
            duration_ns: scenario.duration_ns,
            warmup_ns: scenario.warmup_ns,
            sample_ns: scenario.sample_ns,
            seed,
            aqm: arm.aqm,
            flows: plan.flows.iter().cloned().map(Flow::new).collect(),
            segments: Segments::default(),
            access: scenario
                .clients
                .iter()
                .map(|client| {
                    AccessLink::new(client.rate_bps, client.delay_ns, client.buffer_bytes)
                })
                .collect(),
            bottleneck: Bottleneck::new(
                discipline,
                scenario.link_rate(seed),
                scenario.link.service(),
            ),
            path,
            way_back: AccessLink::new(scenario.return_bps, 0, RETURN_BUFFER_BYTES),
            controller: None,
            traffic: Traffic::default(),
            delivered_before: vec![0; plan.reported.len()],
            plan,
            rows: Rows::default(),
            controlled: false,
            set_points: None,
            drops: Vec::new(),
            due_ns: Vec::new(),
            began: Instant::now(),
        }
    }

    /// The virtual time, ns.
    pub fn now(&self) -> u64 {
        self.events.now()
    }

    /// The virtual time at which the repetition ends, ns.
    pub fn duration(&self) -> u64 {
        self.duration_ns
    }

    /// Opens the router's device, for a reader in addition to the arm's own. There are
    /// records to read if the arm is controlled or [`Simulation::tap`] asked
    /// for them.
    ///
    /// # Errors
    /// [`SimError::NoDevice`], or memory short.
    pub fn open(&self) -> Result<Handle, SimError> {
        let aqm = self.aqm.name();
        let router = self.bottleneck.router().ok_or(SimError::NoDevice { aqm })?;
        Ok(router.open()?)
    }

    /// Has `tap` see every message of the device's stream. On an arm that
    /// nothing controls it has to be asked for before the first event, since
    /// such a queue keeps no records otherwise.
    ///
    /// # Errors
    /// [`SimError::NoDevice`], or [`SimError::Started`].
    pub fn tap(&mut self, tap: Tap) -> Result<(), SimError> {
        if self.controller.is_none() {
            if self.events.taken() > 0 {
                return Err(SimError::Started);
            }
            let discipline = discipline(&self.aqm, true, derive_seed(self.seed, "aqm", 0))?;
            self.bottleneck.replace(discipline);
            self.controller = Some(Controller::new(self.open()?, None, &[])?);
        }
        if let Some(controller) = &mut self.controller {
            controller.tap(tap, self.events.now())?;
        }
        Ok(())
    }

    /// When the next event is due, ns.
    pub fn next_time(&self) -> Option<u64> {
        self.events.next_time()
    }

    /// The queue that others control, if this is one of [`Simulation::with_router`].
    pub fn router_mut(&mut self) -> Option<&mut Router> {
        self.bottleneck.router_mut()
    }

    /// Ends the repetition early, and hands over its queue with what waits in
    /// it.
    pub fn into_router(self) -> Option<Router> {
        self.bottleneck.into_router()
    }

    /// The controller, if the arm has one.
    pub fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// Events handled so far.
    pub fn events(&self) -> u64 {
        self.events.taken()
    }

    /// Runs every event up to and including `until_ns`, at the most to the
    /// repetition's end.
    ///
    /// # Errors
    /// The router failed.
    pub fn run_until(&mut self, until_ns: u64) -> Result<(), SimError> {
        // The end is not part of the measured time.
        let until_ns = until_ns.min(self.duration_ns.saturating_sub(1));
        while let Some((now_ns, event)) = self.events.pop_until(until_ns) {
            self.handle(now_ns, event)?;
        }
        self.events.advance_to(until_ns);
        self.read_device(until_ns)
    }

    /// As [`Simulation::run_until`], but handles `most` events at the most; true
    /// when there are none left until then.
    ///
    /// # Errors
    /// The router failed.
    pub fn run_some(&mut self, until_ns: u64, most: usize) -> Result<bool, SimError> {
        let until_ns = until_ns.min(self.duration_ns.saturating_sub(1));
        for _ in 0..most {
            let Some((now_ns, event)) = self.events.pop_until(until_ns) else {
                self.events.advance_to(until_ns);
                self.read_device(until_ns)?;
                return Ok(true);
            };
            self.handle(now_ns, event)?;
        }
        Ok(false)
    }

    /// The time that is measured.
    pub fn window(&self) -> Window {
        let steps = self.bottleneck.rate().steps().iter();
        let capacity = steps.map(|step| RateStep {
            from_ns: step.from_ns,
            bits_per_s: step.bits_per_s,
        });
        Window {
            start_ns: self.warmup_ns,
            end_ns: self.duration_ns,
            capacity: capacity.collect(),
        }
    }

    /// Flows that rows tell apart.
    pub fn reported(&self) -> usize {
        self.plan.reported.len()
    }

    /// The rows since the last call, so that a caller who takes them often
    /// keeps few.
    pub fn take_rows(&mut self) -> Rows {
        let controller = self.controller.as_mut();
        self.rows.decisions = controller
            .map(Controller::take_decisions)
            .unwrap_or_default();
        std::mem::take(&mut self.rows)
    }

    /// Runs to the end, checks that everything is accounted for, and hands
    /// over the rows that were not taken.
    ///
    /// # Errors
    /// The router failed, or [`SimError::Accounting`].
    pub fn finish(mut self) -> Result<Run, SimError> {
        self.run_until(self.duration_ns)?;
        let now_ns = self.now();
        let on_links = self.segments.len() as u64;
        let (packets, records, overrides, refusals) = accounting::check(
            now_ns,
            &self.traffic,
            &self.bottleneck,
            on_links,
            &self.flows,
            self.controller.as_mut(),
        )?;
        let Window {
            start_ns,
            end_ns,
            capacity,
        } = self.window();
        let meta = RunMeta {
            seed: self.seed,
            start_ns,
            end_ns,
            capacity,
            flows: self.reported_flows(),
            packets,
            records,
            overrides,
            refusals,
            virtual_s: self.duration_ns as f64 / 1e9,
            wall_s: self.began.elapsed().as_secs_f64(),
        };
        let rows = self.take_rows();
        Ok(Run {
            meta,
            packets: rows.packets,
            flows: rows.flows,
            decisions: rows.decisions,
            set_points: rows.set_points,
        })
    }

    fn schedule_beginnings(&mut self) {
        for (number, flow) in (0..).zip(&self.flows) {
            self.events
                .schedule(flow.plan.start_ns, Event::Begin(number));
            if let Some(stop_ns) = flow.plan.stop_ns {
                self.events.schedule(stop_ns, Event::Stop(number));
            }
        }
        self.events.schedule(self.warmup_ns, Event::Measure);
        self.events.schedule(self.sample_ns, Event::Sample);
        if let Some(at_ns) = self.controller.as_ref().and_then(Controller::next_script) {
            self.events.schedule(at_ns, Event::Script);
        }
    }

    fn handle(&mut self, now_ns: u64, event: Event) -> Result<(), SimError> {
        match event {
            Event::Begin(flow) => {
                self.flows[flow as usize].begin();
                self.pump(now_ns, flow, Side::Sender);
            }
            Event::Stop(flow) => {
                self.flows[flow as usize].stop();
                self.flows[flow as usize].free_if_done();
            }
            Event::Arrive(slot) => self.arrive(now_ns, slot)?,
            Event::Deliver(slot) => self.deliver(now_ns, slot),
            Event::Transmitted => {
                self.bottleneck.transmitted();
                self.transmit(now_ns)?;
            }
            Event::Timer(flow, side) => {
                if self.flows[flow as usize].fire(side, now_ns) {
                    if let Some(end) = self.flows[flow as usize].end(side) {
                        end.on_timer(now_ns);
                    }
                    self.pump(now_ns, flow, side);
                } else {
                    self.arm(now_ns, flow, side);
                }
            }
            Event::Order => {
                if let Some(controller) = &mut self.controller {
                    controller.send_pending(now_ns)?;
                }
            }
            Event::Script => {
                // An override is based on the newest record.
                self.read_device(now_ns)?;
                if let Some(controller) = &mut self.controller {
                    controller.send_script(now_ns)?;
                    if let Some(at_ns) = controller.next_script() {
                        self.events.schedule(at_ns, Event::Script);
                    }
                }
            }
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

    /// Takes what an end has to send, and arms its timer.
    fn pump(&mut self, now_ns: u64, flow: u32, side: Side) {
        while let Some(segment) = self.flows[flow as usize]
            .end(side)
            .and_then(|end| end.poll_transmit(now_ns))
        {
            self.send(now_ns, flow, side, segment);
        }
        self.arm(now_ns, flow, side);
        self.flows[flow as usize].free_if_done();
    }

    fn arm(&mut self, now_ns: u64, flow: u32, side: Side) {
        if let Some(at_ns) = self.flows[flow as usize].arm(side, now_ns) {
            self.events.schedule(at_ns, Event::Timer(flow, side));
        }
    }

    /// Puts a segment on its first link.
    fn send(&mut self, now_ns: u64, flow: u32, side: Side, segment: Segment) {
        let plan = &self.flows[flow as usize].plan;
        let (link, way) = match side {
            Side::Sender => (&mut self.access[plan.client], &mut self.traffic.data),
            Side::Receiver => (&mut self.way_back, &mut self.traffic.feedback),
        };
        way.sent += 1;
        let Some(at_ns) = link.send(now_ns, segment.bytes) else {
            way.lost += 1;
            return;
        };
        let (client, return_ns) = (plan.client, plan.return_ns);
        self.flows[flow as usize].under_way += 1;
        let slot = self.segments.insert(segment);
        match side {
            Side::Sender => {
                self.traffic.on_access += 1;
                let lane = self.lanes.access[client];
                self.events.schedule_in(lane, at_ns, Event::Arrive(slot));
            }
            Side::Receiver => {
                let (lane, at_ns) = (self.lanes.back[flow as usize], at_ns + return_ns);
                self.events.schedule_in(lane, at_ns, Event::Deliver(slot));
            }
        }
    }

    fn arrive(&mut self, now_ns: u64, slot: u32) -> Result<(), SimError> {
        self.traffic.on_access -= 1;
        let Some(segment) = self.segments.get_mut(slot) else {
            return Ok(());
        };
        let packet = Packet {
            cookie: slot.into(),
            flow: self.flows[segment.flow as usize].plan.seen_as(now_ns),
            bytes: segment.bytes,
            ecn: segment.ecn,
        };
        self.bottleneck.arrive(now_ns, packet, &mut self.drops);
        self.transmit(now_ns)
    }

    /// Begins a transmission if there is one to begin, accounts for what was
    /// dropped, and lets the controller read.
    fn transmit(&mut self, now_ns: u64) -> Result<(), SimError> {
        let transmission = self.bottleneck.transmit(now_ns, &mut self.drops);
        let mut drops = std::mem::take(&mut self.drops);
        for drop in drops.drain(..) {
            self.traffic.data.lost += 1;
            // A cookie is a slot, which is a u32.
            let segment = self.segments.take(drop.cookie as u32);
            if let Some(segment) = segment {
                self.record(now_ns, segment.flow, &drop);
                let flow = &mut self.flows[segment.flow as usize];
                flow.under_way -= 1;
                flow.free_if_done();
            }
        }
        self.drops = drops;
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

    /// Lets the controller read what waits, and schedules what it decided.
    fn read_device(&mut self, now_ns: u64) -> Result<(), SimError> {
        if let Some(controller) = &mut self.controller {
            controller.read(now_ns, &mut self.due_ns)?;
            for at_ns in self.due_ns.drain(..) {
                self.events.schedule(at_ns, Event::Order);
            }
        }
        Ok(())
    }

    /// Sends what left the queue along its path.
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
                self.traffic.data.lost += 1;
                self.segments.take(slot);
                let flow = &mut self.flows[flow as usize];
                flow.under_way -= 1;
                flow.free_if_done();
            }
        }
    }

    fn schedule_transmitted(&mut self, at_ns: u64) {
        let lane = self.lanes.bottleneck;
        self.events.schedule_in(lane, at_ns, Event::Transmitted);
    }

    fn deliver(&mut self, now_ns: u64, slot: u32) {
        let Some(segment) = self.segments.take(slot) else {
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
        let flow = &mut self.flows[segment.flow as usize];
        flow.under_way -= 1;
        if let Some(end) = flow.end(side) {
            end.on_segment(now_ns, &segment);
        }
        if side == Side::Receiver {
            flow.note_chunks(now_ns);
        }
        self.pump(now_ns, segment.flow, side);
    }

    fn record(&mut self, now_ns: u64, flow: u32, departure: &Departure) {
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

    fn sample(&mut self, now_ns: u64) {
        for flow in &self.flows {
            if flow.plan.lasting && flow.is_live() {
                let stats = flow.stats();
                self.rows.flows.push(FlowRow {
                    time_ns: now_ns,
                    flow: flow.plan.reported,
                    cwnd_bytes: stats.sender.cwnd_bytes,
                    srtt_ns: stats.sender.srtt_ns,
                    delivered_bytes: stats.receiver.delivered_bytes,
                });
            }
        }
        self.sample_set_points(now_ns);
    }

    /// Adds a row for the set-points of a controlled queue where they changed.
    fn sample_set_points(&mut self, now_ns: u64) {
        let router = self.bottleneck.router().filter(|_| self.controlled);
        let Some(now) = router.map(Router::set_points) else {
            return;
        };
        if self.set_points.replace(now) != Some(now) {
            self.rows.set_points.push(SetPointRow {
                time_ns: now_ns,
                target_ns: now.target_ns,
                tupdate_ns: now.tupdate_ns,
                alpha_uhz: now.alpha_uhz,
                beta_uhz: now.beta_uhz,
                coupling_q8: now.coupling_q8,
            });
        }
    }

    fn reported_flows(&self) -> Vec<crate::result::FlowMeta> {
        let delivered = self.reported_flows_with(|stats| stats.delivered);
        let retransmits = self.reported_flows_with(|stats| stats.retransmits);
        let mut reported = self.plan.reported.clone();
        for (at, meta) in reported.iter_mut().enumerate() {
            meta.goodput_bytes = delivered[at] - self.delivered_before[at];
            meta.retransmits = retransmits[at];
        }
        for flow in &self.flows {
            if let Some(transfers) = &mut reported[flow.plan.reported as usize].transfers {
                flow.add_transfers(&(self.warmup_ns..self.duration_ns), transfers);
            }
        }
        for flow in self.flows.iter().filter(|flow| flow.plan.lasting) {
            if let Some(finished_ns) = flow.stats().sender.finished_ns {
                let meta = &mut reported[flow.plan.reported as usize];
                meta.end_ns = meta.end_ns.min(finished_ns);
            }
        }
        reported
    }

    /// Sums a counter over the flows that are reported together.
    fn reported_flows_with(&self, counter: impl Fn(Counters) -> u64) -> Vec<u64> {
        let mut sums = vec![0; self.plan.reported.len()];
        for flow in &self.flows {
            let stats = flow.stats();
            sums[flow.plan.reported as usize] += counter(Counters {
                delivered: stats.receiver.delivered_bytes,
                retransmits: stats.sender.retransmits,
            });
        }
        sums
    }
}

/// Counters that are summed over flows.
struct Counters {
    delivered: u64,
    retransmits: u64,
}

/// Buffer of the way back, bytes: a second of feedback at 8 Mbit/s.
const RETURN_BUFFER_BYTES: u64 = 1_000_000;

fn discipline(aqm: &Aqm, records: bool, seed: u64) -> Result<Discipline, RouterError> {
    Ok(match aqm {
        Aqm::DualPi2(dualpi2) => {
            let ring_records = if records { dualpi2.ring_records } else { 0 };
            let router = Router::new(&dualpi2.params, &dualpi2.limits, ring_records, seed)?;
            Discipline::Router(router)
        }
        Aqm::Fifo(params) => Discipline::Baseline(Box::new(Fifo::new(*params))),
        Aqm::Pie(params) => Discipline::Baseline(Box::new(Pie::new(*params, seed))),
        Aqm::Codel(params) => Discipline::Baseline(Box::new(Codel::new(*params))),
        Aqm::FqCodel(params) => Discipline::Baseline(Box::new(FqCodel::new(*params, seed))),
    })
}

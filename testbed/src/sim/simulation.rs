//! One repetition of one arm: endpoints, links, the bottleneck and the
//! controller, driven by one event queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use l4sllm_abi::Params;

use crate::aqm::{Codel, Departure, Fifo, FqCodel, Pie};
use crate::capture::EmulatorCapture;
use crate::control::{Controller, EngineFactory, Tap, built_in};
use crate::net::{AccessLink, Bottleneck, Discipline, Flow, Path, Segments};
use crate::result::{RateStep, Rows, Run, RunMeta, Window};
use crate::router::{Handle, Router, RouterError};
use crate::scenario::{Aqm, Arm, Plan, Scenario};

use super::accounting::{self, Traffic};
use super::events::Event;
use super::lanes::Lanes;
use super::{EventQueue, SimError, derive_seed};

/// A network in virtual time.
#[derive(Debug)]
pub struct Simulation {
    pub(super) events: EventQueue<Event>,
    pub(super) lanes: Lanes,
    pub(super) duration_ns: u64,
    pub(super) warmup_ns: u64,
    pub(super) sample_ns: u64,
    seed: u64,
    aqm: Aqm,
    pub(super) flows: Vec<Flow>,
    pub(super) segments: Segments,
    pub(super) access: Vec<AccessLink>,
    pub(super) bottleneck: Bottleneck,
    pub(super) path: Path,
    pub(super) way_back: AccessLink,
    pub(super) controller: Option<Controller>,
    pub(super) traffic: Traffic,
    pub(super) plan: Plan,
    /// Payload delivered before the measured time, by reported flow.
    pub(super) delivered_before: Vec<u64>,
    /// Rows since [`Simulation::take_rows`].
    pub(super) rows: Rows,
    /// Whether set-points are sampled.
    pub(super) controlled: bool,
    /// Set-points of the last row.
    pub(super) set_points: Option<Params>,
    /// The capture of packets that leave the queue.
    pub(super) capture: Option<Box<EmulatorCapture>>,
    /// Scratch: drops of one call, and times at which overrides are due.
    pub(super) drops: Vec<Departure>,
    pub(super) due_ns: Vec<u64>,
    began: Instant,
}

impl Simulation {
    /// Creates repetition `repetition` of `arm`, before its first event. An arm with
    /// a policy needs `engine`; the adaptive rule has its own.
    ///
    /// # Errors
    /// The router refuses the parameters, or a policy has no engine.
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
        simulation.controlled = controlled || arm.student.is_some();
        if let Some(student) = &arm.student {
            simulation.open()?.enable_student(student, 0)?;
        }
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

    /// Creates repetition `repetition` of the scenario around a queue that other
    /// programs read and control through its device; the control of `arm` is
    /// ignored.
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

    /// Creates the network around a queue, without scheduled events.
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
            capture: None,
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
    /// [`SimError::NoDevice`], or out of memory.
    pub fn open(&self) -> Result<Handle, SimError> {
        let aqm = self.aqm.name();
        let router = self.bottleneck.router().ok_or(SimError::NoDevice { aqm })?;
        Ok(router.open()?)
    }

    /// Passes every message of the device's stream to `tap`. On an uncontrolled arm,
    /// call this before the first event, since its queue keeps no records otherwise.
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

    /// Adds every later packet that leaves the queue to `capture`.
    pub fn capture(&mut self, capture: EmulatorCapture) {
        self.capture = Some(Box::new(capture));
    }

    /// Ends the capture and returns it; `None` without one.
    pub fn end_capture(&mut self) -> Option<EmulatorCapture> {
        self.capture.take().map(|capture| *capture)
    }

    /// Time of the next event, ns.
    pub fn next_time(&self) -> Option<u64> {
        self.events.next_time()
    }

    /// The externally controlled queue, if created by [`Simulation::with_router`].
    pub fn router_mut(&mut self) -> Option<&mut Router> {
        self.bottleneck.router_mut()
    }

    /// Ends the repetition early and returns its queue with the waiting packets.
    pub fn into_router(self) -> Option<Router> {
        self.bottleneck.into_router()
    }

    /// The controller, if the arm has one.
    pub fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// Number of events handled.
    pub fn events(&self) -> u64 {
        self.events.taken()
    }

    /// Runs every event up to and including `until_ns`, but not beyond the end of
    /// the repetition.
    ///
    /// # Errors
    /// The router failed.
    pub fn run_until(&mut self, until_ns: u64) -> Result<(), SimError> {
        self.run_some(until_ns, usize::MAX).map(drop)
    }

    /// As [`Simulation::run_until`], but handles at most `most` events; returns true
    /// if none are left until then.
    ///
    /// # Errors
    /// The router failed.
    pub fn run_some(&mut self, until_ns: u64, most: usize) -> Result<bool, SimError> {
        // The end is not part of the measured time.
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

    /// As [`Simulation::run_some`], but stops after the event in which `stop` is set;
    /// returns false then.
    ///
    /// # Errors
    /// The router failed.
    pub fn run_until_set(
        &mut self,
        until_ns: u64,
        most: usize,
        stop: &AtomicBool,
    ) -> Result<bool, SimError> {
        for _ in 0..most {
            let ended = self.run_some(until_ns, 1)?;
            if ended || stop.load(Ordering::Relaxed) {
                return Ok(ended);
            }
        }
        Ok(false)
    }

    /// Takes decisions of the controller's engines that became ready since the last
    /// event: see [`Engine::ready`](l4sllmd::Engine::ready).
    ///
    /// # Errors
    /// The router failed.
    pub fn take_ready(&mut self) -> Result<(), SimError> {
        let now_ns = self.events.now();
        if let Some(controller) = &mut self.controller {
            controller.take_ready(now_ns, &mut self.due_ns);
            self.schedule_orders();
        }
        Ok(())
    }

    /// The measured time.
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

    /// Flows that rows distinguish.
    pub fn reported(&self) -> usize {
        self.plan.reported.len()
    }

    /// Returns the rows since the last call; frequent calls keep their number small.
    pub fn take_rows(&mut self) -> Rows {
        let controller = self.controller.as_mut();
        self.rows.decisions = controller
            .map(Controller::take_decisions)
            .unwrap_or_default();
        let rows = std::mem::take(&mut self.rows);
        // Reserves space for as many until the next call.
        self.rows.packets.reserve(rows.packets.len());
        rows
    }

    /// Runs to the end, checks that everything is accounted for, and returns the
    /// remaining rows.
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
        let mut planned = Vec::new();
        for (number, flow) in (0..).zip(&self.flows) {
            planned.push((flow.plan.start_ns, Event::Begin(number)));
            let stop_ns = flow.plan.stop_ns;
            planned.extend(stop_ns.map(|stop_ns| (stop_ns, Event::Stop(number))));
        }
        // There may be thousands, so they have their own lane.
        planned.sort_by_key(|(at_ns, _)| *at_ns);
        for (at_ns, event) in planned {
            self.events.schedule_in(self.lanes.plan, at_ns, event);
        }
        self.events.schedule(self.warmup_ns, Event::Measure);
        self.events.schedule(self.sample_ns, Event::Sample);
        if let Some(at_ns) = self.controller.as_ref().and_then(Controller::next_script) {
            self.events.schedule(at_ns, Event::Script);
        }
    }
}

/// Buffer of the return link, bytes: a second of feedback at 8 Mbit/s.
const RETURN_BUFFER_BYTES: u64 = 1_000_000;

/// An empty queue; with `records`, it writes records and summaries for readers
/// of its device.
///
/// # Errors
/// Parameters or limits out of range, or memory short.
pub fn discipline(aqm: &Aqm, records: bool, seed: u64) -> Result<Discipline, RouterError> {
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

//! The controller in virtual time: reads the router's device as soon as a
//! decision may be due, feeds the daemon's pipeline, and sends its overrides
//! after the decision latency.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use l4sllm_abi::{
    Decoder, EventCode, Interval, MESSAGE_SIZE, Message, Mode, Override, SUMMARY_SIZE, Streams,
};
use l4sllmd::engine::{Adaptive, Input};
use l4sllmd::{Engine, Outcome, Pipeline, PipelineConfig, Scheduler};

use crate::result::{DecisionRow, STEER};
use crate::router::{Handle, RouterError};
use crate::scenario::{Control, ControlEngine, Latency, Scripted};

/// Creates the engine of a scheduler instance.
#[derive(Clone)]
pub struct EngineFactory {
    make: Arc<dyn Fn(Scheduler) -> Box<dyn Engine> + Send + Sync>,
    input: Input,
    period_ns: Option<u64>,
}

impl EngineFactory {
    /// Creates engines that decide on records.
    pub fn on_records(
        make: impl Fn(Scheduler) -> Box<dyn Engine> + Send + Sync + 'static,
    ) -> EngineFactory {
        EngineFactory {
            make: Arc::new(make),
            input: Input::Records,
            period_ns: None,
        }
    }

    /// Creates engines that decide on summaries with a period of `period_ns`, or
    /// the control's period.
    pub fn on_summaries(
        period_ns: Option<u64>,
        make: impl Fn(Scheduler) -> Box<dyn Engine> + Send + Sync + 'static,
    ) -> EngineFactory {
        EngineFactory {
            make: Arc::new(make),
            input: Input::Summaries,
            period_ns,
        }
    }

    /// The engine of an instance.
    pub fn make(&self, scheduler: Scheduler) -> Box<dyn Engine> {
        (self.make)(scheduler)
    }
}

/// The engine of a control that needs no files.
pub fn built_in(control: &Control) -> Option<EngineFactory> {
    match control.engine {
        ControlEngine::Policy(_) => None,
        ControlEngine::Adaptive(preset) => {
            Some(EngineFactory::on_summaries(None, move |_scheduler| {
                Box::new(Adaptive::new(preset.config()))
            }))
        }
    }
}

/// Receives every message of the device's stream, in order, with the time.
pub type Tap = Box<dyn FnMut(&Message, u64) + Send>;

/// The device's reader and, if there is an engine, its controller.
pub struct Controller {
    handle: Handle,
    pipeline: Option<(Pipeline, Latency)>,
    /// Streams read by the pipeline and by a tap.
    streams: Streams,
    script: VecDeque<Scripted>,
    script_sent: u64,
    /// Pending overrides, in time order.
    pending: VecDeque<Pending>,
    busy_until_ns: u64,
    tap: Option<Tap>,
    /// Number of messages to wait for before the next read.
    read_at: u64,
    /// Lower bound on the messages up to and including the next decision's.
    until_due: u32,
    buffer: Vec<u8>,
    decoder: Decoder,
    newest_seq: u64,
    decisions: Vec<DecisionRow>,
    /// Real time of the newest decisions, at most [`WALL_LATENCIES`].
    wall_latency_ns: VecDeque<u64>,
    messages: u64,
    /// Number of events in the stream of summaries that the device omitted
    /// because they are in the records.
    events_of_both: u64,
    lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    order: Override,
    due_ns: u64,
}

/// Maximum number of messages per read.
const BATCH: usize = 64;

/// Most decisions whose real time is kept.
const WALL_LATENCIES: usize = 1 << 16;

/// First number of scripted overrides, distinct from the pipeline's, which count
/// from 1.
const SCRIPT_IDS: u64 = 1 << 63;

impl Controller {
    /// Opens a reader, which takes control of the device if there is a `control`
    /// or a `script`.
    ///
    /// # Errors
    /// Another controller has the device.
    pub fn new(
        mut handle: Handle,
        control: Option<(&Control, EngineFactory)>,
        script: &[Scripted],
    ) -> Result<Controller, RouterError> {
        if control.is_some() || !script.is_empty() {
            handle.control(0)?;
        }
        let mut streams = Streams::Records;
        let mut pipeline = control.map(|(control, factory)| {
            let config = PipelineConfig {
                input: factory.input,
                period_ns: control.period_ns,
                idle_budget: control.idle_budget,
                interval: control.interval,
                mode: control.mode,
                queue: control.queue,
                ttl_ns: control.ttl_ns,
                ..PipelineConfig::default()
            };
            let config = match factory.period_ns {
                None => config,
                Some(period_ns) => config.with_period(period_ns),
            };
            streams = config.streams();
            (
                Pipeline::new(config, move |scheduler| factory.make(scheduler)),
                control.latency,
            )
        });
        if let (Some((pipeline, _)), true) = (&mut pipeline, streams != Streams::Records) {
            pipeline.set_base(handle.params(0)?, handle.limits(0)?);
            handle.interval(every_message(streams), 0)?;
        }
        let mut controller = Controller {
            handle,
            pipeline,
            streams,
            script: script.iter().copied().collect(),
            script_sent: 0,
            pending: VecDeque::new(),
            busy_until_ns: 0,
            tap: None,
            read_at: 1,
            until_due: 1,
            buffer: vec![0; BATCH * MESSAGE_SIZE],
            decoder: Decoder::new(),
            newest_seq: 0,
            decisions: Vec::new(),
            wall_latency_ns: VecDeque::new(),
            messages: 0,
            events_of_both: 0,
            lost: 0,
        };
        controller.rearm();
        Ok(controller)
    }

    /// Passes every later message to `tap`, including records.
    ///
    /// # Errors
    /// The device failed.
    pub fn tap(&mut self, tap: Tap, now_ns: u64) -> Result<(), RouterError> {
        self.tap = Some(tap);
        if let Streams::Summaries(interval) = self.streams {
            self.streams = Streams::All(interval);
            self.handle.interval(every_message(self.streams), now_ns)?;
        }
        self.rearm();
        Ok(())
    }

    /// Time of the next scripted override, ns.
    pub fn next_script(&self) -> Option<u64> {
        self.script.front().map(|entry| entry.at_ns)
    }

    /// Whether [`Controller::read`] must be called now, because an available
    /// message may complete an interval, or the ring is filling up. Called after
    /// every event; takes no lock.
    pub fn is_due(&self) -> bool {
        self.handle.unread() >= self.read_at
    }

    /// Reads available messages and decides; adds to `due_ns` the times at
    /// which [`Controller::send_pending`] must be called. While
    /// [`Controller::is_due`] is false, a call makes no decision.
    ///
    /// # Errors
    /// The device failed, or its stream is malformed.
    pub fn read(&mut self, now_ns: u64, due_ns: &mut Vec<u64>) -> Result<(), RouterError> {
        loop {
            let got = self.handle.read(&mut self.buffer, now_ns)?;
            // Moved out to release `self`; restored below.
            let buffer = std::mem::take(&mut self.buffer);
            let mut decoder = std::mem::take(&mut self.decoder);
            for message in decoder.messages(&buffer[..got]) {
                let message = message?;
                self.take(&message, now_ns, due_ns);
                self.follow_base(&message, now_ns)?;
            }
            self.buffer = buffer;
            self.decoder = decoder;
            if got + SUMMARY_SIZE.max(MESSAGE_SIZE) <= self.buffer.len() {
                self.rearm();
                return Ok(());
            }
        }
    }

    /// Takes the decisions that became ready after their summaries; adds to `due_ns` as
    /// [`Controller::read`] does.
    pub fn take_ready(&mut self, now_ns: u64, due_ns: &mut Vec<u64>) {
        while let Some((pipeline, _)) = &mut self.pipeline {
            let Some(decided) = pipeline.ready() else {
                return;
            };
            if let Some(order) = pipeline.order(&decided, now_ns) {
                self.schedule(order, now_ns, 0, due_ns);
            }
        }
    }

    /// Sends the override whose latency has passed.
    ///
    /// # Errors
    /// The device failed. A refused override is an outcome, not an error.
    pub fn send_pending(&mut self, now_ns: u64) -> Result<(), RouterError> {
        let Some(Pending { order, due_ns }) = self.pending.pop_front() else {
            return Ok(());
        };
        let outcome = self.send(&order, now_ns)?;
        self.decisions.push(DecisionRow {
            time_ns: due_ns,
            latency_ns: now_ns - due_ns,
            action: match order.mode {
                Mode::Once { action, .. } | Mode::Hold { action, .. } => action.code(),
                Mode::Steer(_) => STEER,
            },
        });
        if let Some((pipeline, _)) = &mut self.pipeline {
            pipeline.outcome(&order, outcome, now_ns);
        }
        Ok(())
    }

    /// Sends the next scripted override.
    ///
    /// # Errors
    /// The device failed or refused it.
    pub fn send_script(&mut self, now_ns: u64) -> Result<(), RouterError> {
        let Some(entry) = self.script.pop_front() else {
            return Ok(());
        };
        let order = Override {
            sched: crate::router::SCHED,
            instance: crate::router::INSTANCE,
            id: NonZeroU64::MIN.saturating_add(SCRIPT_IDS + self.script_sent),
            based_on: self.newest_seq,
            expires_ns: now_ns + entry.ttl_ns,
            mode: entry.mode,
        };
        self.script_sent += 1;
        self.handle.send(&order, now_ns)
    }

    /// The device.
    pub fn handle(&mut self) -> &mut Handle {
        &mut self.handle
    }

    /// The pipeline, if a policy decides.
    pub fn pipeline(&self) -> Option<&Pipeline> {
        self.pipeline.as_ref().map(|(pipeline, _)| pipeline)
    }

    /// Real time of the newest decisions, ns, in order; at most 65536, so that
    /// memory does not grow with the duration.
    pub fn wall_latency_ns(&self) -> impl Iterator<Item = u64> + '_ {
        self.wall_latency_ns.iter().copied()
    }

    /// Messages received, without loss messages.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The device's counts: messages read, with events once per stream, and
    /// messages lost.
    pub fn read_and_lost(&self) -> (u64, u64) {
        (self.messages + self.events_of_both, self.lost)
    }

    /// Removes and returns the rows of the decisions so far.
    pub fn take_decisions(&mut self) -> Vec<DecisionRow> {
        std::mem::take(&mut self.decisions)
    }

    /// Sets the number of messages to wait for: a tap gets each message at its
    /// time, an interval ends with its last message, and both rings stay half
    /// empty (that of summaries has an eighth of the size).
    fn rearm(&mut self) {
        let most = u64::from(self.handle.ring_records() / 16).min(BATCH as u64);
        let wanted = match &self.pipeline {
            _ if self.tap.is_some() => 1,
            Some((pipeline, _)) => u64::from(pipeline.until_due()),
            None => most,
        };
        self.read_at = wanted.min(most).max(1);
    }

    fn take(&mut self, message: &Message, now_ns: u64, due_ns: &mut Vec<u64>) {
        match message {
            Message::Loss { lost, .. } => self.lost += lost,
            Message::Decision(record) => {
                self.messages += 1;
                self.newest_seq = record.seq();
            }
            Message::Summary(_) | Message::Context(_) => self.messages += 1,
            Message::Event(_) => {
                self.messages += 1;
                self.events_of_both += u64::from(matches!(self.streams, Streams::All(_)));
            }
        }
        if let Some(tap) = &mut self.tap {
            tap(message, now_ns);
        }
        let Some((pipeline, _)) = &mut self.pipeline else {
            return;
        };
        // Reading the clock costs as much as handling a record without a
        // decision.
        let before = (self.until_due <= 1).then(Instant::now);
        let order = pipeline.push(message, now_ns);
        self.until_due = match self.until_due {
            0 | 1 => pipeline.until_due(),
            more => more - 1,
        };
        let Some(order) = order else {
            return;
        };
        let took = before.map_or(0, |before| before.elapsed().as_nanos() as u64);
        if self.wall_latency_ns.len() == WALL_LATENCIES {
            self.wall_latency_ns.pop_front();
        }
        self.wall_latency_ns.push_back(took);
        self.schedule(order, now_ns, took, due_ns);
    }

    /// Schedules an override that was computed in `took` ns.
    fn schedule(&mut self, order: Override, now_ns: u64, took: u64, due_ns: &mut Vec<u64>) {
        let Some((_, latency)) = &self.pipeline else {
            return;
        };
        // One decision at a time: a busy daemon starts the next one later.
        let at_ns = match *latency {
            Latency::Fixed(latency_ns) => now_ns + latency_ns,
            Latency::Measured => now_ns.max(self.busy_until_ns) + took,
        };
        self.busy_until_ns = at_ns;
        self.pending.push_back(Pending {
            order,
            due_ns: now_ns,
        });
        due_ns.push(at_ns);
    }

    /// Reads the base parameters of set-points if they have changed.
    fn follow_base(&mut self, message: &Message, now_ns: u64) -> Result<(), RouterError> {
        let Message::Event(event) = message else {
            return Ok(());
        };
        let changed = matches!(event.code, EventCode::Params | EventCode::Limits);
        if let (Some((pipeline, _)), true) = (&mut self.pipeline, changed) {
            pipeline.set_base(self.handle.params(now_ns)?, self.handle.limits(now_ns)?);
        }
        Ok(())
    }

    fn send(&mut self, order: &Override, now_ns: u64) -> Result<Outcome, RouterError> {
        match self.handle.send(order, now_ns) {
            Ok(()) => Ok(Outcome::Accepted),
            Err(RouterError::Refused { refusal, .. }) => Ok(Outcome::Refused(refusal)),
            Err(error) => Err(error),
        }
    }
}

/// Readable with each message.
fn every_message(streams: Streams) -> Interval {
    Interval {
        records: 1,
        max_wait_ns: 0,
        streams,
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("handle", &self.handle)
            .field("pipeline", &self.pipeline)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

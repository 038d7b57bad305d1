//! Sorts records into one stream per scheduler instance, sees what is missing
//! and says when a decision is due.

use std::collections::HashMap;
use std::num::NonZeroU32;

use l4sllm_abi::{EventCode, Message, Record};

use crate::engine::{Decision, Engine};
use crate::metrics::Metrics;

/// One instance of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheduler {
    /// Its number (`ipfw sched N`).
    pub sched: u32,
    /// The instance.
    pub instance: u32,
}

/// Makes the engine of a scheduler instance.
pub(crate) type MakeEngine = Box<dyn Fn(Scheduler) -> Box<dyn Engine> + Send>;

/// The streams of all scheduler instances.
pub(crate) struct Batch {
    interval: NonZeroU32,
    max_instances: usize,
    make_engine: MakeEngine,
    streams: HashMap<Scheduler, Stream>,
    /// When silent streams are looked for next, ns of the records' clock.
    sweep_ns: u64,
    /// Position that the next message should have; `None` before the first.
    next_seq: Option<u64>,
}

struct Stream {
    engine: Box<dyn Engine>,
    /// Records since the last boundary.
    records: u32,
    /// Time of the last record.
    last_ns: u64,
}

/// After as long without a record an instance is taken for gone: a scheduler
/// that is made anew has another number, and nothing tells of the one before.
const GONE_NS: u64 = 60_000_000_000;

impl Batch {
    pub(crate) fn new(
        interval: NonZeroU32,
        max_instances: usize,
        make_engine: MakeEngine,
    ) -> Batch {
        Batch {
            interval,
            max_instances,
            make_engine,
            streams: HashMap::new(),
            sweep_ns: 0,
            next_seq: None,
        }
    }

    /// Counts the message and, where the stream has a hole, what is missing.
    pub(crate) fn check_sequence(&mut self, message: &Message, metrics: &mut Metrics) {
        metrics.messages += 1;
        match *message {
            Message::Decision(_) => metrics.records += 1,
            Message::Event(event) => {
                metrics.events += 1;
                metrics.watchdog_events += u64::from(event.code == EventCode::Watchdog);
            }
            Message::Loss { lost, .. } => {
                metrics.losses += 1;
                metrics.lost += lost;
                // Whose records these were is not known.
                self.reset(metrics);
            }
        }
        let (seq, next) = message.place();
        if self.next_seq.is_some_and(|expected| expected != seq) {
            metrics.gaps += 1;
            self.reset(metrics);
        }
        self.next_seq = Some(next);
    }

    /// Shows a record to its engine.
    pub(crate) fn observe(&mut self, record: &Record, metrics: &mut Metrics) -> Option<Decision> {
        let scheduler = Scheduler {
            sched: record.sched,
            instance: record.instance,
        };
        let now_ns = record.time_ns();
        self.forget_gone(now_ns, metrics);
        if !self.streams.contains_key(&scheduler) {
            if self.streams.len() >= self.max_instances {
                metrics.unrouted += 1;
                return None;
            }
            let stream = Stream {
                engine: (self.make_engine)(scheduler),
                records: 0,
                last_ns: now_ns,
            };
            self.streams.insert(scheduler, stream);
            metrics.instances = self.streams.len() as u64;
        }
        let stream = self
            .streams
            .get_mut(&scheduler)
            .expect("looked up or inserted above");
        stream.last_ns = now_ns;
        stream.records += 1;
        let due = stream.records == self.interval.get();
        if due {
            stream.records = 0;
            metrics.due += 1;
        }
        let decision = stream.engine.observe(record);
        match (&decision, due) {
            (Some(_), true) => {}
            (Some(_), false) => metrics.unscheduled += 1,
            (None, true) => metrics.skipped += 1,
            (None, false) => {}
        }
        if let Some(decision) = &decision {
            metrics.decided(decision);
        }
        decision
    }

    /// Instances that are gone must neither keep others from being decided
    /// for nor make decisions seem near.
    fn forget_gone(&mut self, now_ns: u64, metrics: &mut Metrics) {
        if now_ns < self.sweep_ns {
            return;
        }
        self.sweep_ns = now_ns.saturating_add(GONE_NS);
        self.streams
            .retain(|_, stream| now_ns.saturating_sub(stream.last_ns) < GONE_NS);
        metrics.instances = self.streams.len() as u64;
    }

    /// At least 1, at most the interval.
    pub(crate) fn until_due(&self) -> u32 {
        let interval = self.interval.get();
        self.streams
            .values()
            .map(|s| interval - s.records)
            .min()
            .unwrap_or(interval)
    }

    /// Starts every window anew.
    pub(crate) fn reset(&mut self, metrics: &mut Metrics) {
        for stream in self.streams.values_mut() {
            stream.engine.reset();
            stream.records = 0;
            metrics.resets += 1;
        }
    }

    /// Starts every window anew and forgets the instances and the position in
    /// the stream: another device may have others, and another clock.
    pub(crate) fn restart(&mut self, metrics: &mut Metrics) {
        self.reset(metrics);
        self.streams.clear();
        metrics.instances = 0;
        self.sweep_ns = 0;
        self.next_seq = None;
    }

    pub(crate) fn reconfigure(
        &mut self,
        interval: NonZeroU32,
        max_instances: usize,
        make_engine: MakeEngine,
    ) {
        self.interval = interval;
        self.max_instances = max_instances;
        self.make_engine = make_engine;
        // Engines are made again on their instances' next records.
        self.streams.clear();
    }
}

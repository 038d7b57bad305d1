//! Sorts records into one stream per scheduler instance, detects what is
//! missing and says when a decision is due.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU32;

use l4sllm_abi::{EventCode, Message, Record};

use crate::engine::{Decision, Engine};
use crate::metrics::Counters;

/// One instance of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scheduler {
    /// Its number (`ipfw sched N`).
    pub sched: u32,
    /// The instance.
    pub instance: u32,
}

impl Scheduler {
    /// The instance that wrote a record.
    pub(crate) fn of(record: &Record) -> Scheduler {
        Scheduler {
            sched: record.sched,
            instance: record.instance,
        }
    }
}

/// Makes the engine of a scheduler instance.
pub(crate) type MakeEngine = Box<dyn Fn(Scheduler) -> Box<dyn Engine> + Send>;

/// The streams of all scheduler instances.
pub(crate) struct Batch {
    interval: NonZeroU32,
    max_instances: usize,
    make_engine: MakeEngine,
    streams: BTreeMap<Scheduler, Stream>,
    /// When to look for silent streams next, ns of the records' clock.
    sweep_ns: u64,
    /// Position that the next message should have; `None` before the first.
    next_seq: Option<u64>,
    /// Number of the next decision: says whose last decision is oldest.
    turn: u64,
}

struct Stream {
    engine: Box<dyn Engine>,
    /// Records since the last boundary.
    records: u32,
    /// Time of the last record.
    last_ns: u64,
    /// [`Batch::turn`] of the last decision.
    decided: u64,
}

/// An instance without a record for so long is considered gone: a scheduler
/// that is created again has another number, and no event reports the end of
/// the one before.
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
            streams: BTreeMap::new(),
            sweep_ns: 0,
            next_seq: None,
            turn: 0,
        }
    }

    /// Counts the message and, where the stream has a hole, what is missing.
    pub(crate) fn check_sequence(&mut self, message: &Message, counters: &mut Counters) {
        counters.messages += 1;
        match *message {
            Message::Decision(_) => counters.records += 1,
            Message::Summary(_) => counters.summaries += 1,
            Message::Event(event) => {
                counters.events += 1;
                counters.watchdog_events += u64::from(event.code == EventCode::Watchdog);
            }
            Message::Loss { lost, .. } => {
                counters.losses += 1;
                counters.lost += lost;
                // Whose records these were is not known.
                self.reset(counters);
            }
        }
        let (seq, next) = message.place();
        if self.next_seq.is_some_and(|expected| expected != seq) {
            counters.gaps += 1;
            self.reset(counters);
        }
        self.next_seq = Some(next);
    }

    /// Passes a record to its instance's engine, which decides where an
    /// interval ends, unless at least `to_decision` more records of the
    /// instance come before one that is decided on.
    pub(crate) fn observe(
        &mut self,
        record: &Record,
        to_decision: u32,
        counters: &mut Counters,
    ) -> Option<Decision> {
        let scheduler = Scheduler::of(record);
        let now_ns = record.time_ns();
        self.forget_gone(now_ns, counters);
        let instances = self.streams.len();
        let stream = match self.streams.entry(scheduler) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if instances >= self.max_instances => {
                counters.unrouted += 1;
                return None;
            }
            Entry::Vacant(entry) => {
                counters.instances = instances as u64 + 1;
                entry.insert(Stream {
                    engine: (self.make_engine)(scheduler),
                    records: 0,
                    last_ns: now_ns,
                    decided: 0,
                })
            }
        };
        stream.last_ns = now_ns;
        stream.records += 1;
        let due = stream.records == self.interval.get();
        if due {
            stream.records = 0;
            counters.due += 1;
        }
        if to_decision > 0 {
            stream.engine.skip(record, to_decision);
            if due {
                counters.skipped += 1;
                counters.skipped_behind += 1;
                counters.records_behind += u64::from(self.interval.get());
            }
            return None;
        }
        let decision = stream.engine.observe(record);
        match (&decision, due) {
            (Some(_), true) => {}
            (Some(_), false) => counters.unscheduled += 1,
            (None, true) => counters.skipped += 1,
            (None, false) => {}
        }
        if let Some(decision) = &decision {
            self.turn += 1;
            stream.decided = self.turn;
            counters.decided(decision);
        }
        decision
    }

    /// Records that an instance still needs to complete its interval, and how
    /// long ago it was decided for: less is longer. `None`: it has no engine.
    pub(crate) fn progress(&self, scheduler: Scheduler) -> Option<(u32, u64)> {
        let stream = self.streams.get(&scheduler)?;
        Some((self.interval.get() - stream.records, stream.decided))
    }

    /// Further instances that it takes.
    pub(crate) fn free(&self) -> usize {
        self.max_instances.saturating_sub(self.streams.len())
    }

    /// Records between two decisions of an instance.
    pub(crate) fn interval(&self) -> NonZeroU32 {
        self.interval
    }

    /// Position that the next message should have.
    pub(crate) fn next_seq(&self) -> Option<u64> {
        self.next_seq
    }

    /// Instances that are gone must neither keep others from being decided
    /// for nor make decisions seem near.
    fn forget_gone(&mut self, now_ns: u64, counters: &mut Counters) {
        if now_ns < self.sweep_ns {
            return;
        }
        self.sweep_ns = now_ns.saturating_add(GONE_NS);
        self.streams
            .retain(|_, stream| now_ns.saturating_sub(stream.last_ns) < GONE_NS);
        counters.instances = self.streams.len() as u64;
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

    /// Restarts every window.
    pub(crate) fn reset(&mut self, counters: &mut Counters) {
        for stream in self.streams.values_mut() {
            stream.engine.reset();
            stream.records = 0;
            counters.resets += 1;
        }
    }

    /// Restarts every window and forgets the instances and the position in
    /// the stream: another device may have others, and another clock.
    pub(crate) fn restart(&mut self, counters: &mut Counters) {
        self.reset(counters);
        self.streams.clear();
        counters.instances = 0;
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
        // Engines are created again on their instances' next records.
        self.streams.clear();
    }
}

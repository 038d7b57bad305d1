//! Sorts records and summaries into one stream per scheduler instance, detects
//! gaps and determines when a decision is due.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU32;

use l4sllm_abi::{EventCode, Message, Record, Stream as Kind, Summary};
use l4sllm_model::{IdleBudget, summary_from};
use serde::{Deserialize, Serialize};

use crate::apply::Basis;
use crate::engine::{Decision, Engine, EngineState, Input, RestoreError};
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

    /// The instance that wrote a summary.
    pub(crate) fn of_summary(summary: &Summary) -> Scheduler {
        Scheduler {
            sched: summary.sched,
            instance: summary.instance,
        }
    }
}

/// Makes the engine of a scheduler instance.
pub(crate) type MakeEngine = Box<dyn Fn(Scheduler) -> Box<dyn Engine> + Send>;

/// When decisions are due, and for how many instances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Input of the engines.
    pub(crate) input: Input,
    /// Records between two decisions.
    pub(crate) interval: NonZeroU32,
    /// Time between two decisions on summaries, ns.
    pub(crate) period_ns: u64,
    /// Idle budget of the engines; `None`: their own.
    pub(crate) idle_budget: Option<IdleBudget>,
    pub(crate) max_instances: usize,
}

/// The streams of all scheduler instances.
pub(crate) struct Batch {
    schedule: Schedule,
    make_engine: MakeEngine,
    streams: BTreeMap<Scheduler, Stream>,
    /// Time of the next check for silent streams, ns of the records' clock.
    sweep_ns: u64,
    /// Expected position of the next message; `None` before the first.
    next_seq: Option<u64>,
    /// Number of the next decision, which orders instances by their last
    /// decision.
    turn: u64,
}

struct Stream {
    engine: Box<dyn Engine>,
    /// Records since the last boundary.
    records: u32,
    /// Merged summaries since the last decision.
    pending: Option<Box<Summary>>,
    /// End of the last summary; `None` if unknown.
    summed_ns: Option<u64>,
    /// Time of the last record or summary.
    last_ns: u64,
    /// [`Batch::turn`] of the last decision.
    decided: u64,
    /// The basis of the decision that the engine waits for, or last waited for.
    asked: Option<Basis>,
    /// Whether the last interval has no decision yet.
    awaited: bool,
}

impl Stream {
    /// Ends the wait for a decision without one.
    fn give_up(&mut self, counters: &mut Counters) {
        if std::mem::take(&mut self.awaited) {
            counters.awaited -= 1;
            counters.skipped += 1;
        }
    }
}

/// State of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchState {
    streams: Vec<StreamState>,
    sweep_ns: u64,
    next_seq: Option<u64>,
    turn: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StreamState {
    /// Number and instance of the scheduler.
    scheduler: (u32, u32),
    records: u32,
    /// Bytes of the merged summaries.
    pending: Option<Vec<u8>>,
    summed_ns: Option<u64>,
    last_ns: u64,
    decided: u64,
    engine: EngineState,
}

/// An instance without a record for this time is considered deleted: a
/// recreated scheduler has another number, and no event reports the end of the
/// previous one.
const GONE_NS: u64 = 60_000_000_000;

impl Batch {
    pub(crate) fn new(schedule: Schedule, make_engine: MakeEngine) -> Batch {
        Batch {
            schedule,
            make_engine,
            streams: BTreeMap::new(),
            sweep_ns: 0,
            next_seq: None,
            turn: 0,
        }
    }

    /// Counts the message and any gap before it.
    pub(crate) fn check_sequence(&mut self, message: &Message, counters: &mut Counters) {
        counters.messages += 1;
        match *message {
            Message::Decision(_) => counters.records += 1,
            Message::Summary(_) => counters.summaries += 1,
            Message::Context(_) => counters.context += 1,
            Message::Event(event) => {
                counters.events += 1;
                counters.watchdog_events += u64::from(event.code == EventCode::Watchdog);
            }
            Message::Loss { lost, stream, .. } => {
                counters.losses += 1;
                counters.lost += lost;
                // The instances of the lost messages are unknown.
                match stream {
                    Kind::Records => self.reset(counters),
                    Kind::Summaries => self.streams.values_mut().for_each(|s| s.summed_ns = None),
                }
            }
        }
        if !self.is_counted(message) {
            return;
        }
        // An event may still belong to an unsubscribed stream.
        if self.next_seq.is_none() && matches!(message, Message::Event(_)) {
            return;
        }
        let (seq, next) = message.place();
        if self.next_seq.is_some_and(|expected| expected != seq) {
            counters.gaps += 1;
            self.reset(counters);
        }
        self.next_seq = Some(next);
    }

    /// Whether the message's position continues the sequence of records. Gaps
    /// in the summaries are detected by their times.
    pub(crate) fn is_counted(&self, message: &Message) -> bool {
        self.schedule.input != Input::Summaries && message.stream() != Some(Kind::Summaries)
    }

    /// Passes a record to its instance's engine, which decides at the end of an
    /// interval unless at least `to_decision` more records of the instance
    /// precede the one to decide on.
    pub(crate) fn observe(
        &mut self,
        record: &Record,
        to_decision: u32,
        counters: &mut Counters,
    ) -> Option<Decision> {
        if self.schedule.input == Input::Summaries {
            return None;
        }
        let interval = self.schedule.interval.get();
        let stream = self.stream(Scheduler::of(record), record.time_ns(), counters)?;
        stream.records += 1;
        let due = stream.records == interval;
        if due {
            stream.records = 0;
            counters.due += 1;
        }
        if to_decision > 0 {
            stream.engine.skip(record, to_decision);
            if due {
                counters.skipped += 1;
                counters.skipped_behind += 1;
                counters.records_behind += u64::from(interval);
            }
            return None;
        }
        let decision = stream.engine.observe(record);
        self.decided(Basis::record(record), decision, due, counters)
    }

    /// Passes a summary to its instance's engine once it covers a period, with
    /// those before it that were skipped, unless at least `to_decision` more of
    /// the instance precede the one to decide on.
    pub(crate) fn observe_summary(
        &mut self,
        summary: &Summary,
        to_decision: u32,
        counters: &mut Counters,
    ) -> Option<Decision> {
        let Schedule {
            input, period_ns, ..
        } = self.schedule;
        let scheduler = Scheduler::of_summary(summary);
        let stream = self.stream(scheduler, summary.end_ns(), counters)?;
        let expected = stream.summed_ns.replace(summary.end_ns());
        let hole = expected.is_some_and(|expected| expected != summary.begin_ns);
        counters.gaps += u64::from(hole);
        let pending = match stream.pending.take() {
            Some(mut pending) if expected.is_some() && !hole => {
                pending.merge(summary);
                pending
            }
            // Summaries before a gap are discarded.
            _ => Box::new(*summary),
        };
        // The engine uses records and decides on summaries only if necessary.
        let scheduled = input == Input::Summaries;
        let due = pending.duration_ns() >= period_ns;
        if due && scheduled {
            counters.due += 1;
        }
        if to_decision > 0 || !due {
            stream.pending = Some(pending);
            if due && scheduled {
                counters.skipped += 1;
                counters.skipped_behind += 1;
            }
            return None;
        }
        let decision = stream.engine.observe_summary(&pending);
        self.decided(Basis::summary(summary), decision, scheduled, counters)
    }

    /// The state from which another batch continues to the bit.
    pub(crate) fn save(&self) -> BatchState {
        let streams = self.streams.iter().map(|(scheduler, stream)| StreamState {
            scheduler: (scheduler.sched, scheduler.instance),
            records: stream.records,
            pending: stream.pending.as_ref().map(|s| s.to_bytes().to_vec()),
            summed_ns: stream.summed_ns,
            last_ns: stream.last_ns,
            decided: stream.decided,
            engine: stream.engine.save(),
        });
        BatchState {
            streams: streams.collect(),
            sweep_ns: self.sweep_ns,
            next_seq: self.next_seq,
            turn: self.turn,
        }
    }

    /// Replaces all instances and the position in the stream.
    ///
    /// # Errors
    /// The state belongs to other engines, or is damaged.
    pub(crate) fn restore(
        &mut self,
        state: &BatchState,
        counters: &mut Counters,
    ) -> Result<(), RestoreError> {
        self.clear(counters);
        for saved in &state.streams {
            let (sched, instance) = saved.scheduler;
            let scheduler = Scheduler { sched, instance };
            let mut engine = (self.make_engine)(scheduler);
            engine.restore(&saved.engine)?;
            engine.set_idle_budget(self.schedule.idle_budget);
            let pending = saved.pending.as_deref().map(summary_from).transpose()?;
            // A damaged number must not prevent the interval's end.
            let records = saved.records.min(self.schedule.interval.get() - 1);
            let stream = Stream {
                engine,
                records,
                pending: pending.map(Box::new),
                summed_ns: saved.summed_ns,
                last_ns: saved.last_ns,
                decided: saved.decided,
                asked: None,
                awaited: false,
            };
            self.streams.insert(scheduler, stream);
        }
        counters.instances = self.streams.len() as u64;
        self.sweep_ns = state.sweep_ns;
        self.next_seq = state.next_seq;
        self.turn = state.turn;
        Ok(())
    }

    /// The stream of an instance; `None` if there are too many.
    fn stream(
        &mut self,
        scheduler: Scheduler,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Option<&mut Stream> {
        self.forget_gone(now_ns, scheduler, counters);
        let instances = self.streams.len();
        let stream = match self.streams.entry(scheduler) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if instances >= self.schedule.max_instances => {
                counters.unrouted += 1;
                return None;
            }
            Entry::Vacant(entry) => {
                counters.instances = instances as u64 + 1;
                let mut engine = (self.make_engine)(scheduler);
                engine.set_idle_budget(self.schedule.idle_budget);
                entry.insert(Stream {
                    engine,
                    records: 0,
                    pending: None,
                    summed_ns: None,
                    last_ns: now_ns,
                    decided: 0,
                    asked: None,
                    awaited: false,
                })
            }
        };
        stream.last_ns = now_ns;
        Some(stream)
    }

    /// Counts the result of an engine for a decision that may have been due.
    fn decided(
        &mut self,
        basis: Basis,
        decision: Option<Decision>,
        due: bool,
        counters: &mut Counters,
    ) -> Option<Decision> {
        let stream = self.streams.get_mut(&basis.scheduler())?;
        let waits = stream.engine.is_waiting();
        if due {
            stream.give_up(counters);
            stream.asked = waits.then_some(basis);
        }
        match (&decision, due) {
            (Some(_), true) => {}
            (Some(_), false) => counters.unscheduled += 1,
            (None, true) if waits => {
                stream.awaited = true;
                counters.awaited += 1;
            }
            (None, true) => counters.skipped += 1,
            (None, false) => {}
        }
        self.count(basis.scheduler(), decision?, counters)
    }

    /// Takes one decision that became ready after its interval, with its basis;
    /// `None` if there are no more.
    pub(crate) fn ready(&mut self, counters: &mut Counters) -> Option<(Decision, Basis)> {
        for stream in self.streams.values_mut() {
            let Some(basis) = stream.asked else { continue };
            let Some(decision) = stream.engine.ready() else {
                if !stream.engine.is_waiting() {
                    stream.give_up(counters);
                }
                continue;
            };
            match std::mem::take(&mut stream.awaited) {
                true => counters.awaited -= 1,
                false => counters.unscheduled += 1,
            }
            let decision = self.count(basis.scheduler(), decision, counters)?;
            return Some((decision, basis));
        }
        None
    }

    /// Counts a decision.
    fn count(
        &mut self,
        scheduler: Scheduler,
        decision: Decision,
        counters: &mut Counters,
    ) -> Option<Decision> {
        self.turn += 1;
        if let Some(stream) = self.streams.get_mut(&scheduler) {
            stream.decided = self.turn;
        }
        counters.decided(&decision);
        Some(decision)
    }

    /// Records missing to complete an instance's interval, and the number of
    /// its last decision (lower is older). `None` without an engine.
    pub(crate) fn progress(&self, scheduler: Scheduler) -> Option<(u32, u64)> {
        let stream = self.streams.get(&scheduler)?;
        let left = self.schedule.interval.get() - stream.records;
        Some((left, stream.decided))
    }

    /// Number of further instances accepted.
    pub(crate) fn free(&self) -> usize {
        let most = self.schedule.max_instances;
        most.saturating_sub(self.streams.len())
    }

    /// Records between two decisions of an instance.
    pub(crate) fn interval(&self) -> NonZeroU32 {
        self.schedule.interval
    }

    /// Expected position of the next message.
    pub(crate) fn next_seq(&self) -> Option<u64> {
        self.next_seq
    }

    /// Removes deleted instances, which must not displace others or make
    /// decisions seem due. `heard` has just sent a message, possibly after a
    /// long silence or a long period.
    fn forget_gone(&mut self, now_ns: u64, heard: Scheduler, counters: &mut Counters) {
        if now_ns < self.sweep_ns {
            return;
        }
        self.sweep_ns = now_ns.saturating_add(GONE_NS);
        self.streams.retain(|scheduler, stream| {
            let is_alive = *scheduler == heard || now_ns.saturating_sub(stream.last_ns) < GONE_NS;
            if !is_alive {
                stream.give_up(counters);
            }
            is_alive
        });
        counters.instances = self.streams.len() as u64;
    }

    /// At least 1, at most the interval. Any summary may complete a period.
    pub(crate) fn until_due(&self) -> u32 {
        if self.schedule.input == Input::Summaries {
            return 1;
        }
        let interval = self.schedule.interval.get();
        self.streams
            .values()
            .map(|s| interval - s.records)
            .min()
            .unwrap_or(interval)
    }

    /// Changes the idle budget of engines, starting with their next decision.
    pub(crate) fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.schedule.idle_budget = budget;
        for stream in self.streams.values_mut() {
            stream.engine.set_idle_budget(budget);
        }
    }

    /// Removes every instance.
    fn clear(&mut self, counters: &mut Counters) {
        for stream in self.streams.values_mut() {
            stream.give_up(counters);
        }
        self.streams.clear();
    }

    /// Restarts every window.
    pub(crate) fn reset(&mut self, counters: &mut Counters) {
        for stream in self.streams.values_mut() {
            stream.engine.reset();
            stream.give_up(counters);
            stream.asked = None;
            stream.records = 0;
            stream.pending = None;
            counters.resets += 1;
        }
    }

    /// Restarts every window and discards the instances and the position in the
    /// stream, because another device may have different ones and another
    /// clock.
    pub(crate) fn restart(&mut self, counters: &mut Counters) {
        self.reset(counters);
        self.clear(counters);
        counters.instances = 0;
        self.sweep_ns = 0;
        self.next_seq = None;
    }

    pub(crate) fn reconfigure(
        &mut self,
        schedule: Schedule,
        make_engine: MakeEngine,
        counters: &mut Counters,
    ) {
        if self.schedule.input == Input::Summaries {
            // A later subscription to records starts at another position.
            self.next_seq = None;
        }
        self.schedule = schedule;
        self.make_engine = make_engine;
        // Engines are created again on their instances' next records.
        self.clear(counters);
    }
}

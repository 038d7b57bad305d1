//! Decisions when several intervals are pending.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use l4sllm_abi::{Action, Message, Record, Stream, header, raw};
use l4sllmd::{Decision, Engine, Outcome, Pipeline, PipelineConfig, Scheduler};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// Log of requests to the engines of all instances, in order.
#[derive(Debug, Default)]
struct Log {
    /// Instance and position of records with decisions.
    decided: Vec<(u32, u64)>,
    /// Records received by each instance's engine.
    seen: HashMap<u32, Vec<u64>>,
}

/// Decides after every `interval` records, and checks the caller's guarantees.
struct Witness {
    instance: u32,
    interval: u32,
    records: u32,
    /// Number of records before which no decision may be requested.
    promised: u32,
    log: Arc<Mutex<Log>>,
}

impl Witness {
    fn see(&mut self, record: &Record) -> bool {
        self.records += 1;
        self.promised = self.promised.saturating_sub(1);
        let mut log = self.log.lock().unwrap();
        log.seen
            .entry(self.instance)
            .or_default()
            .push(record.seq());
        self.records % self.interval == 0
    }
}

impl Engine for Witness {
    fn observe(&mut self, record: &Record) -> Option<Decision> {
        if !self.see(record) {
            return None;
        }
        assert_eq!(self.promised, 0, "decided on sooner than promised");
        let mut log = self.log.lock().unwrap();
        log.decided.push((self.instance, record.seq()));
        Some(Decision::Action {
            action: Action::Mark,
            probabilities: [0.0, 0.0, 1.0],
        })
    }

    fn skip(&mut self, record: &Record, ahead: u32) {
        assert!(ahead > 0);
        self.see(record);
        self.promised = self.promised.max(ahead);
    }

    fn reset(&mut self) {
        self.records = 0;
        self.promised = 0;
    }
}

fn pipeline(interval: u32, max_instances: usize) -> (Pipeline, Arc<Mutex<Log>>) {
    let log = Arc::<Mutex<Log>>::default();
    let shared = Arc::clone(&log);
    let make = move |scheduler: Scheduler| -> Box<dyn Engine> {
        Box::new(Witness {
            instance: scheduler.instance,
            interval,
            records: 0,
            promised: 0,
            log: Arc::clone(&shared),
        })
    };
    let config = PipelineConfig {
        interval: NonZeroU32::new(interval).unwrap(),
        max_instances,
        ttl_ns: 1000 * MS,
        ..PipelineConfig::default()
    };
    (Pipeline::new(config, make), log)
}

fn record(seq: u64, instance: u32) -> Message {
    let record = raw::l4s_record_v1 {
        hdr: header(raw::L4S_RECORD_DECISION, seq, seq * MS),
        sched: 1,
        instance,
        ..Default::default()
    };
    Message::Decision(Record::try_from(record).unwrap())
}

/// Processes a backlog as the daemon does.
fn take(pipeline: &mut Pipeline, backlog: &[Message], most: usize, now_ns: u64) -> Vec<u64> {
    let mut plan = pipeline.plan(backlog, most, now_ns);
    let mut based_on = Vec::new();
    for message in backlog {
        let Some(decided) = pipeline.decide(message, &mut plan) else {
            continue;
        };
        if let Some(order) = pipeline.order(&decided, now_ns) {
            based_on.push(order.based_on);
            pipeline.outcome(&order, Outcome::Accepted, now_ns);
        }
    }
    assert_eq!(pipeline.metrics().counters.imbalance(), None);
    based_on
}

#[test]
fn older_intervals_of_a_backlog_are_skipped() {
    let (mut pipeline, log) = pipeline(20, 8);
    let backlog: Vec<_> = (0..213).map(|seq| record(seq, 0)).collect();
    assert_eq!(take(&mut pipeline, &backlog, 9, 213 * MS), [199]);
    let c = &pipeline.metrics().counters;
    assert_eq!((c.due, c.decisions, c.skipped), (10, 1, 9));
    assert_eq!((c.skipped_behind, c.records_behind), (9, 180));
    // No record is lost: the window and the next interval continue.
    assert_eq!(pipeline.until_due(), 7);
    let next: Vec<_> = (213..220).map(|seq| record(seq, 0)).collect();
    assert_eq!(take(&mut pipeline, &next, 9, 220 * MS), [219]);
    assert_eq!(log.lock().unwrap().seen[&0], (0..220).collect::<Vec<_>>());
    assert_eq!(pipeline.metrics().counters.resets, 0);
}

#[test]
fn expired_intervals_are_skipped() {
    let (mut pipeline, log) = pipeline(10, 8);
    let backlog: Vec<_> = (0..40).map(|seq| record(seq, 0)).collect();
    // The newest boundary, at 39 ms, plus a second of life.
    let now = 1039 * MS;
    assert_eq!(take(&mut pipeline, &backlog, 9, now), [0; 0]);
    let c = pipeline.metrics().counters;
    assert_eq!((c.skipped_behind, c.decisions, c.stale), (4, 0, 0));
    assert!(log.lock().unwrap().decided.is_empty());
    let fresh: Vec<_> = (40..50).map(|seq| record(seq, 0)).collect();
    assert_eq!(take(&mut pipeline, &fresh, 9, now), [49]);
}

#[test]
fn first_record_of_a_clock_is_not_stale() {
    let (mut pipeline, _) = pipeline(1, 8);
    assert_eq!(take(&mut pipeline, &[record(0, 0)], 9, 999 * MS), [0]);
    assert_eq!(take(&mut pipeline, &[record(1, 0)], 9, 1001 * MS), [0; 0]);
}

#[test]
fn instances_take_turns_when_time_is_short() {
    let (mut pipeline, log) = pipeline(5, 8);
    let mut seq = 0;
    for turn in 0..12 {
        // Two intervals of each of six instances.
        let backlog: Vec<_> = (0..60)
            .map(|i| {
                seq += 1;
                record(seq - 1, i % 6)
            })
            .collect();
        let decided = take(&mut pipeline, &backlog, 2, seq * MS);
        assert_eq!(decided.len(), 2, "turn {turn}");
    }
    let mut times = HashMap::<u32, u32>::new();
    for (instance, _) in &log.lock().unwrap().decided {
        *times.entry(*instance).or_default() += 1;
    }
    assert_eq!(times.len(), 6);
    assert!(times.values().all(|n| *n == 4), "{times:?}");
    let c = pipeline.metrics().counters;
    assert_eq!((c.decisions, c.skipped_behind), (24, 144 - 24));
}

#[test]
fn instances_beyond_the_limit_get_no_turn() {
    let (mut pipeline, _) = pipeline(5, 1);
    let backlog: Vec<_> = (0..30).map(|seq| record(seq, (seq % 3) as u32)).collect();
    assert_eq!(take(&mut pipeline, &backlog, 1, 30 * MS), [27]);
    assert_eq!(pipeline.metrics().counters.unrouted, 20);
}

#[test]
fn loss_in_a_backlog_restarts_intervals() {
    let (mut pipeline, _) = pipeline(10, 8);
    let mut backlog: Vec<_> = (0..25).map(|seq| record(seq, 0)).collect();
    backlog.push(Message::Loss {
        seq: 25,
        time_ns: 25 * MS,
        lost: 75,
        stream: Stream::Records,
    });
    backlog.extend((100..118).map(|seq| record(seq, 0)));
    // Intervals end at 9, 19 and, after the loss, 109.
    assert_eq!(take(&mut pipeline, &backlog, 9, 118 * MS), [109]);
    let c = pipeline.metrics().counters;
    assert_eq!((c.due, c.skipped_behind, c.lost, c.resets), (3, 2, 75, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// For any split of a stream into backlogs, decisions are made only at the
    /// newest boundary of each instance, every record is passed once and in
    /// order, and the counters add up.
    #[test]
    fn waiting_records_are_accounted_for(
        interval in 1..12u32,
        most in 1..4usize,
        backlogs in prop::collection::vec(
            prop::collection::vec((0..5u32, 0..40u8), 1..120), 1..12),
    ) {
        let (mut pipeline, log) = pipeline(interval, 4);
        let mut seq = 0;
        for backlog in backlogs {
            let before = log.lock().unwrap().decided.len();
            let messages: Vec<_> = backlog.iter().map(|(instance, kind)| match kind {
                0 => {
                    let loss = Message::Loss { seq, time_ns: seq * MS, lost: 3, stream: Stream::Records };
                    seq += 3;
                    loss
                }
                1 => {
                    seq += 2; // a gap, and the record after it
                    record(seq - 1, *instance)
                }
                _ => {
                    seq += 1;
                    record(seq - 1, *instance)
                }
            }).collect();
            let due = pipeline.metrics().counters.due;
            take(&mut pipeline, &messages, most, seq * MS);
            let log = log.lock().unwrap();
            let decided = &log.decided[before..];
            let instances: std::collections::HashSet<_> = decided.iter().map(|d| d.0).collect();
            prop_assert_eq!(instances.len(), decided.len(), "twice for one instance");
            prop_assert!(decided.len() <= most);
            let due = pipeline.metrics().counters.due - due;
            prop_assert!((due == 0) == decided.is_empty(), "{} {:?}", due, decided);
        }
        let c = pipeline.metrics().counters;
        prop_assert_eq!(c.imbalance(), None);
        prop_assert_eq!(c.skipped, c.skipped_behind);
        prop_assert_eq!(c.records_behind, c.skipped_behind * u64::from(interval));
        let log = log.lock().unwrap();
        let seen: usize = log.seen.values().map(Vec::len).sum();
        prop_assert_eq!(seen as u64 + c.unrouted, c.records);
        prop_assert!(log.seen.values().all(|seqs| seqs.is_sorted()));
    }
}

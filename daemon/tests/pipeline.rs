//! The pipeline from its callers' view: counters, overrides and resets.

#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use l4sllm_abi::{
    Action, Event, EventCode, Factor, Factors, Message, Mode, Override, Queue, Record, Refusal,
    Steer, Stream, header, raw,
};
use l4sllmd::engine::{Scripted, Step};
use l4sllmd::{
    Counters, Decision, Engine, Outcome, OverrideMode, Pipeline, PipelineConfig, Scheduler, Scope,
};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// Decides after every `interval` records, and logs calls.
struct Counting {
    interval: u32,
    seen: u32,
    silent: bool,
    resets: Arc<Mutex<u32>>,
}

impl Engine for Counting {
    fn observe(&mut self, _: &Record) -> Option<Decision> {
        self.seen += 1;
        (self.seen % self.interval == 0 && !self.silent).then_some(Decision::Action {
            action: Action::Mark,
            probabilities: [0.0, 0.0, 1.0],
        })
    }

    fn reset(&mut self) {
        self.seen = 0;
        *self.resets.lock().unwrap() += 1;
    }
}

fn config(interval: u32) -> PipelineConfig {
    PipelineConfig {
        interval: NonZeroU32::new(interval).unwrap(),
        ..Default::default()
    }
}

fn counting(config: PipelineConfig) -> (Pipeline, Arc<Mutex<u32>>) {
    let resets = Arc::new(Mutex::new(0));
    let (interval, shared) = (config.interval.get(), Arc::clone(&resets));
    let make = move |_: Scheduler| -> Box<dyn Engine> {
        let resets = Arc::clone(&shared);
        Box::new(Counting {
            interval,
            seen: 0,
            silent: false,
            resets,
        })
    };
    (Pipeline::new(config, make), resets)
}

fn record(seq: u64, instance: u32, queue: Queue) -> Message {
    let record = raw::l4s_record_v1 {
        hdr: header(raw::L4S_RECORD_DECISION, seq, seq * MS),
        sched: 1,
        instance,
        queue_type: queue.code(),
        ..Default::default()
    };
    Message::Decision(Record::try_from(record).unwrap())
}

fn push(pipeline: &mut Pipeline, seqs: std::ops::Range<u64>) -> Vec<Override> {
    seqs.filter_map(|seq| pipeline.push(&record(seq, 0, Queue::L4s), seq * MS))
        .collect()
}

#[test]
fn an_override_follows_each_interval() {
    let (mut pipeline, _) = counting(PipelineConfig {
        ttl_ns: 40 * MS,
        ..config(10)
    });
    let orders = push(&mut pipeline, 0..35);
    assert_eq!(orders.len(), 3);
    for (i, order) in orders.iter().enumerate() {
        let last = 10 * (i as u64 + 1) - 1;
        assert_eq!(
            (order.sched, order.instance, order.id.get()),
            (1, 0, i as u64 + 1)
        );
        assert_eq!(
            (order.based_on, order.expires_ns),
            (last, last * MS + 40 * MS)
        );
        assert_eq!(
            order.mode,
            Mode::Once {
                action: Action::Mark,
                queue: Some(Queue::L4s)
            }
        );
    }
    assert_eq!(pipeline.until_due(), 5);
    assert_eq!(pipeline.metrics().counters.outstanding, 3);
}

#[test]
fn modes_and_scopes_follow_the_configuration() {
    let packets = NonZeroU32::new(7).unwrap();
    let (mut pipeline, _) = counting(PipelineConfig {
        mode: OverrideMode::Hold(packets),
        queue: Scope::Any,
        ..config(1)
    });
    let order = pipeline.push(&record(0, 0, Queue::Classic), 0).unwrap();
    assert_eq!(
        order.mode,
        Mode::Hold {
            action: Action::Mark,
            queue: None,
            packets
        }
    );
}

#[test]
fn each_instance_has_its_own_intervals() {
    let (mut pipeline, _) = counting(config(2));
    let mut decided = Vec::new();
    for (seq, instance) in [0, 1, 1, 0, 1].into_iter().enumerate() {
        let message = record(seq as u64, instance, Queue::Classic);
        decided.extend(pipeline.push(&message, 0).map(|o| (o.based_on, o.instance)));
    }
    assert_eq!(decided, [(2, 1), (3, 0)]);
    assert_eq!(pipeline.until_due(), 1, "instance 1 has one of two");
    assert_eq!(pipeline.metrics().counters.instances, 2);
}

#[test]
fn instances_beyond_the_limit_are_counted_and_ignored() {
    let (mut pipeline, _) = counting(PipelineConfig {
        max_instances: 1,
        ..config(1)
    });
    assert!(pipeline.push(&record(0, 0, Queue::L4s), 0).is_some());
    assert!(pipeline.push(&record(1, 1, Queue::L4s), 0).is_none());
    assert!(pipeline.push(&record(2, 0, Queue::L4s), 0).is_some());
    assert_eq!(
        (
            pipeline.metrics().counters.unrouted,
            pipeline.metrics().counters.instances
        ),
        (1, 1)
    );
}

#[test]
fn deleted_instance_frees_its_slot() {
    let (mut pipeline, _) = counting(PipelineConfig {
        max_instances: 1,
        ..config(10)
    });
    const MINUTE: u64 = 60_000; // records, one a ms
    assert!(push(&mut pipeline, 0..9).is_empty());
    assert_eq!(pipeline.until_due(), 1);
    // The scheduler was recreated; the check for the previous instance runs
    // once a minute, so the instance may be kept for up to two minutes.
    let mut decided = (9..2 * MINUTE + 15).filter_map(|seq| {
        let second = record(seq, 1, Queue::L4s);
        pipeline
            .push(&second, seq * MS)
            .map(|o| (o.instance, o.based_on))
    });
    assert_eq!(decided.next(), Some((1, 2 * MINUTE + 9)));
    assert_eq!(decided.next(), None);
    assert_eq!(pipeline.until_due(), 5);
    let metrics = &pipeline.metrics().counters;
    assert_eq!((metrics.instances, metrics.unrouted), (1, 2 * MINUTE - 9));
}

#[test]
fn announced_losses_restart_windows() {
    let (mut pipeline, resets) = counting(config(10));
    assert!(push(&mut pipeline, 0..9).is_empty());
    pipeline.push(
        &Message::Loss {
            seq: 9,
            time_ns: 0,
            lost: 91,
            stream: Stream::Records,
        },
        0,
    );
    assert_eq!(*resets.lock().unwrap(), 1);
    assert_eq!(
        push(&mut pipeline, 100..110).len(),
        1,
        "ten after the loss, not one"
    );
    let m = &pipeline.metrics().counters;
    assert_eq!(
        (m.losses, m.lost, m.gaps, m.resets, m.due),
        (1, 91, 0, 1, 1)
    );
}

#[test]
fn unannounced_gaps_restart_windows() {
    let (mut pipeline, resets) = counting(config(10));
    push(&mut pipeline, 0..9);
    push(&mut pipeline, 12..21);
    assert_eq!(
        (*resets.lock().unwrap(), pipeline.metrics().counters.gaps),
        (1, 1)
    );
    assert_eq!(pipeline.metrics().counters.due, 0);
    // A loss that does not start where the stream stopped is also a gap.
    pipeline.push(
        &Message::Loss {
            seq: 30,
            time_ns: 0,
            lost: 1,
            stream: Stream::Records,
        },
        0,
    );
    assert_eq!(pipeline.metrics().counters.gaps, 2);
}

/// Events pending in the summaries are read before the first record, with
/// separate numbers.
#[test]
fn event_of_an_unsubscribed_stream_is_not_a_gap() {
    let (mut pipeline, resets) = counting(config(10));
    for seq in 40..42 {
        let event = Event {
            seq,
            time_ns: 0,
            sched: 0,
            instance: 0,
            code: EventCode::Params,
            value: 0,
        };
        pipeline.push(&Message::Event(event), 0);
    }
    assert_eq!(push(&mut pipeline, 1000..1010).len(), 1);
    let m = &pipeline.metrics().counters;
    assert_eq!((m.gaps, m.events, *resets.lock().unwrap()), (0, 2, 0));
}

#[test]
fn restarted_stream_is_not_counted_as_a_gap() {
    let (mut pipeline, resets) = counting(config(10));
    let orders = push(&mut pipeline, 500..515);
    assert_eq!(orders.len(), 1);
    pipeline.restart();
    assert!(push(&mut pipeline, 0..9).is_empty());
    let m = &pipeline.metrics().counters;
    assert_eq!(
        (m.gaps, m.failed, m.outstanding, *resets.lock().unwrap()),
        (0, 1, 0, 1)
    );
    // A late outcome changes nothing.
    pipeline.outcome(&orders[0], Outcome::Accepted, 0);
    assert_eq!(pipeline.metrics().counters.accepted, 0);
    assert_eq!(
        push(&mut pipeline, 9..10)[0].id.get(),
        2,
        "numbers continue"
    );
}

#[test]
fn late_decision_is_not_sent() {
    let (mut pipeline, _) = counting(PipelineConfig {
        ttl_ns: 5 * MS,
        ..config(1)
    });
    assert!(
        pipeline
            .push(&record(10, 0, Queue::L4s), 15 * MS - 1)
            .is_some()
    );
    assert!(pipeline.push(&record(11, 0, Queue::L4s), 16 * MS).is_none());
    assert_eq!(
        (
            pipeline.metrics().counters.stale,
            pipeline.metrics().counters.overrides
        ),
        (1, 1)
    );
    assert_eq!(pipeline.metrics().counters.imbalance(), None);
}

#[test]
fn latency_is_measured_from_record_to_reply() {
    let (mut pipeline, _) = counting(config(1));
    let first = pipeline.push(&record(1, 0, Queue::L4s), MS).unwrap();
    let second = pipeline.push(&record(2, 0, Queue::L4s), 2 * MS).unwrap();
    pipeline.outcome(&second, Outcome::Refused(Refusal::BeyondLimits), 9 * MS);
    pipeline.outcome(&first, Outcome::Accepted, 3 * MS);
    let m = &pipeline.metrics().counters;
    assert_eq!((pipeline.metrics().latency_ns.len(), m.outstanding), (1, 0));
    assert!(
        pipeline.metrics().latency_ns.max().abs_diff(2 * MS) < 2 * MS / 1000,
        "{}",
        pipeline.metrics().latency_ns.max()
    );
    assert_eq!((m.accepted, m.refused_by(Refusal::BeyondLimits)), (1, 1));
}

#[test]
fn engine_without_a_decision_is_skipped() {
    let make = |_: Scheduler| -> Box<dyn Engine> {
        let resets = Arc::default();
        Box::new(Counting {
            interval: 2,
            seen: 0,
            silent: true,
            resets,
        })
    };
    let mut pipeline = Pipeline::new(config(2), make);
    assert!(push(&mut pipeline, 0..10).is_empty());
    assert_eq!(
        (
            pipeline.metrics().counters.due,
            pipeline.metrics().counters.skipped
        ),
        (5, 5)
    );
}

#[test]
fn reconfiguration_keeps_counters() {
    let (mut pipeline, _) = counting(config(10));
    assert_eq!(push(&mut pipeline, 0..15).len(), 1);
    let make = |_: Scheduler| -> Box<dyn Engine> {
        let resets = Arc::default();
        Box::new(Counting {
            interval: 3,
            seen: 0,
            silent: false,
            resets,
        })
    };
    pipeline.reconfigure(config(3), make);
    let orders = push(&mut pipeline, 15..21);
    assert_eq!(
        orders.iter().map(|o| o.id.get()).collect::<Vec<_>>(),
        [2, 3]
    );
    let m = &pipeline.metrics().counters;
    assert_eq!((m.records, m.gaps, m.decisions), (21, 0, 3));
}

#[test]
fn script_decides_at_its_times() {
    let steer = |f| {
        let factors = Factors {
            target: Some(Factor::new(f).unwrap()),
            ..Factors::NONE
        };
        Decision::Steer(Steer::new(factors).unwrap())
    };
    let steps = vec![
        Step {
            at_ns: 7 * MS,
            decision: steer(2.0),
        },
        Step {
            at_ns: 3 * MS,
            decision: steer(0.5),
        },
        Step {
            at_ns: 3 * MS,
            decision: steer(1.0),
        },
    ];
    for (origin, expected) in [(None, [103, 104, 107]), (Some(98 * MS), [101, 102, 105])] {
        let steps = steps.clone();
        let make = move |_: Scheduler| -> Box<dyn Engine> {
            Box::new(Scripted::new(origin, steps.clone()))
        };
        let mut pipeline = Pipeline::new(config(4), make);
        let orders = push(&mut pipeline, 100..120);
        assert_eq!(
            orders.iter().map(|o| o.based_on).collect::<Vec<_>>(),
            expected
        );
        let factor = |o: &Override| match o.mode {
            Mode::Steer(s) => s.factors().target.unwrap().as_f64(),
            _ => panic!("{o:?}"),
        };
        assert_eq!(factor(&orders[0]) + factor(&orders[1]), 1.5);
        assert_eq!(factor(&orders[2]), 2.0);
        assert_eq!(pipeline.metrics().counters.imbalance(), None);
    }
}

/// Events in a pipeline's life.
#[derive(Debug, Clone)]
enum Happening {
    Records(u8, u8),
    Event,
    Loss(u8),
    Hole(u8),
    Torn(u16),
    Restart,
    Reconfigure(u8),
    Late,
    Outcomes(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        8 => (1..40u8, 0..4u8).prop_map(|(n, instance)| Records(n, instance)),
        1 => Just(Event),
        1 => (1..50u8).prop_map(Loss),
        1 => (1..9u8).prop_map(Hole),
        1 => any::<u16>().prop_map(Torn),
        1 => Just(Restart),
        1 => (1..20u8).prop_map(Reconfigure),
        1 => Just(Late),
        4 => any::<u8>().prop_map(Outcomes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// In any sequence of events, every message, interval, decision and
    /// override is accounted for, and until_due() is the earliest time of the
    /// next decision.
    #[test]
    fn accounting_identities_hold(
        interval in 1..20u32,
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let (mut pipeline, _) = counting(PipelineConfig { max_instances: 3, ..config(interval) });
        let mut waiting: Vec<Override> = Vec::new();
        let (mut seq, mut now, mut messages, mut ids) = (0, 0, 0, 0);
        for happening in happenings {
            match happening {
                Happening::Records(n, instance) => for _ in 0..n {
                    let until = pipeline.until_due();
                    prop_assert!((1..=20).contains(&until));
                    now = now.max(seq * MS);
                    let order = pipeline.push(&record(seq, instance.into(), Queue::L4s), now);
                    prop_assert!(order.is_none() || until == 1);
                    if let Some(order) = order {
                        prop_assert!(order.id.get() > ids && order.expires_ns > now);
                        ids = order.id.get();
                        waiting.push(order);
                    }
                    (seq, messages) = (seq + 1, messages + 1);
                },
                Happening::Event => {
                    let (time_ns, code) = (seq * MS, EventCode::Watchdog);
                    let event = Event { seq, time_ns, sched: 0, instance: 0, code, value: 1 };
                    pipeline.push(&Message::Event(event), now);
                    (seq, messages) = (seq + 1, messages + 1);
                }
                Happening::Loss(lost) => {
                    let lost = lost.into();
                    pipeline.push(&Message::Loss { seq, time_ns: seq * MS, lost, stream: Stream::Records }, now);
                    (seq, messages) = (seq + lost, messages + 1);
                }
                Happening::Hole(n) => seq += u64::from(n),
                Happening::Torn(bytes) => pipeline.torn(bytes.into()),
                Happening::Restart => {
                    pipeline.restart();
                    waiting.clear();
                }
                Happening::Reconfigure(interval) => {
                    let interval = u32::from(interval);
                    let make = move |_: Scheduler| -> Box<dyn Engine> {
                        let resets = Arc::default();
                        Box::new(Counting { interval, seen: 0, silent: false, resets })
                    };
                    pipeline.reconfigure(PipelineConfig { max_instances: 3, ..config(interval) }, make);
                }
                Happening::Late => now = seq * MS + 2_000 * MS,
                Happening::Outcomes(choice) => for order in waiting.drain(..) {
                    let outcome = match choice % 3 {
                        0 => Outcome::Accepted,
                        1 => Outcome::Refused(Refusal::ALL[usize::from(choice) % Refusal::ALL.len()]),
                        _ => Outcome::Failed,
                    };
                    pipeline.outcome(&order, outcome, now);
                },
            }
            let m: &Counters = &pipeline.metrics().counters;
            prop_assert_eq!(m.imbalance(), None);
            prop_assert_eq!((m.messages, m.overrides), (messages, ids));
            prop_assert_eq!(m.outstanding as usize, waiting.len());
            prop_assert_eq!(pipeline.metrics().latency_ns.len(), m.accepted);
        }
    }
}

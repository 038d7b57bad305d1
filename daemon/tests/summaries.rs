//! Decisions on summaries: periods, what is merged, and set-points as factors.

#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use l4sllm_abi::{
    Event, EventCode, Limits, Message, Mode, Params, Record, Stream, Streams, Summary,
    SummaryInterval, header, raw,
};
use l4sllm_model::{IdleBudget, Policy, PolicyConfig, PolicyInput, SummaryFeature, Tensors};
use l4sllmd::engine::{Adaptive, AdaptiveConfig, Fallback, Input, PolicyEngine, SetPoints};
use l4sllmd::{Decision, Engine, Pipeline, PipelineConfig};

const MS: u64 = 1_000_000;

/// Decides on every summary, and notes its interval and packets.
struct Noting(Arc<Mutex<Vec<(u64, u64, u64)>>>);

impl Engine for Noting {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        None
    }

    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        let seen = (summary.begin_ns, summary.end_ns(), summary.decisions);
        self.0.lock().unwrap().push(seen);
        Some(Decision::SetPoints(POINTS))
    }

    fn reset(&mut self) {}
}

const POINTS: SetPoints = SetPoints {
    target_s: 0.005,
    alpha_hz: 0.32,
    beta_hz: 12.8,
    tupdate_s: 0.004,
    coupling: 1.5,
};

type Seen = Arc<Mutex<Vec<(u64, u64, u64)>>>;

fn noting(input: Input) -> (Pipeline, Seen) {
    let seen = Seen::default();
    let config = PipelineConfig {
        input,
        period_ns: 100 * MS,
        ..PipelineConfig::default()
    };
    let notes = Arc::clone(&seen);
    let pipeline = Pipeline::new(config, move |_| Box::new(Noting(Arc::clone(&notes))));
    (pipeline, seen)
}

fn summary(instance: u32, seq: u64, begin_ms: u64, end_ms: u64) -> Message {
    let summary = Summary::try_from(raw::l4s_summary {
        hdr: header(raw::L4S_RECORD_SUMMARY, seq, end_ms * MS),
        instance,
        begin_ns: begin_ms * MS,
        decisions: 10,
        target_ns: 15 * MS,
        tupdate_ns: 16 * MS,
        ..Default::default()
    });
    Message::Summary(Box::new(summary.unwrap()))
}

fn record(seq: u64, time_ms: u64) -> Message {
    let record = Record::try_from(raw::l4s_record_v1 {
        hdr: header(raw::L4S_RECORD_DECISION, seq, time_ms * MS),
        ..Default::default()
    });
    Message::Decision(record.unwrap())
}

#[test]
fn each_period_ends_in_one_decision() {
    let (mut pipeline, seen) = noting(Input::Summaries);
    let order = pipeline.push(&summary(0, 7, 0, 103), 103 * MS).unwrap();
    assert_eq!((order.based_on, order.expires_ns), (7, 1103 * MS));
    assert!(matches!(order.mode, Mode::Steer(_)));
    // Another reader requested shorter ones.
    assert!(pipeline.push(&summary(0, 8, 103, 140), 140 * MS).is_none());
    assert!(pipeline.push(&summary(0, 9, 140, 180), 180 * MS).is_none());
    assert!(pipeline.push(&summary(0, 10, 180, 205), 205 * MS).is_some());
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..], [(0, 103 * MS, 10), (103 * MS, 205 * MS, 30)]);
    let counters = pipeline.metrics().counters;
    assert_eq!(
        (counters.summaries, counters.due, counters.decisions),
        (4, 2, 2)
    );
    assert_eq!((counters.skipped, counters.gaps), (0, 0));
}

#[test]
fn backlog_is_decided_on_at_its_newest_period_with_history() {
    let (mut pipeline, seen) = noting(Input::Summaries);
    let backlog: Vec<_> = (0..5)
        .flat_map(|i| [0, 1].map(|of| summary(of, 2 * i + u64::from(of), 100 * i, 100 * i + 100)))
        .collect();
    let now_ns = 510 * MS;
    let mut plan = pipeline.plan(&backlog, 9, now_ns);
    let mut based_on = Vec::new();
    for message in &backlog {
        if let Some(decided) = pipeline.decide(message, &mut plan) {
            based_on.push(pipeline.order(&decided, now_ns).unwrap().based_on);
        }
    }
    assert_eq!(based_on, [8, 9]);
    assert_eq!(*seen.lock().unwrap(), [(0, 500 * MS, 50); 2]);
    let counters = pipeline.metrics().counters;
    assert_eq!((counters.due, counters.skipped_behind), (10, 8));
    assert_eq!((counters.decisions, counters.instances), (2, 2));
}

#[test]
fn summaries_are_not_merged_across_a_gap() {
    let (mut pipeline, seen) = noting(Input::Summaries);
    pipeline.push(&summary(0, 0, 0, 60), 60 * MS);
    pipeline.push(&summary(0, 2, 90, 150), 150 * MS);
    assert_eq!(pipeline.metrics().counters.gaps, 1);
    let loss = Message::Loss {
        seq: 3,
        time_ns: 300 * MS,
        lost: 4,
        stream: Stream::Summaries,
    };
    pipeline.push(&loss, 300 * MS);
    pipeline.push(&summary(0, 7, 250, 350), 350 * MS);
    assert_eq!(*seen.lock().unwrap(), [(250 * MS, 350 * MS, 10)]);
    let counters = pipeline.metrics().counters;
    // An announced loss of summaries is not a gap, and no window depends on it.
    assert_eq!((counters.gaps, counters.lost, counters.resets), (1, 4, 0));
}

/// Streams have separate sequence numbers; events share those of the records.
#[test]
fn each_stream_has_its_own_sequence() {
    let (mut pipeline, seen) = noting(Input::Both);
    let event = |seq| {
        Message::Event(Event {
            seq,
            time_ns: 0,
            sched: 0,
            instance: 0,
            code: EventCode::Params,
            value: 0,
        })
    };
    for message in [
        record(500, 10),
        event(501),
        summary(0, 3, 0, 100),
        record(502, 110),
    ] {
        pipeline.push(&message, 110 * MS);
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
    let counters = pipeline.metrics().counters;
    assert_eq!(
        (counters.gaps, counters.records, counters.summaries),
        (0, 2, 1)
    );
    // Decisions are due on intervals of records; this one was in between.
    assert_eq!((counters.due, counters.unscheduled), (0, 1));
    pipeline.push(&record(504, 120), 120 * MS);
    assert_eq!(pipeline.metrics().counters.gaps, 1);
}

/// A period may be as long as the silence after which an instance is considered
/// deleted.
#[test]
fn instance_with_messages_is_not_considered_gone() {
    const MINUTE: u64 = 60_000;
    let (made, seen) = (Arc::new(Mutex::new(0)), Seen::default());
    let config = PipelineConfig {
        input: Input::Summaries,
        period_ns: MINUTE * MS,
        ..PipelineConfig::default()
    };
    let (counter, notes) = (Arc::clone(&made), Arc::clone(&seen));
    let mut pipeline = Pipeline::new(config, move |_| {
        *counter.lock().unwrap() += 1;
        Box::new(Noting(Arc::clone(&notes)))
    });
    for minute in 0..5 {
        let end = MINUTE * (minute + 1);
        pipeline.push(&summary(0, minute, MINUTE * minute, end), end * MS);
    }
    assert_eq!(seen.lock().unwrap().len(), 5);
    assert_eq!(*made.lock().unwrap(), 1);
    // The other instances are considered deleted.
    pipeline.push(&summary(1, 5, 0, 7 * MINUTE), 7 * MINUTE * MS);
    assert_eq!(pipeline.metrics().counters.instances, 1);
}

/// Records written while they were not read do not count as missing.
#[test]
fn resubscribed_records_restart_the_sequence() {
    let (mut pipeline, seen) = noting(Input::Both);
    pipeline.push(&record(500, 10), 10 * MS);
    for input in [Input::Summaries, Input::Both] {
        let config = PipelineConfig {
            input,
            ..PipelineConfig::default()
        };
        let notes = Arc::clone(&seen);
        pipeline.reconfigure(config, move |_| Box::new(Noting(Arc::clone(&notes))));
    }
    pipeline.push(&record(900, 20), 20 * MS);
    assert_eq!(pipeline.metrics().counters.gaps, 0);
    pipeline.push(&record(902, 30), 30 * MS);
    assert_eq!(pipeline.metrics().counters.gaps, 1);
}

#[test]
fn set_points_become_factors_on_the_parameters_within_the_limits() {
    let (mut pipeline, _) = noting(Input::Summaries);
    let params = Params {
        target_ns: 10 * MS,
        tupdate_ns: 16 * MS,
        alpha_uhz: 160_000,
        beta_uhz: 3_200_000,
        coupling_q8: 512,
        ..Params::default()
    };
    pipeline.set_base(params, Limits::default());
    let mut now_ms = 0;
    let mut factors = |pipeline: &mut Pipeline| {
        now_ms += 100;
        let order = pipeline.push(&summary(0, now_ms / 100, now_ms - 100, now_ms), now_ms * MS);
        let Mode::Steer(steer) = order.unwrap().mode else {
            panic!("no steering");
        };
        steer.factors()
    };
    let of = |factor: Option<l4sllm_abi::Factor>| factor.map(|factor| factor.as_f64());
    let found = factors(&mut pipeline);
    assert_eq!(
        (of(found.target), of(found.tupdate)),
        (Some(0.5), Some(0.25))
    );
    assert_eq!((of(found.alpha), of(found.beta)), (Some(2.0), Some(4.0)));
    assert_eq!((of(found.coupling), found.threshold), (Some(0.75), None));

    let limits = Limits {
        factor_min: 52_429, // 0.8
        gain_max: 131_072,
        ..Limits::default()
    };
    pipeline.set_base(params, limits);
    let found = factors(&mut pipeline);
    assert_eq!(found.target.unwrap().q16(), 52_429);
    assert_eq!((of(found.alpha), of(found.beta)), (Some(2.0), Some(2.0)));

    // A factor cannot change a parameter of 0.
    let none = Params {
        alpha_uhz: 0,
        ..params
    };
    pipeline.set_base(none, Limits::default());
    assert_eq!(factors(&mut pipeline).alpha, None);
}

/// The rule's range is within the device's default limits.
#[test]
fn the_adaptive_rule_steers_within_the_default_limits() {
    let config = PipelineConfig {
        input: Input::Summaries,
        ..PipelineConfig::default()
    };
    let mut pipeline = Pipeline::new(config, |_| {
        Box::new(Adaptive::new(AdaptiveConfig::default()))
    });
    let order = pipeline.push(&summary(0, 0, 0, 100), 100 * MS).unwrap();
    let Mode::Steer(steer) = order.mode else {
        panic!("{order:?}");
    };
    let target = steer.factors().target.unwrap().as_f64();
    // Without flows the target is 10 ms, as at the start.
    let wanted = 10.0 / 15.0;
    assert!((target - wanted).abs() < 1e-4, "{target}, not {wanted}");
    let tupdate = steer.factors().tupdate.unwrap().as_f64();
    assert_eq!(tupdate, 0.25);
}

/// A policy on summaries of 100 ms with `output` as the bias of its head.
fn policy(output: f32) -> Arc<Policy> {
    let mut config = PolicyConfig::on_summaries("periods", SummaryFeature::ALL);
    config.input = PolicyInput::Summaries { period_ms: 100 };
    let mut tensors = Tensors::random(&config, 1).unwrap();
    for (name, values) in tensors.iter_mut() {
        match name {
            "head.weight" => values.fill(0.0),
            "head.bias" => values[..4].fill(output),
            _ => {}
        }
    }
    Policy::new(config, &tensors).unwrap()
}

#[test]
fn a_policy_decides_on_set_points_within_the_limits() {
    let interval = NonZeroU32::MIN;
    for (output, target) in [(0.0, 1.8f64.exp() / 15.0), (-20.0, 0.1), (20.0, 2.0)] {
        let config = PipelineConfig::default().with_period(100 * MS);
        let policy = policy(output);
        let mut pipeline = Pipeline::new(config, move |_| {
            Box::new(PolicyEngine::new(Arc::clone(&policy), interval, 0))
        });
        // Half a period gives no decision.
        assert!(pipeline.push(&summary(0, 0, 0, 50), 50 * MS).is_none());
        let order = pipeline.push(&summary(0, 1, 50, 100), 100 * MS).unwrap();
        let Mode::Steer(steer) = order.mode else {
            panic!("{order:?}");
        };
        let factors = steer.factors();
        let got = factors.target.unwrap().as_f64();
        assert!((got - target).abs() < 1e-3, "{got} {target}");
        assert_eq!(factors.tupdate.unwrap().as_f64(), 0.25);
        assert!(factors.coupling.is_some() && factors.threshold.is_none());
    }
}

/// Records the budgets that it receives.
struct Budgeted(Arc<Mutex<Vec<Option<f64>>>>);

impl Engine for Budgeted {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        None
    }

    fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.0.lock().unwrap().push(budget.map(IdleBudget::share));
    }

    fn reset(&mut self) {}
}

#[test]
fn every_engine_receives_the_idle_budget() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let config = PipelineConfig {
        input: Input::Summaries,
        idle_budget: IdleBudget::new(0.002),
        ..PipelineConfig::default()
    };
    let notes = Arc::clone(&told);
    let mut pipeline = Pipeline::new(config, move |_| {
        let rule = Adaptive::new(AdaptiveConfig::default());
        let engine = Box::new(Budgeted(Arc::clone(&notes)));
        Box::new(Fallback::new(engine, rule))
    });
    pipeline.push(&summary(0, 0, 0, 100), 100 * MS);
    pipeline.push(&summary(1, 1, 0, 100), 100 * MS);
    pipeline.set_idle_budget(IdleBudget::new(0.01));
    pipeline.push(&summary(2, 2, 0, 100), 100 * MS);
    pipeline.set_idle_budget(None);
    let want = [vec![0.002; 2], vec![0.01; 3]].concat();
    let want: Vec<_> = want.into_iter().map(Some).chain([None; 3]).collect();
    assert_eq!(*told.lock().unwrap(), want);
}

/// With a larger idle budget, the rule's target stays where it otherwise rises.
#[test]
fn the_adaptive_rule_keeps_the_idle_budget() {
    let target = |budget: Option<f64>| {
        let mut rule = Adaptive::new(AdaptiveConfig::default());
        rule.set_idle_budget(IdleBudget::new(0.001));
        rule.set_idle_budget(budget.and_then(IdleBudget::new));
        // After half a second a flow counts as long-lived. The link is idle for 1 %
        // after that.
        let of = |begin_ms, idle_ns| {
            let Message::Summary(busy) = summary(0, 0, begin_ms, begin_ms + 500) else {
                unreachable!();
            };
            let mut raw = *busy.raw();
            raw.idle_ns = idle_ns;
            raw.queue[0].flows[0] = 1;
            Summary::try_from(raw).unwrap()
        };
        rule.update(&of(0, 0));
        rule.update(&of(500, 5 * MS)).target_s
    };
    let own = target(None);
    assert_eq!(target(Some(0.004)), own);
    assert!(target(Some(0.001)) > own && own > 0.010);
    assert!((target(Some(0.01)) - 0.010).abs() < 1e-9);
}

/// Fails after its first summary, and recovers after its third.
struct FailingOnSummaries(u32);

impl Engine for FailingOnSummaries {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        None
    }

    fn observe_summary(&mut self, _summary: &Summary) -> Option<Decision> {
        self.0 += 1;
        (!self.has_failed()).then_some(Decision::SetPoints(POINTS))
    }

    fn has_failed(&self) -> bool {
        (2..4).contains(&self.0)
    }

    fn reset(&mut self) {}
}

#[test]
fn adaptive_rule_replaces_a_failing_policy_on_summaries() {
    let mut pipeline = Pipeline::new(PipelineConfig::default().with_period(100 * MS), |_| {
        let rule = Adaptive::new(AdaptiveConfig::default());
        Box::new(Fallback::new(Box::new(FailingOnSummaries(0)), rule))
    });
    let mut targets = Vec::new();
    for seq in 0..4 {
        let (begin, end) = (100 * seq, 100 * seq + 100);
        let order = pipeline
            .push(&summary(0, seq, begin, end), end * MS)
            .unwrap();
        let Mode::Steer(steer) = order.mode else {
            panic!("{order:?}");
        };
        targets.push((steer.factors().target.unwrap().as_f64() * 15.0).round());
    }
    // The rule's target without flows is 10 ms.
    assert_eq!(targets, [5.0, 10.0, 10.0, 5.0]);
}

/// Fails after its first record, and recovers after its third.
struct Failing(u32);

impl Engine for Failing {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        self.0 += 1;
        None
    }

    fn has_failed(&self) -> bool {
        (1..3).contains(&self.0)
    }

    fn reset(&mut self) {}
}

#[test]
fn adaptive_rule_replaces_a_failing_policy() {
    let config = PipelineConfig {
        input: Input::Both,
        ..PipelineConfig::default()
    };
    let mut pipeline = Pipeline::new(config, |_| {
        let rule = Adaptive::new(AdaptiveConfig::default());
        Box::new(Fallback::new(Box::new(Failing(0)), rule))
    });
    let mut decided = Vec::new();
    for seq in 0..4 {
        let (begin, end) = (100 * seq, 100 * seq + 100);
        let order = pipeline.push(&summary(0, seq, begin, end), end * MS);
        decided.push(order.is_some());
        assert!(pipeline.push(&record(seq, end), end * MS).is_none());
    }
    assert_eq!(decided, [false, true, true, false]);
    assert_eq!(pipeline.metrics().counters.imbalance(), None);
}

#[test]
fn input_determines_its_streams() {
    let config = |input| PipelineConfig {
        input,
        period_ns: 50 * MS,
        ..PipelineConfig::default()
    };
    let summaries = SummaryInterval {
        period_ns: 50 * MS,
        decisions: 0,
    };
    for (input, streams) in [
        (Input::Records, Streams::Records),
        (Input::Summaries, Streams::Summaries(summaries)),
        (Input::Both, Streams::All(summaries)),
    ] {
        assert_eq!(config(input).streams(), streams);
    }
}

//! The state of a pipeline, recordings of it, and their replay.

#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use l4sllm_abi::{Limits, Message, Params, Record, SUMMARY_SIZE, Summary, V1_SIZE, header, raw};
use l4sllm_model::{
    DecisionRule, Feature, Policy, PolicyConfig, PolicyInput, SplitMix64, SummaryFeature, Tensors,
};
use l4sllmd::config::EngineConfig;
use l4sllmd::engine::{Engine, Input, Preset};
use l4sllmd::files::Files;
use l4sllmd::recorder::frame::{Base, ConfigState};
use l4sllmd::recorder::ring::Ring;
use l4sllmd::recorder::{Bits, Checkpoint, Decided, EngineSpec, Frame, Turn, segments, start};
use l4sllmd::replay::{Made, Totals, replay};
use l4sllmd::run::Engines;
use l4sllmd::{Pipeline, PipelineConfig, Scheduler};

const MS: u64 = 1_000_000;

/// Records and summaries of two instances, with varying values.
struct Messages {
    random: SplitMix64,
    now_ns: u64,
    seq: u64,
    summaries: u64,
    begin_ns: [u64; 2],
}

impl Messages {
    fn new(seed: u64) -> Messages {
        Messages {
            random: SplitMix64::new(seed),
            now_ns: 1_000 * MS,
            seq: 0,
            summaries: 0,
            begin_ns: [1_000 * MS; 2],
        }
    }

    fn next(&mut self) -> Message {
        self.now_ns += 1 + self.below(2 * MS);
        let instance = self.below(2) as usize;
        if self.below(8) > 0 {
            self.record(instance as u32)
        } else {
            self.summary(instance)
        }
    }

    fn below(&mut self, most: u64) -> u64 {
        self.random.next_u64() % most
    }

    fn record(&mut self, instance: u32) -> Message {
        self.seq += 1;
        let random = &mut self.random;
        let mut some = |most: u64| random.next_u64() % most;
        let record = raw::l4s_record_v1 {
            hdr: header(raw::L4S_RECORD_DECISION, self.seq, self.now_ns),
            sched: 1,
            instance,
            queue_type: some(2) as u8,
            dequeue_action: some(3) as u8,
            drop_probability: some(1 << 31) as u32,
            base_probability: some(1 << 31) as u32,
            packet_length: some(1500) as u32,
            current_queue_delay: some(30_000) as u32,
            length_in_bytes: some(100_000) as u32,
            ..Default::default()
        };
        Message::Decision(Record::try_from(record).unwrap())
    }

    fn summary(&mut self, instance: usize) -> Message {
        self.summaries += 1;
        let begin_ns = std::mem::replace(&mut self.begin_ns[instance], self.now_ns);
        let random = &mut self.random;
        let mut some = |most: u64| random.next_u64() % most;
        let mut summary = raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, self.summaries, self.now_ns),
            sched: 1,
            instance: instance as u32,
            begin_ns,
            idle_ns: some((self.now_ns - begin_ns) / 8 + 1),
            decisions: some(100),
            target_ns: 15 * MS,
            tupdate_ns: 16 * MS,
            p_begin: some(1 << 31) as u32,
            p_end: some(1 << 31) as u32,
            p_max: some(1 << 31) as u32,
            updates: 1 + some(5),
            rate_windows: 1,
            rate_log_sum: 1_400_000 + some(60_000),
            ..Default::default()
        };
        for queue in &mut summary.queue {
            queue.arrived = some(200);
            queue.forwarded = 1 + some(200);
            queue.forwarded_bytes = queue.forwarded * 1200;
            queue.sojourn_sum_ns = queue.forwarded * some(20 * MS);
            queue.marks_aqm = some(9);
            queue.flows[0] = some(16);
        }
        Message::Summary(Box::new(Summary::try_from(summary).unwrap()))
    }

    fn take(&mut self, count: usize) -> Vec<Message> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Everything that one kind of engine needs.
struct Case {
    name: &'static str,
    config: PipelineConfig,
    engines: Engines,
    spec: EngineSpec,
}

impl Case {
    fn policy(name: &'static str, path: PathBuf, input: Input, fallback: Option<Preset>) -> Case {
        let engine = EngineConfig::Policy {
            path: path.clone(),
            engine: Default::default(),
            seed: 3,
            fallback,
        };
        let policy = Policy::load(&path).unwrap();
        let spec = EngineSpec::Policy {
            name: name.to_owned(),
            path: path.to_str().unwrap().to_owned(),
            hash: policy.hash().to_owned(),
            runs_on: policy.runs_on().clone(),
            seed: 3,
            fallback: fallback.map(|preset| preset.name().to_owned()),
        };
        Case::of(name, &engine, input, spec)
    }

    fn of(name: &'static str, engine: &EngineConfig, input: Input, spec: EngineSpec) -> Case {
        Case {
            name,
            config: PipelineConfig {
                input,
                interval: NonZeroU32::new(5).unwrap(),
                period_ns: 40 * MS,
                ..PipelineConfig::default()
            },
            engines: Engines::load(engine, &Files::by_path()).unwrap(),
            spec,
        }
    }

    fn pipeline(&self) -> Pipeline {
        let make = self.engines.maker(self.config.interval);
        let mut pipeline = Pipeline::new(self.config.clone(), make);
        pipeline.set_base(Params::default(), Limits::default());
        pipeline
    }
}

fn cases(dir: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, rule, window) in [
        ("argmax", DecisionRule::Argmax, 12),
        ("sample", DecisionRule::Sample, 7),
        ("recur", DecisionRule::Recur, 20),
    ] {
        let mut config = PolicyConfig::new(name, &Feature::PAPER7);
        config.decision_rule = rule;
        config.window = window;
        let path = dir.join(name);
        Policy::save(&path, &config, &Tensors::random(&config, 5).unwrap()).unwrap();
        cases.push(Case::policy(name, path.clone(), Input::Records, None));
        if name == "recur" {
            let fallback = Some(Preset::LowDelay);
            cases.push(Case::policy("fallback", path, Input::Both, fallback));
        }
    }
    let mut config = PolicyConfig::on_summaries("summaries", SummaryFeature::ALL);
    config.input = PolicyInput::Summaries { period_ms: 100 };
    config.window = 6;
    let path = dir.join("summaries");
    Policy::save(&path, &config, &Tensors::random(&config, 5).unwrap()).unwrap();
    cases.push(Case::policy("summaries", path, Input::Summaries, None));
    let rule = EngineConfig::Adaptive(Preset::Balanced);
    let spec = EngineSpec::Adaptive("balanced".to_owned());
    cases.push(Case::of("adaptive", &rule, Input::Summaries, spec));
    cases
}

/// Decisions of a pipeline on messages, to the bit.
fn decide(pipeline: &mut Pipeline, messages: &[Message]) -> Vec<(Bits, Vec<u8>)> {
    let mut all = Vec::new();
    let mut plan = l4sllmd::Plan::all();
    for message in messages {
        if let Some(decided) = pipeline.decide(message, &mut plan) {
            let order = pipeline.order(&decided, decided.basis_ns()).unwrap();
            all.push((Bits::of(decided.decision()), order.to_bytes().to_vec()));
        }
    }
    all
}

#[test]
fn a_restored_pipeline_equals_one_that_never_stopped() {
    let place = tempfile::tempdir().unwrap();
    for case in cases(place.path()) {
        let messages = Messages::new(12).take(1500);
        let mut whole = case.pipeline();
        let want = decide(&mut whole, &messages);
        for cut in [1, 250, 603, 1111] {
            let mut first = case.pipeline();
            let mut got = decide(&mut first, &messages[..cut]);
            let mut second = case.pipeline();
            second.restore(&first.save()).unwrap();
            got.extend(decide(&mut second, &messages[cut..]));
            assert_eq!(got, want, "{} cut at {cut}", case.name);
        }
        assert!(want.len() > 10, "{}: {}", case.name, want.len());
    }
}

#[test]
fn a_state_of_another_engine_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let cases = cases(place.path());
    let mut first = cases[0].pipeline();
    decide(&mut first, &Messages::new(1).take(100));
    for other in &cases[1..] {
        other.pipeline().restore(&first.save()).unwrap_err();
    }
}

fn checkpoint(case: &Case, pipeline: &Pipeline, follows: bool) -> Frame {
    let (params, limits) = pipeline.base();
    Frame::Checkpoint(Box::new(Checkpoint {
        version: "test".to_owned(),
        unix_ms: 0,
        now_ns: 0,
        lost: 0,
        follows,
        config: ConfigState::of(&case.config),
        engine: case.spec.clone(),
        base: Base::of(params, limits),
        state: pipeline.save(),
    }))
}

fn record(case: &Case, dir: &Path, turns: usize) -> u64 {
    record_with(case, dir, turns, None)
}

/// Records turns of different lengths, as the worker does, in small segments, with
/// one bit of decision `changed` flipped. Returns the number of decisions.
fn record_with(case: &Case, dir: &Path, turns: usize, changed: Option<usize>) -> u64 {
    let ring = Ring::open(dir).unwrap();
    let (mut recorder, recording) = start(ring, 8 * 20_000).unwrap();
    let mut pipeline = case.pipeline();
    let mut messages = Messages::new(21);
    let mut decisions = 0usize;
    for number in 0..turns {
        if recorder.is_checkpoint_due() {
            let (_, follows) = recorder.history();
            recorder.record(checkpoint(case, &pipeline, follows), 256);
        }
        let backlog = messages.take(1 + number % 60);
        let now_ns = messages.now_ns;
        let mut turn = Turn::planned(now_ns, 2);
        let mut plan = pipeline.plan(&backlog, 2, now_ns);
        for (at, message) in backlog.iter().enumerate() {
            let Some(decided) = pipeline.decide(message, &mut plan) else {
                continue;
            };
            let sent = pipeline.order(&decided, now_ns);
            let mut decision = Bits::of(decided.decision());
            if changed == Some(decisions) {
                match &mut decision {
                    Bits::Action(_, probabilities) => probabilities[1] ^= 1,
                    Bits::Steer(factors) => factors[0] ^= 1,
                    Bits::SetPoints(points) => points[0] ^= 1,
                }
            }
            decisions += 1;
            turn.decisions.push(Decided {
                at: at as u64,
                now_ns,
                took_ns: 1,
                decision,
                sent: sent.map(|order| order.to_bytes().to_vec()),
                outcome: None,
            });
        }
        turn.processed = backlog.len() as u64;
        turn.add(&backlog);
        let size = turn.size();
        recorder.record(Frame::Turn(turn), size);
        // The queue is bounded, and this loop is faster than a disk.
        while recording.status().frames + 100 < number as u64 {
            std::thread::yield_now();
        }
        if number % 50 == 49 {
            recorder.record(Frame::Torn(64), 64);
            pipeline.torn(64);
        }
    }
    drop(recorder);
    recording.finish();
    let status = recording.status();
    assert_eq!((status.lost, status.failures), (0, 0));
    decisions as u64
}

fn replayed(dir: &Path, other: Option<&Engines>) -> (Totals, Vec<Made>) {
    let mut all = Vec::new();
    let totals = replay(&segments(dir).unwrap(), other, |made| all.push(made)).unwrap();
    (totals, all)
}

#[test]
fn every_decision_of_a_recording_is_reproduced() {
    let place = tempfile::tempdir().unwrap();
    for case in cases(place.path()) {
        let dir = tempfile::tempdir().unwrap();
        let decisions = record(&case, dir.path(), 60);
        let (totals, made) = replayed(dir.path(), None);
        assert!(totals.segments > 1 && totals.segments <= 8, "{totals:?}");
        assert!(totals.gaps <= 1, "only the first segment follows nothing");
        assert_eq!((totals.same, totals.additional), (totals.decisions, 0));
        assert!(totals.decisions <= decisions, "{}", case.name);
        assert_eq!(made.len() as u64, totals.decisions);
        assert!(made.len() > 10, "{}: {}", case.name, made.len());
    }
}

#[test]
fn a_long_recording_keeps_only_its_last_segments() {
    let place = tempfile::tempdir().unwrap();
    let case = &cases(place.path())[0];
    let dir = tempfile::tempdir().unwrap();
    let decisions = record(case, dir.path(), 400);
    let (totals, _) = replayed(dir.path(), None);
    assert_eq!(totals.segments, 8);
    assert!(totals.decisions < decisions / 2, "{totals:?}");
    assert_eq!((totals.same, totals.additional), (totals.decisions, 0));
    let size = |slot| {
        let file = l4sllmd::recorder::ring::file(dir.path(), slot);
        file.metadata().unwrap().len()
    };
    assert!((0..8).all(|slot| size(slot) < 100_000));
}

#[test]
fn the_first_changed_decision_is_found() {
    let place = tempfile::tempdir().unwrap();
    for (case, at) in cases(place.path()).iter().zip([7, 0, 11, 3, 2, 5]) {
        let dir = tempfile::tempdir().unwrap();
        record_with(case, dir.path(), 30, Some(at));
        let (totals, made) = replayed(dir.path(), None);
        let different: Vec<_> = made.iter().filter(|made| !made.same).take(3).collect();
        assert_eq!(
            totals.same,
            totals.decisions - 1,
            "{} {different:#?}",
            case.name
        );
        assert_eq!(made.iter().position(|made| !made.same), Some(at));
    }
}

#[test]
fn another_engine_decides_on_the_same_messages() {
    let place = tempfile::tempdir().unwrap();
    let cases = cases(place.path());
    let (rule, summaries) = (&cases[5], &cases[4]);
    assert_eq!((rule.name, summaries.name), ("adaptive", "summaries"));
    let dir = tempfile::tempdir().unwrap();
    record(rule, dir.path(), 60);
    // The same engine differs nowhere, once it has the same history.
    let (_, own) = replayed(dir.path(), Some(&rule.engines));
    let steers = |made: &Made| made.sent.zip(made.other).map(|(a, b)| a.mode == b.mode);
    assert!(own.len() > 10 && own.iter().all(|made| steers(made) == Some(true)));
    let (totals, other) = replayed(dir.path(), Some(&summaries.engines));
    assert_eq!(totals.same, totals.decisions);
    assert!(other.iter().any(|made| steers(made) == Some(false)));
    // A policy on records needs records.
    let error = replay(
        &segments(dir.path()).unwrap(),
        Some(&cases[0].engines),
        |_| {},
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("decides on records, which were not recorded"),
        "{error}"
    );
}

#[test]
fn a_cut_file_is_replayed_up_to_its_last_whole_frame() {
    let place = tempfile::tempdir().unwrap();
    let case = &cases(place.path())[1];
    let dir = tempfile::tempdir().unwrap();
    record(case, dir.path(), 60);
    let all = segments(dir.path()).unwrap();
    let last = &all.last().unwrap().path;
    let (whole, _) = replayed(last, None);
    let bytes = std::fs::read(last).unwrap();
    let mut before = u64::MAX;
    for cut in (40..bytes.len()).rev().step_by(997) {
        std::fs::write(last, &bytes[..cut]).unwrap();
        let (totals, _) = replayed(last, None);
        assert_eq!((totals.same, totals.additional), (totals.decisions, 0));
        assert!(totals.frames <= before && totals.frames <= whole.frames);
        before = totals.frames;
    }
    assert!(before < whole.frames);
}

#[test]
fn a_policy_that_was_changed_since_is_named() {
    let place = tempfile::tempdir().unwrap();
    let case = &cases(place.path())[0];
    let dir = tempfile::tempdir().unwrap();
    record(case, dir.path(), 20);
    let mut config = PolicyConfig::new("argmax", &Feature::PAPER7);
    config.window = 12;
    let path = place.path().join("argmax");
    std::fs::remove_dir_all(&path).unwrap();
    Policy::save(&path, &config, &Tensors::random(&config, 6).unwrap()).unwrap();
    let error = replay(&segments(dir.path()).unwrap(), None, |_| {}).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("it was changed since"), "{error}");
}

#[test]
fn recorded_messages_are_whole() {
    let mut turn = Turn::planned(0, 1);
    let messages = Messages::new(2).take(300);
    turn.add(&messages);
    assert_eq!(turn.decode().unwrap(), messages);
    assert!(turn.messages.len() >= 300 * V1_SIZE.min(SUMMARY_SIZE));
}

/// The trait's default has no state.
#[test]
fn an_engine_without_a_state_is_refused() {
    struct Mute;
    impl Engine for Mute {
        fn observe(&mut self, _: &Record) -> Option<l4sllmd::Decision> {
            None
        }
        fn reset(&mut self) {}
    }
    let make = |_: Scheduler| -> Box<dyn Engine> { Box::new(Mute) };
    let mut pipeline = Pipeline::new(PipelineConfig::default(), make);
    decide(&mut pipeline, &Messages::new(2).take(10));
    let mut other = Pipeline::new(PipelineConfig::default(), make);
    other.restore(&pipeline.save()).unwrap_err();
}

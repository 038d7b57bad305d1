//! Policies on summaries, from periods to set-points.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{gpt2, on_summaries, periods, policy, reference_outputs, summaries, tensors};
use l4sllm_abi::{Summary, raw};
use l4sllm_model::{
    CONFIG_FILE, DecisionRule, EncoderConfig, Feature, HeadKind, IdleBudget, OUTPUTS_MAX, Outputs,
    Policy, PolicyConfig, PolicyInput, Session, SetPointHead, SplitMix64, Step, SummaryFeature,
    Taken, Tensors, small_gpt2,
};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-5;

fn head(config: &PolicyConfig) -> SetPointHead {
    match config.head.kind {
        HeadKind::SetPoints(head) => head,
        other => panic!("{other:?}"),
    }
}

/// The steps that a session derives from periods.
fn steps(config: &PolicyConfig, summaries: &[Summary]) -> Vec<Step> {
    let periods = periods(summaries);
    let returns = &config.returns;
    let value = |feature: usize, period: usize| {
        let feature = &config.features[feature];
        // A missing value is replaced by that of the last period that has
        // one.
        let said = (0..=period).rev();
        let raw = said
            .filter_map(|i| feature.name.of_period(&periods[i]))
            .next();
        feature.scaling.apply(raw.unwrap_or(0.0))
    };
    let step = |now: usize| {
        let inputs = config.features.iter().enumerate().flat_map(|(i, f)| {
            let h = f.encoder.history();
            (0..h).map(move |back| value(i, (now + 1 + back).saturating_sub(h)))
        });
        Step {
            return_to_go: returns.scaling.apply(returns.target),
            inputs: inputs.collect(),
            action: Taken::SetPoints(head(config).in_force(&periods[now])),
        }
    };
    (0..summaries.len()).map(step).collect()
}

fn decisions(session: &mut Session, summaries: &[Summary]) -> Vec<Outputs> {
    let observe = |summary| session.observe_summary(summary).unwrap();
    summaries.iter().filter_map(observe).collect()
}

/// Paths of each kind in turn, and windows of several periods.
#[test]
fn every_period_equals_the_dense_pass() {
    for (window, layers, positions, residual) in
        [(1, 1, 0, false), (3, 2, 90, true), (4, 1, 0, true)]
    {
        let mut config = on_summaries(SummaryFeature::ALL);
        config.window = window;
        config.head.residual = residual;
        config.backbone = small_gpt2(layers, 32, 2, 64);
        gpt2(&mut config).n_positions = positions;
        config.features[3].encoder = EncoderConfig::scalar(7);
        config.features[4].encoder = EncoderConfig::Series {
            width: 3,
            history: 5,
            kernels: vec![2, 4],
        };
        let (policy, tensors) = policy(&config, 3);
        let stream = summaries(40, 250, 8);
        let steps = steps(&config, &stream);
        let mut session = Session::new(policy.clone(), 100);
        for (i, summary) in stream.iter().enumerate() {
            let got = session.observe_summary(summary).unwrap().unwrap();
            let window = &steps[(i + 1).saturating_sub(window)..=i];
            let want = reference_outputs(&config, &tensors, window);
            assert_eq!(want.len(), OUTPUTS_MAX);
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    (f64::from(*got) - want).abs() < TOLERANCE,
                    "{i}: {got} {want}"
                );
            }
            // The inputs of a session can be recorded and decided on again.
            let newest = session.newest();
            assert_eq!(newest.inputs, steps[i].inputs);
            assert_eq!(newest.return_to_go, steps[i].return_to_go);
            assert_eq!(
                Taken::SetPoints(newest.action.try_into().unwrap()),
                steps[i].action
            );
            let again = policy.outputs_all(&[window]).unwrap();
            for (got, want) in again[0].iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < TOLERANCE);
            }
        }
    }
}

/// Decisions do not depend on how often summaries arrive.
#[test]
fn short_summaries_are_merged_to_the_period() {
    let mut config = on_summaries(SummaryFeature::ALL);
    config.window = 2;
    let (policy, _) = policy(&config, 5);
    let short = summaries(200, 50, 9);
    let long: Vec<Summary> = short
        .chunks(5)
        .map(|part| {
            let mut all = part[0];
            part[1..].iter().for_each(|later| all.merge(later));
            all
        })
        .collect();
    let [short, long] = [short, long].map(|stream| {
        let mut session = Session::new(policy.clone(), 1);
        decisions(&mut session, &stream)
    });
    assert_eq!(long.len(), 40);
    assert_eq!(short, long);
    assert!(short.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn reset_clears_the_partial_period_and_the_series() {
    let (policy, _) = policy(&on_summaries(SummaryFeature::ALL), 5);
    let stream = summaries(60, 50, 9);
    let mut session = Session::new(policy.clone(), 1);
    decisions(&mut session, &stream[..13]);
    session.reset();
    let after = decisions(&mut session, &stream[20..]);
    let fresh = decisions(&mut Session::new(policy, 1), &stream[20..]);
    assert_eq!(after, fresh);
    assert_eq!(after.len(), 8);
}

#[test]
fn session_accepts_only_its_own_input() {
    let (periods, _) = policy(&on_summaries(SummaryFeature::ALL), 1);
    let mut session = Session::new(periods, 1);
    for record in common::records(5, 1) {
        assert_eq!(session.observe(&record).unwrap(), None);
        session.skip(&record, 3);
    }
    let (records, _) = policy(&common::config(&Feature::PAPER7), 1);
    let mut session = Session::new(records, 1);
    for summary in summaries(5, 250, 1) {
        assert_eq!(session.observe_summary(&summary).unwrap(), None);
    }
}

#[test]
fn idle_budget_is_the_requested_one() {
    let config = on_summaries(SummaryFeature::ALL);
    let (policy, _) = policy(&config, 2);
    let stream = summaries(3, 250, 4);
    let run = |budget: Option<f64>| {
        let mut session = Session::new(policy.clone(), 1);
        session.set_idle_budget(budget.map(|share| IdleBudget::new(share).unwrap()));
        let outputs = decisions(&mut session, &stream);
        (session.newest().return_to_go, outputs)
    };
    let own = run(None);
    assert_eq!(config.idle_budget(), IdleBudget::new(0.005));
    assert_eq!(run(Some(0.005)), own);
    for share in [0.001, 0.02] {
        let (asked, outputs) = run(Some(share));
        assert_eq!(asked, config.returns.scaling.apply(share));
        assert_ne!(outputs, own.1);
    }
    // The request can be changed and reset in between.
    let mut session = Session::new(policy.clone(), 1);
    session.set_idle_budget(IdleBudget::new(0.02));
    session.set_idle_budget(None);
    assert_eq!(decisions(&mut session, &stream), own.1);
}

/// Outputs are finite for any values reported by a device.
#[test]
fn decisions_are_finite_for_any_summary() {
    let mut config = on_summaries(SummaryFeature::ALL);
    config.window = 2;
    let (policy, _) = policy(&config, 6);
    let head = head(&config);
    let mut session = Session::new(policy, 1);
    let mut random = SplitMix64::new(1);
    let mut decided = 0;
    for _ in 0..5000 {
        let mut s = *summaries(1, 50, random.next_u64())[0].raw();
        // Arbitrary bytes in fields without a range.
        let scale = random.next_u64() % 64;
        let mut any = || random.next_u64() >> scale;
        s.begin_ns = 0;
        s.hdr.time_ns = any();
        s.idle_ns = any() % s.hdr.time_ns.max(1);
        (s.updates, s.p_sum, s.p_variation) = (any(), any(), any());
        (s.rate_windows, s.rate_log_sum, s.rate_log_sq) = (any(), any(), any());
        (s.target_ns, s.alpha_uhz) = (any().max(1), any() as u32);
        for queue in &mut s.queue {
            (queue.forwarded, queue.forwarded_bytes) = (any(), any());
            (queue.sojourn_sum_ns, queue.sojourn_sq) = (any(), any());
            (queue.marks_aqm, queue.drops_tail) = (any(), any());
        }
        let summary = Summary::try_from(s).unwrap();
        let Some(outputs) = session.observe_summary(&summary).unwrap() else {
            continue;
        };
        decided += 1;
        assert!(outputs.iter().all(|x| x.is_finite()), "{outputs:?} {s:?}");
        let points = head.set_points(&outputs);
        let range = head.target_ms;
        assert!((range.min..=range.max).contains(&(points.target_s * 1e3)));
        assert!(session.newest().inputs.iter().all(|x| x.abs() <= 8.0));
    }
    assert!(decided > 1000, "{decided}");
    assert_eq!(raw::L4S_PROB_ONE, i32::MAX as u32);
}

#[test]
fn configuration_text_round_trips() {
    let dir = tempfile::tempdir().unwrap();
    let config = on_summaries(SummaryFeature::ALL);
    let text = config.to_json();
    assert!(text.contains("\"period_ms\": 250") && !text.contains("reward"));
    let again = PolicyConfig::from_json(CONFIG_FILE, text.as_bytes()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.period_ns(), Some(250_000_000));
    let tensors = Tensors::random(&config, 1).unwrap();
    Policy::save(dir.path(), &config, &tensors).unwrap();
    let loaded = Policy::load(dir.path()).unwrap();
    let made = Policy::new(config.clone(), &tensors).unwrap();
    assert_eq!((loaded.config(), loaded.hash()), (&config, made.hash()));
    let stream = summaries(9, 250, 1);
    let [got, want] = [loaded, made].map(|p| decisions(&mut Session::new(p, 1), &stream));
    assert_eq!(got, want);
}

/// The file of a policy on records has not changed.
#[test]
fn released_policies_round_trip() {
    for name in ["default", "imitation"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let text = fs::read_to_string(dir.join(name).join(CONFIG_FILE)).unwrap();
        let config = PolicyConfig::from_json(CONFIG_FILE, text.as_bytes()).unwrap();
        assert_eq!(config.input, PolicyInput::Records);
        assert_eq!(config.to_json(), text, "{name}");
    }
}

#[test]
fn configurations_are_refused_by_key() {
    let config = on_summaries(&SummaryFeature::ALL[..2]);
    let good: Value = serde_json::to_value(&config).unwrap();
    let set_points = "/head/kind/set_points";
    for (pointer, value, want) in [
        (
            "/input",
            json!("records"),
            "features[0].name = idle_share, expected a field of a record",
        ),
        (
            "/input",
            json!({"summaries": {"period_ms": 49}}),
            "input.summaries.period_ms = 49",
        ),
        (
            "/input",
            json!({"summaries": {"period_ms": 5001}}),
            "expected 50..=5000",
        ),
        (
            "/input",
            json!({"summaries": {"period": 250}}),
            "input.summaries.period: unknown field `period`",
        ),
        (
            "/input",
            json!("packets"),
            "input: unknown variant `packets`",
        ),
        (
            "/features/1/name",
            json!("queue_type"),
            "features[1].name = queue_type, expected a number of a summary",
        ),
        (
            "/features/1/name",
            json!("idle_share"),
            "features[1].name = idle_share, expected each feature once",
        ),
        (
            "/features/1/name",
            json!("idle"),
            "features[1].name: unknown variant `idle`",
        ),
        (
            "/returns/gamma",
            json!(0.5),
            "returns.gamma = given, expected null",
        ),
        (
            "/returns/reward",
            json!({}),
            "returns.reward = given, expected null",
        ),
        (
            "/returns/target",
            json!(0.05),
            "returns.target = 0.05, expected an idle budget, 0.001..=0.02",
        ),
        (
            "/head/kind",
            json!("action"),
            "head.kind = action, expected set_points",
        ),
        (
            "/decision_rule",
            json!("argmax"),
            "decision_rule = argmax, expected mean",
        ),
        (
            &format!("{set_points}/target_ms/std"),
            json!(0.0),
            "head.kind.set_points.target_ms.std = 0, expected above 0",
        ),
        (
            &format!("{set_points}/alpha_hz/min"),
            json!(-1.0),
            "head.kind.set_points.alpha_hz.min = -1",
        ),
        (
            &format!("{set_points}/beta_hz/max"),
            json!(0.1),
            "head.kind.set_points.beta_hz.max = 0.1, expected at least min, 0.64",
        ),
        (
            &format!("{set_points}/coupling/mean"),
            json!("2"),
            "head.kind.set_points.coupling.mean",
        ),
        (
            &format!("{set_points}/tupdate_ms"),
            json!(0.05),
            "head.kind.set_points.tupdate_ms = 0.05, expected 0.1..=1000",
        ),
        (
            &format!("{set_points}/threshold"),
            json!(1),
            "unknown field `threshold`",
        ),
    ] {
        let mut wrong = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match wrong.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        }
        let text = wrong.to_string();
        let error = PolicyConfig::from_json(CONFIG_FILE, text.as_bytes()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(want), "{pointer}: {error}");
    }
    // The reverse case.
    let mut records = PolicyConfig::new("records", &Feature::PAPER7);
    records.head.kind = config.head.kind;
    let error = records.check().unwrap_err().to_string();
    assert!(
        error.contains("head.kind = set_points, expected action or steer"),
        "{error}"
    );
    let mut records = PolicyConfig::new("records", &Feature::PAPER7);
    records.returns.gamma = None;
    let error = records.check().unwrap_err().to_string();
    assert!(error.contains("returns.gamma = missing"), "{error}");
    assert_eq!(records.decision_rule, DecisionRule::Argmax);
    assert!(records.reward().is_err() && config.record_features().is_err());
    assert!(records.record_features().is_ok());
}

/// Weights that overflow every activation.
#[test]
fn weights_that_overflow_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = on_summaries(SummaryFeature::ALL);
    let mut tensors = tensors(&config, 1);
    for (name, values) in tensors.iter_mut() {
        if name.starts_with("embed_norm") {
            values.fill(f32::MAX);
        }
    }
    Policy::save(dir.path(), &config, &tensors).unwrap();
    let error = Policy::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("policy periods: its outputs after"),
        "{error}"
    );
}

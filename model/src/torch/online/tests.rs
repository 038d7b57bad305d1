#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use serde_json::json;
use tch::{Device, Tensor};

use super::cost::Tables;
use super::*;
use crate::set_points::SET_POINTS;
use crate::splitmix::SplitMix64;
use crate::torch::{Network, TrainError};
use crate::{
    EncoderConfig, Feature, HeadKind, OUTPUTS_MAX, Outputs, Policy, PolicyConfig, SetPointHead,
    SummaryFeature, Tensors, small_gpt2,
};

const HEAD: SetPointHead = SetPointHead::DEFAULT;

fn config() -> PolicyConfig {
    let mut config = PolicyConfig::on_summaries("small", &[SummaryFeature::IdleShare]);
    config.backbone = small_gpt2(1, 8, 1, 8);
    for feature in &mut config.features {
        feature.encoder = EncoderConfig::Series {
            width: 2,
            history: 4,
            kernels: vec![2],
        };
    }
    config
}

fn trainer(dir: &Path, resume: bool) -> OnlineTrainer {
    let tensors = Tensors::random(&config(), 1).unwrap();
    let network = Network::new(config(), &tensors, Device::Cpu).unwrap();
    OnlineTrainer::new(dir, network, &json!({ "seed": 1 }), resume).unwrap()
}

fn learning(steps: u64) -> LearnConfig {
    LearnConfig {
        steps,
        batch: 32,
        learning_rate: 0.02,
        warmup: 10,
        weight_decay: 0.0,
        max_grad_norm: 1.0,
        ema_decay: 0.9,
        caution: 1.0,
        margin: 0.5,
        proximity: 0.0,
        noise: 0.0,
        seed: 3,
    }
}

/// One condition with given delay and loss at a setting.
fn lesson(delay: impl Fn(f64, f64) -> f64, loss: impl Fn(f64, f64) -> f64) -> Lesson {
    let grid = Grid::of_settings();
    let nodes = grid.settings();
    let surface = |of: &dyn Fn(f64, f64) -> f64| -> Vec<f32> {
        let at = |node: &PlaneSetting| of(node.axes[0], node.axes[1]) as f32;
        nodes.iter().map(at).collect()
    };
    Lesson {
        surfaces: vec![Surfaces {
            delay: surface(&delay),
            loss: surface(&loss),
            harm: vec![0.0; nodes.len()],
        }],
        emphasis: Vec::new(),
        visits: vec![Visit {
            condition: 0,
            values: vec![0.3; 12],
            in_force: vec![[0.1; SET_POINTS]; 12],
            base: None,
            budget: None,
            first: 2,
            times: 1,
        }],
        grid,
    }
}

/// The network's choice in the first weighted period under a budget.
fn chosen(trainer: &OnlineTrainer, lesson: &Lesson, budget: f64) -> Outputs {
    let mut asked = lesson.clone();
    asked.visits[0].budget = Some(budget);
    let mut random = SplitMix64::new(1);
    let (batch, _) = trainer
        .batch(&asked, &[(0, 2)], &learning(1), &mut random)
        .unwrap();
    let outputs = trainer.network().logits(&batch, false).unwrap();
    let outputs = Vec::<f32>::try_from(outputs.reshape([-1])).unwrap();
    let mut chosen = [0.0; OUTPUTS_MAX];
    chosen.copy_from_slice(&outputs);
    chosen
}

fn setting(trainer: &OnlineTrainer, lesson: &Lesson, budget: f64) -> [f64; AXES] {
    PlaneSetting::of_outputs(&HEAD, &chosen(trainer, lesson, budget)).axes
}

#[test]
fn a_policy_moves_to_the_setting_that_costs_least() {
    let dir = tempfile::tempdir().unwrap();
    let grid = Grid::of_settings();
    let want = grid.settings()[22].axes;
    let bowl = lesson(
        |x, y| (x - want[0]).powi(2) + 0.5 * (y - want[1]).powi(2),
        |_, _| 0.0,
    );
    let mut trainer = trainer(dir.path(), false);
    let before = setting(&trainer, &bowl, 0.005);
    let cost = trainer
        .learn(&bowl, &learning(300), |_, _| true)
        .unwrap()
        .unwrap();
    assert!(cost < 0.05, "{cost}");
    let outputs = chosen(&trainer, &bowl, 0.005);
    let got = PlaneSetting::of_outputs(&HEAD, &outputs);
    for axis in 0..AXES {
        assert!(
            (got.axes[axis] - want[axis]).abs() < 0.1,
            "{got:?} {want:?}"
        );
        assert!(
            (before[axis] - want[axis]).abs() > 0.2,
            "{before:?} {want:?}"
        );
    }
    // α and k follow.
    let points = HEAD.set_points(&outputs);
    let follows = got.set_points(&HEAD);
    assert!(
        (points.alpha_hz / follows.alpha_hz).ln().abs() < 0.1,
        "{points:?} {follows:?}"
    );
    assert!(
        (points.coupling / follows.coupling).ln().abs() < 0.05,
        "{points:?} {follows:?}"
    );
}

#[test]
fn one_policy_keeps_two_budgets() {
    let dir = tempfile::tempdir().unwrap();
    // A lower target has less delay, and loses up to 2 %.
    let loss = |x: f64| 0.02 * (-(x - 1.5f64.ln())).exp();
    let slope = lesson(|x, _| x, |x, _| loss(x));
    let mut trainer = trainer(dir.path(), false);
    let config = LearnConfig {
        caution: 4.0,
        ..learning(600)
    };
    trainer.learn(&slope, &config, |_, _| true).unwrap();
    let [small, large] = [0.004, 0.02].map(|budget| setting(&trainer, &slope, budget)[0]);
    // Half of each budget is free; beyond that, the loss costs more than the
    // delay gained.
    assert!(small > large + 1.0, "{small} {large}");
    for (budget, x) in [(0.004, small), (0.02, large)] {
        let lost = loss(x) / budget;
        assert!((0.3..0.8).contains(&lost), "{budget}: {lost}");
    }
}

/// Two conditions that look the same and want different targets.
#[test]
fn a_lesson_follows_weights_and_multipliers() {
    let at = |emphasis: [Emphasis; 2]| {
        let dir = tempfile::tempdir().unwrap();
        let mut both = lesson(|x, _| (x - 1.0).powi(2), |_, _| 0.0);
        both.extend(&lesson(|x, _| (x - 2.0).powi(2), |_, _| 0.0));
        both.emphasis = emphasis.to_vec();
        let mut trainer = trainer(dir.path(), false);
        trainer.learn(&both, &learning(300), |_, _| true).unwrap();
        setting(&trainer, &both, 0.005)[0]
    };
    let weighing = |weight| Emphasis {
        weight,
        multiplier: 1.0,
    };
    let even = at([Emphasis::default(); 2]);
    let second = at([weighing(0.2), weighing(1.8)]);
    assert!(
        (even - 1.5).abs() < 0.15 && second > 1.75,
        "{even} {second}"
    );

    // A higher multiplier buys more utilisation with delay.
    let with = |multiplier| {
        let dir = tempfile::tempdir().unwrap();
        let mut slope = lesson(|x, _| x, |x, _| 0.005 * (-(x - 1.5f64.ln())).exp());
        slope.emphasis = vec![Emphasis {
            weight: 1.0,
            multiplier,
        }];
        let mut trainer = trainer(dir.path(), false);
        let config = LearnConfig {
            margin: 0.0,
            ..learning(300)
        };
        trainer.learn(&slope, &config, |_, _| true).unwrap();
        setting(&trainer, &slope, 0.005)[0]
    };
    let (low, high) = (with(1.0), with(4.0));
    assert!(high > low + 0.5, "{low} {high}");
}

#[test]
fn own_visit_moves_a_policy_from_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = trainer(dir.path(), false);
    let flat = lesson(|_, _| 0.0, |_, _| 0.0);
    let before = PlaneSetting::of_outputs(&HEAD, &chosen(&trainer, &flat, 0.005));
    let step = [0.3, 0.6];
    let with = |delay| Judged {
        delay,
        ..Judged::default()
    };
    // Less target costs less; gain makes no difference.
    let axes = [[with(-0.2), with(0.2)], [with(0.0), with(0.0)]];
    let mut local = Lesson::new(Grid::around(step));
    local.surfaces.push(Surfaces::around(&with(0.0), &axes));
    let base = Some(vec![before; 12]);
    local.visits.push(Visit {
        base,
        budget: Some(0.005),
        ..flat.visits[0].clone()
    });
    let config = LearnConfig {
        proximity: 3.0,
        ..learning(300)
    };
    trainer.learn(&local, &config, |_, _| true).unwrap();
    let after = setting(&trainer, &local, 0.005);
    // Descends the slope of 2/3 until the squared distance costs as much.
    let moved = [0, 1].map(|axis| after[axis] - before.axes[axis]);
    assert!(
        (moved[0] + 1.0 / 9.0).abs() < 0.03 && moved[1].abs() < 0.03,
        "{moved:?}"
    );
}

#[test]
fn interpolation_is_exact_at_nodes_and_linear_between() {
    let lesson = lesson(|x, _| x, |_, _| 0.0);
    let tables = Tables::new(&lesson, Device::Cpu).unwrap();
    let weights = |x: f64, y: f64| {
        let at = |x: f64| Tensor::from_slice(&[x as f32]);
        let (weights, beyond) = tables.weights(&at(x), &at(y)).unwrap();
        let weights = Vec::<f32>::try_from(weights.reshape([-1])).unwrap();
        (weights, beyond.double_value(&[0]))
    };
    let nodes = lesson.grid.settings();
    for (number, node) in nodes.iter().enumerate() {
        let (found, beyond) = weights(node.axes[0], node.axes[1]);
        for (at, weight) in found.iter().enumerate() {
            let want = f32::from(u8::from(at == number));
            assert!((weight - want).abs() < 1e-5, "{number} {at}: {weight}");
        }
        assert!(beyond < 1e-9);
    }
    let [x, y] = nodes[5].axes;
    let (found, _) = weights(x + 0.25, y + 0.25);
    for (at, want) in [(5, 0.375), (9, 0.375), (6, 0.125), (10, 0.125)] {
        assert!((found[at] - want).abs() < 1e-5, "{at}: {}", found[at]);
    }
    // Outside the grid the last node applies, and the distance is returned.
    let (found, beyond) = weights(nodes[0].axes[0] - 2.0, nodes[0].axes[1]);
    assert!(
        (found[0] - 1.0).abs() < 1e-5 && (beyond - 4.0).abs() < 1e-4,
        "{beyond}"
    );
}

#[test]
fn an_interrupted_lesson_resumes_to_the_same_bytes() {
    let bowl = lesson(|x, y| (x - 2.0).powi(2) + y * y, |x, _| 0.01 * (3.0 - x));
    let config = LearnConfig {
        noise: 0.1,
        ..learning(30)
    };
    let files = |dir: &Path| {
        ["model.safetensors", "training.safetensors", "progress.json"]
            .map(|file| fs::read(dir.join("last").join(file)).unwrap())
    };
    let whole = tempfile::tempdir().unwrap();
    let mut trainer_of = trainer(whole.path(), false);
    for seed in [3, 4] {
        let config = LearnConfig { seed, ..config };
        trainer_of
            .learn(&bowl, &config, |_, _| true)
            .unwrap()
            .unwrap();
        assert!(trainer_of.judge(1.0 / seed as f64).unwrap());
    }
    assert_eq!((trainer_of.learned().len(), trainer_of.judged()), (2, 2));
    assert_eq!(
        trainer_of.learned()[1].policy,
        trainer_of.policy().unwrap().hash()
    );
    assert!(!trainer_of.judge(0.5).unwrap());

    let dir = tempfile::tempdir().unwrap();
    let mut first = trainer(dir.path(), false);
    first.learn(&bowl, &config, |_, _| true).unwrap();
    first.judge(1.0 / 3.0).unwrap();
    let second = LearnConfig { seed: 4, ..config };
    assert_eq!(
        first.learn(&bowl, &second, |step, _| step < 12).unwrap(),
        None
    );
    let mut resumed = trainer(dir.path(), true);
    assert_eq!((resumed.learned().len(), resumed.judged()), (1, 1));
    resumed.learn(&bowl, &second, |_, _| true).unwrap().unwrap();
    resumed.judge(0.25).unwrap();
    resumed.judge(0.5).unwrap();
    for (resumed, whole) in files(dir.path()).iter().zip(&files(whole.path())) {
        assert!(resumed == whole);
    }
    let best = Policy::load(&dir.path().join("best")).unwrap();
    assert_eq!(best.hash(), resumed.learned()[1].policy);
}

#[test]
fn rejects_untrainable_policies() {
    let dir = tempfile::tempdir().unwrap();
    let start = |config: PolicyConfig, seed: u64, resume: bool| {
        let tensors = Tensors::random(&config, 1).unwrap();
        let network = Network::new(config, &tensors, Device::Cpu).unwrap();
        OnlineTrainer::new(dir.path(), network, &json!({ "seed": seed }), resume)
    };
    let error = |result: Result<OnlineTrainer, TrainError>| result.err().unwrap().to_string();
    let acts = PolicyConfig::new("acts", &Feature::PAPER7);
    assert!(matches!(acts.head.kind, HeadKind::Action));
    let text = error(start(acts, 1, false));
    assert!(text.contains("head.kind"), "{text}");

    let mut trainer = start(config(), 1, true).unwrap();
    let nothing = Lesson::new(Grid::of_settings());
    let result = trainer.learn(&nothing, &learning(1), |_, _| true);
    assert!(matches!(result, Err(TrainError::NothingSeen)));
    let bowl = lesson(|x, _| x, |_, _| 0.0);
    trainer.learn(&bowl, &learning(2), |_, _| true).unwrap();
    let text = error(start(config(), 2, true));
    assert!(text.contains("seed 1, not 2"), "{text}");
}

#[test]
fn periods_are_scaled_as_in_a_stream() {
    let mut config = PolicyConfig::on_summaries(
        "two",
        &[SummaryFeature::TargetMs, SummaryFeature::IdleShare],
    );
    for feature in &mut config.features {
        feature.scaling.mean = 1.0;
        feature.scaling.std = 2.0;
    }
    let places = [
        SummaryFeature::IdleShare,
        SummaryFeature::TargetMs,
        SummaryFeature::AlphaHz,
        SummaryFeature::BetaHz,
        SummaryFeature::Coupling,
    ]
    .map(|feature| {
        SummaryFeature::ALL
            .iter()
            .position(|f| *f == feature)
            .unwrap()
    });
    let period = |idle: f32| {
        let mut period = vec![f32::NAN; SummaryFeature::ALL.len()];
        for (place, value) in places.into_iter().zip([idle, 6.0, 0.2, 12.8, 1.8]) {
            period[place] = value;
        }
        period
    };
    let periods = [period(f32::NAN), period(0.5), period(f32::NAN)];
    let periods: Vec<&[f32]> = periods.iter().map(Vec::as_slice).collect();
    let (values, in_force) = scaled(&config, &HEAD, &periods);
    let target = config.features[0].scaling.apply(6.0);
    let [none, half] = [0.0, 0.5].map(|idle| config.features[1].scaling.apply(idle));
    assert_eq!(values, [target, none, target, half, target, half]);
    let setting = PlaneSetting::of_outputs(&HEAD, &{
        let mut outputs = Outputs::default();
        outputs[..SET_POINTS].copy_from_slice(&in_force[2]);
        outputs
    });
    assert!((setting.axes[0] - 6f64.ln()).abs() < 1e-4);
    assert!((setting.axes[1] - 4f64.ln()).abs() < 1e-4);
}

//! The same policy through libtorch, and what training does to it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{config, gpt2, records, steps, tensors, vary_paths};
use l4sllm_model::pool::{Dataset, PoolWriter, Row, Split};
use l4sllm_model::torch::{Batch, Network, Progress, TrainConfig, Trainer, set_threads};
use l4sllm_model::{Feature, Policy, PolicyConfig, Reward, Session, Step, Tensors, small_gpt2};
use tch::Device;

/// Of probabilities, between the plain engine and libtorch.
const TOLERANCE: f32 = 1e-5;

fn assert_close(got: [f32; 3], want: [f32; 3]) {
    assert!(
        got.iter().zip(want).all(|(g, w)| (g - w).abs() < TOLERANCE),
        "{got:?} {want:?}"
    );
}

fn assert_parity(config: &PolicyConfig, tensors: &Tensors) {
    let policy = Policy::new(config.clone(), tensors).unwrap();
    let network = Network::new(config.clone(), tensors, Device::Cpu).unwrap();
    assert_eq!(network.tensors().unwrap(), *tensors);
    let stream = records(200, 11);
    let all = steps(config, &stream);
    for length in [1, config.window / 2, config.window] {
        let length = length.max(1);
        let windows: Vec<Vec<Step>> = (0..12)
            .map(|i| all[i * 5..i * 5 + length].to_vec())
            .collect();
        let batch = Batch::new(&windows, Device::Cpu).unwrap();
        for (window, want) in windows.iter().zip(network.probabilities(&batch).unwrap()) {
            assert_close(policy.decide(window), want);
        }
    }
    for interval in [10, 30] {
        let mut session = Session::new(policy.clone(), interval);
        for (i, record) in stream.iter().enumerate() {
            let Some(got) = session.observe(record) else {
                continue;
            };
            let window = all[(i + 1).saturating_sub(config.window)..=i].to_vec();
            let batch = Batch::new(&[window], Device::Cpu).unwrap();
            assert_close(got, network.probabilities(&batch).unwrap()[0]);
        }
    }
}

#[test]
fn random_weights_give_the_same_probabilities() {
    set_threads(1);
    for (features, residual, layers, heads) in [
        (&Feature::PAPER7[..], false, 2, 3),
        (&Feature::PAPER8[..], true, 1, 4),
        (Feature::ALL, true, 1, 2),
    ] {
        let mut config = config(features);
        config.head.residual = residual;
        if layers == 1 {
            vary_paths(&mut config);
        }
        config.backbone = small_gpt2(layers, 48, heads, 192);
        gpt2(&mut config).n_positions = if layers == 1 { 400 } else { 0 };
        assert_parity(&config, &tensors(&config, 12));
        assert_parity(&config, &Tensors::random(&config, 13).unwrap());
    }
}

#[test]
fn the_shipped_policy_gives_the_same_probabilities() {
    set_threads(1);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default");
    let (config, tensors) = Policy::load_tensors(&dir).unwrap();
    assert_parity(&config, &tensors);
}

/// A pool whose actions follow from the features: mark above a probability.
fn pool(path: &Path) {
    let mut writer = PoolWriter::create(path).unwrap();
    for episode in 0..4 {
        let records = records(400, episode);
        let rows = records.iter().map(|record| {
            let mut row = Row::new(record, &Reward::default());
            row.action = if record.drop_probability > 1 << 27 {
                2
            } else {
                0
            };
            row
        });
        writer.episode("rule", rows.collect()).unwrap();
    }
    writer.finish().unwrap();
}

fn trainer(dir: &Path, pool: &Path, config: &TrainConfig, resume: bool) -> Trainer {
    set_threads(1);
    let paths = [pool.to_owned()];
    let mut policy = PolicyConfig::new("tiny", &Feature::PAPER7);
    policy.window = 6;
    policy.backbone = small_gpt2(2, 16, 2, 32);
    let episodes = Dataset::episodes(&paths).unwrap();
    let split = Split::new(&episodes, 0.25);
    Dataset::fit(&mut policy, &paths, &episodes, &split.train, 0.9).unwrap();
    let data = Dataset::load(&policy, &paths, &episodes).unwrap();
    Trainer::new(dir, config.clone(), policy, data, &split, resume).unwrap()
}

fn tiny() -> TrainConfig {
    TrainConfig {
        steps: 240,
        batch: 16,
        learning_rate: 5e-3,
        warmup: 20,
        evaluate_every: 60,
        evaluate_windows: 200,
        ..TrainConfig::default()
    }
}

fn run(trainer: &mut Trainer, steps: u64) -> Vec<Progress> {
    (0..steps).map(|_| trainer.step().unwrap()).collect()
}

#[test]
fn training_learns_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pool.parquet");
    pool(&file);

    let whole = dir.path().join("whole");
    let mut trainer1 = trainer(&whole, &file, &tiny(), false);
    let all = run(&mut trainer1, 240);
    assert!(trainer1.is_done());
    let mean = |part: &[Progress]| part.iter().map(|p| p.loss).sum::<f64>() / part.len() as f64;
    assert!(
        mean(&all[220..]) < 0.5 * mean(&all[..5]),
        "{} {}",
        mean(&all[..5]),
        mean(&all[220..])
    );
    let last = all[239].evaluation.as_ref().unwrap();
    assert!(
        last.scores.accuracy > 0.9 && last.scores.balanced_accuracy > 0.9,
        "{last:?}"
    );
    assert!(all[238].evaluation.is_none());

    // What was saved decides as what was trained.
    let best = Policy::load(&whole.join("best")).unwrap();
    let (_, tensors) = Policy::load_tensors(&whole.join("last")).unwrap();
    assert_eq!(tensors, trainer1.network().tensors().unwrap());
    assert_eq!(best.config().window, 6);
    let lines = std::fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 240);

    // Stopped at an arbitrary step and taken up again: the same losses.
    let parts = dir.path().join("parts");
    let mut first = trainer(&parts, &file, &tiny(), false);
    let mut losses = run(&mut first, 77);
    first.save().unwrap();
    drop(first);
    let mut second = trainer(&parts, &file, &tiny(), true);
    assert_eq!(second.step_count(), 77);
    losses.extend(run(&mut second, 60));
    for (whole, parts) in all.iter().zip(&losses) {
        assert_eq!((whole.step, whole.loss), (parts.step, parts.loss));
    }
}

#[test]
fn balance_raises_the_rare_action() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pool.parquet");
    let mut writer = PoolWriter::create(&file).unwrap();
    for episode in 0..4 {
        // Rare, and by chance: nothing to learn but the share.
        let records = records(300, episode);
        let rows = records.iter().enumerate().map(|(i, record)| {
            let mut row = Row::new(record, &Reward::default());
            row.action = if (i * 7919 + episode as usize) % 10 == 0 {
                2
            } else {
                0
            };
            row
        });
        writer.episode("chance", rows.collect()).unwrap();
    }
    writer.finish().unwrap();
    let mark = |balance: f64| {
        let config = TrainConfig {
            class_balance: balance,
            steps: 60,
            ..tiny()
        };
        let mut trainer = trainer(&dir.path().join("out"), &file, &config, false);
        run(&mut trainer, 60);
        let (policy, tensors) = Policy::load_tensors(&dir.path().join("out/last")).unwrap();
        let policy = Policy::new(policy, &tensors).unwrap();
        let steps = steps(policy.config(), &records(200, 50));
        steps
            .chunks(6)
            .map(|w| f64::from(policy.decide(w)[2]))
            .sum::<f64>()
            / 34.0
    };
    let (calibrated, balanced) = (mark(0.0), mark(1.0));
    assert!(
        calibrated < 0.25 && (0.35..0.65).contains(&balanced),
        "{calibrated} {balanced}"
    );
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pool.parquet");
    pool(&file);
    let out = dir.path().join("out");
    let mut first = trainer(&out, &file, &tiny(), false);
    run(&mut first, 2);
    first.save().unwrap();
    let optimiser = out.join("last/optimiser.safetensors");
    let bytes = std::fs::read(&optimiser).unwrap();
    std::fs::write(&optimiser, &bytes[..bytes.len() - 4]).unwrap();
    let paths = [file.clone()];
    let (policy, _) = Policy::load_tensors(&out.join("last")).unwrap();
    let episodes = Dataset::episodes(&paths).unwrap();
    let data = Dataset::load(&policy, &paths, &episodes).unwrap();
    let split = Split::new(&episodes, 0.25);
    let error = Trainer::new(&out, tiny(), policy, data, &split, true)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("optimiser.safetensors"),
        "{error}"
    );
}

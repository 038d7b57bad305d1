//! Sessions of any policy with either engine.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{
    adapted, config, families, gpt2, on_summaries, records, steps, summaries, tensors, vary_paths,
};
use l4sllm_abi::Record;
use l4sllm_model::torch::{Batch, Network, Options};
use l4sllm_model::{
    CONFIG_FILE, EncoderConfig, EngineKind, EngineOptions, Feature, IdleBudget, MODULES_FILE,
    Policy, PolicyConfig, Precision, Session, Step, SummaryFeature, WEIGHTS_FILE, small_gpt2,
};
use tch::Kind;
use tempfile::TempDir;

/// Tolerance of probabilities between engines.
const TOLERANCE: f32 = 1e-5;

fn libtorch() -> EngineOptions {
    EngineOptions {
        engine: Some(EngineKind::Libtorch),
        ..EngineOptions::default()
    }
}

fn close(got: [f32; 3], want: [f32; 3]) -> bool {
    got.iter().zip(want).all(|(g, w)| (g - w).abs() < TOLERANCE)
}

/// The policy with an adapter, saved to `dir`/policy; its base is in
/// `dir`/base.
fn saved(dir: &TempDir, config: &PolicyConfig) -> Network {
    let home = dir.path().join("policy");
    let created = Network::create(config.clone(), &home, None, 1, Options::default()).unwrap();
    let base = created.base().share();
    // An adapter with an effect.
    let tensors = tensors(config, 8);
    let network = Network::with(config.clone(), &tensors, base, Options::default()).unwrap();
    network.save(&home, config).unwrap();
    network
}

/// Decisions with the number of records before each, with resets in between.
fn decisions(session: &mut Session, stream: &[Record], resets: &[usize]) -> Vec<(usize, [f32; 3])> {
    let mut all = Vec::new();
    for (i, record) in stream.iter().enumerate() {
        if resets.contains(&i) {
            session.reset();
        }
        if let Some(probabilities) = session.observe(record).unwrap() {
            all.push((i, probabilities));
        }
    }
    all
}

#[test]
fn both_engines_decide_the_same_along_a_stream() {
    for (window, positions, vary) in [(6, 0, true), (20, 180, true), (1, 9, false), (5, 0, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&Feature::PAPER7);
        config.window = window;
        config.head.residual = vary;
        config.backbone = small_gpt2(2, 24, 2, 40);
        gpt2(&mut config).n_positions = positions;
        if vary {
            vary_paths(&mut config);
        }
        Policy::save(dir.path(), &config, &tensors(&config, 3)).unwrap();
        let plain = Policy::load_with(dir.path(), &EngineOptions::default()).unwrap();
        let torch = Policy::load_with(dir.path(), &libtorch()).unwrap();
        assert_eq!(plain.runs_on().engine, EngineKind::Plain);
        assert_eq!(torch.runs_on().to_string(), "libtorch, cpu, f32");
        assert_eq!(plain.hash(), torch.hash());
        assert_eq!(plain.config(), torch.config());
        let stream = records(230, 14);
        for interval in [1, 2, 10, 25, 45] {
            let resets = [7, 90, 103, 104];
            let [want, got] = [&plain, &torch].map(|policy| {
                let mut session = Session::new(policy.clone(), interval);
                decisions(&mut session, &stream, &resets)
            });
            assert!(want.len() > 2 && want.len() == got.len());
            for ((i, want), (j, got)) in want.iter().zip(&got) {
                assert_eq!(i, j);
                assert!(
                    close(*got, *want),
                    "w {window} N {interval} {i}: {got:?} {want:?}"
                );
            }
        }
    }
}

/// Paths of each kind, windows of several periods, and a changing idle budget.
#[test]
fn both_engines_decide_the_same_set_points() {
    for (window, layers, residual) in [(1, 1, false), (3, 2, true)] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = on_summaries(SummaryFeature::ALL);
        config.window = window;
        config.head.residual = residual;
        config.backbone = small_gpt2(layers, 32, 2, 64);
        config.features[1].encoder = EncoderConfig::scalar(9);
        Policy::save(dir.path(), &config, &tensors(&config, 3)).unwrap();
        let plain = Policy::load_with(dir.path(), &EngineOptions::default()).unwrap();
        let torch = Policy::load_with(dir.path(), &libtorch()).unwrap();
        assert_eq!(plain.hash(), torch.hash());
        let stream = summaries(150, 100, 14);
        let [want, got] = [&plain, &torch].map(|policy| {
            let mut session = Session::new(policy.clone(), 10);
            let mut all = Vec::new();
            for (i, summary) in stream.iter().enumerate() {
                match i {
                    61 => session.reset(),
                    100 => session.set_idle_budget(IdleBudget::new(0.02)),
                    _ => {}
                }
                all.extend(session.observe_summary(summary).unwrap());
            }
            all
        });
        assert_eq!((want.len(), got.len()), (49, 49));
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!((got - want).abs() < TOLERANCE, "{got} {want}");
        }
        // Policies on summaries cannot be traced.
        let network = Network::load(dir.path(), Options::default()).unwrap();
        let error = network.trace().unwrap_err().to_string();
        assert!(error.contains("it sees summaries"), "{error}");
    }
}

/// Expected outputs of a session: one pass over the window of each decision.
fn dense(network: &Network, windows: &[Vec<Step>]) -> Vec<[f32; 3]> {
    let device = network.device();
    let one = |w: &Vec<Step>| {
        let batch = Batch::new(&[w], device).unwrap();
        network.probabilities(&batch).unwrap()[0]
    };
    windows.iter().map(one).collect()
}

fn windows(config: &PolicyConfig, stream: &[Record], interval: usize) -> Vec<Vec<Step>> {
    let all = steps(config, stream);
    (interval..=stream.len())
        .step_by(interval)
        .map(|end| all[end.saturating_sub(config.window)..end].to_vec())
        .collect()
}

#[test]
fn every_family_and_adapter_matches_its_network() {
    for backbone in families() {
        let dir = tempfile::tempdir().unwrap();
        let config = adapted(&dir, backbone);
        let family = config.backbone.family();
        let network = saved(&dir, &config);
        let home = dir.path().join("policy");
        let policy = Policy::load_with(&home, &EngineOptions::default()).unwrap();
        assert_eq!(policy.runs_on().engine, EngineKind::Libtorch);
        assert_eq!(policy.config(), &config);
        assert_eq!(policy.hash(), Policy::hash_of(&home).unwrap());
        let stream = records(60, 21);
        for interval in [1, 3, 20] {
            let mut session = Session::new(policy.clone(), interval);
            let got = decisions(&mut session, &stream, &[]);
            let got: Vec<_> = got.into_iter().map(|(_, p)| p).collect();
            let windows = windows(&config, &stream, interval);
            assert_eq!(got, dense(&network, &windows), "{family} {interval}");
            assert!(got.windows(2).any(|p| p[0] != p[1]));
            // Windows of mixed lengths in one call.
            let all = policy.decide_all(&windows).unwrap();
            let close = |(a, b): (&[f32; 3], &[f32; 3])| close(*a, *b);
            assert!(all.iter().zip(&got).all(close), "{family} {interval}");
        }
        // Merged, every engine that supports its backbone gives the same
        // result.
        let whole = dir.path().join("merged");
        let (merged, tensors) = network.merged().unwrap();
        Policy::save(&whole, &merged, &tensors).unwrap();
        let whole = Policy::load_with(&whole, &EngineOptions::default()).unwrap();
        let plain = family == "gpt2";
        assert_eq!(
            whole.runs_on().engine == EngineKind::Plain,
            plain,
            "{family}"
        );
        let [got, want] = [whole, policy].map(|policy| {
            let mut session = Session::new(policy, 4);
            decisions(&mut session, &stream, &[31])
        });
        for ((_, got), (_, want)) in got.iter().zip(&want) {
            assert!(close(*got, *want), "{family}: {got:?} {want:?}");
        }
    }
}

#[test]
fn sessions_share_a_policy_for_any_thread_count() {
    let dir = tempfile::tempdir().unwrap();
    let [_, opt, ..] = families();
    let config = adapted(&dir, opt);
    saved(&dir, &config);
    let home = dir.path().join("policy");
    let policy = Policy::load_with(&home, &EngineOptions::default()).unwrap();
    let stream = records(200, 3);
    let run = |interval: usize| {
        let mut session = Session::new(policy.clone(), interval);
        decisions(&mut session, &stream, &[50])
    };
    let want = [run(2), run(7)];
    let got = std::thread::scope(|scope| {
        let threads = [2, 7, 2, 7].map(|interval| scope.spawn(move || run(interval)));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(got[..2], want);
    assert_eq!(got[2..], want);
}

#[test]
fn half_precision_is_selected_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let [.., t5] = families();
    let config = adapted(&dir, t5);
    let full = saved(&dir, &config);
    let home = dir.path().join("policy");
    let options = EngineOptions {
        precision: Some(Precision::Bf16),
        ..EngineOptions::default()
    };
    let policy = Policy::load_with(&home, &options).unwrap();
    assert_eq!(policy.runs_on().to_string(), "libtorch, cpu, bf16");
    let half = Options {
        kind: Kind::BFloat16,
        ..Options::default()
    };
    let half = Network::load(&home, half).unwrap();
    let windows = windows(&config, &records(20, 4), 5);
    let (got, exact) = (dense(&half, &windows), dense(&full, &windows));
    let mut session = Session::new(policy, 5);
    let stream = records(20, 4);
    let decided = decisions(&mut session, &stream, &[]);
    assert!(decided.iter().map(|(_, p)| p).eq(&got));
    assert_ne!(got, exact);
}

#[test]
fn unrunnable_policies_report_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let [_, opt, ..] = families();
    let config = adapted(&dir, opt);
    saved(&dir, &config);
    let home = dir.path().join("policy");
    let refusal = |options: &EngineOptions| {
        let error = Policy::load_with(&home, options).unwrap_err();
        error.to_string()
    };
    let open = EngineOptions::default();
    let says = |error: String, words: &[&str]| {
        let all = words.iter().all(|word| error.contains(word));
        assert!(all, "expected {words:?}: {error}");
    };
    let plain = EngineOptions {
        engine: Some(EngineKind::Plain),
        ..EngineOptions::default()
    };
    says(
        refusal(&plain),
        &["policy test", "backbone is opt with an adapter", "libtorch"],
    );
    let gpu = EngineOptions {
        device: Some("gpu".into()),
        ..EngineOptions::default()
    };
    says(
        refusal(&gpu),
        &["libtorch", "device gpu", "cpu, cuda or cuda:N"],
    );

    // A NaN in a tensor of the file.
    let modules = home.join(MODULES_FILE);
    let good = fs::read(&modules).unwrap();
    let mut bad = good.clone();
    let at = bad.len() - 4;
    bad[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&modules, &bad).unwrap();
    says(refusal(&open), &[MODULES_FILE, "tensor", "is NaN"]);
    fs::write(&modules, &good[..good.len() / 2]).unwrap();
    says(refusal(&open), &[MODULES_FILE]);
    fs::write(&modules, &good).unwrap();

    // The base: changed, truncated, missing.
    let base = dir.path().join("base").join(WEIGHTS_FILE);
    let weights = fs::read(&base).unwrap();
    let mut changed = weights.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(&base, &changed).unwrap();
    says(refusal(&open), &["base.sha256", "the hash of"]);
    fs::write(&base, &weights[..weights.len() - 9]).unwrap();
    says(refusal(&open), &["base.sha256"]);
    fs::remove_file(&base).unwrap();
    says(refusal(&open), &["cannot read", "base"]);
}

/// Finite weights that overflow every activation.
#[test]
fn weights_that_overflow_are_found_when_they_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&Feature::PAPER7);
    config.window = 3;
    config.backbone = small_gpt2(1, 16, 1, 16);
    let mut tensors = tensors(&config, 1);
    for (name, values) in tensors.iter_mut() {
        if name == "embed_norm.weight" || name == "embed_norm.bias" {
            values.fill(f32::MAX);
        }
    }
    Policy::save(dir.path(), &config, &tensors).unwrap();
    let error = Policy::load_with(dir.path(), &libtorch()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("policy test") && error.contains("too large"),
        "{error}"
    );
}

#[test]
fn hash_distinguishes_adapters() {
    let dir = tempfile::tempdir().unwrap();
    let config = adapted(&dir, small_gpt2(1, 16, 1, 16));
    saved(&dir, &config);
    let home = dir.path().join("policy");
    let hash = || Policy::hash_of(&home).unwrap();
    let first = hash();
    let change = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let mut other = bytes.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        fs::write(path, other).unwrap();
        assert_ne!(hash(), first, "{}", path.display());
        fs::write(path, bytes).unwrap();
    };
    change(&home.join(MODULES_FILE));
    change(&home.join("adapter/adapter_model.safetensors"));
    change(&home.join("adapter/adapter_config.json"));
    assert_eq!(hash(), first);
    let text = fs::read_to_string(home.join(CONFIG_FILE)).unwrap();
    fs::write(
        home.join(CONFIG_FILE),
        text.replace("\"test\"", "\"other\""),
    )
    .unwrap();
    assert_ne!(hash(), first);
}

//! Networks on frozen bases, in other types and with less memory, and their
//! directories.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{SMALL, adapted, families, gpt2, llama, records, steps, tensors};
use l4sllm_model::torch::{Batch, Network, Options, TrainError, random_base, set_threads};
use l4sllm_model::{
    ADAPTER_DIR, Adaptation, CONFIG_FILE, MODULES_FILE, Policy, PolicyConfig, Step, Taken,
    module_specs, numbers, small_gpt2,
};
use tch::{Device, Kind, Reduction, Tensor};
use tempfile::TempDir;

fn network(dir: &TempDir, config: &PolicyConfig, options: Options) -> Network {
    let home = dir.path().join("policy");
    let start = Network::create(config.clone(), &home, None, 1, options).unwrap();
    // An adapter with an effect.
    let base = start.base().share();
    Network::with(config.clone(), &tensors(config, 8), base, options).unwrap()
}

fn windows(config: &PolicyConfig, count: usize) -> Vec<Vec<Step>> {
    let all = steps(config, &records(100, 21));
    let starts = (0..count).map(|i| i * 7);
    starts.map(|i| all[i..i + config.window].to_vec()).collect()
}

fn close(got: &[[f32; 3]], want: &[[f32; 3]], tolerance: f32) -> bool {
    let pairs = got.iter().flatten().zip(want.iter().flatten());
    got.len() == want.len() && pairs.into_iter().all(|(g, w)| (g - w).abs() < tolerance)
}

#[test]
fn a_merged_adapter_decides_the_same_in_the_plain_engine() {
    set_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let mut config = adapted(&dir, small_gpt2(2, SMALL, 2, 24));
    gpt2(&mut config).n_positions = 45;
    let path = Path::new("../base");
    let base = dir.path().join("base");
    config.base = Some(random_base(&base, path, &config.backbone, 5, Options::default()).unwrap());
    let network = network(&dir, &config, Options::default());
    let (merged, weights) = network.merged().unwrap();
    assert_eq!(merged.base, None);
    assert_eq!(
        merged.trained_parameters().unwrap(),
        numbers(&module_specs(&config)) + 2 * 3 * (16 + 48)
    );
    let policy = Policy::new(merged.clone(), &weights).unwrap();
    let windows = windows(&config, 12);
    let batch = Batch::new(&windows, Device::Cpu).unwrap();
    let want = network.probabilities(&batch).unwrap();
    let got: Vec<_> = windows.iter().map(|w| policy.decide(w).unwrap()).collect();
    assert!(close(&got, &want, 1e-5), "{got:?} {want:?}");
    assert!(want.windows(2).any(|p| (p[0][0] - p[1][0]).abs() > 1e-3));

    // The difference comes from the adapter.
    let mut plain = tensors(&config, 8);
    for (name, values) in plain.iter_mut() {
        if name.contains("lora_B") {
            values.fill(0.0);
        }
    }
    let base = network.base().share();
    let plain = Network::with(config, &plain, base, Options::default()).unwrap();
    assert!(!close(&plain.probabilities(&batch).unwrap(), &want, 1e-3));
}

#[test]
fn directories_contain_the_trained_weights() {
    set_threads(1);
    for backbone in families() {
        let dir = tempfile::tempdir().unwrap();
        let family = backbone.family();
        let config = adapted(&dir, backbone);
        let network = network(&dir, &config, Options::default());
        let batch = Batch::new(&windows(&config, 4), Device::Cpu).unwrap();
        let want = network.probabilities(&batch).unwrap();
        let home = dir.path().join("policy");
        network.save(&home, &config).unwrap();
        let loaded = Network::load(&home, Options::default()).unwrap();
        assert_eq!(loaded.config(), &config);
        assert_eq!(loaded.tensors().unwrap(), network.tensors().unwrap());
        assert_eq!(loaded.probabilities(&batch).unwrap(), want);

        // The plain engine's error gives the remedy.
        let error = Policy::load(&home).unwrap_err().to_string();
        let says = format!("policy test: its backbone is {family} with an adapter");
        assert!(
            error.contains(&says) && error.contains("libtorch"),
            "{error}"
        );
        let error = Policy::load_tensors(&home).unwrap_err().to_string();
        assert!(error.contains("l4sllm policy export"), "{error}");

        // Merged, any family is one file with the same outputs.
        let (merged, tensors) = loaded.merged().unwrap();
        let whole = dir.path().join("merged");
        Policy::save(&whole, &merged, &tensors).unwrap();
        let again = Network::load(&whole, Options::default()).unwrap();
        assert!(close(&again.probabilities(&batch).unwrap(), &want, 1e-5));
        match family {
            "gpt2" => drop(Policy::load(&whole).unwrap()),
            family => {
                let error = Policy::load(&whole).unwrap_err().to_string();
                let says = format!("its backbone is {family}, and the plain engine");
                assert!(error.contains(&says), "{error}");
            }
        }
    }
}

#[test]
fn damaged_directories_are_refused_by_file() {
    set_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let config = adapted(&dir, llama());
    let network = network(&dir, &config, Options::default());
    let home = dir.path().join("policy");
    let refusal = || {
        Network::load(&home, Options::default())
            .err()
            .unwrap()
            .to_string()
    };
    let with = |change: &dyn Fn(&Path), want: &[&str]| {
        network.save(&home, &config).unwrap();
        change(&home);
        let error = refusal();
        assert!(
            want.iter().all(|w| error.contains(w)),
            "expected {want:?}: {error}"
        );
    };
    let adapter: PathBuf = [ADAPTER_DIR, "adapter_model.safetensors"].iter().collect();
    for (file, size) in [
        (PathBuf::from(MODULES_FILE), 100),
        (adapter.clone(), 100),
        (adapter, 0),
    ] {
        let name = file.file_name().unwrap().to_str().unwrap();
        let cut = |home: &Path| {
            let path = home.join(&file);
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..size]).unwrap();
        };
        with(&cut, &[name]);
        with(&|home| fs::remove_file(home.join(&file)).unwrap(), &[name]);
    }
    let edit = |key: &'static str, value: serde_json::Value| {
        move |home: &Path| {
            let path = home.join(CONFIG_FILE);
            let mut json: serde_json::Value =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            *json.pointer_mut(key).unwrap() = value.clone();
            fs::write(path, json.to_string()).unwrap();
        }
    };
    with(
        &edit("/base/sha256", "0".repeat(64).into()),
        &["base.sha256 = 000", "the hash of"],
    );
    with(
        &edit("/base/sha256", "x".into()),
        &["base.sha256 = x, expected 64 hexadecimal digits"],
    );
    with(
        &edit("/base/path", "nowhere".into()),
        &["cannot read", "nowhere"],
    );
    with(
        &edit("/adaptation/lora/r", 4.into()),
        &["adaptation.lora", "expected the adapter of"],
    );
    with(
        &edit("/backbone/hidden_size", 32.into()),
        &[MODULES_FILE, "tensor", "shape"],
    );
    // A base with other weights than in training.
    random_base(
        &dir.path().join("base"),
        Path::new("x"),
        &config.backbone,
        6,
        Options::default(),
    )
    .unwrap();
    with(&|_| {}, &["base.sha256"]);
}

fn loss(network: &Network, batch: &Batch, logits: &Tensor) -> Result<Tensor, TrainError> {
    let labels = network.labels(batch)?.reshape([-1]);
    let logits = logits.f_view([-1, 3])?;
    Ok(logits.f_cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)?)
}

#[test]
fn checkpointing_gives_the_same_gradient() {
    set_threads(1);
    for backbone in families() {
        let dir = tempfile::tempdir().unwrap();
        let config = adapted(&dir, backbone);
        let batch = Batch::new(&windows(&config, 3), Device::Cpu).unwrap();
        let run = |gradient_checkpointing: bool| {
            let options = Options {
                gradient_checkpointing,
                ..Options::default()
            };
            let network = network(&dir, &config, options);
            let loss = network
                .backward(&batch, 3, |l| loss(&network, &batch, l))
                .unwrap();
            (loss.double_value(&[]), network.gradient().unwrap())
        };
        let ((loss, gradient), (same, other)) = (run(false), run(true));
        assert!((loss - same).abs() < 1e-6, "{loss} {same}");
        let norm = gradient.norm().double_value(&[]);
        let apart = (&gradient - &other).norm().double_value(&[]);
        assert!(norm > 1e-3 && apart < 1e-5 * norm, "{norm} {apart}");
    }
}

#[test]
fn half_precision_is_near() {
    set_threads(1);
    for backbone in families() {
        let dir = tempfile::tempdir().unwrap();
        let config = adapted(&dir, backbone);
        let batch = Batch::new(&windows(&config, 4), Device::Cpu).unwrap();
        let options = Options {
            kind: Kind::BFloat16,
            ..Options::default()
        };
        let (full, half) = (
            network(&dir, &config, Options::default()),
            network(&dir, &config, options),
        );
        let want = full.probabilities(&batch).unwrap();
        let got = half.probabilities(&batch).unwrap();
        assert!(close(&got, &want, 0.08) && !close(&got, &want, 1e-7));
        assert_eq!(half.logits(&batch, true).unwrap().kind(), Kind::Float);
        let value = half
            .backward(&batch, 1, |l| loss(&half, &batch, l))
            .unwrap();
        assert!(value.double_value(&[]).is_finite());
        assert_eq!(half.gradient().unwrap().kind(), Kind::Float);
    }
}

#[test]
fn masked_records_are_ignored_and_times_are_used() {
    set_threads(1);
    for backbone in families() {
        let dir = tempfile::tempdir().unwrap();
        let config = adapted(&dir, backbone);
        let network = network(&dir, &config, Options::default());
        let mut windows = windows(&config, 1);
        let mask = Tensor::from_slice(&[true, false, true, true, true]).view([1, 5]);
        let decide = |windows: &[Vec<Step>], change: &dyn Fn(&mut Batch)| {
            let mut batch = Batch::new(windows, Device::Cpu).unwrap();
            change(&mut batch);
            network.probabilities(&batch).unwrap()
        };
        let masked = |batch: &mut Batch| batch.mask = Some(mask.shallow_clone());
        let (seen, unseen) = (decide(&windows, &|_| {}), decide(&windows, &masked));
        assert!(!close(&seen, &unseen, 1e-4));
        let later = Tensor::from_slice(&[0i64, 1, 2, 3, 1]).view([1, 5]);
        let same = Tensor::from_slice(&[0i64, 1, 2, 3, 4]).view([1, 5]);
        let times = |times: &Tensor| {
            let times = times.shallow_clone();
            move |batch: &mut Batch| batch.times = Some(times.shallow_clone())
        };
        assert!(close(&decide(&windows, &times(&same)), &seen, 1e-6));
        assert!(!close(&decide(&windows, &times(&later)), &seen, 1e-4));
        // A masked record and the newest action have no effect.
        windows[0][1].inputs.fill(3.0);
        let Taken::Action(code) = windows[0][4].action else {
            unreachable!("a step of a record");
        };
        windows[0][4].action = Taken::Action(2 - code);
        assert!(close(&decide(&windows, &masked), &unseen, 1e-6));
    }
}

#[test]
fn pretrained_backbone_is_trained_further() {
    set_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let mut config = adapted(&dir, small_gpt2(1, SMALL, 2, 24));
    let lora = std::mem::replace(&mut config.adaptation, Adaptation::Full);
    config.base = None;
    let base = dir.path().join("base");
    let create = |config: &PolicyConfig, start| {
        Network::create(config.clone(), dir.path(), start, 1, Options::default())
    };
    let [started, random] =
        [Some(base.as_path()), None].map(|s| create(&config, s).unwrap().tensors().unwrap());
    let stored = l4sllm_model::torch::hub::load(&base, Kind::Float, Device::Cpu)
        .unwrap()
        .1;
    let name = "backbone.h.0.mlp.c_fc.weight";
    let want = Vec::<f32>::try_from(stored.get("h.0.mlp.c_fc.weight").unwrap().flatten(0, 1));
    assert_eq!(started.values(name), want.unwrap());
    assert_ne!(random.values(name), started.values(name));
    assert_eq!(random.values("head.weight"), started.values("head.weight"));
    config.adaptation = lora;
    assert!(create(&config, Some(&base)).is_err());
}

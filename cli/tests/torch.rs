//! The commands that need libtorch, as programs: output is written completely,
//! and errors name the refused input.

#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::{done, l4sllm, refused, text};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

/// The command that creates a model with random weights.
fn init<'a>(config: &'a Path, out: &'a Path) -> [&'a str; 5] {
    let (config, out) = (text(config), text(out));
    ["backbone", "init", config, "--out", out]
}

/// A model of each family, small enough for a test.
const FAMILIES: [(&str, &str); 4] = [
    (
        "gpt2",
        r#""n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64"#,
    ),
    (
        "opt",
        r#""hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24,
           "word_embed_proj_dim": 8, "do_layer_norm_before": false, "max_position_embeddings": 64"#,
    ),
    (
        "llama",
        r#""hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
           "num_attention_heads": 4, "num_key_value_heads": 2"#,
    ),
    (
        "t5",
        r#""d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 2,
           "feed_forward_proj": "gated-gelu""#,
    ),
];

fn configuration(dir: &Path, family: &str, keys: &str) -> PathBuf {
    let file = dir.join(format!("{family}.json"));
    fs::write(&file, format!("{{\"model_type\": \"{family}\", {keys}}}")).unwrap();
    file
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = tensors.tensor(name).unwrap();
    let values = tensor.data().chunks_exact(4);
    let values = values.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    (tensor.shape().to_vec(), values.collect())
}

/// Two windows of five embeddings, the second with two of padding.
fn embeddings(file: &Path, width: usize) {
    let values: Vec<u8> = (0..2 * 5 * width)
        .flat_map(|i| ((i as f32 * 0.7).sin()).to_le_bytes())
        .collect();
    let mask = [1u8, 1, 1, 1, 1, 0, 0, 1, 1, 1];
    let embeds = TensorView::new(Dtype::F32, vec![2, 5, width], &values).unwrap();
    let mask = TensorView::new(Dtype::U8, vec![2, 5], &mask).unwrap();
    let tensors = HashMap::from([("embeds", embeds), ("mask", mask)]);
    safetensors::serialize_to_file(tensors, None, file).unwrap();
}

#[test]
fn backbone_is_created_inspected_run_adapted_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (family, keys) in FAMILIES {
        let config = configuration(dir.path(), family, keys);
        let (model, adapter, merged) = (at(family), at("adapter"), at("merged"));
        done(&init(&config, &model));
        let info = done(&["backbone", "info", text(&model)]);
        let count = info.lines().find(|line| line.starts_with("files")).unwrap();
        let count: Vec<&str> = count.split_whitespace().collect();
        assert_eq!(count[1], count[3], "{info}");

        let width = if family == "opt" { 8 } else { 16 };
        embeddings(&at("in"), width);
        let hidden = |model: &Path, adapter: Option<&Path>| {
            let (input, out) = (at("in"), at("out"));
            let mut line = vec!["backbone", "hidden", text(model)];
            line.extend(["--input", text(&input), "--out", text(&out)]);
            line.extend(adapter.iter().flat_map(|a| ["--adapter", text(a)]));
            done(&line);
            let bytes = fs::read(out).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let (shape, values) = floats(&tensors, "last_hidden_state");
            assert_eq!(shape, [2, 5, width]);
            assert!(values.iter().all(|v| v.is_finite()));
            values
        };
        let plain = hidden(&model, None);
        let lora = ["backbone", "lora", text(&model), "--rank", "2"];
        done(&[&lora[..], &["--out", text(&adapter)]].concat());
        // A new adapter changes no output.
        assert_eq!(hidden(&model, Some(&adapter)), plain, "{family}");
        let merge = ["backbone", "merge", text(&model)];
        let to = ["--adapter", text(&adapter), "--out", text(&merged)];
        done(&[&merge[..], &to[..]].concat());
        assert_eq!(hidden(&merged, None), plain, "{family}");

        // Existing files are not overwritten.
        let error = refused(&init(&config, &model));
        assert!(error.contains("already exists"), "{error}");
        for made in [adapter, merged] {
            fs::remove_dir_all(made).unwrap();
        }
    }
}

#[test]
fn names_backbone_faults() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let config = configuration(dir.path(), "gpt2", FAMILIES[0].1);
    let model = at("model");
    done(&init(&config, &model));
    embeddings(&at("in"), 16);
    let (input, out) = (at("in"), at("out"));
    let hidden = |model: &Path| {
        let line = ["backbone", "hidden", text(model), "--input"];
        refused(&[&line[..], &[text(&input), "--out", text(&out)]].concat())
    };
    let says = |error: String, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "no {word:?}: {error}");
        }
        assert!(!out.exists());
    };
    says(hidden(&at("nowhere")), &["nowhere/config.json"]);
    says(
        refused(&["backbone", "info", text(&at("nowhere"))]),
        &["nowhere"],
    );

    let weights = model.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 5]).unwrap();
    says(
        hidden(&model),
        &["model.safetensors", "not a complete safetensors file"],
    );
    // A header of eight exabytes; one that ends within itself; none.
    let long = i64::MAX.to_le_bytes().to_vec();
    for bytes in [long, whole[..20].to_vec(), Vec::new()] {
        fs::write(&weights, bytes).unwrap();
        says(hidden(&model), &["model.safetensors"]);
    }
    fs::remove_file(&weights).unwrap();
    says(hidden(&model), &["neither model.safetensors nor"]);
    fs::write(model.join("pytorch_model.bin"), "").unwrap();
    says(hidden(&model), &["pytorch_model.bin", "can run code"]);
    fs::write(&weights, &whole).unwrap();
    let file = model.join("config.json");
    for (text, words) in [
        (
            r#"{"model_type": "bert"}"#,
            ["config.json", "model_type = bert"],
        ),
        (
            r#"{"model_type": "gpt2", "n_layer": 1e9}"#,
            ["config.json", "n_layer"],
        ),
        (
            r#"{"model_type": "gpt2", "n_embd": 65536, "n_head": 1}"#,
            ["gpt2", "bytes in f32"],
        ),
        (
            r#"{"model_type": "gpt2", "n_embd": 18, "n_head": 2, "n_layer": 2}"#,
            ["model.safetensors", "shape"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        says(hidden(&model), &words);
    }
    // More than the memory of any machine.
    let huge = r#""n_embd": 65536, "n_layer": 1024, "n_head": 1, "n_inner": 262144"#;
    let config = configuration(dir.path(), "gpt2", huge);
    let error = refused(&init(&config, &out));
    says(error, &["bytes in f32", "are free"]);
    let error = refused(&["backbone", "init", "gpt5", "--out", text(&out)]);
    says(error, &["gpt5", "opt-1.3b"]);
    // A sparse file.
    let holes = dir.path().join("holes.json");
    let file = fs::File::create(&holes).unwrap();
    file.set_len(8 << 30).unwrap();
    let error = refused(&init(&holes, &out));
    says(error, &["holes.json", "has more than 1048576 bytes"]);
}

/// A pool of two short episodes, made once.
fn pool() -> &'static Path {
    static POOL: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, pool) = POOL.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let pool = dir.path().join("pool.parquet");
        let line = [
            "collect",
            "--scenario",
            "scenarios/smoke.toml",
            "--episodes",
            "2",
        ];
        let how = [
            "--duration",
            "1s",
            "--explore",
            "0.5",
            "--threads",
            "1",
            "--out",
            text(&pool),
        ];
        done(&[&line[..], &how[..]].concat());
        (dir, pool)
    });
    pool
}

fn train(out: &Path, more: &[&str]) -> Vec<Value> {
    let line = [
        "train",
        text(pool()),
        "--out",
        text(out),
        "--accelerator",
        "cpu",
    ];
    let short = [
        "--window",
        "4",
        "--batch",
        "4",
        "--steps",
        "6",
        "--eval-steps",
        "3",
    ];
    let few = ["--warmup", "2", "--eval-windows", "16"];
    done(&[&line[..], &short[..], &few[..], more].concat());
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

const SMALL: [&str; 8] = [
    "--layers", "1", "--width", "16", "--heads", "2", "--mlp", "16",
];

#[test]
fn training_run_is_evaluated_reported_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let out = at("training");
    let board = at("board");
    let more = [&SMALL[..], &["--tensorboard", text(&board)]].concat();
    let metrics = train(&out, &more);
    assert_eq!(metrics.len(), 6);
    let files: Vec<_> = fs::read_dir(&board).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 1);
    let events = fs::read(files[0].path()).unwrap();
    let count = |tag: &str| {
        let found = events.windows(tag.len()).filter(|at| *at == tag.as_bytes());
        found.count()
    };
    assert_eq!((count("train/loss"), count("eval/loss")), (6, 2));
    assert!(metrics[5]["epoch"].as_f64() > metrics[0]["epoch"].as_f64());
    let costs: Value = serde_json::from_slice(&fs::read(out.join("costs.json")).unwrap()).unwrap();
    assert_eq!(costs["decision_ms"]["count"], 50);
    assert!(costs["training_s"].as_f64() >= metrics[5]["seconds"].as_f64());

    let best = out.join("best");
    let eval = done(&[
        "eval",
        text(&best),
        text(pool()),
        "--decisions",
        "50",
        "--format",
        "json",
    ]);
    let eval: Value = serde_json::from_str(&eval).unwrap();
    let late = &eval["late"];
    assert!(
        late["accuracy"].is_number() && late["majority_share"].is_number(),
        "{eval}"
    );

    let said = done(&["report", text(&out)]);
    assert!(
        said.contains("training: ") && out.join("report.html").is_file(),
        "{said}"
    );
    for figure in ["loss", "accuracy", "scores", "costs"] {
        assert!(out.join(format!("figures/{figure}.png")).is_file());
    }

    let info = done(&["policy", "info", text(&best)]);
    assert!(info.contains("sha256"), "{info}");
    let export = |more: &[&str]| done(&[&["policy", "export", text(&best)], more].concat());
    export(&["--out", text(&at("merged"))]);
    assert!(done(&["policy", "info", text(&at("merged"))]).contains("sha256"));
    let script = at("policy.pt");
    let said = export(&["--format", "torchscript", "--out", text(&script)]);
    assert!(said.contains("probabilities match the policy's"), "{said}");
    // TorchScript is a zip archive.
    assert_eq!(fs::read(&script).unwrap()[..4], *b"PK\x03\x04");
    let models = at("models");
    export(&[
        "--format",
        "triton",
        "--name",
        "queue",
        "--out",
        text(&models),
    ]);
    let config = fs::read_to_string(models.join("queue/config.pbtxt")).unwrap();
    for word in [
        "name: \"queue\"",
        "pytorch_libtorch",
        "dims: [ 4, 7 ]",
        "INPUT__2",
    ] {
        assert!(config.contains(word), "no {word}: {config}");
    }
    assert!(models.join("queue/1/model.pt").is_file() && models.join("queue/README.md").is_file());

    let again = [
        "policy",
        "export",
        text(&best),
        "--format",
        "torchscript",
        "--out",
        text(&script),
    ];
    assert!(refused(&again).contains("already exists"));
    let nowhere = at("nowhere");
    let error = refused(&["policy", "export", text(&nowhere), "--out", text(&at("x"))]);
    assert!(error.contains("nowhere/config.json"), "{error}");
    let weights = best.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    let error = refused(&["policy", "export", text(&best), "--out", text(&at("x"))]);
    assert!(error.contains("model.safetensors"), "{error}");
    assert!(!at("x").exists());
}

#[test]
fn adapter_training_resumes_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(dir.path(), "llama", FAMILIES[2].1);
    let adapters = [
        "--preset",
        "published",
        "--backbone",
        text(&config),
        "--lora-rank",
        "2",
    ];
    let adapters = [
        &adapters[..],
        &["--grad-accum-steps", "2", "--precision", "f32"],
    ]
    .concat();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let want = train(&whole, &adapters);
    train(&parts, &adapters);
    // As after a training that was killed after its checkpoint.
    fs::remove_file(parts.join("costs.json")).unwrap();
    let got = train(&parts, &[&adapters[..], &["--resume"]].concat());
    let losses = |lines: &[Value]| lines.iter().map(|l| l["loss"].clone()).collect::<Vec<_>>();
    assert_eq!(losses(&got), losses(&want));
    assert!(parts.join("costs.json").is_file());
    let merged = dir.path().join("merged");
    done(&[
        "policy",
        "export",
        text(&whole.join("best")),
        "--out",
        text(&merged),
    ]);
    assert!(merged.join("model.safetensors").is_file());
    fs::remove_dir_all(whole.join("base")).unwrap();
    let error = refused(&[
        "policy",
        "export",
        text(&whole.join("best")),
        "--out",
        text(&dir.path().join("x")),
    ]);
    assert!(error.contains("base/model.safetensors"), "{error}");
}

#[test]
fn killed_training_resumes_with_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let losses = |lines: &[Value]| lines.iter().map(|l| l["loss"].clone()).collect::<Vec<_>>();
    let first = losses(&train(&out, &SMALL));
    let read = || fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let metrics = read();
    let line = ["train", text(pool()), "--out", text(&out)];
    let short = ["--window", "4", "--steps", "6", "--eval-steps", "3"];
    let few = ["--batch", "4", "--warmup", "2", "--eval-windows", "16"];
    for (more, want) in [
        (
            "",
            "already contains a training run: use --resume to continue it",
        ),
        ("--resume --residual", "head.residual = false, not true"),
        (
            "--resume --val-fraction 0.4",
            "the training was started with",
        ),
        (
            "--resume --max-grad-norm 0.5",
            "max_grad_norm 0.25, not 0.5",
        ),
        (
            "--restart --holdout-scenario lte",
            "--holdout-scenario lte: no scenario of the pools",
        ),
        (
            "--restart --shortest 5",
            "--shortest 5: expected at most --window, 4",
        ),
        ("--restart --learning-rate NaN", "--learning-rate NaN"),
        ("--restart --threads 0", "--threads 0: expected at least 1"),
        ("--restart --bins 4000", "--bins 4000: expected 0 to 1024"),
        (
            "--restart --encoder-width 0",
            "encoder.scalar.width = 0, expected",
        ),
    ] {
        let more: Vec<&str> = more.split_whitespace().collect();
        let error = refused(&[&line[..], &short, &few, &SMALL, &more].concat());
        assert!(error.contains(want), "{more:?}: {error}");
        assert!(metrics == read() && out.join("best").is_dir(), "{more:?}");
    }
    let again = [&SMALL[..], &["--resume"]].concat();
    assert_eq!(losses(&train(&out, &again)), first);
    let restarted = [&SMALL[..], &["--restart", "--seed", "2"]].concat();
    assert_ne!(losses(&train(&out, &restarted)), first);
}

#[test]
fn published_trains_measures_and_plots_each_step_once() {
    let dir = tempfile::tempdir().unwrap();
    let small = configuration(dir.path(), "gpt2", FAMILIES[0].1);
    let other = configuration(dir.path(), "t5", FAMILIES[3].1);
    let out = dir.path().join("out");
    let run = |epochs: &str| {
        let line = ["published", text(pool()), "--out", text(&out)];
        let which = ["--models", text(&small), "--only-measure", text(&other)];
        let how = ["--epochs", epochs, "--decisions", "3"];
        let few = [
            "--accelerator",
            "cpu",
            "--window",
            "4",
            "--eval-windows",
            "8",
        ];
        l4sllm(&[&line[..], &which[..], &how[..], &few[..]].concat())
    };
    let (code, said, error) = run("1");
    assert_eq!(code, Some(0), "{error}");
    for file in [
        "gpt2/costs.json",
        "backbones.json",
        "report.html",
        "figures/loss.png",
    ] {
        assert!(out.join(file).is_file(), "no {file}: {said}");
    }
    // By the name of a published model, for comparison.
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        page.contains("Compared with the published figures"),
        "{said}"
    );
    let (_, said, _) = run("1");
    assert!(said.contains("gpt2: already trained"), "{said}");
    assert!(said.contains("t5: already measured"), "{said}");
    let (code, _, error) = run("2");
    assert_eq!(code, Some(1));
    assert!(error.contains("out/gpt2: is a training run of"), "{error}");
}

#[test]
fn reproduce_prints_its_accuracy() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let line = [
        "reproduce",
        text(pool()),
        "--out",
        text(&out),
        "--seeds",
        "1",
        "--",
    ];
    let short = [
        "--steps",
        "3",
        "--warmup",
        "1",
        "--batch",
        "4",
        "--eval-steps",
        "3",
    ];
    // Three steps do not reach the required scores.
    let error = refused(&[&line[..], &short[..]].concat());
    assert!(error.contains("1 of 1 seeds are not above"), "{error}");
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["seeds"].as_array().unwrap().len(), 1);
    assert!(summary["majority_share"].as_f64().unwrap() > 0.3);
    // Each training row is evaluated exactly once, and no other rows are.
    let validate = [&line[..line.len() - 1], &["--validate", "3", "--"]].concat();
    done(&[&validate[..], &short[..]].concat());
    let validation: Value =
        serde_json::from_slice(&fs::read(out.join("validation.json")).unwrap()).unwrap();
    let seed = &validation["seeds"][0];
    assert_eq!(seed["all"]["decisions"], summary["train_rows"]);
    assert_eq!(seed["folds"].as_array().unwrap().len(), 3);
    let error = refused(&["reproduce", text(&dir.path().join("none.csv"))]);
    assert!(error.contains("none.csv"), "{error}");
}

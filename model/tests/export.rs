//! Exported policies compute the same as the originals.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use l4sllm_model::backbone::{BackboneConfig, LoraConfig};
use l4sllm_model::torch::export::{METADATA_FILE, TritonModel, difference, torchscript, triton};
use l4sllm_model::torch::{Network, Options, backbone, backbone_files, hub};
use l4sllm_model::{
    Adaptation, DecisionRule, EncoderConfig, Feature, HeadKind, PolicyConfig, Scaling, Setting,
    Tensors, Transform,
};
use tch::{CModule, Device, Kind, Tensor};

/// Tiny policies of each family, with and without its optional parts.
const BACKBONES: [&str; 4] = [
    r#"{"model_type":"gpt2","n_embd":24,"n_layer":2,"n_head":3,"n_positions":64}"#,
    r#"{"model_type":"opt","hidden_size":24,"num_hidden_layers":2,"num_attention_heads":3,
        "ffn_dim":40,"max_position_embeddings":64}"#,
    r#"{"model_type":"llama","hidden_size":24,"num_hidden_layers":2,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":40}"#,
    r#"{"model_type":"t5","d_model":24,"num_layers":1,"num_heads":3,"d_kv":8,"d_ff":40}"#,
];

fn config(backbone: &str) -> PolicyConfig {
    let mut config = PolicyConfig::new("ours \"quoted\"", &Feature::PAPER7);
    config.window = 4;
    config.backbone = BackboneConfig::from_json("test", backbone.as_bytes()).unwrap();
    // Large raw values over several decades: scaling must be included,
    // exactly.
    for (i, feature) in config.features.iter_mut().enumerate() {
        feature.scaling = Scaling {
            transform: [Transform::Linear, Transform::Log1p][i % 2],
            mean: [1e9, 7.0][i % 2],
            std: [250.0, 1.5][i % 2],
            clip: 2.0,
        };
    }
    config.features[2].encoder = EncoderConfig::series(2, 8);
    config.returns.scaling = Scaling {
        mean: 3.0,
        ..Scaling::IDENTITY
    };
    config
}

fn network(config: &PolicyConfig) -> Network {
    let base = match config.adaptation {
        Adaptation::Full => backbone::Weights::new(),
        Adaptation::Lora(_) => hub::random(&config.backbone, 5, Kind::Float, Device::Cpu).unwrap(),
    };
    let tensors = Tensors::random(config, 7).unwrap();
    Network::with(config.clone(), &tensors, base, Options::default()).unwrap()
}

#[test]
fn a_torchscript_file_gives_the_same_probabilities_for_any_batch() {
    let dir = tempfile::tempdir().unwrap();
    for backbone in BACKBONES {
        let network = network(&config(backbone));
        let family = network.config().backbone.family();
        let file = dir.path().join(family).join("policy.pt");
        torchscript(&network, &file).unwrap();
        let worst = difference(&network, &file).unwrap();
        assert!(worst < 1e-5, "{family}: {worst}");
        let again = torchscript(&network, &file).unwrap_err().to_string();
        assert!(again.contains("already exists"), "{again}");
    }
}

#[test]
fn windows_of_another_length_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let network = network(&config(BACKBONES[0]));
    let file = dir.path().join("policy.pt");
    torchscript(&network, &file).unwrap();
    let module = CModule::load(&file).unwrap();
    for w in [1, 3, 5] {
        let double = (Kind::Double, Device::Cpu);
        let run = module.forward_ts(&[
            Tensor::zeros([4, w], double),
            Tensor::zeros([4, w, 14], double),
            Tensor::zeros([4, w], (Kind::Int64, Device::Cpu)),
        ]);
        assert!(run.is_err(), "{w} records");
    }
}

#[test]
fn an_adapter_is_merged_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(BACKBONES[0]);
    config.adaptation = Adaptation::Lora(LoraConfig {
        r: 4,
        ..LoraConfig::default()
    });
    config.base = Some(l4sllm_model::BaseConfig {
        path: "base".into(),
        sha256: "0".repeat(64),
    });
    let adapted = network(&config);
    let (merged, tensors) = adapted.merged().unwrap();
    let merged = Network::new(merged, &tensors, Device::Cpu).unwrap();
    let file = dir.path().join("policy.pt");
    torchscript(&merged, &file).unwrap();
    let worst = difference(&adapted, &file).unwrap();
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn triton_configuration_matches_the_module_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let network = network(&config(BACKBONES[2]));
    let model = TritonModel {
        name: "queue-policy".to_owned(),
        max_batch: 32,
        queue_delay_us: 200,
    };
    let made = triton(&network, dir.path(), &model).unwrap();
    assert_eq!(made, dir.path().join("queue-policy"));
    assert!(difference(&network, &made.join("1/model.pt")).unwrap() < 1e-5);

    let text = fs::read_to_string(made.join("config.pbtxt")).unwrap();
    let message = Message::parse(&text);
    assert_eq!(one(&message, "name"), "queue-policy");
    assert_eq!(one(&message, "platform"), "pytorch_libtorch");
    assert_eq!(one(&message, "max_batch_size"), "32");
    let shapes: Vec<_> = ["input", "output"]
        .iter()
        .flat_map(|key| message.0[*key].iter().map(Value::message))
        .map(|of| {
            let dims: Vec<&str> = of.0["dims"].iter().map(Value::text).collect();
            (one(of, "name"), one(of, "data_type"), dims.join(","))
        })
        .collect();
    let own = |rows: [(&'static str, &'static str, &'static str); 4]| {
        rows.map(|(a, b, c)| (a, b, c.to_owned()))
    };
    assert_eq!(
        shapes,
        own([
            ("INPUT__0", "TYPE_FP64", "4"),
            ("INPUT__1", "TYPE_FP64", "4,14"),
            ("INPUT__2", "TYPE_INT64", "4"),
            ("OUTPUT__0", "TYPE_FP32", "3"),
        ])
    );
    let batching = message.0["dynamic_batching"][0].message();
    assert_eq!(one(batching, "max_queue_delay_microseconds"), "200");
    assert_eq!(
        one(message.0["instance_group"][0].message(), "kind"),
        "KIND_CPU"
    );
    let readme = fs::read_to_string(made.join("README.md")).unwrap();
    assert!(readme.contains("[4, 14]") && readme.contains("last 8 records"));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing temporary is left");
}

/// A head that steers.
fn steering() -> PolicyConfig {
    let mut config = config(BACKBONES[0]);
    let settings = [(0.6, 4.0), (1.25, 4.0), (0.25, 1.0)].map(Setting::from);
    config.head.kind = HeadKind::Steer(settings);
    config.decision_rule = DecisionRule::Mean;
    config
}

/// The metadata in a TorchScript file, as read by another program.
fn metadata(file: &Path) -> serde_json::Value {
    let mut archive = zip::ZipArchive::new(fs::File::open(file).unwrap()).unwrap();
    let name = archive.file_names().find(|n| n.ends_with(METADATA_FILE));
    let name = name.unwrap().to_owned();
    assert!(name.contains("/extra/"), "{name}");
    serde_json::from_reader(archive.by_name(&name).unwrap()).unwrap()
}

#[test]
fn outputs_and_decision_rule_are_those_of_the_head() {
    let dir = tempfile::tempdir().unwrap();
    for (name, config, wanted, unwanted) in [
        ("acts", config(BACKBONES[0]), "enqueue", "target x"),
        (
            "steers",
            steering(),
            "target x 1.25, gains x 4",
            "enqueue, drop",
        ),
    ] {
        let network = network(&config);
        let model = TritonModel {
            name: name.to_owned(),
            max_batch: 8,
            queue_delay_us: 0,
        };
        let made = triton(&network, dir.path(), &model).unwrap();
        let module = made.join("1/model.pt");
        assert!(difference(&network, &module).unwrap() < 1e-5);

        let readme = fs::read_to_string(made.join("README.md")).unwrap();
        let text = fs::read_to_string(made.join("config.pbtxt")).unwrap();
        let metadata = metadata(&module);
        let rule = serde_json::to_value(config.decision_rule).unwrap();
        for text in [&readme, &text, &metadata.to_string()] {
            assert!(text.contains(wanted) && !text.contains(unwanted), "{text}");
            assert!(text.contains(rule.as_str().unwrap()), "{text}");
            assert!(text.contains(config.rule_in_words()), "{text}");
            assert!(text.contains(config.effect_in_words()), "{text}");
        }
        let message = Message::parse(&text);
        let parameters: BTreeMap<&str, &str> = message.0["parameters"]
            .iter()
            .map(|parameter| {
                let parameter = parameter.message();
                let value = parameter.0["value"][0].message();
                (one(parameter, "key"), one(value, "string_value"))
            })
            .collect();
        for (i, outcome) in config.outcomes().iter().enumerate() {
            assert_eq!(parameters[format!("output_{i}").as_str()], outcome);
            assert_eq!(metadata["outputs"][i], outcome.as_str());
            assert!(readme.contains(&format!("| {i} | {outcome} |")), "{readme}");
        }
        assert_eq!(parameters["decision_rule"], rule.as_str().unwrap());
    }
}

#[test]
fn rejects_unsafe_names_and_paths() {
    let dir = tempfile::tempdir().unwrap();
    let network = network(&config(BACKBONES[0]));
    let refused = |name: &str, repository: &Path| {
        let model = TritonModel {
            name: name.to_owned(),
            max_batch: 8,
            queue_delay_us: 0,
        };
        triton(&network, repository, &model)
            .unwrap_err()
            .to_string()
    };
    for name in ["", "..", "a/b", "a\"b", ".hidden"] {
        assert!(
            refused(name, dir.path()).contains("letters, digits"),
            "{name}"
        );
    }
    fs::create_dir(dir.path().join("taken")).unwrap();
    assert!(refused("taken", dir.path()).contains("already exists"));
    fs::write(dir.path().join("file"), "").unwrap();
    let inside = refused("model", &dir.path().join("file"));
    assert!(inside.contains("cannot make"), "{inside}");
}

#[test]
fn models_and_adapters_are_exported_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let backbone = BackboneConfig::from_json("test", BACKBONES[1].as_bytes()).unwrap();
    backbone_files::initialise(&backbone, 3, &at("model")).unwrap();
    let stored = backbone_files::stored(&at("model")).unwrap();
    assert_eq!((stored.found, stored.ignored), (backbone.specs().len(), 0));
    assert_eq!(
        (stored.missing, stored.kinds),
        (vec![], vec!["F32".to_owned()])
    );

    let lora = LoraConfig {
        r: 3,
        ..LoraConfig::default()
    };
    let (model, adapter) = (at("model"), at("adapter"));
    let weights = backbone_files::fresh_adapter(&model, &lora, 4, &adapter).unwrap();
    assert_eq!(weights, 2 * 2 * (3 * 24 + 24 * 3));
    backbone_files::merge(&model, &adapter, &at("merged")).unwrap();

    let embeds = Tensor::randn([2, 5, 24], (Kind::Float, Device::Cpu));
    let mask = Tensor::from_slice(&[1i64, 1, 1, 1, 1, 0, 0, 1, 1, 1]).view([2, 5]);
    Tensor::write_safetensors(&[("embeds", &embeds), ("mask", &mask)], at("input")).unwrap();
    let run = |model: &str, adapter: Option<&Path>, out: &str| {
        let shape = backbone_files::hidden(&at(model), adapter, &at("input"), &at(out)).unwrap();
        assert_eq!(shape, [2, 5, 24]);
        let mut written = Tensor::read_safetensors(at(out)).unwrap();
        let (name, state) = written.pop().unwrap();
        assert_eq!((name.as_str(), written.len()), ("last_hidden_state", 0));
        state
    };
    let plain = run("model", None, "plain");
    // A new adapter has no effect, merged or not.
    for other in [
        run("model", Some(&adapter), "adapted"),
        run("merged", None, "merged-out"),
    ] {
        let far = (&plain - other).abs().max().double_value(&[]);
        assert!(far < 1e-5, "{far}");
    }
    assert!(plain.isfinite().all().int64_value(&[]) == 1);

    let again = backbone_files::initialise(&backbone, 3, &at("model")).unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");
    let wrong = backbone_files::hidden(&at("model"), None, &at("plain"), &at("x")).unwrap_err();
    assert!(wrong.to_string().contains("embeds"), "{wrong}");
}

/// The text of a field that occurs once.
fn one<'a>(of: &'a Message, key: &str) -> &'a str {
    of.0[key][0].text()
}

/// The next word, if it is the expected one.
fn next(words: &mut Vec<String>, wanted: impl Fn(&str) -> bool) -> Option<String> {
    if words.last().is_some_and(|word| wanted(word)) {
        return words.pop();
    }
    None
}

/// A message in protobuf's text format.
#[derive(Debug, Default)]
struct Message(BTreeMap<String, Vec<Value>>);

#[derive(Debug)]
enum Value {
    Text(String),
    Message(Message),
}

impl Value {
    fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            Value::Message(_) => panic!("a message"),
        }
    }

    fn message(&self) -> &Message {
        match self {
            Value::Message(message) => message,
            Value::Text(text) => panic!("{text}"),
        }
    }
}

impl Message {
    fn parse(text: &str) -> Message {
        let mut words: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut rest = line.trim();
            while let Some(first) = rest.chars().next() {
                let end = match first {
                    '"' => rest[1..].find('"').unwrap() + 2,
                    '{' | '}' | '[' | ']' | ',' | ':' => 1,
                    _ => rest
                        .find(|c: char| c.is_whitespace() || "{}[],:".contains(c))
                        .unwrap_or(rest.len()),
                };
                words.push(rest[..end].to_owned());
                rest = rest[end..].trim_start();
            }
        }
        words.reverse();
        let message = Message::fields(&mut words);
        assert!(words.is_empty(), "{words:?}");
        message
    }

    fn fields(words: &mut Vec<String>) -> Message {
        let mut message = Message::default();
        while let Some(key) = next(words, |word| word != "}") {
            let _ = next(words, |word| word == ":");
            let values = message.0.entry(key).or_default();
            if next(words, |word| word == "[").is_none() {
                values.push(Message::value(words));
                continue;
            }
            loop {
                values.push(Message::value(words));
                if words.pop().unwrap() == "]" {
                    break;
                }
            }
        }
        message
    }

    fn value(words: &mut Vec<String>) -> Value {
        let word = words.pop().unwrap();
        if word != "{" {
            return Value::Text(word.trim_matches('"').to_owned());
        }
        let message = Message::fields(words);
        assert_eq!(words.pop().as_deref(), Some("}"));
        Value::Message(message)
    }
}

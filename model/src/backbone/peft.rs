//! `adapter_config.json`, in PEFT's format.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::keys::is_nothing;
use super::select::{self, Module};
use super::{BackboneConfig, BackboneError, LoraConfig};

/// Keys that are read or have no effect on an adapter's computation. Other keys
/// that are not empty are refused by name.
const HARMLESS: &[&str] = &[
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config", // of init_lora_weights, as the other three
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out", // PEFT sets it to match the layer
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size", // of use_qalora
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// PEFT's defaults.
const DEFAULT_RANK: usize = 8;
const DEFAULT_ALPHA: f64 = 8.0;

/// The keys that are read.
#[derive(Deserialize)]
struct File {
    #[serde(default = "default_rank")]
    r: usize,
    #[serde(default = "default_alpha")]
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    target_modules: Option<Names>,
    #[serde(default)]
    exclude_modules: Option<Names>,
    #[serde(default)]
    layers_to_transform: Option<Layers>,
    #[serde(default)]
    layers_pattern: Option<Names>,
    #[serde(default)]
    rank_pattern: Option<Patterns>,
    #[serde(default)]
    alpha_pattern: Option<Patterns>,
}

/// Patterns and their values, in file order.
struct Patterns(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Patterns;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of patterns and numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Patterns, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Patterns(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A pattern, or a list of names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    Pattern(String),
    List(Vec<String>),
}

/// Block numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Layers {
    One(u64),
    Several(Vec<u64>),
}

impl LoraConfig {
    /// Reads `adapter_config.json`, with PEFT 0.21's rules for the adapted
    /// layers, their ranks and alphas. `modules` are the linear layers of the
    /// backbone; options with a different computation (DoRA, trained biases, …)
    /// are refused by key. `file` is its name in errors.
    pub(crate) fn from_peft_json(
        file: &str,
        text: &[u8],
        backbone: &BackboneConfig,
        modules: &[Module],
    ) -> Result<LoraConfig, BackboneError> {
        let syntax = |key: &str, reason: String| BackboneError::Syntax {
            file: file.to_owned(),
            key: key.to_owned(),
            reason,
        };
        let keys: Map<String, Value> =
            serde_json::from_slice(text).map_err(|e| syntax(".", e.to_string()))?;
        supported(file, &keys)?;
        let refuse = |key: &str, want: String| {
            let got = keys.get(key).unwrap_or(&Value::Null);
            BackboneError::value(file, key, got, want)
        };
        if !keys.contains_key("peft_type") {
            return Err(syntax("peft_type", "missing".into()));
        }
        let parsed: File =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text))
                .map_err(|e| {
                    let key = e.path().to_string();
                    syntax(&key, e.inner().to_string())
                })?;
        let rules = parsed.rules(file, backbone)?;
        let known: BTreeSet<&str> = modules.iter().map(Module::last).collect();
        let known: Vec<&str> = known.into_iter().collect();
        let known = format!(
            "linear layers of {}: {}",
            backbone.family(),
            known.join(", ")
        );
        if let Some(name) = rules.unused(modules) {
            return Err(BackboneError::value(file, "target_modules", name, known));
        }
        let adapted = rules.adapted(modules);
        if adapted.is_empty() {
            let want = format!("names or a pattern of {known}");
            return Err(refuse("target_modules", want));
        }
        let number = |key: &str, value: &Value| {
            value
                .as_f64()
                .ok_or_else(|| BackboneError::value(file, key, value, "a number for each pattern"))
        };
        let mut lora = LoraConfig {
            r: parsed.r,
            alpha: parsed.lora_alpha,
            dropout: parsed.lora_dropout,
            rslora: parsed.use_rslora,
            target_modules: rules.targets(modules),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        };
        for (key, pattern) in [
            ("rank_pattern", &parsed.rank_pattern),
            ("alpha_pattern", &parsed.alpha_pattern),
        ] {
            let Some(Patterns(pattern)) = pattern else {
                continue;
            };
            for (module, value) in select::by_pattern(file, key, pattern, &adapted)? {
                let value = number(key, value)?;
                if key == "alpha_pattern" {
                    lora.alpha_pattern.insert(module.bare.clone(), value);
                } else if value.fract() == 0.0 && (1.0..=65536.0).contains(&value) {
                    lora.rank_pattern
                        .insert(module.bare.clone(), value as usize);
                } else {
                    return Err(BackboneError::value(file, key, value, "ranks of 1..=65536"));
                }
            }
        }
        Ok(lora)
    }

    /// The text of `adapter_config.json`. `base` is the adapter's base: the
    /// path or the name of a model.
    pub fn to_peft_json(&self, backbone: &BackboneConfig, base: Option<&str>) -> String {
        let whole = |alpha: f64| match alpha {
            whole if whole.fract() == 0.0 && whole < 1e9 => json!(whole as u64),
            other => json!(other),
        };
        let alphas = self.alpha_pattern.iter();
        let alphas: Map<String, Value> = alphas.map(|(k, v)| (k.clone(), whole(*v))).collect();
        let mut text = serde_json::to_string_pretty(&json!({
            "alpha_pattern": alphas,
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": matches!(backbone, BackboneConfig::Gpt2(_)),
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": whole(self.alpha),
            "lora_dropout": self.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.r,
            "rank_pattern": self.rank_pattern,
            "target_modules": self.targets(backbone),
            "task_type": "FEATURE_EXTRACTION",
            "use_dora": false,
            "use_rslora": self.rslora,
        }))
        .expect("a value with string keys has a text");
        text.push('\n');
        text
    }
}

impl File {
    /// PEFT's rules for choosing layers.
    fn rules(&self, file: &str, backbone: &BackboneConfig) -> Result<select::Rules, BackboneError> {
        let pattern = |key: &str, names: &Option<Names>| match names {
            None => Ok(None),
            Some(Names::List(names)) if names.is_empty() => Ok(None),
            Some(Names::List(names)) => Ok(Some(select::Names::List(names.clone()))),
            Some(Names::Pattern(text)) if text.is_empty() => Ok(None),
            Some(Names::Pattern(text)) => select::Names::pattern(file, key, text).map(Some),
        };
        let targets = match &self.target_modules {
            None => {
                let default = backbone.default_targets().iter();
                select::Names::List(default.map(|&name| name.to_owned()).collect())
            }
            Some(Names::Pattern(text)) if text.eq_ignore_ascii_case("all-linear") => {
                select::Names::pattern(file, "target_modules", ".*")?
            }
            some => pattern("target_modules", some)?.unwrap_or(select::Names::List(Vec::new())),
        };
        let layers = match &self.layers_to_transform {
            None => None,
            Some(Layers::One(layer)) => Some(vec![*layer]),
            Some(Layers::Several(layers)) if layers.is_empty() => None,
            Some(Layers::Several(layers)) => Some(layers.clone()),
        };
        let lists = match &self.layers_pattern {
            None => Vec::new(),
            Some(Names::Pattern(text)) if text.is_empty() => Vec::new(),
            Some(Names::Pattern(text)) => vec![text.clone()],
            Some(Names::List(names)) => names.clone(),
        };
        Ok(select::Rules {
            targets,
            exclude: pattern("exclude_modules", &self.exclude_modules)?,
            layers: select::Layers::new(file, layers, &lists)?,
        })
    }
}

/// Refuses keys that change an adapter's computation.
fn supported(file: &str, keys: &Map<String, Value>) -> Result<(), BackboneError> {
    for (key, value) in keys {
        let (fits, want) = match key.as_str() {
            "peft_type" => (*value == json!("LORA"), "\"LORA\""),
            "bias" => (*value == json!("none"), "\"none\""),
            "init_lora_weights" => (
                !changes_base(value),
                "an initialisation that keeps the base's weights",
            ),
            key => (
                HARMLESS.contains(&key) || is_nothing(Some(value)),
                "nothing: this is not supported",
            ),
        };
        if !fits {
            return Err(BackboneError::value(file, key, value, want));
        }
    }
    Ok(())
}

/// Initialisations after which the base's weights differ from its file.
fn changes_base(init: &Value) -> bool {
    let Some(init) = init.as_str() else {
        return false;
    };
    let init = init.to_ascii_lowercase();
    ["pissa", "olora", "corda", "loftq", "lora_ga"]
        .iter()
        .any(|name| init == *name || init.strip_prefix(name).is_some_and(|n| n.starts_with('_')))
}

fn default_rank() -> usize {
    DEFAULT_RANK
}

fn default_alpha() -> f64 {
    DEFAULT_ALPHA
}

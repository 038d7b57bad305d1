//! `adapter_config.json`, as PEFT writes and reads it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{BackboneConfig, BackboneError, LoraConfig};

/// The configuration's file in an adapter's directory.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";

/// Keys that say nothing about what an adapter computes, or that are read.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules", // as SELECTING says
    "fan_in_fan_out",  // follows from the family
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform", // as SELECTING says
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Keys that choose among the layers that `target_modules` name: which they
/// chose, the weights tell.
const SELECTING: &[&str] = &["exclude_modules", "layers_to_transform"];

#[derive(Deserialize)]
struct File {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    target_modules: Value,
}

impl LoraConfig {
    /// Reads `adapter_config.json`.  What would make the adapter compute
    /// something else (DoRA, ranks that differ, trained biases, …) is refused
    /// by key.  `stored` are the layers that the adapter's weights are for:
    /// where target modules are a pattern, or further keys choose among them,
    /// they are the targets.  `file` is its name in errors.
    pub fn from_peft_json(
        file: &str,
        text: &[u8],
        stored: &[String],
    ) -> Result<LoraConfig, BackboneError> {
        let syntax = |key: &str, reason: String| BackboneError::Syntax {
            file: file.to_owned(),
            key: key.to_owned(),
            reason,
        };
        let keys: Map<String, Value> =
            serde_json::from_slice(text).map_err(|e| syntax(".", e.to_string()))?;
        let refuse = |key: &str, want: &str| {
            let got = keys.get(key).unwrap_or(&Value::Null);
            BackboneError::value(file, key, got, want)
        };
        for (key, value) in &keys {
            let fits = match key.as_str() {
                "peft_type" => *value == json!("LORA"),
                "bias" => *value == json!("none"),
                // Those below change the base's weights, too.
                "init_lora_weights" => {
                    !matches!(
                        value.as_str(),
                        Some("pissa" | "olora" | "corda" | "loftq" | "lora_ga")
                    ) && !value.as_str().is_some_and(|s| s.starts_with("pissa_"))
                }
                key if HARMLESS.contains(&key) => true,
                _ => is_nothing(value),
            };
            if !fits {
                let want = match key.as_str() {
                    "peft_type" => "\"LORA\"",
                    "bias" => "\"none\"",
                    "init_lora_weights" => "a way that leaves the base's weights alone",
                    _ => "nothing: this is not supported",
                };
                return Err(refuse(key, want));
            }
        }
        if !keys.contains_key("peft_type") {
            return Err(syntax("peft_type", "missing".into()));
        }
        let parsed: File =
            serde_path_to_error::deserialize(Value::Object(keys.clone())).map_err(|e| {
                let key = e.path().to_string();
                syntax(&key, e.inner().to_string())
            })?;
        let selects = |key: &&str| keys.get(*key).is_some_and(|value| !is_nothing(value));
        let target_modules = match &parsed.target_modules {
            Value::String(_) => Some(stored.to_vec()),
            Value::Array(_) if SELECTING.iter().any(selects) => Some(stored.to_vec()),
            Value::Array(names) => names
                .iter()
                .map(|n| n.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        let mut target_modules: Vec<String> = target_modules
            .filter(|names: &Vec<String>| !names.is_empty())
            .ok_or_else(|| {
                let want = "names, or a pattern of them, of layers that have weights";
                refuse("target_modules", want)
            })?;
        // PEFT keeps a set, and writes it in any order.
        target_modules.sort();
        Ok(LoraConfig {
            r: parsed.r,
            alpha: parsed.lora_alpha,
            dropout: parsed.lora_dropout,
            rslora: parsed.use_rslora,
            target_modules,
        })
    }

    /// The text of `adapter_config.json`.  `base` is what the adapter belongs
    /// to: the path or the name of a model.
    pub fn to_peft_json(&self, backbone: &BackboneConfig, base: Option<&str>) -> String {
        let alpha = match self.alpha {
            whole if whole.fract() == 0.0 && whole < 1e9 => json!(whole as u64),
            other => json!(other),
        };
        let mut text = serde_json::to_string_pretty(&json!({
            "alpha_pattern": {},
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": matches!(backbone, BackboneConfig::Gpt2(_)),
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": alpha,
            "lora_dropout": self.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.r,
            "rank_pattern": {},
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

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}

//! Transformer backbones, described by their Hugging Face configurations:
//! GPT-2, OPT, Llama and T5 of any size.
//!
//! Keys, their aliases and defaults are Hugging Face's; keys without effect on
//! hidden states are accepted, and unknown ones are refused by name. Only the
//! *bare* model is used, with embeddings as input: token embeddings and output
//! layers are omitted, position tables are included.

mod activation;
mod check;
mod error;
mod gpt2;
mod initial;
mod keys;
mod llama;
mod lora;
mod opt;
#[cfg(feature = "torch")]
mod peft;
mod presets;
#[cfg(feature = "torch")]
mod select;
mod t5;

use std::path::Path;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use activation::Activation;
pub use error::BackboneError;
pub use gpt2::Gpt2Config;
pub use initial::Initial;
pub use llama::{LlamaConfig, RopeParameters};
pub use lora::LoraConfig;
pub use opt::OptConfig;
#[cfg(feature = "torch")]
pub(crate) use opt::POSITION_OFFSET;
#[cfg(feature = "torch")]
pub(crate) use select::Module;
pub use t5::{FeedForward, T5Config};

use crate::Spec;
use crate::files::read_regular;
use check::Check;

/// Maximum size of a configuration, bytes.
pub(crate) const CONFIG_MAX: u64 = 4 << 20;

/// The configuration's file in an adapter's directory.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";

/// The configuration's file in a Hugging Face directory.
pub const CONFIG_FILE: &str = "config.json";

#[expect(clippy::large_enum_variant, reason = "there is one in a policy")]
/// A backbone, tagged by Hugging Face's `model_type`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum BackboneConfig {
    /// Radford et al. 2019.
    Gpt2(Gpt2Config),
    /// Zhang et al. 2022.
    Opt(OptConfig),
    /// Touvron et al. 2023.
    Llama(LlamaConfig),
    /// Raffel et al. 2020.
    T5(T5Config),
}

/// A linear layer of a backbone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Its module's name; the matrix is `name.weight`.
    pub name: String,
    /// Input width.
    pub inputs: usize,
    /// Output width.
    pub outputs: usize,
    /// The matrix is inputs × outputs (GPT-2's Conv1D), not outputs × inputs.
    pub transposed: bool,
}

impl Linear {
    /// The last part of the name.
    pub fn module(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Linear layers of one block, outputs × inputs: name after `block.`,
    /// inputs, outputs.
    fn of_block<const N: usize>(block: &str, parts: [(&str, usize, usize); N]) -> [Linear; N] {
        parts.map(|(part, inputs, outputs)| Linear {
            name: format!("{block}.{part}"),
            inputs,
            outputs,
            transposed: false,
        })
    }

    /// The matrix, followed by the bias if there is one.
    fn specs(&self, bias: bool) -> impl Iterator<Item = Spec> {
        let matrix = match self.transposed {
            true => vec![self.inputs, self.outputs],
            false => vec![self.outputs, self.inputs],
        };
        let matrix = (format!("{}.weight", self.name), matrix);
        let bias = bias.then(|| (format!("{}.bias", self.name), vec![self.outputs]));
        std::iter::once(matrix).chain(bias)
    }
}

impl BackboneConfig {
    /// Reads and checks `config.json` of a Hugging Face directory.
    ///
    /// # Errors
    /// The file cannot be read, and those of [`BackboneConfig::from_json`].
    pub fn from_dir(dir: &Path) -> Result<BackboneConfig, BackboneError> {
        let path = dir.join(CONFIG_FILE);
        let text = read_regular(&path, CONFIG_MAX).map_err(|e| BackboneError::read(&path, e))?;
        BackboneConfig::from_json(&path.display().to_string(), &text)
    }

    /// Reads and checks a Hugging Face configuration.  `file` is its name in
    /// errors.
    ///
    /// # Errors
    /// The text is not the JSON of a supported family, or a value is out of
    /// range.
    pub fn from_json(file: &str, text: &[u8]) -> Result<BackboneConfig, BackboneError> {
        let value: Value = serde_json::from_slice(text).map_err(|e| BackboneError::Syntax {
            file: file.to_owned(),
            key: ".".to_owned(),
            reason: e.to_string(),
        })?;
        let config = BackboneConfig::from_value(file, value)?;
        config.check(file)?;
        Ok(config)
    }

    /// The text of `config.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("the structs contain no map with keys other than strings");
        text.push('\n');
        text
    }

    /// Checks every range; the error names the first key that is out of range.
    /// `file` is for errors.
    ///
    /// # Errors
    /// A value is out of range.
    pub fn check(&self, file: &str) -> Result<(), BackboneError> {
        let check = Check { file };
        match self {
            BackboneConfig::Gpt2(c) => c.check(&check),
            BackboneConfig::Opt(c) => c.check(&check),
            BackboneConfig::Llama(c) => c.check(&check),
            BackboneConfig::T5(c) => c.check(&check),
        }
    }

    /// `model_type`.
    pub fn family(&self) -> &'static str {
        match self {
            BackboneConfig::Gpt2(_) => "gpt2",
            BackboneConfig::Opt(_) => "opt",
            BackboneConfig::Llama(_) => "llama",
            BackboneConfig::T5(_) => "t5",
        }
    }

    /// Width of the input embeddings and output hidden states.
    pub fn width(&self) -> usize {
        match self {
            BackboneConfig::Gpt2(c) => c.n_embd,
            BackboneConfig::Opt(c) => c.width(),
            BackboneConfig::Llama(c) => c.hidden_size,
            BackboneConfig::T5(c) => c.d_model,
        }
    }

    /// Number of blocks; for a T5, those of encoder and decoder.
    pub fn layers(&self) -> usize {
        match self {
            BackboneConfig::Gpt2(c) => c.n_layer,
            BackboneConfig::Opt(c) => c.num_hidden_layers,
            BackboneConfig::Llama(c) => c.num_hidden_layers,
            BackboneConfig::T5(c) => c.num_layers + c.decoder_layers(),
        }
    }

    /// Maximum number of tokens of a sequence, if limited by a position table.
    pub fn tokens_max(&self) -> Option<usize> {
        match self {
            BackboneConfig::Gpt2(c) => (c.n_positions > 0).then_some(c.n_positions),
            BackboneConfig::Opt(c) => Some(c.max_position_embeddings),
            BackboneConfig::Llama(_) | BackboneConfig::T5(_) => None,
        }
    }

    /// Whether no hidden state depends on later tokens.
    pub fn is_causal(&self) -> bool {
        match self {
            BackboneConfig::T5(c) => c.causal,
            _ => true,
        }
    }

    /// Names and shapes of the bare model's tensors (those of Hugging Face's
    /// GPT2Model, OPTModel, LlamaModel and T5Model), row-major, without token
    /// embeddings.
    pub fn specs(&self) -> Vec<Spec> {
        match self {
            BackboneConfig::Gpt2(c) => c.specs(),
            BackboneConfig::Opt(c) => c.specs(),
            BackboneConfig::Llama(c) => c.specs(),
            BackboneConfig::T5(c) => c.specs(),
        }
    }

    /// Number of parameters of the bare model, without token embeddings.
    pub fn parameters(&self) -> u64 {
        let numbers = |shape: &[usize]| shape.iter().map(|&n| n as u64).product::<u64>();
        self.specs().iter().map(|(_, shape)| numbers(shape)).sum()
    }

    /// Every linear layer, in model order.
    pub fn linears(&self) -> Vec<Linear> {
        match self {
            BackboneConfig::Gpt2(c) => c.linears(),
            BackboneConfig::Opt(c) => c.linears(),
            BackboneConfig::Llama(c) => c.linears(),
            BackboneConfig::T5(c) => c.linears(),
        }
    }

    /// The linear layers adapted by default: query and value projections, for
    /// GPT-2 the fused one.
    pub fn default_targets(&self) -> &'static [&'static str] {
        match self {
            BackboneConfig::Gpt2(_) => &["c_attn"],
            BackboneConfig::Opt(_) | BackboneConfig::Llama(_) => &["q_proj", "v_proj"],
            BackboneConfig::T5(_) => &["q", "v"],
        }
    }

    fn from_value(file: &str, mut value: Value) -> Result<BackboneConfig, BackboneError> {
        let syntax = |key: &str, reason: String| BackboneError::Syntax {
            file: file.to_owned(),
            key: key.to_owned(),
            reason,
        };
        let Value::Object(keys) = &mut value else {
            return Err(syntax(".", "not a JSON object".into()));
        };
        let family = match keys.get("model_type") {
            Some(Value::String(family)) => family.clone(),
            Some(other) => return Err(syntax("model_type", format!("{other} is not a string"))),
            None => return Err(syntax("model_type", "missing".into())),
        };
        keys::settle(file, &family, keys)?;
        match family.as_str() {
            "gpt2" => typed(file, value).map(BackboneConfig::Gpt2),
            "opt" => typed(file, value).map(BackboneConfig::Opt),
            "llama" => typed(file, value).map(BackboneConfig::Llama),
            "t5" => typed(file, value).map(BackboneConfig::T5),
            other => Err(BackboneError::value(
                file,
                "model_type",
                other,
                "gpt2, opt, llama or t5",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for BackboneConfig {
    /// Does not check ranges: [`BackboneConfig::check`] does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        BackboneConfig::from_value("", value).map_err(|e| D::Error::custom(e.key_and_reason()))
    }
}

fn typed<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, BackboneError> {
    serde_path_to_error::deserialize(value).map_err(|e| BackboneError::Syntax {
        file: file.to_owned(),
        key: e.path().to_string(),
        reason: e.inner().to_string(),
    })
}

#[cfg(test)]
mod tests;

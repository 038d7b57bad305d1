//! Llama (Touvron et al. 2023): root-mean-square norms, rotary positions,
//! gated feed-forward, key and value heads shared by groups of query heads.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::{Activation, BackboneError, Linear};
use crate::Spec;

/// `config.json` of a Llama, with Hugging Face's names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LlamaConfig {
    /// Rows of the token embedding, which policies do not use.
    pub vocab_size: usize,
    /// Nominal maximum number of tokens, 1..=16777216; not enforced.
    pub max_position_embeddings: usize,
    /// Width of a hidden state, 1..=65536.
    pub hidden_size: usize,
    /// Units of the feed-forward part, 1..=262144.
    pub intermediate_size: usize,
    /// Blocks, 1..=1024.
    pub num_hidden_layers: usize,
    /// Query heads, 1..=1024.
    pub num_attention_heads: usize,
    /// Key and value heads, a divisor of `num_attention_heads`; null: the same
    /// number.
    pub num_key_value_heads: Option<usize>,
    /// Width of a head, even; null: `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// Activation of the gate.
    pub hidden_act: Activation,
    /// Epsilon of every norm, 1e-12..=1e-2.
    pub rms_norm_eps: f64,
    /// Attention projections have biases.
    pub attention_bias: bool,
    /// Feed-forward layers have biases.
    pub mlp_bias: bool,
    /// Dropout of attention weights, 0..1.
    pub attention_dropout: f64,
    /// Standard deviation of random weights, 0..=1.
    pub initializer_range: f64,
    /// Base of the rotary frequencies, above 1, if the parameters have none;
    /// null: 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
    /// Original training length in tokens; with `llama3`, takes precedence over
    /// the key of that name within the parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_max_position_embeddings: Option<usize>,
    /// Share of a head's rotated channels, if the parameters have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_rotary_factor: Option<f64>,
    /// Frequency parameters, under the name used by older releases of
    /// `transformers`; takes precedence over `rope_parameters`, as there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeParameters>,
    /// Frequency parameters, under the newer name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<RopeParameters>,
}

/// Parameters of rotary frequencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeParameters {
    /// `default`, `linear` or `llama3`; others are refused by `check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_type: Option<String>,
    /// The type, under the key of older releases of `transformers`; both keys
    /// may be present.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub older_type: Option<String>,
    /// Base of the frequencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
    /// Divides frequencies (`linear`, and the low ones of `llama3`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// `llama3`: wavelengths above original / this are divided by `factor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_freq_factor: Option<f64>,
    /// `llama3`: wavelengths below original / this are unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_freq_factor: Option<f64>,
    /// `llama3`: original training length in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_max_position_embeddings: Option<usize>,
    /// Share of a head's rotated channels: 1 or null for all; without effect
    /// with `default`, as in `transformers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial_rotary_factor: Option<f64>,
}

impl RopeParameters {
    fn name(&self) -> &str {
        let name = self.rope_type.as_ref().or(self.older_type.as_ref());
        name.map_or("default", String::as_str)
    }
}

impl Default for LlamaConfig {
    fn default() -> Self {
        LlamaConfig {
            vocab_size: 32000,
            max_position_embeddings: 2048,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: Activation::Silu,
            rms_norm_eps: 1e-6,
            attention_bias: false,
            mlp_bias: false,
            attention_dropout: 0.0,
            initializer_range: 0.02,
            rope_theta: None,
            original_max_position_embeddings: None,
            partial_rotary_factor: None,
            rope_scaling: None,
            rope_parameters: None,
        }
    }
}

impl LlamaConfig {
    /// Key and value heads.
    pub fn key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of a head.
    pub fn head_width(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Radians per position of each pair of a head's channels.
    pub fn frequencies(&self) -> Vec<f64> {
        let rope = self.rope();
        let theta = self.theta();
        let width = self.head_width();
        let plain = (0..width / 2).map(|i| theta.powf(-2.0 * i as f64 / width as f64));
        let get = |value: Option<f64>| value.unwrap_or(1.0);
        match rope.map_or("default", RopeParameters::name) {
            "linear" => plain
                .map(|f| f / get(rope.and_then(|r| r.factor)))
                .collect(),
            "llama3" => {
                let factor = get(rope.and_then(|r| r.factor));
                let low = get(rope.and_then(|r| r.low_freq_factor));
                let high = get(rope.and_then(|r| r.high_freq_factor));
                let original = self
                    .original_max_position_embeddings
                    .or(rope.and_then(|r| r.original_max_position_embeddings))
                    .unwrap_or(self.max_position_embeddings) as f64;
                plain
                    .map(|f| {
                        // Turns within the original context: low frequencies
                        // are stretched, high ones unchanged, and those between
                        // interpolated.
                        let turns = original * f / std::f64::consts::TAU;
                        let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                        f * keep + f / factor * (1.0 - keep)
                    })
                    .collect()
            }
            _ => plain.collect(),
        }
    }

    fn rope(&self) -> Option<&RopeParameters> {
        // Empty ones count as absent.
        let given = |rope: &&RopeParameters| **rope != RopeParameters::default();
        let scaling = self.rope_scaling.as_ref().filter(given);
        scaling.or(self.rope_parameters.as_ref())
    }

    fn theta(&self) -> f64 {
        let theta = self.rope().and_then(|rope| rope.rope_theta);
        theta.or(self.rope_theta).unwrap_or(10000.0)
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), BackboneError> {
        let heads = self.num_attention_heads;
        check.within("vocab_size", self.vocab_size, 0, 1 << 24)?;
        check.within(
            "max_position_embeddings",
            self.max_position_embeddings,
            1,
            1 << 24,
        )?;
        check.within("hidden_size", self.hidden_size, 1, 1 << 16)?;
        check.within("intermediate_size", self.intermediate_size, 1, 1 << 18)?;
        check.within("num_hidden_layers", self.num_hidden_layers, 1, 1024)?;
        check.within("num_attention_heads", heads, 1, 1024)?;
        check.within("num_key_value_heads", self.key_value_heads(), 1, heads)?;
        check.multiple(
            "num_attention_heads",
            heads,
            "num_key_value_heads",
            self.key_value_heads(),
        )?;
        if self.head_dim.is_none() {
            let key = "num_attention_heads";
            check.multiple("hidden_size", self.hidden_size, key, heads)?;
        }
        check.within("head_dim", self.head_width(), 2, 1 << 14)?;
        check.multiple("head_dim", self.head_width(), "a pair", 2)?;
        check.epsilon("rms_norm_eps", self.rms_norm_eps)?;
        check.share("attention_dropout", self.attention_dropout)?;
        check.deviation("initializer_range", self.initializer_range)?;
        self.check_rope(check)
    }

    fn check_rope(&self, check: &Check<'_>) -> Result<(), BackboneError> {
        let theta = self.theta();
        if !(theta.is_finite() && theta > 1.0) {
            return Err(check.refuse("rope_theta", theta, "above 1"));
        }
        let Some(rope) = self.rope() else {
            return Ok(());
        };
        let at = match &self.rope_scaling {
            Some(scaling) if std::ptr::eq(scaling, rope) => "rope_scaling",
            _ => "rope_parameters",
        };
        let above = |key: &str, value: Option<f64>, min: f64| match value {
            Some(v) if v.is_finite() && v >= min => Ok(v),
            got => Err(check.refuse(
                &format!("{at}.{key}"),
                got.map_or("nothing".into(), |v| v.to_string()),
                format!("a number of at least {min} for rope_type {}", rope.name()),
            )),
        };
        let partial = rope.partial_rotary_factor.or(self.partial_rotary_factor);
        if let Some(share) = partial.filter(|share| rope.name() != "default" && *share != 1.0) {
            let key = format!("{at}.partial_rotary_factor");
            return Err(check.refuse(&key, share, "1: all channels are rotated"));
        }
        match rope.name() {
            "default" => Ok(()),
            "linear" => above("factor", rope.factor, 1.0).map(drop),
            "llama3" => {
                above("factor", rope.factor, 1.0)?;
                let low = above("low_freq_factor", rope.low_freq_factor, 0.0)?;
                let high = above("high_freq_factor", rope.high_freq_factor, 0.0)?;
                if high <= low {
                    let key = format!("{at}.high_freq_factor");
                    return Err(check.refuse(&key, high, format!("above low_freq_factor = {low}")));
                }
                Ok(())
            }
            other => {
                let key = format!("{at}.rope_type");
                Err(check.refuse(&key, other, "default, linear or llama3"))
            }
        }
    }

    pub(super) fn specs(&self) -> Vec<Spec> {
        let d = self.hidden_size;
        let mut specs: Vec<Spec> = Vec::new();
        for block in 0..self.num_hidden_layers {
            for linear in self.block(block) {
                let bias = if linear.name.contains(".mlp.") {
                    self.mlp_bias
                } else {
                    self.attention_bias
                };
                specs.extend(linear.specs(bias));
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                specs.push((format!("layers.{block}.{norm}.weight"), vec![d]));
            }
        }
        specs.push(("norm.weight".into(), vec![d]));
        specs
    }

    pub(super) fn linears(&self) -> Vec<Linear> {
        let blocks = 0..self.num_hidden_layers;
        blocks.flat_map(|b| self.block(b)).collect()
    }

    fn block(&self, block: usize) -> [Linear; 7] {
        let (d, m) = (self.hidden_size, self.intermediate_size);
        let q = self.num_attention_heads * self.head_width();
        let kv = self.key_value_heads() * self.head_width();
        let parts = [
            ("self_attn.q_proj", d, q),
            ("self_attn.k_proj", d, kv),
            ("self_attn.v_proj", d, kv),
            ("self_attn.o_proj", q, d),
            ("mlp.gate_proj", d, m),
            ("mlp.up_proj", d, m),
            ("mlp.down_proj", m, d),
        ];
        Linear::of_block(&format!("layers.{block}"), parts)
    }
}

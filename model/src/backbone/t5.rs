//! T5 (Raffel et al. 2020): encoder and decoder, relative positions.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::{Activation, BackboneError, Linear};
use crate::Spec;

/// Between the two layers of a feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeedForward {
    /// Activation of the first layer.
    pub activation: Activation,
    /// Whether it is multiplied by the output of a third layer.
    pub gated: bool,
}

impl TryFrom<String> for FeedForward {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (name, gated) = match text.strip_prefix("gated-") {
            // The activation that 1.1 was trained with, although its
            // configuration has gelu.
            Some("gelu") => ("gelu_new", true),
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        let name = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
        match Activation::deserialize(name) {
            Ok(activation) => Ok(FeedForward { activation, gated }),
            Err(e) => Err(format!("{text}: {e}")),
        }
    }
}

impl From<FeedForward> for String {
    fn from(feed_forward: FeedForward) -> String {
        let name = serde_json::to_value(feed_forward.activation);
        let name = name.ok().and_then(|v| v.as_str().map(str::to_owned));
        let name = name.expect("an activation is written as a string");
        match (feed_forward.gated, name.as_str()) {
            (true, "gelu_new") => "gated-gelu".to_owned(),
            (true, name) => format!("gated-{name}"),
            (false, _) => name,
        }
    }
}

/// `config.json` of a T5, with Hugging Face's names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// Rows of the token embedding, which policies do not use.
    pub vocab_size: usize,
    /// Width of a hidden state, 1..=65536.
    pub d_model: usize,
    /// Width of a head, 1..=16384.
    pub d_kv: usize,
    /// Units of the feed-forward part, 1..=262144.
    pub d_ff: usize,
    /// Blocks of the encoder, 1..=1024.
    pub num_layers: usize,
    /// Blocks of the decoder, 1..=1024; null: `num_layers`.
    pub num_decoder_layers: Option<usize>,
    /// Attention heads, 1..=1024.
    pub num_heads: usize,
    /// Number of buckets of relative distance, even, 4..=65536.
    pub relative_attention_num_buckets: usize,
    /// Distance above which all positions share one bucket; greater than half
    /// the number of buckets.
    pub relative_attention_max_distance: usize,
    /// Dropout of embeddings, attention weights and every part, 0..1.
    pub dropout_rate: f64,
    /// Epsilon of every norm, 1e-12..=1e-2.
    pub layer_norm_epsilon: f64,
    /// Multiplies the deviations of random weights, above 0..=1000.
    pub initializer_factor: f64,
    /// `relu` (1.0) or `gated-gelu` (1.1); other activations by name, prefixed
    /// with `gated-` if gated.
    pub feed_forward_proj: FeedForward,
    /// Takes precedence over the activation in `feed_forward_proj`; used by the
    /// first Flan-T5 models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense_act_fn: Option<Activation>,
    /// Takes precedence over the gate in `feed_forward_proj`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_gated_act: Option<bool>,
    /// Whether token embedding and output are tied; without effect on hidden
    /// states.
    pub tie_word_embeddings: bool,
    /// Extension of Hugging Face's format: the encoder and cross-attention are
    /// causal too. Without it every hidden state depends on the whole sequence,
    /// including later tokens.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub causal: bool,
}

impl Default for T5Config {
    fn default() -> Self {
        T5Config {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward_proj: FeedForward {
                activation: Activation::Relu,
                gated: false,
            },
            dense_act_fn: None,
            is_gated_act: None,
            tie_word_embeddings: true,
            causal: false,
        }
    }
}

impl T5Config {
    /// Between the two layers of a feed-forward part, from any of the keys.
    pub fn feed_forward(&self) -> FeedForward {
        let FeedForward { activation, gated } = self.feed_forward_proj;
        FeedForward {
            activation: self.dense_act_fn.unwrap_or(activation),
            gated: self.is_gated_act.unwrap_or(gated),
        }
    }

    /// Blocks of the decoder.
    pub fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), BackboneError> {
        let buckets = self.relative_attention_num_buckets;
        check.within("vocab_size", self.vocab_size, 0, 1 << 24)?;
        check.within("d_model", self.d_model, 1, 1 << 16)?;
        check.within("d_kv", self.d_kv, 1, 1 << 14)?;
        check.within("d_ff", self.d_ff, 1, 1 << 18)?;
        check.within("num_layers", self.num_layers, 1, 1024)?;
        check.within("num_decoder_layers", self.decoder_layers(), 1, 1024)?;
        check.within("num_heads", self.num_heads, 1, 1024)?;
        check.within("relative_attention_num_buckets", buckets, 4, 1 << 16)?;
        check.multiple("relative_attention_num_buckets", buckets, "four", 4)?;
        check.within(
            "relative_attention_max_distance",
            self.relative_attention_max_distance,
            buckets / 2 + 1,
            1 << 24,
        )?;
        check.share("dropout_rate", self.dropout_rate)?;
        check.epsilon("layer_norm_epsilon", self.layer_norm_epsilon)?;
        if !(self.initializer_factor > 0.0 && self.initializer_factor <= 1000.0) {
            let got = self.initializer_factor;
            return Err(check.refuse("initializer_factor", got, "0 < x <= 1000"));
        }
        Ok(())
    }

    pub(super) fn specs(&self) -> Vec<Spec> {
        let mut specs: Vec<Spec> = Vec::new();
        for (stack, blocks) in self.stacks() {
            let positions =
                format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias");
            let shape = vec![self.relative_attention_num_buckets, self.num_heads];
            specs.push((format!("{positions}.weight"), shape));
            for block in 0..blocks {
                for linear in self.block(stack, block) {
                    specs.extend(linear.specs(false));
                }
                for layer in 0..if stack == "decoder" { 3 } else { 2 } {
                    let name = format!("{stack}.block.{block}.layer.{layer}.layer_norm.weight");
                    specs.push((name, vec![self.d_model]));
                }
            }
            specs.push((
                format!("{stack}.final_layer_norm.weight"),
                vec![self.d_model],
            ));
        }
        specs
    }

    pub(super) fn linears(&self) -> Vec<Linear> {
        let stacks = self.stacks().into_iter();
        stacks
            .flat_map(|(stack, n)| (0..n).flat_map(move |b| self.block(stack, b)))
            .collect()
    }

    fn stacks(&self) -> [(&'static str, usize); 2] {
        [
            ("encoder", self.num_layers),
            ("decoder", self.decoder_layers()),
        ]
    }

    fn block(&self, stack: &str, block: usize) -> Vec<Linear> {
        let (d, m, inner) = (self.d_model, self.d_ff, self.num_heads * self.d_kv);
        let layer = format!("{stack}.block.{block}.layer");
        let (attentions, last): (&[_], _) = if stack == "decoder" {
            (&["0.SelfAttention", "1.EncDecAttention"], 2)
        } else {
            (&["0.SelfAttention"], 1)
        };
        let mut linears = Vec::new();
        for attention in attentions {
            let parts = [
                ("q", d, inner),
                ("k", d, inner),
                ("v", d, inner),
                ("o", inner, d),
            ];
            linears.extend(Linear::of_block(&format!("{layer}.{attention}"), parts));
        }
        let dense = format!("{layer}.{last}.DenseReluDense");
        if self.feed_forward().gated {
            let parts = [("wi_0", d, m), ("wi_1", d, m), ("wo", m, d)];
            linears.extend(Linear::of_block(&dense, parts));
        } else {
            linears.extend(Linear::of_block(&dense, [("wi", d, m), ("wo", m, d)]));
        }
        linears
    }
}

//! GPT-2 (Radford et al. 2019): pre-norm blocks, learned positions.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::{Activation, BackboneError, Linear};
use crate::Spec;

/// `config.json` of a GPT-2, with Hugging Face's names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// Rows of the token embedding, which policies do not use.
    pub vocab_size: usize,
    /// Rows of the position table, 0..=1048576; 0: the model has none, and its
    /// input embeddings encode the position.
    pub n_positions: usize,
    /// Width of a hidden state, 1..=65536, a multiple of `n_head`.
    pub n_embd: usize,
    /// Blocks, 1..=1024.
    pub n_layer: usize,
    /// Attention heads, 1..=1024.
    pub n_head: usize,
    /// Units of the feed-forward part, 1..=262144; null: 4 `n_embd`.
    pub n_inner: Option<usize>,
    /// Activation of the feed-forward part.
    pub activation_function: Activation,
    /// Dropout of a block's additions to the residual stream, 0..1.
    pub resid_pdrop: f64,
    /// Dropout of the embeddings, 0..1.
    pub embd_pdrop: f64,
    /// Dropout of attention weights, 0..1.
    pub attn_pdrop: f64,
    /// Epsilon of every layer norm, 1e-12..=1e-2.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of random weights, 0..=1.
    pub initializer_range: f64,
    /// Divide attention scores by the root of a head's width.
    pub scale_attn_weights: bool,
    /// Also divide attention scores by the block's number.
    pub scale_attn_by_inverse_layer_idx: bool,
}

impl Default for Gpt2Config {
    fn default() -> Self {
        Gpt2Config {
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Activation::GeluNew,
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
        }
    }
}

impl Gpt2Config {
    /// Units of the feed-forward part.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), BackboneError> {
        check.within("vocab_size", self.vocab_size, 0, 1 << 24)?;
        check.within("n_positions", self.n_positions, 0, 1 << 20)?;
        check.within("n_embd", self.n_embd, 1, 1 << 16)?;
        check.within("n_layer", self.n_layer, 1, 1024)?;
        check.within("n_head", self.n_head, 1, 1024)?;
        check.multiple("n_embd", self.n_embd, "n_head", self.n_head)?;
        check.within("n_inner", self.inner(), 1, 1 << 18)?;
        check.share("resid_pdrop", self.resid_pdrop)?;
        check.share("embd_pdrop", self.embd_pdrop)?;
        check.share("attn_pdrop", self.attn_pdrop)?;
        check.epsilon("layer_norm_epsilon", self.layer_norm_epsilon)?;
        check.deviation("initializer_range", self.initializer_range)
    }

    pub(super) fn specs(&self) -> Vec<Spec> {
        let d = self.n_embd;
        let mut specs: Vec<Spec> = Vec::new();
        if self.n_positions > 0 {
            specs.push(("wpe.weight".into(), vec![self.n_positions, d]));
        }
        for block in 0..self.n_layer {
            for norm in ["ln_1", "ln_2"] {
                specs.push((format!("h.{block}.{norm}.weight"), vec![d]));
                specs.push((format!("h.{block}.{norm}.bias"), vec![d]));
            }
            for linear in self.block(block) {
                specs.extend(linear.specs(true));
            }
        }
        specs.push(("ln_f.weight".into(), vec![d]));
        specs.push(("ln_f.bias".into(), vec![d]));
        specs
    }

    pub(super) fn linears(&self) -> Vec<Linear> {
        (0..self.n_layer).flat_map(|b| self.block(b)).collect()
    }

    fn block(&self, block: usize) -> [Linear; 4] {
        let (d, m) = (self.n_embd, self.inner());
        let parts = [
            ("attn.c_attn", d, 3 * d),
            ("attn.c_proj", d, d),
            ("mlp.c_fc", d, m),
            ("mlp.c_proj", m, d),
        ];
        // Conv1D: inputs × outputs.
        Linear::of_block(&format!("h.{block}"), parts).map(|linear| Linear {
            transposed: true,
            ..linear
        })
    }
}

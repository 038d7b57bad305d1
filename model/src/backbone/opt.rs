//! OPT (Zhang et al. 2022): learned positions that start at 2, pre-norm
//! except in the 350M model, whose embeddings are narrower than its blocks.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::{Activation, BackboneError, Linear};
use crate::Spec;

/// First row of the position table used by tokens.
pub(crate) const POSITION_OFFSET: usize = 2;

/// `config.json` of an OPT, with Hugging Face's names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptConfig {
    /// Rows of the token embedding, which policies do not use.
    pub vocab_size: usize,
    /// Maximum number of tokens of a sequence, 1..=1048576.
    pub max_position_embeddings: usize,
    /// Width of a block, 1..=65536, a multiple of `num_attention_heads`.
    pub hidden_size: usize,
    /// Width of the embeddings and of the last hidden state, 1..=65536;
    /// null: `hidden_size`.
    pub word_embed_proj_dim: Option<usize>,
    /// Blocks, 1..=1024.
    pub num_hidden_layers: usize,
    /// Attention heads, 1..=1024.
    pub num_attention_heads: usize,
    /// Units of the feed-forward part, 1..=262144.
    pub ffn_dim: usize,
    /// Activation of the feed-forward part.
    pub activation_function: Activation,
    /// Dropout of a block's additions to the residual stream, 0..1.
    pub dropout: f64,
    /// Dropout of attention weights, 0..1.
    pub attention_dropout: f64,
    /// Norm before each part of a block (all models but 350M) or after it.
    pub do_layer_norm_before: bool,
    /// Omit the last norm in pre-norm models.
    #[serde(rename = "_remove_final_layer_norm")]
    pub remove_final_layer_norm: bool,
    /// Linear layers of the blocks have biases.
    pub enable_bias: bool,
    /// Norms have weights and biases.
    pub layer_norm_elementwise_affine: bool,
    /// Standard deviation of random weights, 0..=1.
    pub init_std: f64,
}

impl Default for OptConfig {
    fn default() -> Self {
        OptConfig {
            vocab_size: 50272,
            max_position_embeddings: 2048,
            hidden_size: 768,
            word_embed_proj_dim: None,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            ffn_dim: 3072,
            activation_function: Activation::Relu,
            dropout: 0.1,
            attention_dropout: 0.0,
            do_layer_norm_before: true,
            remove_final_layer_norm: false,
            enable_bias: true,
            layer_norm_elementwise_affine: true,
            init_std: 0.02,
        }
    }
}

impl OptConfig {
    /// Width of the embeddings and of the last hidden state.
    pub fn width(&self) -> usize {
        self.word_embed_proj_dim.unwrap_or(self.hidden_size)
    }

    /// Whether the embeddings are projected to the blocks' width, and back.
    pub fn projects(&self) -> bool {
        self.width() != self.hidden_size
    }

    /// Whether there is a norm after the last block.
    pub fn has_final_norm(&self) -> bool {
        self.do_layer_norm_before && !self.remove_final_layer_norm
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), BackboneError> {
        let heads = self.num_attention_heads;
        check.within("vocab_size", self.vocab_size, 0, 1 << 24)?;
        check.within(
            "max_position_embeddings",
            self.max_position_embeddings,
            1,
            1 << 20,
        )?;
        check.within("hidden_size", self.hidden_size, 1, 1 << 16)?;
        check.within("word_embed_proj_dim", self.width(), 1, 1 << 16)?;
        check.within("num_hidden_layers", self.num_hidden_layers, 1, 1024)?;
        check.within("num_attention_heads", heads, 1, 1024)?;
        check.multiple(
            "hidden_size",
            self.hidden_size,
            "num_attention_heads",
            heads,
        )?;
        check.within("ffn_dim", self.ffn_dim, 1, 1 << 18)?;
        check.share("dropout", self.dropout)?;
        check.share("attention_dropout", self.attention_dropout)?;
        check.deviation("init_std", self.init_std)
    }

    pub(super) fn specs(&self) -> Vec<Spec> {
        let d = self.hidden_size;
        let rows = self.max_position_embeddings + POSITION_OFFSET;
        let mut specs: Vec<Spec> = vec![("decoder.embed_positions.weight".into(), vec![rows, d])];
        let norm = |specs: &mut Vec<Spec>, name: String| {
            if self.layer_norm_elementwise_affine {
                specs.push((format!("{name}.weight"), vec![d]));
                specs.push((format!("{name}.bias"), vec![d]));
            }
        };
        for linear in self.projections() {
            specs.extend(linear.specs(false));
        }
        for block in 0..self.num_hidden_layers {
            for linear in self.block(block) {
                specs.extend(linear.specs(self.enable_bias));
            }
            let name = |part| format!("decoder.layers.{block}.{part}");
            norm(&mut specs, name("self_attn_layer_norm"));
            norm(&mut specs, name("final_layer_norm"));
        }
        if self.has_final_norm() {
            norm(&mut specs, "decoder.final_layer_norm".into());
        }
        specs
    }

    pub(super) fn linears(&self) -> Vec<Linear> {
        let blocks = (0..self.num_hidden_layers).flat_map(|b| self.block(b));
        self.projections().into_iter().chain(blocks).collect()
    }

    fn projections(&self) -> Vec<Linear> {
        if !self.projects() {
            return Vec::new();
        }
        let (e, d) = (self.width(), self.hidden_size);
        Linear::of_block("decoder", [("project_in", e, d), ("project_out", d, e)]).into()
    }

    fn block(&self, block: usize) -> [Linear; 6] {
        let (d, m) = (self.hidden_size, self.ffn_dim);
        let parts = [
            ("self_attn.q_proj", d, d),
            ("self_attn.k_proj", d, d),
            ("self_attn.v_proj", d, d),
            ("self_attn.out_proj", d, d),
            ("fc1", d, m),
            ("fc2", m, d),
        ];
        Linear::of_block(&format!("decoder.layers.{block}"), parts)
    }
}

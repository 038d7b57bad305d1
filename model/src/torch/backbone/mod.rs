//! Forward passes of the backbones over embeddings, as functions of named
//! weights. Training, adapters, merging, recomputation and tracing share this
//! code.
//!
//! ```text
//! embeds ─▶ begin ─▶ layer 0 ─▶ … ─▶ layer n-1 ─▶ end ─▶ last hidden state
//!           positions, masks                     last norm
//! ```
//!
//! Everything is computed in the type of the embeddings (f32 or bf16).
//! Weights of another type are converted on each use, so keep frozen weights in
//! the type of the embeddings. Norms and softmax accumulate in f32.

mod gpt2;
mod llama;
mod ops;
mod opt;
mod recompute;
mod t5;

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::TrainError;
use crate::backbone::{BackboneConfig, BackboneError, LoraConfig};
use ops::Ops;
pub use recompute::backward;

/// Tensors by the names of [`BackboneConfig::specs`], and adapters by those
/// of [`LoraConfig::specs`]; either frozen or differentiable views.
#[derive(Debug, Default)]
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// An empty set of weights.
    pub fn new() -> Weights {
        Weights::default()
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// An optional tensor.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// A required tensor.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn get(&self, name: &str) -> Result<&Tensor, BackboneError> {
        self.find(name).ok_or_else(|| BackboneError::Tensor {
            file: "weights".into(),
            tensor: name.to_owned(),
            reason: "missing".into(),
        })
    }

    /// Names and tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Inserts the tensors of `other`, which replace existing ones.
    pub fn extend(&mut self, other: Weights) {
        self.0.extend(other.0);
    }

    /// The same tensors, shared.
    pub fn share(&self) -> Weights {
        self.iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone()))
            .collect()
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Weights {
        Weights(tensors.into_iter().collect())
    }
}

/// Options of a forward pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pass<'a> {
    /// [B, T], bool, true where there is a token; `None`: everywhere. Hidden
    /// states of padding are finite but meaningless. A causal backbone with
    /// padding only on the right needs no mask and is faster without one.
    pub mask: Option<&'a Tensor>,
    /// Whether dropout is on.
    pub train: bool,
    /// Whether adapters among the weights are applied.
    pub lora: Option<&'a LoraConfig>,
    /// Tokens whose last hidden states are requested; `None`: all.
    pub asked: Option<Asked>,
}

/// Every `step`th token from `first` on. In the last layer, once attention
/// has used all tokens, only the requested ones are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Less than the number of tokens.
    pub first: i64,
    /// At least 1.
    pub step: i64,
}

impl Asked {
    /// [B, Q, ..] of [B, T, ..].
    ///
    /// # Errors
    /// `first` is outside of the tokens.
    pub fn of(self, x: &Tensor) -> Result<Tensor, TrainError> {
        Ok(x.f_slice(1, self.first, None, self.step)?)
    }
}

/// The state passed from layer to layer.
#[derive(Debug)]
pub struct State {
    hidden: Tensor,         // [B, T, d]; after the last layer [B, Q, d]
    memory: Option<Tensor>, // [B, T, d], the encoder's output, for a decoder
    bias: Option<Tensor>,   // [1 or B, heads, T, T], of relative positions
    fixed: Fixed,
}

/// The part of a [`State`] without gradients.
#[derive(Debug, Default)]
struct Fixed {
    mask: Option<Tensor>,             // [B, 1, 1 or T, T], added to scores
    rotary: Option<(Tensor, Tensor)>, // cos and sin, [T, width of a head]
}

impl Fixed {
    fn share(&self) -> Fixed {
        let share = Tensor::shallow_clone;
        let turn = |(cos, sin): &(Tensor, Tensor)| (share(cos), share(sin));
        Fixed {
            mask: self.mask.as_ref().map(share),
            rotary: self.rotary.as_ref().map(turn),
        }
    }
}

/// The last hidden state: [B, T, d] for embeddings [B, T, d], or [B, Q, d]
/// for the requested tokens.
///
/// # Errors
/// The embeddings or the mask have the wrong shape, a tensor is missing, or
/// libtorch failed.
pub fn hidden(
    config: &BackboneConfig,
    weights: &Weights,
    embeds: &Tensor,
    pass: &Pass<'_>,
) -> Result<Tensor, TrainError> {
    let mut state = begin(config, weights, embeds, pass)?;
    for index in 0..config.layers() {
        state = layer(config, weights, index, state, pass)?;
    }
    end(config, weights, state, pass)
}

/// The computation before the first layer.
///
/// # Errors
/// As [`hidden`].
pub fn begin(
    config: &BackboneConfig,
    weights: &Weights,
    embeds: &Tensor,
    pass: &Pass<'_>,
) -> Result<State, TrainError> {
    check_input(config, embeds, pass)?;
    let ops = Ops { weights, pass };
    match config {
        BackboneConfig::Gpt2(c) => gpt2::begin(c, &ops, embeds),
        BackboneConfig::Opt(c) => opt::begin(c, &ops, embeds),
        BackboneConfig::Llama(c) => llama::begin(c, &ops, embeds),
        BackboneConfig::T5(c) => t5::begin(c, &ops, embeds),
    }
}

/// Layer `index` of 0..[`BackboneConfig::layers`], called in that order.
///
/// # Errors
/// As [`hidden`].
pub fn layer(
    config: &BackboneConfig,
    weights: &Weights,
    index: usize,
    state: State,
    pass: &Pass<'_>,
) -> Result<State, TrainError> {
    let ops = Ops { weights, pass };
    match config {
        BackboneConfig::Gpt2(c) => gpt2::layer(c, &ops, index, state),
        BackboneConfig::Opt(c) => opt::layer(c, &ops, index, state),
        BackboneConfig::Llama(c) => llama::layer(c, &ops, index, state),
        BackboneConfig::T5(c) => t5::layer(c, &ops, index, state),
    }
}

/// The computation after the last layer.
///
/// # Errors
/// As [`hidden`].
pub fn end(
    config: &BackboneConfig,
    weights: &Weights,
    state: State,
    pass: &Pass<'_>,
) -> Result<Tensor, TrainError> {
    let ops = Ops { weights, pass };
    match config {
        BackboneConfig::Gpt2(c) => gpt2::end(c, &ops, &state),
        BackboneConfig::Opt(c) => opt::end(c, &ops, &state),
        BackboneConfig::Llama(c) => llama::end(c, &ops, &state),
        BackboneConfig::T5(c) => t5::end(c, &ops, &state),
    }
}

fn check_input(
    config: &BackboneConfig,
    embeds: &Tensor,
    pass: &Pass<'_>,
) -> Result<(), BackboneError> {
    let wrong = |name, tensor: &Tensor, want: String| BackboneError::Input {
        name,
        got: tensor.size(),
        want,
    };
    let width = config.width();
    let [batch, tokens, inputs] = embeds.size()[..] else {
        return Err(wrong("embeds", embeds, format!("[B, T, {width}]")));
    };
    if inputs != width as i64 {
        return Err(wrong("embeds", embeds, format!("[B, T, {width}]")));
    }
    if let Some(most) = config.tokens_max().filter(|&most| tokens > most as i64) {
        let want = format!("at most {most} tokens, the size of the position table");
        return Err(wrong("embeds", embeds, want));
    }
    if let Some(asked) = pass.asked {
        if !(0..tokens).contains(&asked.first) || asked.step < 1 {
            let want = format!("tokens for {asked:?}");
            return Err(wrong("embeds", embeds, want));
        }
    }
    match pass.mask {
        Some(m) if m.size() != [batch, tokens] || m.kind() != Kind::Bool => {
            Err(wrong("mask", m, format!("[{batch}, {tokens}] of bool")))
        }
        _ => Ok(()),
    }
}

//! T5: an encoder, and a decoder that looks at the encoder's output.
//!
//! The embeddings are the encoder's input, and the encoder's output is used
//! twice by the decoder: as its input and for cross-attention, as in NetLLM.
//! The decoder is causal; the encoder is causal only if the configuration sets
//! `causal`. Padding is hidden from the decoder as well.

use tch::{Device, Kind, Tensor};

use super::ops::{Attention, Ops, scores_of};
use super::{Fixed, State};
use crate::backbone::{FeedForward, T5Config};
use crate::torch::TrainError;

pub(super) fn begin(
    config: &T5Config,
    ops: &Ops<'_>,
    embeds: &Tensor,
) -> Result<State, TrainError> {
    Ok(State {
        hidden: ops.dropout(embeds, config.dropout_rate)?, // [B, T, d]
        memory: None,
        bias: Some(bias(config, ops, embeds, "encoder", config.causal)?),
        // Cross-attention to the encoder's output.
        fixed: Fixed {
            mask: match ops.mask(embeds, config.causal)? {
                None if config.causal => Some(future(embeds)?),
                mask => mask,
            },
            rotary: None,
        },
    })
}

pub(super) fn layer(
    config: &T5Config,
    ops: &Ops<'_>,
    index: usize,
    state: State,
) -> Result<State, TrainError> {
    let Some(index) = index.checked_sub(config.num_layers) else {
        let block = format!("encoder.block.{index}");
        let x = self_attention(config, ops, &block, &state)?;
        let x = feed_forward(config, ops, &format!("{block}.layer.1"), &x)?;
        let state = State { hidden: x, ..state };
        return match index + 1 == config.num_layers {
            true => turn_to_decoder(config, ops, state),
            false => Ok(state),
        };
    };
    let block = format!("decoder.block.{index}");
    let x = self_attention(config, ops, &block, &state)?;
    let name = format!("{block}.layer.1");
    let normed = ops.rms_norm(&x, &format!("{name}.layer_norm"), config.layer_norm_epsilon)?;
    let memory = state.memory.as_ref().unwrap_or(&x);
    let mask = state.fixed.mask.as_ref();
    let name = format!("{name}.EncDecAttention");
    let mixed = attention(config, ops, &name, [&normed, memory], mask)?;
    let x = x.f_add(&ops.dropout(&mixed, config.dropout_rate)?)?;
    let x = ops.asked(&x, index + 1 == config.decoder_layers())?;
    let x = feed_forward(config, ops, &format!("{block}.layer.2"), &x)?;
    Ok(State { hidden: x, ..state })
}

pub(super) fn end(config: &T5Config, ops: &Ops<'_>, state: &State) -> Result<Tensor, TrainError> {
    last(config, ops, "decoder", &state.hidden)
}

/// After the encoder's last block.
fn turn_to_decoder(config: &T5Config, ops: &Ops<'_>, state: State) -> Result<State, TrainError> {
    let memory = last(config, ops, "encoder", &state.hidden)?;
    Ok(State {
        hidden: ops.dropout(&memory, config.dropout_rate)?,
        bias: Some(bias(config, ops, &memory, "decoder", true)?),
        memory: Some(memory),
        fixed: state.fixed,
    })
}

fn last(config: &T5Config, ops: &Ops<'_>, stack: &str, x: &Tensor) -> Result<Tensor, TrainError> {
    let name = format!("{stack}.final_layer_norm");
    let normed = ops.rms_norm(x, &name, config.layer_norm_epsilon)?;
    ops.dropout(&normed, config.dropout_rate)
}

fn self_attention(
    config: &T5Config,
    ops: &Ops<'_>,
    block: &str,
    state: &State,
) -> Result<Tensor, TrainError> {
    let x = &state.hidden;
    let name = format!("{block}.layer.0");
    let normed = ops.rms_norm(x, &format!("{name}.layer_norm"), config.layer_norm_epsilon)?;
    let name = format!("{name}.SelfAttention");
    let mixed = attention(config, ops, &name, [&normed, &normed], state.bias.as_ref())?;
    Ok(x.f_add(&ops.dropout(&mixed, config.dropout_rate)?)?)
}

fn feed_forward(
    config: &T5Config,
    ops: &Ops<'_>,
    name: &str,
    x: &Tensor,
) -> Result<Tensor, TrainError> {
    let FeedForward { activation, gated } = config.feed_forward();
    let normed = ops.rms_norm(x, &format!("{name}.layer_norm"), config.layer_norm_epsilon)?;
    let dense = |x: &Tensor, part| ops.linear(x, &format!("{name}.DenseReluDense.{part}"));
    let up = match gated {
        false => ops.activation(&dense(&normed, "wi")?, activation)?,
        true => ops
            .activation(&dense(&normed, "wi_0")?, activation)?
            .f_mul(&dense(&normed, "wi_1")?)?,
    };
    let down = dense(&ops.dropout(&up, config.dropout_rate)?, "wo")?;
    Ok(x.f_add(&ops.dropout(&down, config.dropout_rate)?)?)
}

/// Attention of `from` to `to`, both [B, T, d].
fn attention(
    config: &T5Config,
    ops: &Ops<'_>,
    name: &str,
    [from, to]: [&Tensor; 2],
    mask: Option<&Tensor>,
) -> Result<Tensor, TrainError> {
    let heads = config.num_heads;
    let part = |x: &Tensor, part| ops.heads(&ops.linear(x, &format!("{name}.{part}"))?, heads);
    let (q, k, v) = (part(from, "q")?, part(to, "k")?, part(to, "v")?);
    let how = Attention {
        mask,
        causal: false, // included in the mask
        scale: 1.0,    // folded into the weights when T5 was trained
        dropout: config.dropout_rate,
    };
    let mixed = ops.attention([&q, &k, &v], &how)?;
    ops.linear(&mixed, &format!("{name}.o"))
}

/// Bias from relative positions and masks for a stack's self-attention: [1 or
/// B, heads, T, T].
fn bias(
    config: &T5Config,
    ops: &Ops<'_>,
    x: &Tensor,
    stack: &str,
    causal: bool,
) -> Result<Tensor, TrainError> {
    let name = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    let table = ops.weight(&name, x)?; // [buckets, heads]
    let tokens = x.size3()?.1;
    let buckets = buckets(config, tokens, stack == "encoder")?.f_to_device(x.device())?;
    let bias = Tensor::f_embedding(&table, &buckets, -1, false, false)?; // [T, T, heads]
    let bias = bias.f_permute([2, 0, 1])?.f_unsqueeze(0)?;
    let mask = match ops.mask(x, causal)? {
        None if causal => Some(future(x)?),
        mask => mask,
    };
    match mask {
        Some(mask) => Ok(bias.f_add(&mask)?),
        None => Ok(bias.f_contiguous()?),
    }
}

/// -inf at later tokens: [T, T].
fn future(x: &Tensor) -> Result<Tensor, TrainError> {
    let tokens = x.size3()?.1;
    let seen = Tensor::f_ones([tokens, tokens], (Kind::Bool, x.device()))?.f_tril(0)?;
    scores_of(&seen, x)
}

/// Bucket of each distance from a token (row) to another (column): [T, T].
/// Short distances have a bucket each, long ones share logarithmic buckets.
fn buckets(config: &T5Config, tokens: i64, both_ways: bool) -> Result<Tensor, TrainError> {
    let cpu = (Kind::Int64, Device::Cpu);
    let place = Tensor::f_arange(tokens, cpu)?;
    let distance = place.f_unsqueeze(0)?.f_sub(&place.f_unsqueeze(1)?)?;
    let mut kinds = config.relative_attention_num_buckets as i64;
    let (distance, first) = if both_ways {
        kinds /= 2;
        let ahead = distance.f_gt(0)?.f_to_kind(Kind::Int64)?;
        (distance.f_abs()?, ahead.f_mul_scalar(kinds)?)
    } else {
        let back = distance.f_neg()?.f_clamp_min(0)?;
        let none = back.f_zeros_like()?;
        (back, none)
    };
    let exact = kinds / 2;
    let most = config.relative_attention_max_distance as f64;
    // In f32 and in this order, so that distances fall into the same buckets
    // as in the trained models.
    let far = distance
        .f_clamp_min(1)?
        .f_to_kind(Kind::Float)?
        .f_div_scalar(exact)?
        .f_log()?
        .f_div_scalar((most / exact as f64).ln())?
        .f_mul_scalar(kinds - exact)?
        .f_to_kind(Kind::Int64)?
        .f_add_scalar(exact)?
        .f_clamp_max(kinds - 1)?;
    let near = distance.f_lt(exact)?;
    Ok(distance.f_where_self(&near, &far)?.f_add(&first)?)
}

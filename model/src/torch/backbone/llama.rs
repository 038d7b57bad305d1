//! Llama: norm, attention with rotary positions, add; norm, gated
//! feed-forward, add.

use tch::{Device, Kind, Tensor};

use super::ops::{Attention, Ops};
use super::{Fixed, State};
use crate::backbone::LlamaConfig;
use crate::torch::TrainError;

pub(super) fn begin(
    config: &LlamaConfig,
    ops: &Ops<'_>,
    embeds: &Tensor,
) -> Result<State, TrainError> {
    Ok(State {
        hidden: embeds.shallow_clone(), // [B, T, d]
        memory: None,
        bias: None,
        fixed: Fixed {
            mask: ops.mask(embeds, true)?,
            rotary: Some(rotary(config, embeds)?),
        },
    })
}

pub(super) fn layer(
    config: &LlamaConfig,
    ops: &Ops<'_>,
    index: usize,
    state: State,
) -> Result<State, TrainError> {
    let name = |part: &str| format!("layers.{index}.{part}");
    let linear = |x: &Tensor, part: &str| ops.linear(x, &name(part));
    let epsilon = config.rms_norm_eps;
    let (heads, shared) = (config.num_attention_heads, config.key_value_heads());
    let x = state.hidden;

    let normed = ops.rms_norm(&x, &name("input_layernorm"), epsilon)?;
    let q = ops.heads(&linear(&normed, "self_attn.q_proj")?, heads)?;
    let k = ops.heads(&linear(&normed, "self_attn.k_proj")?, shared)?;
    let v = ops.heads(&linear(&normed, "self_attn.v_proj")?, shared)?;
    let (q, k) = match &state.fixed.rotary {
        Some(rotary) => (turn(&q, rotary)?, turn(&k, rotary)?),
        None => (q, k),
    };
    let mixed = ops.attention(
        [
            &q,
            &repeat(&k, heads / shared)?,
            &repeat(&v, heads / shared)?,
        ],
        &Attention {
            mask: state.fixed.mask.as_ref(),
            causal: true,
            scale: 1.0 / (config.head_width() as f64).sqrt(),
            dropout: config.attention_dropout,
        },
    )?;
    let last = index + 1 == config.num_hidden_layers;
    let (x, mixed) = (ops.asked(&x, last)?, ops.asked(&mixed, last)?);
    let x = x.f_add(&linear(&mixed, "self_attn.o_proj")?)?;

    let normed = ops.rms_norm(&x, &name("post_attention_layernorm"), epsilon)?;
    let gate = ops.activation(&linear(&normed, "mlp.gate_proj")?, config.hidden_act)?;
    let up = linear(&normed, "mlp.up_proj")?.f_mul(&gate)?;
    let x = x.f_add(&linear(&up, "mlp.down_proj")?)?;
    Ok(State { hidden: x, ..state })
}

pub(super) fn end(
    config: &LlamaConfig,
    ops: &Ops<'_>,
    state: &State,
) -> Result<Tensor, TrainError> {
    ops.rms_norm(&state.hidden, "norm", config.rms_norm_eps)
}

/// Cosines and sines of every position and channel of a head, each [T, n];
/// channels i and i + n / 2 form a pair.
fn rotary(config: &LlamaConfig, embeds: &Tensor) -> Result<(Tensor, Tensor), TrainError> {
    let frequencies: Vec<f32> = config.frequencies().iter().map(|f| *f as f32).collect();
    let frequencies = Tensor::f_from_slice(&frequencies)?;
    let positions = Tensor::f_arange(embeds.size3()?.1, (Kind::Float, Device::Cpu))?;
    let angles = positions.f_outer(&frequencies)?;
    let angles = Tensor::f_cat(&[&angles, &angles], -1)?;
    let like = |t: Tensor| t.f_to_device(embeds.device())?.f_to_kind(embeds.kind());
    Ok((like(angles.f_cos()?)?, like(angles.f_sin()?)?))
}

/// Rotates the channel pairs of [B, heads, T, n] by their angles.
fn turn(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor, TrainError> {
    let halves = x.f_chunk(2, -1)?;
    let crossed = Tensor::f_cat(&[&halves[1].f_neg()?, &halves[0]], -1)?;
    Ok(x.f_mul(cos)?.f_add(&crossed.f_mul(sin)?)?)
}

/// Repeats every head `times` times; copies of a head are adjacent.
fn repeat(x: &Tensor, times: usize) -> Result<Tensor, TrainError> {
    if times == 1 {
        return Ok(x.shallow_clone());
    }
    Ok(x.f_repeat_interleave_self_int(times as i64, 1, None)?)
}

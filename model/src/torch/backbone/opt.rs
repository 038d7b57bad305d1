//! OPT: like GPT-2, with separate projections, norms before or after each
//! part, and embeddings that may be narrower than the blocks.

use tch::{Kind, Tensor};

use super::ops::{Attention, Ops};
use super::{Fixed, State};
use crate::backbone::{OptConfig, POSITION_OFFSET};
use crate::torch::TrainError;

/// Epsilon of every layer norm; OPT's configuration has no key for it.
const EPSILON: f64 = 1e-5;

pub(super) fn begin(
    config: &OptConfig,
    ops: &Ops<'_>,
    embeds: &Tensor,
) -> Result<State, TrainError> {
    let table = ops.weight("decoder.embed_positions.weight", embeds)?;
    let first = POSITION_OFFSET as i64;
    let positions = match ops.pass.mask {
        None => table.f_narrow(0, first, embeds.size3()?.1)?, // [T, d]
        Some(mask) => {
            // Only tokens are counted; padding has the row before the first.
            let mask = mask.f_to_device(embeds.device())?.f_to_kind(Kind::Int64)?;
            let rows = mask.f_cumsum(1, Kind::Int64)?.f_mul(&mask)?;
            let rows = rows.f_add_scalar(first - 1)?;
            Tensor::f_embedding(&table, &rows, -1, false, false)? // [B, T, d]
        }
    };
    let mut x = embeds.shallow_clone();
    if config.projects() {
        x = ops.linear(&x, "decoder.project_in")?;
    }
    Ok(State {
        hidden: x.f_add(&positions)?,
        memory: None,
        bias: None,
        fixed: Fixed {
            mask: ops.mask(embeds, true)?,
            rotary: None,
        },
    })
}

pub(super) fn layer(
    config: &OptConfig,
    ops: &Ops<'_>,
    index: usize,
    state: State,
) -> Result<State, TrainError> {
    let name = |part: &str| format!("decoder.layers.{index}.{part}");
    let before = config.do_layer_norm_before;
    let norm = |x: &Tensor, part, now: bool| match now {
        true => ops.norm(x, &name(part), EPSILON),
        false => Ok(x.shallow_clone()),
    };
    let heads = config.num_attention_heads;
    let x = state.hidden;

    let normed = norm(&x, "self_attn_layer_norm", before)?;
    let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|part| {
        let projected = ops.linear(&normed, &name(&format!("self_attn.{part}")))?;
        ops.heads(&projected, heads)
    });
    let mixed = ops.attention(
        [&q?, &k?, &v?],
        &Attention {
            mask: state.fixed.mask.as_ref(),
            causal: true,
            scale: 1.0 / ((config.hidden_size / heads) as f64).sqrt(),
            dropout: config.attention_dropout,
        },
    )?;
    let last = index + 1 == config.num_hidden_layers;
    let (x, mixed) = (ops.asked(&x, last)?, ops.asked(&mixed, last)?);
    let mixed = ops.linear(&mixed, &name("self_attn.out_proj"))?;
    let x = x.f_add(&ops.dropout(&mixed, config.dropout)?)?;
    let x = norm(&x, "self_attn_layer_norm", !before)?;

    let normed = norm(&x, "final_layer_norm", before)?;
    let up = ops.linear(&normed, &name("fc1"))?;
    let up = ops.activation(&up, config.activation_function)?;
    let down = ops.linear(&up, &name("fc2"))?;
    let x = x.f_add(&ops.dropout(&down, config.dropout)?)?;
    let x = norm(&x, "final_layer_norm", !before)?;
    Ok(State { hidden: x, ..state })
}

pub(super) fn end(config: &OptConfig, ops: &Ops<'_>, state: &State) -> Result<Tensor, TrainError> {
    let mut x = state.hidden.shallow_clone();
    if config.has_final_norm() {
        x = ops.norm(&x, "decoder.final_layer_norm", EPSILON)?;
    }
    if config.projects() {
        x = ops.linear(&x, "decoder.project_out")?;
    }
    Ok(x)
}

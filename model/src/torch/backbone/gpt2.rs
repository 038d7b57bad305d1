//! GPT-2: norm, attention, add; norm, feed-forward, add.

use tch::Tensor;

use super::ops::{Attention, Ops};
use super::{Fixed, State};
use crate::backbone::Gpt2Config;
use crate::torch::TrainError;

pub(super) fn begin(
    config: &Gpt2Config,
    ops: &Ops<'_>,
    embeds: &Tensor,
) -> Result<State, TrainError> {
    let mut x = embeds.shallow_clone(); // [B, T, d]
    if config.n_positions > 0 {
        // Position in the sequence, including padding, as in the original.
        let tokens = embeds.size3()?.1;
        let positions = ops.weight("wpe.weight", embeds)?.f_narrow(0, 0, tokens)?;
        x = x.f_add(&positions)?;
    }
    Ok(State {
        hidden: ops.dropout(&x, config.embd_pdrop)?,
        memory: None,
        bias: None,
        fixed: Fixed {
            mask: ops.mask(embeds, true)?,
            rotary: None,
        },
    })
}

pub(super) fn layer(
    config: &Gpt2Config,
    ops: &Ops<'_>,
    index: usize,
    state: State,
) -> Result<State, TrainError> {
    let h = format!("h.{index}");
    let epsilon = config.layer_norm_epsilon;
    let mut scale = 1.0;
    if config.scale_attn_weights {
        scale /= ((config.n_embd / config.n_head) as f64).sqrt();
    }
    if config.scale_attn_by_inverse_layer_idx {
        scale /= (index + 1) as f64;
    }
    let x = state.hidden;

    let normed = ops.norm(&x, &format!("{h}.ln_1"), epsilon)?;
    let qkv = ops.conv1d(&normed, &format!("{h}.attn.c_attn"))?; // [B, T, 3 d]
    let qkv = qkv.f_chunk(3, -1)?;
    let [q, k, v] = [0, 1, 2].map(|i| ops.heads(&qkv[i], config.n_head));
    let mixed = ops.attention(
        [&q?, &k?, &v?],
        &Attention {
            mask: state.fixed.mask.as_ref(),
            causal: true,
            scale,
            dropout: config.attn_pdrop,
        },
    )?;
    let last = index + 1 == config.n_layer;
    let (x, mixed) = (ops.asked(&x, last)?, ops.asked(&mixed, last)?);
    let mixed = ops.conv1d(&mixed, &format!("{h}.attn.c_proj"))?;
    let x = x.f_add(&ops.dropout(&mixed, config.resid_pdrop)?)?;

    let normed = ops.norm(&x, &format!("{h}.ln_2"), epsilon)?;
    let up = ops.conv1d(&normed, &format!("{h}.mlp.c_fc"))?;
    let up = ops.activation(&up, config.activation_function)?;
    let down = ops.conv1d(&up, &format!("{h}.mlp.c_proj"))?;
    let x = x.f_add(&ops.dropout(&down, config.resid_pdrop)?)?;
    Ok(State { hidden: x, ..state })
}

pub(super) fn end(config: &Gpt2Config, ops: &Ops<'_>, state: &State) -> Result<Tensor, TrainError> {
    ops.norm(&state.hidden, "ln_f", config.layer_norm_epsilon)
}

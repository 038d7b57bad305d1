//! Operations shared by the families.

use tch::{Kind, Tensor};

use super::{Pass, Weights};
use crate::backbone::Activation;
use crate::torch::TrainError;

/// Options of attention.
pub(super) struct Attention<'a> {
    /// Added to the scores, broadcast to [B, heads, T, T].
    pub(super) mask: Option<&'a Tensor>,
    /// Without a mask: each token sees itself and its predecessors.
    pub(super) causal: bool,
    /// Factor on the scores.
    pub(super) scale: f64,
    /// Dropout of the attention weights, 0..1.
    pub(super) dropout: f64,
}

/// Layers, addressed by the names of their weights.
pub(super) struct Ops<'a> {
    pub(super) weights: &'a Weights,
    pub(super) pass: &'a Pass<'a>,
}

impl Ops<'_> {
    /// A weight in the type of `x`.
    pub(super) fn weight(&self, name: &str, x: &Tensor) -> Result<Tensor, TrainError> {
        in_kind_of(self.weights.get(name)?, x)
    }

    fn optional(&self, name: &str, x: &Tensor) -> Result<Option<Tensor>, TrainError> {
        let found = self.weights.find(name);
        found.map(|weight| in_kind_of(weight, x)).transpose()
    }

    /// y = x Wᵀ + b, with W as outputs × inputs, plus the adapter's
    /// contribution.
    pub(super) fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, TrainError> {
        let weight = self.weight(&format!("{name}.weight"), x)?;
        self.affine(x, &weight, name)
    }

    /// As above with W as inputs × outputs.
    pub(super) fn conv1d(&self, x: &Tensor, name: &str) -> Result<Tensor, TrainError> {
        let weight = self.weight(&format!("{name}.weight"), x)?.f_tr()?;
        self.affine(x, &weight, name)
    }

    fn affine(&self, x: &Tensor, weight: &Tensor, name: &str) -> Result<Tensor, TrainError> {
        let bias = self.optional(&format!("{name}.bias"), x)?;
        let y = x.f_linear(weight, bias.as_ref())?;
        let Some(lora) = self.pass.lora else {
            return Ok(y);
        };
        let Some(a) = self.optional(&format!("{name}.lora_A.weight"), x)? else {
            return Ok(y);
        };
        let b = self.weight(&format!("{name}.lora_B.weight"), x)?;
        let low = self
            .dropout(x, lora.dropout)?
            .f_linear(&a, None::<&Tensor>)?;
        let update = low
            .f_mul_scalar(lora.scale(name))?
            .f_linear(&b, None::<&Tensor>)?;
        Ok(y.f_add(&update)?)
    }

    /// Layer norm, with weight and bias if present.
    pub(super) fn norm(&self, x: &Tensor, name: &str, epsilon: f64) -> Result<Tensor, TrainError> {
        let weight = self.optional(&format!("{name}.weight"), x)?;
        let bias = self.optional(&format!("{name}.bias"), x)?;
        Ok(x.f_layer_norm(width(x), weight.as_ref(), bias.as_ref(), epsilon, true)?)
    }

    /// Root-mean-square norm.
    pub(super) fn rms_norm(
        &self,
        x: &Tensor,
        name: &str,
        epsilon: f64,
    ) -> Result<Tensor, TrainError> {
        let weight = self.weight(&format!("{name}.weight"), x)?;
        Ok(x.f_rms_norm(width(x), Some(&weight), epsilon)?)
    }

    /// Dropout of a share of the values, only in training.
    pub(super) fn dropout(&self, x: &Tensor, share: f64) -> Result<Tensor, TrainError> {
        if self.pass.train && share > 0.0 {
            return Ok(x.f_dropout(share, true)?);
        }
        Ok(x.shallow_clone())
    }

    /// Fused attention over [B, heads, T, width of a head]; returns [B, T,
    /// heads · width of a head].
    pub(super) fn attention(
        &self,
        [query, key, value]: [&Tensor; 3],
        how: &Attention<'_>,
    ) -> Result<Tensor, TrainError> {
        let dropout = if self.pass.train { how.dropout } else { 0.0 };
        let causal = how.causal && how.mask.is_none();
        let mixed = Tensor::f_scaled_dot_product_attention(
            query, key, value, how.mask, dropout, causal, how.scale, false,
        )?;
        Ok(mixed.f_transpose(1, 2)?.f_flatten(2, 3)?)
    }

    /// The tokens that a layer continues with after attention: all, or, in
    /// the `last` layer, the requested ones.
    pub(super) fn asked(&self, x: &Tensor, last: bool) -> Result<Tensor, TrainError> {
        match self.pass.asked {
            Some(asked) if last => asked.of(x),
            _ => Ok(x.shallow_clone()),
        }
    }

    /// [B, T, heads · n] as [B, heads, T, n].
    pub(super) fn heads(&self, x: &Tensor, heads: usize) -> Result<Tensor, TrainError> {
        // No size is read here, so the trace is valid for any batch.
        Ok(x.f_unflatten(-1, [heads as i64, -1])?.f_transpose(1, 2)?)
    }

    /// The bias of attention scores that hides padding and, with `causal`,
    /// later tokens; [B, 1, 1 or T, T], `None` without padding. Every token
    /// sees itself, even padding: the softmax of a row of -inf, and its
    /// gradients, would be NaN.
    pub(super) fn mask(&self, x: &Tensor, causal: bool) -> Result<Option<Tensor>, TrainError> {
        let Some(mask) = self.pass.mask else {
            return Ok(None);
        };
        let (batch, tokens) = mask.size2()?;
        let device = x.device();
        let mask = mask.f_to_device(device)?.f_view([batch, 1, 1, tokens])?;
        let square = Tensor::f_ones([tokens, tokens], (Kind::Bool, device))?;
        let mut seen = mask;
        if causal {
            seen = seen.f_logical_and(&square.f_tril(0)?)?;
        }
        let itself = square.f_tril(0)?.f_triu(0)?;
        Ok(Some(scores_of(&seen.f_logical_or(&itself)?, x)?))
    }

    /// Activation of a feed-forward part.
    pub(super) fn activation(&self, x: &Tensor, which: Activation) -> Result<Tensor, TrainError> {
        Ok(match which {
            Activation::GeluNew | Activation::GeluPytorchTanh | Activation::GeluFast => {
                x.f_gelu("tanh")?
            }
            Activation::Gelu => x.f_gelu("none")?,
            Activation::QuickGelu => x.f_mul(&x.f_mul_scalar(1.702)?.f_sigmoid()?)?,
            Activation::Relu => x.f_relu()?,
            Activation::Silu | Activation::Swish => x.f_silu()?,
        })
    }
}

/// 0 where true, -inf where false, in the type of `x`.
pub(super) fn scores_of(seen: &Tensor, x: &Tensor) -> Result<Tensor, TrainError> {
    let scores = Tensor::f_zeros(seen.size(), (x.kind(), x.device()))?;
    Ok(scores.f_masked_fill(&seen.f_logical_not()?, f64::NEG_INFINITY)?)
}

fn in_kind_of(weight: &Tensor, x: &Tensor) -> Result<Tensor, TrainError> {
    if weight.kind() == x.kind() {
        return Ok(weight.shallow_clone());
    }
    Ok(weight.f_to_kind(x.kind())?)
}

fn width(x: &Tensor) -> i64 {
    x.size().last().copied().unwrap_or(0)
}

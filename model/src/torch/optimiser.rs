//! AdamW (Loshchilov and Hutter 2019) over one flat vector.

use tch::Tensor;

use super::TrainError;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Moments of the gradient.
pub(super) struct AdamW {
    pub(super) mean: Tensor,    // [P]
    pub(super) squares: Tensor, // [P]
    pub(super) steps: u64,
    decays: Tensor, // [P], 1 where weights decay
}

impl AdamW {
    pub(super) fn new(decays: Tensor) -> Result<AdamW, TrainError> {
        Ok(AdamW {
            mean: decays.f_zeros_like()?,
            squares: decays.f_zeros_like()?,
            steps: 0,
            decays,
        })
    }

    /// One step down the gradient of `flat`, whose norm is held to `clip`
    /// first; the gradient is zero afterwards.  Returns its norm before.
    pub(super) fn step(
        &mut self,
        flat: &mut Tensor,
        learning_rate: f64,
        weight_decay: f64,
        clip: f64,
    ) -> Result<f64, TrainError> {
        let _guard = tch::no_grad_guard();
        let mut gradient = flat.f_grad()?;
        let norm = gradient.f_norm()?.f_double_value(&[])?;
        if norm > clip {
            let _ = gradient.f_mul_scalar_(clip / norm)?;
        }
        self.steps += 1;
        let count = self.steps as f64;
        let _ = self.mean.f_lerp_(&gradient, 1.0 - BETA1)?;
        let weighted = gradient.f_mul_scalar((1.0 - BETA2).sqrt())?;
        let _ = self
            .squares
            .f_mul_scalar_(BETA2)?
            .f_addcmul_(&weighted, &weighted)?;

        // Decay first, and apart from the gradient: what the W stands for.
        let decay = self
            .decays
            .f_mul(flat)?
            .f_mul_scalar(learning_rate * weight_decay)?;
        let _ = flat.f_sub_(&decay)?;
        let root = self
            .squares
            .f_div_scalar(1.0 - BETA2.powf(count))?
            .f_sqrt()?;
        let update = self.mean.f_div(&root.f_add_scalar(EPSILON)?)?;
        let update = update.f_mul_scalar(learning_rate / (1.0 - BETA1.powf(count)))?;
        let _ = flat.f_sub_(&update)?;
        flat.zero_grad();
        Ok(norm)
    }
}

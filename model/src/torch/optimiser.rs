//! AdamW (Loshchilov and Hutter 2019) over one flat vector.

use tch::{Device, Tensor};

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
    /// first; there is no gradient afterwards.  Returns its norm before.
    pub(super) fn step(
        &mut self,
        flat: &mut Tensor,
        learning_rate: f64,
        weight_decay: f64,
        clip: f64,
    ) -> Result<f64, TrainError> {
        let _guard = tch::no_grad_guard();
        let gradient = flat.f_grad()?;
        let norm = gradient.f_norm()?.f_double_value(&[])?;
        self.steps += 1;
        let rates = Rates {
            gradient: if norm > clip { clip / norm } else { 1.0 },
            decay: learning_rate * weight_decay,
            mean: learning_rate / (1.0 - BETA1.powf(self.steps as f64)),
            squares: 1.0 - BETA2.powf(self.steps as f64),
        };
        let all = flat.size1()?;
        let length = match flat.device() {
            Device::Cpu => CHUNK,
            _ => all.max(1),
        };
        for first in (0..all).step_by(length as usize) {
            let part = |x: &Tensor| x.f_narrow(0, first, length.min(all - first));
            rates.apply(Parts {
                weights: part(flat)?,
                gradient: part(&gradient)?,
                mean: part(&self.mean)?,
                squares: part(&self.squares)?,
                decays: part(&self.decays)?,
            })?;
        }
        // The same weights as a new leaf, without a gradient: the next one is
        // taken over as it is, where zeros would have it added to them.
        *flat = flat.f_detach()?.f_set_requires_grad(true)?;
        Ok(norm)
    }
}

/// Weights that are worked on at a time, so that all that belongs to them
/// stays in a core's cache from one operation to the next.
const CHUNK: i64 = 1 << 16;

/// Factors of one step.
struct Rates {
    gradient: f64,
    decay: f64,
    mean: f64,
    squares: f64,
}

/// Pieces of the flat vectors; changed in place.
struct Parts {
    weights: Tensor,
    gradient: Tensor,
    mean: Tensor,
    squares: Tensor,
    decays: Tensor,
}

impl Rates {
    fn apply(&self, mut of: Parts) -> Result<(), TrainError> {
        if self.gradient != 1.0 {
            let _ = of.gradient.f_mul_scalar_(self.gradient)?;
        }
        let _ = of.mean.f_lerp_(&of.gradient, 1.0 - BETA1)?;
        let _ = of.gradient.f_mul_scalar_((1.0 - BETA2).sqrt())?;
        let mut squares = of.squares.f_mul_scalar_(BETA2)?;
        let _ = squares.f_addcmul_(&of.gradient, &of.gradient)?;

        // Decay first, and apart from the gradient: what the W stands for.
        if self.decay != 0.0 {
            let decay = of.decays.f_mul(&of.weights)?.f_mul_scalar_(self.decay)?;
            let _ = of.weights.f_sub_(&decay)?;
        }
        let mut root = of.squares.f_div_scalar(self.squares)?.f_sqrt_()?;
        let root = root.f_add_scalar_(EPSILON)?;
        let update = of.mean.f_div(&root)?.f_mul_scalar_(self.mean)?;
        let _ = of.weights.f_sub_(&update)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    /// The rule itself, one weight at a time, in f64.
    fn reference(weights: &mut [f64], gradients: &[Vec<f64>], decays: &[f64]) {
        let (mut mean, mut squares) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        for (step, gradient) in gradients.iter().enumerate() {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let factor = if norm > 0.5 { 0.5 / norm } else { 1.0 };
            let count = (step + 1) as f64;
            for i in 0..weights.len() {
                let g = gradient[i] * factor;
                mean[i] = BETA1 * mean[i] + (1.0 - BETA1) * g;
                squares[i] = BETA2 * squares[i] + (1.0 - BETA2) * g * g;
                weights[i] *= 1.0 - 0.01 * 0.1 * decays[i];
                let root = (squares[i] / (1.0 - BETA2.powf(count))).sqrt() + EPSILON;
                weights[i] -= 0.01 * mean[i] / (1.0 - BETA1.powf(count)) / root;
            }
        }
    }

    #[test]
    fn steps_are_those_of_the_rule_in_every_chunk() {
        let length = CHUNK as usize + 3;
        let wave = |i: usize, k: usize| ((i * (k + 3)) as f64 * 0.37).sin();
        let decays: Vec<f64> = (0..length).map(|i| (i % 2) as f64).collect();
        let gradients: Vec<Vec<f64>> = [1e-4, 1e-1, 1.0]
            .iter()
            .enumerate()
            .map(|(k, size)| (0..length).map(|i| size * wave(i, k)).collect())
            .collect();
        let mut want: Vec<f64> = (0..length).map(|i| wave(i, 9)).collect();
        let float = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float);
        let mut flat = float(&want).set_requires_grad(true);
        let mut optimiser = AdamW::new(float(&decays)).unwrap();
        for gradient in &gradients {
            (&flat * float(gradient)).sum(Kind::Float).backward();
            let norm = optimiser.step(&mut flat, 0.01, 0.1, 0.5).unwrap();
            let real = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((norm / real - 1.0).abs() < 1e-4, "{norm} {real}");
            assert!(!flat.grad().defined() && flat.requires_grad());
        }
        reference(&mut want, &gradients, &decays);
        let got = Vec::<f32>::try_from(flat.detach()).unwrap();
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{i}: {got} {want}");
        }
    }
}

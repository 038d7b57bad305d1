//! AdamW (Loshchilov and Hutter 2019) over one flat vector.

use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::network::Trained;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Moments of the gradient.
pub(super) struct AdamW {
    pub(super) mean: Tensor,    // [P]
    pub(super) squares: Tensor, // [P]
    pub(super) steps: u64,
}

impl AdamW {
    pub(super) fn new(trained: &Trained) -> Result<AdamW, TrainError> {
        Ok(AdamW {
            mean: trained.flat().f_zeros_like()?,
            squares: trained.flat().f_zeros_like()?,
            steps: 0,
        })
    }

    /// One descent step; the gradient is first clipped to the norm `max_grad_norm`
    /// and cleared afterwards. Returns the norm before clipping.
    pub(super) fn step(
        &mut self,
        trained: &mut Trained,
        learning_rate: f64,
        weight_decay: f64,
        max_grad_norm: f64,
    ) -> Result<f64, TrainError> {
        let _guard = tch::no_grad_guard();
        let gradients = trained.gradients()?;
        let norm = norm(&gradients)?;
        let rates = self.rates(norm, learning_rate, weight_decay, max_grad_norm);
        match trained.flat().device() {
            Device::Cpu => self.step_on_cpu(trained, &gradients, &rates),
            _ => self.step_in_torch(trained, &gradients, &rates)?,
        }
        trained.forget_gradients()?;
        Ok(norm)
    }

    /// Counts a step.
    fn rates(
        &mut self,
        norm: f64,
        learning_rate: f64,
        weight_decay: f64,
        max_grad_norm: f64,
    ) -> Rates {
        self.steps += 1;
        Rates {
            gradient: if norm > max_grad_norm {
                max_grad_norm / norm
            } else {
                1.0
            },
            kept: 1.0 - learning_rate * weight_decay,
            mean: learning_rate / (1.0 - BETA1.powf(self.steps as f64)),
            squares: 1.0 / (1.0 - BETA2.powf(self.steps as f64)).sqrt(),
        }
    }

    /// Handles each weight in a single pass: a step is memory-bound, and every
    /// operation on whole tensors would pass through memory again.
    fn step_on_cpu(&mut self, trained: &mut Trained, gradients: &[Tensor], rates: &Rates) {
        let threads = usize::try_from(tch::get_num_threads()).map_or(1, |n| n.max(1));
        let mut flat = trained.flat();
        let vectors = [&mut flat, &mut self.mean, &mut self.squares];
        let [mut weights, mut mean, mut squares] = vectors.map(numbers_mut);
        let share = weights.len().div_ceil(threads).max(SHARE);

        let mut shares: Vec<Vec<Piece<'_>>> = Vec::new();
        let mut room = 0;
        for (gradient, (decays, _)) in gradients.iter().zip(trained.decays()) {
            let mut gradient = numbers(gradient);
            while !gradient.is_empty() {
                if room == 0 {
                    shares.push(Vec::new());
                    room = share;
                }
                let length = room.min(gradient.len());
                let (piece, rest) = gradient.split_at(length);
                gradient = rest;
                room -= length;
                if let Some(share) = shares.last_mut() {
                    share.push(Piece {
                        weights: split_off(&mut weights, length),
                        gradient: piece,
                        mean: split_off(&mut mean, length),
                        squares: split_off(&mut squares, length),
                        decays,
                    });
                }
            }
        }
        std::thread::scope(|scope| {
            let mut shares = shares.into_iter();
            let own = shares.next();
            for share in shares {
                scope.spawn(|| share.into_iter().for_each(|piece| rates.apply(piece)));
            }
            own.into_iter()
                .flatten()
                .for_each(|piece| rates.apply(piece));
        });
    }

    /// Performs a step with libtorch operations, on any device.
    fn step_in_torch(
        &mut self,
        trained: &mut Trained,
        gradients: &[Tensor],
        rates: &Rates,
    ) -> Result<(), TrainError> {
        let mut weights = trained.flat();
        let gradient = Tensor::f_cat(gradients, 0)?.f_mul_scalar_(rates.gradient)?;
        let _ = self.mean.f_lerp_(&gradient, 1.0 - BETA1)?;
        let square = gradient.f_square()?;
        let _ = self.squares.f_lerp_(&square, 1.0 - BETA2)?;
        let mut first = 0;
        for (decays, length) in trained.decays() {
            let length = length as i64;
            if decays {
                let _ = weights
                    .f_narrow(0, first, length)?
                    .f_mul_scalar_(rates.kept)?;
            }
            first += length;
        }
        let root = self.squares.f_sqrt()?.f_mul_scalar_(rates.squares)?;
        let root = root.f_add_scalar(EPSILON)?.f_div_scalar_(-rates.mean)?;
        let _ = weights.f_addcdiv_(&self.mean, &root)?;
        Ok(())
    }
}

/// Minimum number of weights per thread.
const SHARE: usize = 1 << 16;

/// Factors of one step.
struct Rates {
    gradient: f64,
    kept: f64, // of weights that decay
    mean: f64,
    squares: f64, // of their root
}

/// Equal-length slices of the changed vectors and of the gradient.
struct Piece<'a> {
    weights: &'a mut [f32],
    gradient: &'a [f32],
    mean: &'a mut [f32],
    squares: &'a mut [f32],
    decays: bool,
}

impl Rates {
    fn apply(&self, of: Piece<'_>) {
        // Decoupled weight decay, the W in AdamW.
        let kept = if of.decays { self.kept as f32 } else { 1.0 };
        let (scale, rate, root) = (self.gradient as f32, self.mean as f32, self.squares as f32);
        let moments = of.mean.iter_mut().zip(of.squares);
        for ((weight, gradient), (mean, square)) in
            of.weights.iter_mut().zip(of.gradient).zip(moments)
        {
            let gradient = gradient * scale;
            *mean += (1.0 - BETA1) as f32 * (gradient - *mean);
            *square += (1.0 - BETA2) as f32 * (gradient * gradient - *square);
            *weight = *weight * kept - rate * *mean / (square.sqrt() * root + EPSILON as f32);
        }
    }
}

/// Norm of all slices as one vector.
fn norm(gradients: &[Tensor]) -> Result<f64, TrainError> {
    let norms = gradients.iter().map(|gradient| gradient.f_norm());
    let norms = Tensor::f_stack(&norms.collect::<Result<Vec<_>, _>>()?, 0)?;
    Ok(norms.f_norm()?.f_double_value(&[])?)
}

/// Splits off the first elements of a slice.
fn split_off<'a>(from: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (first, rest) = std::mem::take(from).split_at_mut(length);
    *from = rest;
    first
}

/// Elements of a vector in memory.
fn numbers(tensor: &Tensor) -> &[f32] {
    let (start, length) = place(tensor);
    // SAFETY: see `place`; nothing writes to a gradient after the backward pass,
    // which has ended.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// Mutable elements of a vector in memory.
fn numbers_mut(tensor: &mut Tensor) -> &mut [f32] {
    let (start, length) = place(tensor);
    // SAFETY: see `place`. Weights and moments are three storages, exclusive to the
    // optimiser and the `Trained` it has borrowed: the references of a forward pass
    // to the weights were dropped in the backward pass.
    unsafe { std::slice::from_raw_parts_mut(start, length) }
}

/// Address of a vector's elements; valid as long as the tensor lives.
fn place(tensor: &Tensor) -> (*mut f32, usize) {
    assert!(
        tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && tensor.is_contiguous(),
        "f32 in memory, one after the other"
    );
    match tensor.numel() {
        0 => (std::ptr::NonNull::dangling().as_ptr(), 0),
        length => (tensor.data_ptr().cast(), length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: f64 = 0.5;

    /// The update rule, one weight at a time, in f64.
    fn reference(weights: &mut [f64], gradients: &[Vec<f64>], decays: &[bool]) {
        let (mut mean, mut squares) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        for (step, gradient) in gradients.iter().enumerate() {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let factor = if norm > CLIP { CLIP / norm } else { 1.0 };
            let count = (step + 1) as f64;
            for i in 0..weights.len() {
                let g = gradient[i] * factor;
                mean[i] = BETA1 * mean[i] + (1.0 - BETA1) * g;
                squares[i] = BETA2 * squares[i] + (1.0 - BETA2) * g * g;
                weights[i] *= 1.0 - 0.01 * 0.1 * f64::from(u8::from(decays[i]));
                let root = (squares[i] / (1.0 - BETA2.powf(count))).sqrt() + EPSILON;
                weights[i] -= 0.01 * mean[i] / (1.0 - BETA1.powf(count)) / root;
            }
        }
    }

    fn float(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).to_kind(Kind::Float)
    }

    /// Small tensors, and one larger than a thread's share.
    fn trained(values: &[f64]) -> Trained {
        let rows = (values.len() - 7) as i64 / 2;
        let shapes = [("a", vec![3]), ("b", vec![rows, 2]), ("c", vec![2, 2])];
        let shapes = shapes.map(|(name, shape)| (name.to_owned(), shape));
        Trained::of(float(values), shapes.to_vec(), 3).unwrap()
    }

    #[test]
    fn optimiser_steps_match_the_formula() {
        let length = 2 * SHARE + 9;
        let wave = |i: usize, k: usize| ((i * (k + 3)) as f64 * 0.37).sin();
        let decays: Vec<bool> = (0..length).map(|i| i >= 3).collect();
        let gradients: Vec<Vec<f64>> = [1e-4, 1e-1, 1.0]
            .iter()
            .enumerate()
            .map(|(k, size)| (0..length).map(|i| size * wave(i, k)).collect())
            .collect();
        let start: Vec<f64> = (0..length).map(|i| wave(i, 9)).collect();
        let mut want = start.clone();
        reference(&mut want, &gradients, &decays);

        tch::set_num_threads(2);
        let (mut here, mut there) = (trained(&start), trained(&start));
        let mut optimiser = AdamW::new(&here).unwrap();
        for gradient in &gradients {
            here.backward(&float(gradient));
            let norm = optimiser.step(&mut here, 0.01, 0.1, CLIP).unwrap();
            let real = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((norm / real - 1.0).abs() < 1e-4, "{norm} {real}");
            assert_eq!(here.gradient().unwrap().norm().double_value(&[]), 0.0);
        }
        let mut optimiser = AdamW::new(&there).unwrap();
        for gradient in &gradients {
            let rates = optimiser.rates(norm(&[float(gradient)]).unwrap(), 0.01, 0.1, CLIP);
            optimiser
                .step_in_torch(&mut there, &[float(gradient)], &rates)
                .unwrap();
        }
        for trained in [here, there] {
            let got = Vec::<f32>::try_from(trained.flat()).unwrap();
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{i}: {got} {want}");
            }
        }
    }
}

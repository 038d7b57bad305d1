//! Exponential moving average of the weights, which fluctuates less than the
//! latest weights (Polyak and Juditsky 1992; Izmailov et al. 2018).

use tch::Tensor;

use super::TrainError;

/// The mean, with weights that decrease by `decay` per step.
pub(super) struct Ema {
    pub(super) weights: Tensor, // [P]
    decay: f64,
}

impl Ema {
    /// Creates the mean of the first weights; `None` if the decay is 0.
    pub(super) fn new(flat: &Tensor, decay: f64) -> Result<Option<Ema>, TrainError> {
        if decay <= 0.0 {
            return Ok(None);
        }
        let weights = flat.f_detach_copy()?;
        Ok(Some(Ema { weights, decay }))
    }

    /// Swaps the mean and the latest weights; `flat` keeps its memory,
    /// because the network's tensors are views of it.
    pub(super) fn exchange(ema: &mut Option<Ema>, flat: &mut Tensor) -> Result<(), TrainError> {
        let _guard = tch::no_grad_guard();
        if let Some(ema) = ema {
            let last = flat.f_detach_copy()?;
            flat.f_copy_(&ema.weights)?;
            ema.weights = last;
        }
        Ok(())
    }

    /// Adds the weights after `steps` steps. The decay is faster during the
    /// first steps, so that the initial weights lose their influence quickly.
    pub(super) fn add(&mut self, flat: &Tensor, steps: u64) -> Result<(), TrainError> {
        let _guard = tch::no_grad_guard();
        let steps = steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        let _ = self.weights.f_lerp_(&flat.f_detach()?, 1.0 - decay)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_keeps_shared_storage() {
        let mut flat = Tensor::from_slice(&[1.0f32, 2.0]);
        let view = flat.narrow(0, 1, 1);
        let mut ema = Ema::new(&flat, 0.5).unwrap();
        let _ = flat.fill_(7.0);
        let numbers = |x: &Tensor| Vec::<f32>::try_from(x).unwrap();
        Ema::exchange(&mut ema, &mut flat).unwrap();
        assert_eq!(
            (numbers(&flat), numbers(&view)),
            (vec![1.0, 2.0], vec![2.0])
        );
        Ema::exchange(&mut ema, &mut flat).unwrap();
        assert_eq!((numbers(&flat), numbers(&view)), (vec![7.0; 2], vec![7.0]));
        assert_eq!(numbers(&ema.unwrap().weights), [1.0, 2.0]);
    }

    #[test]
    fn ema_weights_recent_steps_most() {
        let at = |x: f64| Tensor::from_slice(&[x as f32, -x as f32]);
        assert!(Ema::new(&at(1.0), 0.0).unwrap().is_none());
        let mut flat = at(1.0);
        let mut ema = Ema::new(&flat, 0.75).unwrap().unwrap();
        let mut want = 1.0;
        for step in 1..=40u64 {
            flat.copy_(&at(step as f64));
            ema.add(&flat, step).unwrap();
            let decay = f64::min(0.75, (1 + step) as f64 / (10 + step) as f64);
            want = decay * want + (1.0 - decay) * step as f64;
            let got = Vec::<f32>::try_from(&ema.weights).unwrap();
            assert!((f64::from(got[0]) - want).abs() < 1e-4, "{step}: {got:?}");
            assert_eq!(got[1], -got[0]);
        }
        // Lags by three steps: 0.75 / (1 - 0.75).
        assert!((want - 37.0).abs() < 0.01, "{want}");
    }
}

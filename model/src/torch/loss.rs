//! Training losses (imitation and the cost of settings) and weights of the
//! actions.

use tch::{Kind, Reduction, Tensor};

use super::TrainError;
use crate::ACTIONS;
use crate::pool::CostCurves;

/// Class of records that the loss ignores.
pub(super) const IGNORED: i64 = -100;

/// Mean over the records whose label is an action.
pub(super) fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    smoothing: f64,
) -> Result<Tensor, TrainError> {
    let logits = logits.f_view([-1, ACTIONS as i64])?;
    let labels = labels.f_reshape([-1])?;
    Ok(logits.f_cross_entropy_loss(&labels, weights, Reduction::Mean, IGNORED, smoothing)?)
}

/// Cost of the setting at the mean of the probabilities, as in
/// [`crate::DecisionRule::Mean`]: piecewise linear between the knots, minus
/// `entropy` per nat of the probabilities' entropy. Mean over the records whose
/// label is an action.
pub(super) fn mean_cost(
    logits: &Tensor,
    labels: &Tensor,
    costs: &Tensor, // [B, w, knots]
    lesson: &CostCurves,
    entropy: f64,
) -> Result<Tensor, TrainError> {
    let device = logits.device();
    let points = Tensor::f_from_slice(&lesson.points())?.f_to_device(device)?;
    let knots = Tensor::f_from_slice(&lesson.knots)?.f_to_device(device)?;
    let pieces = lesson.knots.len() as i64 - 1;
    let logs = logits.f_log_softmax(-1, Kind::Float)?;
    let probabilities = logs.f_exp()?;
    let spread = probabilities
        .f_mul(&logs)?
        .f_sum_dim_intlist(-1, false, Kind::Float)?;
    let place = probabilities.f_matmul(&points)?.f_unsqueeze(-1)?; // [B, w, 1]
    let low = knots.f_narrow(0, 0, pieces)?;
    let width = knots.f_narrow(0, 1, pieces)?.f_sub(&low)?;
    let share = place.f_sub(&low)?.f_div(&width)?.f_clamp(0.0, 1.0)?; // [B, w, pieces]
    let least = costs.f_narrow(-1, 0, pieces)?;
    let rise = costs.f_narrow(-1, 1, pieces)?.f_sub(&least)?;
    let climbed = share
        .f_mul(&rise)?
        .f_sum_dim_intlist(-1, false, Kind::Float)?;
    let cost = climbed.f_add(&costs.f_select(-1, 0)?)?; // [B, w]
    let cost = cost.f_add(&spread.f_mul_scalar(entropy)?)?;
    let counts = labels.f_ne(IGNORED)?.f_to_kind(Kind::Float)?;
    let count = counts.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
    Ok(cost.f_mul(&counts)?.f_sum(Kind::Float)?.f_div(&count)?)
}

/// One weight per action, with a mean of 1 over the rows.
pub(super) fn class_weights(counts: [u64; ACTIONS], balance: f64) -> [f32; ACTIONS] {
    let all = counts.iter().sum::<u64>().max(1) as f64;
    let raw = counts.map(|count| (count.max(1) as f64 / all).powf(-balance));
    let mean: f64 = raw
        .iter()
        .zip(counts)
        .map(|(w, count)| w * count as f64 / all)
        .sum();
    raw.map(|w| (w / mean) as f32)
}

/// Probability of keeping a window that ends with an action; 1 for the rarest
/// action.
pub(super) fn acceptance(counts: [u64; ACTIONS], balance: f64) -> [f32; ACTIONS] {
    let rarest = counts.into_iter().filter(|count| *count > 0).min();
    let rarest = rarest.unwrap_or(1) as f64;
    counts.map(|count| (rarest / count.max(1) as f64).min(1.0).powf(balance) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_class_weights() {
        assert_eq!(class_weights([90, 0, 10], 0.0), [1.0; 3]);
        let [enqueue, _, mark] = class_weights([90, 0, 10], 1.0);
        assert!((mark / enqueue - 9.0).abs() < 1e-5);
        assert_eq!(acceptance([80, 0, 20], 1.0), [0.25, 1.0, 1.0]);
        assert_eq!(acceptance([80, 20, 20], 0.5), [0.5, 1.0, 1.0]);
    }

    #[test]
    fn smoothing_gives_each_action_its_share_of_the_loss() {
        let logits = Tensor::from_slice(&[2.0f32, 0.0, -1.0]).view([1, 1, 3]);
        let labels = Tensor::from_slice(&[0i64]).view([1, 1]);
        let loss = |smoothing| {
            let loss = cross_entropy(&logits, &labels, None, smoothing).unwrap();
            loss.double_value(&[])
        };
        let each: Vec<f64> = Vec::try_from(logits.view([3]).log_softmax(0, Kind::Double)).unwrap();
        let mean = -each.iter().sum::<f64>() / 3.0;
        assert!((loss(0.0) + each[0]).abs() < 1e-6);
        assert!((loss(0.3) - (0.7 * -each[0] + 0.3 * mean)).abs() < 1e-6);
    }
}

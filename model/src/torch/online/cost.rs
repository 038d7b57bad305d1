//! Differentiable cost of the settings chosen by a network.

use tch::{Device, Kind, Tensor};

use super::LearnConfig;
use super::emphasis::Emphasis;
use super::lesson::Lesson;
use super::setting::{AXES, coupling_line, log_alpha, log_beta};
use super::surfaces::{Grid, Surfaces};
use crate::SetPointHead;
use crate::torch::TrainError;

/// Weight of a step in ln(gain) relative to one in ln(target): doubling the
/// gain changes less than doubling the target.
const GAIN_DISTANCE: f64 = 0.25;

/// Weight of the deviation of k relative to that of α: ln(k) has a tenth of
/// the range.
const COUPLING_WEIGHT: f64 = 10.0;

/// Data about the periods of a batch.
pub(super) struct Given {
    pub(super) conditions: Tensor,    // [B], i64
    pub(super) budgets: Tensor,       // [B]
    pub(super) bases: Option<Tensor>, // [B, 2]
}

/// The surfaces of a lesson as tensors.
pub(super) struct Tables {
    grid: Grid,
    nodes: [Tensor; AXES], // [n], positions of the nodes of an axis
    delay: Tensor,         // [C, nodes]
    loss: Tensor,
    harm: Tensor,
    weight: Tensor, // [C]
    multiplier: Tensor,
}

impl Tables {
    pub(super) fn new(lesson: &Lesson, device: Device) -> Result<Tables, TrainError> {
        let grid = lesson.grid;
        let [columns, rows] = grid.nodes;
        let table = |of: fn(&Surfaces) -> &Vec<f32>| -> Result<Tensor, TrainError> {
            let all = lesson.surfaces.iter().flat_map(|s| of(s).iter().copied());
            let all = Tensor::f_from_slice(&all.collect::<Vec<f32>>())?;
            let shape = [lesson.surfaces.len() as i64, (columns * rows) as i64];
            Ok(all.f_view(shape)?.f_to_device(device)?)
        };
        let nodes = |axis: usize| -> Result<Tensor, TrainError> {
            let at = |i: usize| (grid.least[axis] + grid.step[axis] * i as f64) as f32;
            let all: Vec<f32> = (0..grid.nodes[axis]).map(at).collect();
            Ok(Tensor::f_from_slice(&all)?.f_to_device(device)?)
        };
        let by_condition = |of: fn(&Emphasis) -> f64| -> Result<Tensor, TrainError> {
            let conditions = 0..lesson.surfaces.len();
            let own = |c: usize| lesson.emphasis.get(c).copied().unwrap_or_default();
            let all: Vec<f32> = conditions.map(|c| of(&own(c)) as f32).collect();
            Ok(Tensor::f_from_slice(&all)?.f_to_device(device)?)
        };
        Ok(Tables {
            grid,
            nodes: [nodes(0)?, nodes(1)?],
            delay: table(|s| &s.delay)?,
            loss: table(|s| &s.loss)?,
            harm: table(|s| &s.harm)?,
            weight: by_condition(|e| e.weight)?,
            multiplier: by_condition(|e| e.multiplier)?,
        })
    }

    /// Weighted mean cost of the settings for these outputs, [B, w, 8]. Outside the
    /// grid and off the plane of settings there is a quadratic penalty.
    pub(super) fn cost(
        &self,
        outputs: &Tensor,
        head: &SetPointHead,
        given: &Given,
        config: &LearnConfig,
    ) -> Result<Tensor, TrainError> {
        let [x, y, off] = plane(&outputs.f_select(1, -1)?, head)?; // [B]
        let (x, y) = match &given.bases {
            None => (x, y),
            Some(bases) => (
                x.f_sub(&bases.f_select(1, 0)?)?,
                y.f_sub(&bases.f_select(1, 1)?)?,
            ),
        };
        let (nodes, beyond) = self.weights(&x, &y)?;
        let at = |table: &Tensor| -> Result<Tensor, TrainError> {
            let own = table.f_index_select(0, &given.conditions)?;
            let sum = own.f_mul(&nodes)?;
            Ok(sum.f_sum_dim_intlist(1, false, Kind::Float)?)
        };
        let own = |of: &Tensor| of.f_index_select(0, &given.conditions);
        let over = at(&self.loss)?
            .f_div(&given.budgets)?
            .f_sub_scalar(config.margin)?
            .f_relu()?
            .f_mul(&own(&self.multiplier)?)?;
        let mut cost = at(&self.delay)?
            .f_add(&at(&self.harm)?)?
            .f_add(&over.f_mul_scalar(config.caution)?)?
            .f_add(&beyond)?
            .f_add(&off)?;
        if given.bases.is_some() && config.proximity > 0.0 {
            let along_gain = y.f_square()?.f_mul_scalar(GAIN_DISTANCE)?;
            let far = x.f_square()?.f_add(&along_gain)?;
            cost = cost.f_add(&far.f_mul_scalar(config.proximity)?)?;
        }
        let weighted = cost.f_mul(&own(&self.weight)?)?;
        Ok(weighted.f_mean(Kind::Float)?)
    }

    /// Weights of the nodes in bilinear interpolation, [B, nodes], and the
    /// squared distance from the grid, [B].
    pub(super) fn weights(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor), TrainError> {
        let (along_x, beyond_x) = self.hats(x, 0)?;
        let (along_y, beyond_y) = self.hats(y, 1)?;
        let nodes = along_x.f_unsqueeze(2)?.f_mul(&along_y.f_unsqueeze(1)?)?;
        Ok((nodes.f_flatten(1, 2)?, beyond_x.f_add(&beyond_y)?))
    }

    /// Weights of the nodes of one axis, and the squared distance from its range.
    fn hats(&self, x: &Tensor, axis: usize) -> Result<(Tensor, Tensor), TrainError> {
        let (least, step) = (self.grid.least[axis], self.grid.step[axis]);
        let most = least + step * (self.grid.nodes[axis] - 1) as f64;
        let inside = x.f_clamp(least, most)?;
        let beyond = x.f_sub(&inside)?.f_square()?;
        let away = inside.f_unsqueeze(1)?.f_sub(&self.nodes[axis])?;
        let away = away.f_abs()?.f_div_scalar(step)?;
        Ok((away.f_neg()?.f_add_scalar(1.0)?.f_relu()?, beyond))
    }
}

/// Coordinates of outputs, [B, 8], in the plane of settings, and the squared
/// distance of α and k from the values implied by the setting: all [B]. Those
/// values are constants for the gradient.
fn plane(outputs: &Tensor, head: &SetPointHead) -> Result<[Tensor; 3], TrainError> {
    let ranges = head.ranges().map(|(_, range)| range);
    let log = |i: usize| -> Result<Tensor, TrainError> {
        let output = outputs.f_select(1, i as i64)?;
        Ok(output
            .f_mul_scalar(ranges[i].std)?
            .f_add_scalar(ranges[i].mean)?)
    };
    let [target, alpha, beta, coupling] = [log(0)?, log(1)?, log(2)?, log(3)?];
    let gain = beta.f_sub_scalar(log_beta())?;
    let alpha_off = alpha.f_sub(&gain.f_detach()?.f_add_scalar(log_alpha(head))?)?;
    let (reference, exponent, most) = coupling_line();
    let want = target
        .f_detach()?
        .f_sub_scalar(reference)?
        .f_clamp_max(0.0)?
        .f_mul_scalar(exponent)?
        .f_add_scalar(most)?;
    let coupling_off = coupling.f_sub(&want)?.f_square()?;
    let off = alpha_off
        .f_square()?
        .f_add(&coupling_off.f_mul_scalar(COUPLING_WEIGHT)?)?;
    Ok([target, gain, off])
}

//! A policy as one TorchScript module, from raw records to probabilities, for programs that have
//! libtorch but none of this code.

use tch::{CModule, Kind, Tensor};

use super::weights::View;
use super::{Batch, Network};
use crate::torch::{TrainError, backbone};
use crate::{PolicyConfig, Scaling, Transform};

/// Number of windows in the traced example. Not 1, which would broadcast.
const EXAMPLE: i64 = 2;

impl Network {
    /// Traces the module. Its `forward` takes windows of exactly the policy's length, with
    /// unscaled values:
    ///
    /// | input | shape | |
    /// |---|---|---|
    /// | returns | [B, w], f32 or f64 | return-to-go of each record, unscaled |
    /// | features | [B, w, inputs], f32 or f64 | unscaled, as [`PolicyConfig::fill_inputs`] lays them out |
    /// | actions | [B, w], i64 | codes of the actions taken; the last is not seen |
    ///
    /// and returns probabilities of enqueue, drop and mark after each window's last record: [B,
    /// 3], f32. Scaling is included. B is arbitrary; the device is the network's. A policy on
    /// summaries is refused, because its inputs are derived from the device's counters by this
    /// program.
    ///
    /// # Errors
    /// The policy is on summaries, or libtorch failed.
    pub fn trace(&self) -> Result<CModule, TrainError> {
        self.config.record_features()?;
        let _guard = tch::no_grad_guard();
        // Tensors derived only from weights are computed before and stored as constants.
        let (own, weights) = self.detached()?;
        let scaling = [
            Columns::new(&[self.config.returns.scaling], self)?,
            Columns::new(&column_scalings(&self.config), self)?,
        ];
        let (w, place) = (self.config.window as i64, self.device());
        let inputs = column_scalings(&self.config).len() as i64;
        let example = [
            Tensor::f_zeros([EXAMPLE, w], (Kind::Double, place))?,
            Tensor::f_zeros([EXAMPLE, w, inputs], (Kind::Double, place))?,
            Tensor::f_zeros([EXAMPLE, w], (Kind::Int64, place))?,
        ];
        let mut failure = None;
        let mut forward = |raw: &[Tensor]| match self.of_records(&own, &weights, &scaling, raw) {
            Ok(probabilities) => vec![probabilities],
            Err(error) => {
                failure = Some(error);
                Vec::new()
            }
        };
        let module = CModule::create_by_tracing("Policy", "forward", &example, &mut forward);
        // A failing operation also ends the tracing; its own error is more informative.
        match failure {
            Some(error) => Err(error),
            None => Ok(module?),
        }
    }

    /// Probabilities [B, 3] from returns, features and actions.
    fn of_records(
        &self,
        own: &View,
        weights: &backbone::Weights,
        [returns, features]: &[Columns; 2],
        raw: &[Tensor],
    ) -> Result<Tensor, TrainError> {
        // A window of another length must fail here instead of broadcasting later.
        let w = self.config.window as i64;
        let exactly = |x: &Tensor| x.f_unflatten(1, [w, 1]);
        let batch = Batch {
            returns: returns.apply(&exactly(&raw[0])?)?.f_squeeze_dim(2)?,
            inputs: features.apply(&exactly(&raw[1])?.f_squeeze_dim(2)?)?,
            actions: exactly(&raw[2])?.f_squeeze_dim(2)?,
            labels: None,
            costs: None,
            times: None,
            mask: None,
        };
        self.newest(own, weights, &batch)
    }
}

/// Scaling of each value of a record, in the order of a batch's inputs.
fn column_scalings(config: &PolicyConfig) -> Vec<Scaling> {
    let features = config.features.iter();
    features
        .flat_map(|f| std::iter::repeat_n(f.scaling, f.encoder.history()))
        .collect()
}

/// Scalings by column, in f64 as in [`Scaling::apply`].
struct Columns {
    log1p: Option<Tensor>, // [n], bool: columns so transformed; none: none is
    log: Option<Tensor>,   // the same
    mean: Tensor,          // [n]
    std: Tensor,           // [n]
    least: Tensor,         // [n]
    most: Tensor,          // [n]
}

impl Columns {
    fn new(scalings: &[Scaling], network: &Network) -> Result<Columns, TrainError> {
        let column = |value: &dyn Fn(&Scaling) -> f64| -> Result<Tensor, TrainError> {
            let values: Vec<f64> = scalings.iter().map(value).collect();
            Ok(Tensor::f_from_slice(&values)?.f_to_device(network.device())?)
        };
        let mask = |transform| -> Result<Option<Tensor>, TrainError> {
            let is = |scaling: &Scaling| scaling.transform == transform;
            match scalings.iter().any(is) {
                true => {
                    let mask = column(&|s| f64::from(u8::from(is(s))))?;
                    Ok(Some(mask.f_to_kind(Kind::Bool)?))
                }
                false => Ok(None),
            }
        };
        Ok(Columns {
            log1p: mask(Transform::Log1p)?,
            log: mask(Transform::Log)?,
            mean: column(&|s| s.mean)?,
            std: column(&|s| s.std)?,
            least: column(&|s| -s.clip)?,
            most: column(&|s| s.clip)?,
        })
    }

    /// Converts [.., n] of any number type to f32.
    fn apply(&self, raw: &Tensor) -> Result<Tensor, TrainError> {
        let mut x = raw.f_to_kind(Kind::Double)?;
        if let Some(columns) = &self.log1p {
            let log = x.f_clamp_min(0.0)?.f_log1p()?;
            x = log.f_where_self(columns, &x)?;
        }
        if let Some(columns) = &self.log {
            let log = x.f_clamp_min(Transform::LOG_FLOOR)?.f_log()?;
            x = log.f_where_self(columns, &x)?;
        }
        let x = x.f_sub(&self.mean)?.f_div(&self.std)?;
        let x = x.f_clamp_tensor(Some(&self.least), Some(&self.most))?;
        Ok(x.f_to_kind(Kind::Float)?)
    }
}

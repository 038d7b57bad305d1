//! Input of a network: windows of equal length.

use tch::{Device, Tensor};

use crate::set_points::SET_POINTS;
use crate::torch::TrainError;
use crate::{Step, Taken};

/// B windows of w records or periods each. Training may modify the tensors.
#[derive(Debug)]
pub struct Batch {
    /// Returns-to-go, or idle budgets, scaled: [B, w], f32.
    pub returns: Tensor,
    /// Inputs from the features: [B, w, inputs], f32, laid out as by
    /// [`crate::PolicyConfig::fill_inputs`].
    pub inputs: Tensor,
    /// Codes of the actions taken: [B, w], i64; or the k values of each action token:
    /// [B, w, k], f32.
    pub actions: Tensor,
    /// Label of each record: [B, w], i64; `None`: its action.
    pub labels: Option<Tensor>,
    /// Costs of settings at the knots of a lesson: [B, w, knots], f32.
    pub costs: Option<Tensor>,
    /// Positions in the window, for the time embedding: [B, w], i64, below the policy's
    /// window; `None`: 0, 1, … w - 1.
    pub times: Option<Tensor>,
    /// [B, w], bool, false for hidden records; `None`: all are visible.
    pub mask: Option<Tensor>,
}

impl Batch {
    /// Creates a batch from windows of equal length.
    ///
    /// # Errors
    /// libtorch failed, e.g. because windows differ in length.
    pub fn new<W: AsRef<[Step]>>(windows: &[W], device: Device) -> Result<Batch, TrainError> {
        let steps = || windows.iter().flat_map(|window| window.as_ref());
        let returns: Vec<f32> = steps().map(|s| s.return_to_go).collect();
        let inputs: Vec<f32> = steps().flat_map(|s| s.inputs.iter().copied()).collect();
        let codes: Vec<i64> = steps()
            .filter_map(|step| match step.action {
                Taken::Action(code) => Some(code as i64),
                Taken::SetPoints(_) => None,
            })
            .collect();
        if codes.len() == returns.len() {
            return Batch::of(windows.len(), &returns, &inputs, &codes, device);
        }
        let points: Vec<f32> = steps().flat_map(|step| step.action.numbers()).collect();
        let actions = Tensor::f_from_slice(&points)?;
        let actions = actions.f_view([windows.len() as i64, -1, SET_POINTS as i64])?;
        Batch::with_actions(&returns, &inputs, actions, device)
    }

    /// Creates a batch of `windows` windows from their concatenated records.
    ///
    /// # Errors
    /// libtorch failed, e.g. because lengths do not match.
    pub fn of(
        windows: usize,
        returns: &[f32],
        inputs: &[f32],
        actions: &[i64],
        device: Device,
    ) -> Result<Batch, TrainError> {
        let actions = Tensor::f_from_slice(actions)?.f_view([windows as i64, -1])?;
        Batch::with_actions(returns, inputs, actions, device)
    }

    /// As above, with actions in the form of [`Batch::actions`].
    pub(in crate::torch) fn with_actions(
        returns: &[f32],
        inputs: &[f32],
        actions: Tensor,
        device: Device,
    ) -> Result<Batch, TrainError> {
        let b = actions.size().first().copied().unwrap_or(0);
        let w = returns.len() as i64 / b.max(1);
        let n = inputs.len() as i64 / (b * w).max(1);
        let to = |tensor: Tensor, shape: &[i64]| -> Result<Tensor, TrainError> {
            Ok(tensor.f_view(shape)?.f_to_device(device)?)
        };
        Ok(Batch {
            returns: to(Tensor::f_from_slice(returns)?, &[b, w])?,
            inputs: to(Tensor::f_from_slice(inputs)?, &[b, w, n])?,
            actions: actions.f_to_device(device)?,
            labels: None,
            costs: None,
            times: None,
            mask: None,
        })
    }
}

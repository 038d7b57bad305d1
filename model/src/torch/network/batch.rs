//! What goes into a network: windows of equal length.

use tch::{Device, Tensor};

use crate::Step;
use crate::torch::TrainError;

/// B windows of w records each.  The tensors may be changed as training likes.
#[derive(Debug)]
pub struct Batch {
    /// Returns-to-go, scaled: [B, w], f32.
    pub returns: Tensor,
    /// What the features put in: [B, w, inputs], f32, laid out as
    /// [`crate::PolicyConfig::fill_inputs`] does.
    pub inputs: Tensor,
    /// Codes of the actions that were taken: [B, w], i64.
    pub actions: Tensor,
    /// What each record teaches: [B, w], i64; none: its action.
    pub labels: Option<Tensor>,
    /// What settings cost at the knots of a lesson: [B, w, knots], f32.
    pub costs: Option<Tensor>,
    /// Places in the window, which the time embedding tells: [B, w], i64,
    /// below the policy's window; none: 0, 1, … w - 1.
    pub times: Option<Tensor>,
    /// [B, w], bool, false where a record is not to be seen; none: all are.
    pub mask: Option<Tensor>,
}

impl Batch {
    /// A batch from windows of equal length.
    pub fn new<W: AsRef<[Step]>>(windows: &[W], device: Device) -> Result<Batch, TrainError> {
        let steps = || windows.iter().flat_map(|window| window.as_ref());
        let returns: Vec<f32> = steps().map(|s| s.return_to_go).collect();
        let inputs: Vec<f32> = steps().flat_map(|s| s.inputs.iter().copied()).collect();
        let actions: Vec<i64> = steps().map(|s| s.action as i64).collect();
        Batch::of(windows.len(), &returns, &inputs, &actions, device)
    }

    /// A batch of `windows` windows from their records, one after the other.
    pub fn of(
        windows: usize,
        returns: &[f32],
        inputs: &[f32],
        actions: &[i64],
        device: Device,
    ) -> Result<Batch, TrainError> {
        let b = windows as i64;
        let w = returns.len() as i64 / b.max(1);
        let n = inputs.len() as i64 / (b * w).max(1);
        let to = |tensor: Tensor, shape: &[i64]| -> Result<Tensor, TrainError> {
            Ok(tensor.f_view(shape)?.f_to_device(device)?)
        };
        Ok(Batch {
            returns: to(Tensor::f_from_slice(returns)?, &[b, w])?,
            inputs: to(Tensor::f_from_slice(inputs)?, &[b, w, n])?,
            actions: to(Tensor::f_from_slice(actions)?, &[b, w])?,
            labels: None,
            costs: None,
            times: None,
            mask: None,
        })
    }
}

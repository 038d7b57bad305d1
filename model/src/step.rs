//! One record or period as the input of a network, for either engine.

use crate::set_points::SET_POINTS;
use crate::{ACTIONS, PolicyConfig};

/// One record or period of a window, scaled by the policy's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Requested return-to-go or idle budget, scaled.
    pub return_to_go: f32,
    /// Inputs of the features, scaled: one value per scalar, `history` values
    /// per series, oldest first ([`PolicyConfig::fill_inputs`]).
    pub inputs: Vec<f32>,
    /// The action taken.
    pub action: Taken,
}

/// Action taken at a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Taken {
    /// Code of an action, below [`ACTIONS`].
    Action(usize),
    /// Current set-points: see [`crate::SetPointHead::in_force`].
    SetPoints([f32; SET_POINTS]),
}

impl Taken {
    /// The numbers of its token, [`PolicyConfig::action_inputs`] in all.
    pub(crate) fn numbers(self) -> [f32; SET_POINTS] {
        match self {
            // The authors' encoding of actions: (a + 1) / 3.
            Taken::Action(code) => [(code + 1) as f32 / ACTIONS as f32, 0.0, 0.0, 0.0],
            Taken::SetPoints(points) => points,
        }
    }
}

impl From<usize> for Taken {
    fn from(code: usize) -> Taken {
        Taken::Action(code)
    }
}

impl PolicyConfig {
    /// Number of values in the action token: 1 or [`SET_POINTS`].
    pub fn action_inputs(&self) -> usize {
        match self.is_on_summaries() {
            true => SET_POINTS,
            false => 1,
        }
    }
}

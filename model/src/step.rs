//! One record or period as a network sees it, whichever engine computes it.

use crate::set_points::SET_POINTS;
use crate::{ACTIONS, PolicyConfig};

/// One record or period of a window, scaled as the policy's configuration
/// says.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is asked for: return-to-go, or idle budget; scaled.
    pub return_to_go: f32,
    /// What the features put in, scaled: one value a scalar, `history` values
    /// a series, oldest first ([`PolicyConfig::fill_inputs`]).
    pub inputs: Vec<f32>,
    /// What was done.
    pub action: Taken,
}

/// What was done at a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Taken {
    /// Code of an action, below [`ACTIONS`].
    Action(usize),
    /// Set-points in force: see [`crate::SetPointHead::in_force`].
    SetPoints([f32; SET_POINTS]),
}

impl Taken {
    /// The numbers that its token is made of: as many of them as the policy's
    /// [`PolicyConfig::action_inputs`].
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
    /// Numbers that the action token is made of: 1, or [`SET_POINTS`].
    pub(crate) fn action_inputs(&self) -> usize {
        match self.is_on_summaries() {
            true => SET_POINTS,
            false => 1,
        }
    }
}

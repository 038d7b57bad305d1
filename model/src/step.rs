//! One record as a network sees it, whichever engine computes it.

/// One record of a window, scaled as the policy's configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Return-to-go, scaled.
    pub return_to_go: f32,
    /// What the features put in, scaled: one value a scalar, `history` values
    /// a series, oldest first ([`PolicyConfig::fill_inputs`]).
    pub inputs: Vec<f32>,
    /// Code of the action that was taken, below [`ACTIONS`].
    pub action: usize,
}

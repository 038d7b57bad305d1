//! The last records or periods of a stream, for a network that sees a whole window
//! at once.

use super::state::{StateError, WindowsState, copy};
use super::stream::{Stream, row};
use super::window::Window;
use crate::PolicyConfig;
use crate::set_points::SET_POINTS;

/// Scaled inputs of the last w records, record r at row r % w.
pub(crate) struct Ring {
    inputs: Vec<f32>,  // [w][inputs]
    actions: Vec<f32>, // [w][k]
    returns: Vec<f32>, // [w]: the request at each
}

impl Ring {
    pub(crate) fn new(config: &PolicyConfig) -> Ring {
        let w = config.window;
        Ring {
            inputs: vec![0.0; w * config.inputs()],
            actions: vec![0.0; w * config.action_inputs()],
            returns: vec![0.0; w],
        }
    }

    /// Adds the newest record of the stream; `action` is the value of its action
    /// token.
    pub(crate) fn keep(
        &mut self,
        config: &PolicyConfig,
        stream: &Stream,
        action: &[f32; SET_POINTS],
    ) {
        let (at, each) = (row(stream.now(), config.window), config.inputs());
        self.inputs[at * each..][..each].copy_from_slice(stream.inputs());
        let k = config.action_inputs();
        self.actions[at * k..][..k].copy_from_slice(&action[..k]);
        self.returns[at] = stream.target();
    }

    /// The window that ends with the newest record; `None` between two decisions.
    pub(crate) fn window(&self, config: &PolicyConfig, stream: &Stream) -> Option<Window> {
        let (w, now) = (config.window, stream.now());
        if stream.boundaries().next() != Some(now) {
            return None;
        }
        // Oldest first: the records after the newest in the ring, then those up to
        // it.
        let (start, at) = (row(stream.start(now), w), row(now, w));
        let turn = match start <= at {
            true => [start..at + 1, 0..0],
            false => [start..w, 0..at + 1],
        };
        let in_order = |ring: &[f32], each: usize| -> Vec<f32> {
            let rows = turn.iter().map(|r| &ring[r.start * each..r.end * each]);
            rows.flatten().copied().collect()
        };
        Some(Window {
            returns: in_order(&self.returns, 1),
            inputs: in_order(&self.inputs, config.inputs()),
            actions: in_order(&self.actions, config.action_inputs()),
        })
    }

    pub(crate) fn save(&self) -> WindowsState {
        WindowsState::Torch {
            inputs: self.inputs.clone(),
            actions: self.actions.clone(),
            returns: self.returns.clone(),
        }
    }

    pub(crate) fn restore(&mut self, state: &WindowsState) -> Result<(), StateError> {
        let WindowsState::Torch {
            inputs,
            actions,
            returns,
        } = state
        else {
            return Err(StateError::Engine);
        };
        copy("the windows", inputs, &mut self.inputs)?;
        copy("the windows", actions, &mut self.actions)?;
        copy("the windows", returns, &mut self.returns)
    }
}

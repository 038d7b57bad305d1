//! Checks before use that a policy's decisions are finite.
//!
//! Finite weights may still overflow: a window's outputs are then NaN.

use crate::set_points::SET_POINTS;
use crate::{Policy, PolicyConfig, PolicyError, Scaling, Step, Taken};

/// Number of records in the windows at the limits of the scaling; few
/// suffice, since an overflow occurs in every token.
const EXTREME: usize = 4;

impl Policy {
    /// Decides on synthetic windows: average records or periods, and windows
    /// at both limits of the scaling. Every way of loading a policy runs this
    /// check.
    ///
    /// # Errors
    /// An output is not finite, or the engine failed.
    pub fn probe(&self) -> Result<(), PolicyError> {
        let config = self.config();
        let windows = [
            ("average values", window(config, config.window, 0.0)),
            ("the largest values", window(config, EXTREME, 1.0)),
            ("the smallest values", window(config, EXTREME, -1.0)),
        ];
        let steps: Vec<&[Step]> = windows.iter().map(|(_, steps)| steps.as_slice()).collect();
        let decided = self.outputs_all(&steps)?;
        let wrong = windows
            .iter()
            .zip(decided)
            .find(|(_, p)| !p.iter().all(|p| p.is_finite()));
        match wrong {
            None => Ok(()),
            Some(((values, _), outputs)) => Err(PolicyError::NotFinite {
                policy: config.name.clone(),
                values,
                outputs: format!("{:?}", &outputs[..config.head.outputs()]),
            }),
        }
    }
}

/// Records with every input at this share of the scaling limit.
fn window(config: &PolicyConfig, records: usize, share: f64) -> Vec<Step> {
    let returns = &config.returns;
    let features = config.features.iter().flat_map(|feature| {
        let value = (share * feature.scaling.clip) as f32;
        std::iter::repeat_n(value, feature.encoder.history())
    });
    let inputs: Vec<f32> = features.collect();
    let step = |record: usize| Step {
        return_to_go: match share {
            0.0 => returns.scaling.apply(returns.target),
            share => (share * returns.scaling.clip) as f32,
        },
        inputs: inputs.clone(),
        action: match config.is_on_summaries() {
            true => Taken::SetPoints([(share * Scaling::CLIP) as f32; SET_POINTS]),
            false => Taken::Action(record % crate::ACTIONS),
        },
    };
    (0..records.clamp(1, config.window)).map(step).collect()
}

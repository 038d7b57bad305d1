//! Engines without a rule: DualPI2 with fixed set-points.

use l4sllm_abi::{Record, Summary};

use super::{Decision, Engine, EngineState, RestoreError, SetPoints};

/// Fixed settings of DualPI2, to compare controllers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The device's own parameters: no override is sent.
    Plain,
    /// The profile `tuned`: a target of 10 ms and gains × 4, whatever the device's
    /// parameters are.
    Tuned,
}

impl Profile {
    /// Every profile with its name.
    pub const NAMES: [(&'static str, Profile); 2] =
        [("plain", Profile::Plain), ("tuned", Profile::Tuned)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Plain => "plain",
            Profile::Tuned => "tuned",
        }
    }

    /// The set-points to send; `None` if no override is sent.
    fn set_points(self) -> Option<SetPoints> {
        let rfc = SetPoints::RFC9332;
        match self {
            Profile::Plain => None,
            Profile::Tuned => Some(SetPoints {
                target_s: 0.010,
                alpha_hz: 4.0 * rfc.alpha_hz,
                beta_hz: 4.0 * rfc.beta_hz,
                ..rfc
            }),
        }
    }
}

/// Sends the set-points of a profile after every period, so that they stay in
/// force.
#[derive(Debug, Clone)]
pub struct Fixed(Option<SetPoints>);

impl Fixed {
    /// An engine for `profile`.
    pub fn new(profile: Profile) -> Fixed {
        Fixed(profile.set_points())
    }
}

impl Engine for Fixed {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        None
    }

    fn observe_summary(&mut self, _summary: &Summary) -> Option<Decision> {
        self.0.map(Decision::SetPoints)
    }

    /// It has no state.
    fn restore(&mut self, _state: &EngineState) -> Result<(), RestoreError> {
        Ok(())
    }

    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use l4sllm_abi::Params;

    use super::*;

    #[test]
    fn tuned_has_the_set_points_of_the_profile_tuned() {
        let points = Profile::Tuned.set_points().expect("set-points");
        let params = Params::tuned();
        assert_eq!((points.target_s * 1e9) as u64, params.target_ns);
        assert_eq!((points.alpha_hz * 1e6) as u32, params.alpha_uhz);
        assert_eq!((points.beta_hz * 1e6) as u32, params.beta_uhz);
        assert_eq!((points.tupdate_s * 1e9) as u64, params.tupdate_ns);
        assert_eq!((points.coupling * 256.0) as u32, params.coupling_q8);
        assert_eq!(Profile::Plain.set_points(), None);
    }
}

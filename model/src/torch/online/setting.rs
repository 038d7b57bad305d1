//! The plane in set-point space that in-the-loop training is restricted to.

use crate::set_points::{SET_POINTS, SetPoints};
use crate::{Outputs, SetPointHead};

/// Number of values of a [`PlaneSetting`].
pub const AXES: usize = 2;

const PLAIN: SetPoints = SetPoints::RFC9332;

/// Exponent of k for targets below [`REFERENCE_MS`], as in the adaptive rule:
/// classic flows with a shorter queue have a shorter round trip and a higher p.
const COUPLING_EXPONENT: f64 = 0.28;
const REFERENCE_MS: f64 = 10.0;

/// Target and gain of DualPI2, which determine α, β, the period and k.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaneSetting {
    /// ln(target in ms), ln(gain as a factor on RFC 9332's).
    pub axes: [f64; AXES],
}

impl PlaneSetting {
    /// The set-points, with the controller's period of `head`. α per second
    /// depends on the gain but not on the period.
    pub fn set_points(self, head: &SetPointHead) -> SetPoints {
        let [log_target, log_gain] = self.axes;
        let tupdate_s = head.tupdate_ms / 1e3;
        SetPoints {
            target_s: log_target.exp() / 1e3,
            alpha_hz: PLAIN.alpha_hz * log_gain.exp() * tupdate_s / PLAIN.tupdate_s,
            beta_hz: PLAIN.beta_hz * log_gain.exp(),
            tupdate_s,
            coupling: log_coupling(log_target).exp(),
        }
    }

    /// The setting for the target and β of a head's outputs.
    pub fn of_outputs(head: &SetPointHead, outputs: &Outputs) -> PlaneSetting {
        let points = head.set_points(outputs);
        PlaneSetting {
            axes: [
                (points.target_s * 1e3).ln(),
                (points.beta_hz / PLAIN.beta_hz).ln(),
            ],
        }
    }

    /// The change of a head's outputs for a step of `step` in the plane,
    /// including that of k, as if the target were below the reference.
    pub fn offset(head: &SetPointHead, step: [f64; AXES]) -> [f32; SET_POINTS] {
        let [target, alpha, beta, coupling] = head.ranges().map(|(_, range)| range.std);
        let along = COUPLING_EXPONENT * step[0].min(0.0);
        [
            (step[0] / target) as f32,
            (step[1] / alpha) as f32,
            (step[1] / beta) as f32,
            (along / coupling) as f32,
        ]
    }
}

/// ln(β) at gain 1.
pub(super) fn log_beta() -> f64 {
    PLAIN.beta_hz.ln()
}

/// ln(α) at gain 1 with the controller's period of `head`.
pub(super) fn log_alpha(head: &SetPointHead) -> f64 {
    (PLAIN.alpha_hz * head.tupdate_ms / 1e3 / PLAIN.tupdate_s).ln()
}

/// ln(k) for ln(target in ms): constant from the reference on.
fn log_coupling(log_target: f64) -> f64 {
    let (reference, exponent, most) = coupling_line();
    exponent * (log_target - reference).min(0.0) + most
}

/// Coefficients of ln(k) = exponent · min(0, ln(target in ms) - reference) +
/// most.
pub(super) fn coupling_line() -> (f64, f64, f64) {
    (REFERENCE_MS.ln(), COUPLING_EXPONENT, PLAIN.coupling.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: SetPointHead = SetPointHead::DEFAULT;

    fn setting(target_ms: f64, gain: f64) -> PlaneSetting {
        PlaneSetting {
            axes: [target_ms.ln(), gain.ln()],
        }
    }

    #[test]
    fn gain_one_matches_the_standard() {
        let points = setting(15.0, 1.0).set_points(&HEAD);
        let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-9, "{got} {want}");
        near(points.target_s, 0.015);
        near(points.beta_hz, 3.2);
        near(points.coupling, 2.0);
        // Four milliseconds instead of sixteen; the same per second.
        near(points.alpha_hz / points.tupdate_s, 0.16 / 0.016);
        let points = setting(6.0, 4.0).set_points(&HEAD);
        near(points.beta_hz, 12.8);
        near(points.coupling, 2.0 * f64::powf(0.6, 0.28));
    }

    #[test]
    fn offset_shifts_outputs_within_the_plane() {
        let at = |x: f64, y: f64| {
            let mut outputs = Outputs::default();
            outputs[..SET_POINTS].copy_from_slice(&HEAD.outputs(&setting(x, y).set_points(&HEAD)));
            outputs
        };
        let mut outputs = at(8.0, 2.0);
        assert_eq!(
            PlaneSetting::of_outputs(&HEAD, &outputs)
                .axes
                .map(|x| (x * 1e4).round()),
            setting(8.0, 2.0).axes.map(|x| (x * 1e4).round())
        );
        let step = [0.5f64.ln(), 3f64.ln()];
        for (output, offset) in outputs.iter_mut().zip(PlaneSetting::offset(&HEAD, step)) {
            *output += offset;
        }
        for (got, want) in outputs.iter().zip(at(4.0, 6.0)) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
    }
}

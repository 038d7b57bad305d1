//! Converts head outputs to DualPI2 set-points, and current set-points to
//! network inputs.

use l4sllm_abi::Summary;
use serde::{Deserialize, Serialize};

use crate::{Outputs, Scaling};

/// Number of set-points that a head decides on: target, α, β and k.
pub const SET_POINTS: usize = 4;

/// Set-points of DualPI2 (RFC 9332, appendix A).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SetPoints {
    /// Target delay, s.
    pub target_s: f64,
    /// Integral gain α, Hz.
    pub alpha_hz: f64,
    /// Proportional gain β, Hz.
    pub beta_hz: f64,
    /// The controller's period, s.
    pub tupdate_s: f64,
    /// The coupling factor k.
    pub coupling: f64,
}

impl SetPoints {
    /// RFC 9332's defaults (appendix A.1).
    pub const RFC9332: SetPoints = SetPoints {
        target_s: 0.015,
        alpha_hz: 0.16,
        beta_hz: 3.2,
        tupdate_s: 0.016,
        coupling: 2.0,
    };
}

/// A head that decides on set-points. It has eight outputs: four for the
/// set-points, in the order of the fields here, and four, used in training,
/// with the natural logarithms of their standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPointHead {
    /// Target delay, ms.
    pub target_ms: SetPointRange,
    /// Integral gain α, Hz.
    pub alpha_hz: SetPointRange,
    /// Proportional gain β, Hz.
    pub beta_hz: SetPointRange,
    /// The coupling factor k.
    pub coupling: SetPointRange,
    /// The controller's period, ms, 0.1 to 1000, which is fixed.
    pub tupdate_ms: f64,
}

/// A set-point: exp(`mean` + `std` · output), within `min` and `max`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPointRange {
    /// ln of the set-point at output 0.
    pub mean: f64,
    /// Change of the logarithm for each unit of the output, above 0.
    pub std: f64,
    /// Least set-point, above 0.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

impl SetPointHead {
    /// Ranges around the values chosen by the adaptive rule, about as wide as
    /// its own ranges.
    pub const DEFAULT: SetPointHead = SetPointHead {
        target_ms: SetPointRange::around(1.8, 0.8, 1.5, 30.0), // e^1.8 = 6 ms
        alpha_hz: SetPointRange::around(-2.0, 1.0, 0.008, 3.2), // 0.135 Hz
        beta_hz: SetPointRange::around(2.4, 1.0, 0.64, 256.0), // 11 Hz
        coupling: SetPointRange::around(0.6, 0.3, 1.0, 3.0),   // 1.8
        tupdate_ms: 4.0,
    };

    /// The set-points in the order of the outputs, with their keys.
    pub fn ranges(&self) -> [(&'static str, SetPointRange); SET_POINTS] {
        [
            ("target_ms", self.target_ms),
            ("alpha_hz", self.alpha_hz),
            ("beta_hz", self.beta_hz),
            ("coupling", self.coupling),
        ]
    }

    /// The set-points for these outputs; finite if the outputs are.
    pub fn set_points(&self, outputs: &Outputs) -> SetPoints {
        SetPoints {
            target_s: self.target_ms.value(outputs[0]) / 1e3,
            alpha_hz: self.alpha_hz.value(outputs[1]),
            beta_hz: self.beta_hz.value(outputs[2]),
            tupdate_s: self.tupdate_ms / 1e3,
            coupling: self.coupling.value(outputs[3]),
        }
    }

    /// The outputs that correspond to the set-points at the end of a summary,
    /// within ±[`Scaling::CLIP`]; the input of the action token. They are not
    /// limited to the range, since the device's own set-points may be outside
    /// it.
    pub fn in_force(&self, summary: &Summary) -> [f32; SET_POINTS] {
        self.outputs(&SetPoints {
            target_s: summary.target_ns as f64 / 1e9,
            alpha_hz: f64::from(summary.alpha_uhz) / 1e6,
            beta_hz: f64::from(summary.beta_uhz) / 1e6,
            tupdate_s: summary.tupdate_ns as f64 / 1e9,
            coupling: f64::from(summary.coupling_q8) / 256.0,
        })
    }

    /// The outputs that correspond to these set-points, without regard to the
    /// range: see [`SetPointHead::in_force`].
    pub fn outputs(&self, points: &SetPoints) -> [f32; SET_POINTS] {
        [
            self.target_ms.output(points.target_s * 1e3),
            self.alpha_hz.output(points.alpha_hz),
            self.beta_hz.output(points.beta_hz),
            self.coupling.output(points.coupling),
        ]
    }
}

impl SetPointRange {
    const fn around(mean: f64, std: f64, min: f64, max: f64) -> SetPointRange {
        SetPointRange {
            mean,
            std,
            min,
            max,
        }
    }

    fn value(&self, output: f32) -> f64 {
        let log = self.mean + self.std * f64::from(output);
        log.exp().clamp(self.min, self.max)
    }

    /// Gains may be 0; values this small are clipped.
    fn output(&self, value: f64) -> f32 {
        let log = value.max(f64::MIN_POSITIVE).ln();
        let output = (log - self.mean) / self.std;
        output.clamp(-Scaling::CLIP, Scaling::CLIP) as f32
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use l4sllm_abi::{header, raw};

    use super::*;

    const HEAD: SetPointHead = SetPointHead::DEFAULT;

    fn reporting(points: SetPoints) -> Summary {
        Summary::try_from(raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, 0, 1),
            target_ns: (points.target_s * 1e9).round() as u64,
            tupdate_ns: (points.tupdate_s * 1e9).round() as u64,
            alpha_uhz: (points.alpha_hz * 1e6).round() as u32,
            beta_uhz: (points.beta_hz * 1e6).round() as u32,
            coupling_q8: (points.coupling * 256.0).round() as u32,
            ..Default::default()
        })
        .unwrap()
    }

    #[test]
    fn outputs_are_logarithms_of_set_points() {
        let points = HEAD.set_points(&[0.0; 8]);
        assert!((points.target_s - 1.8f64.exp() / 1e3).abs() < 1e-12);
        assert_eq!(points.tupdate_s, 0.004);
        let points = HEAD.set_points(&[1.0, -1.0, 0.5, 0.0, 9.0, 9.0, 9.0, 9.0]);
        assert!((points.target_s - 2.6f64.exp() / 1e3).abs() < 1e-12);
        assert!((points.alpha_hz - (-3.0f64).exp()).abs() < 1e-12);
        assert!((points.beta_hz - 2.9f64.exp()).abs() < 1e-12);
        assert!((points.coupling - 0.6f64.exp()).abs() < 1e-12);
    }

    #[test]
    fn active_set_points_are_those_requested() {
        let outputs = [0.7, -0.3, 1.2, -0.4, 0.0, 0.0, 0.0, 0.0];
        let got = HEAD.in_force(&reporting(HEAD.set_points(&outputs)));
        for (got, want) in got.iter().zip(&outputs) {
            // k has eight fractional bits.
            assert!((got - want).abs() < 5e-3, "{got} {want}");
        }
    }

    #[test]
    fn set_points_stay_within_their_range() {
        for output in [f32::MAX, f32::MIN, 1e3, -1e3] {
            let points = HEAD.set_points(&[output; 8]);
            let values = [
                points.target_s * 1e3,
                points.alpha_hz,
                points.beta_hz,
                points.coupling,
            ];
            for ((key, range), value) in HEAD.ranges().iter().zip(values) {
                let want = if output > 0.0 { range.max } else { range.min };
                assert!((value - want).abs() < 1e-9 * want, "{key}: {value}");
            }
        }
        // A device without gains, and one with extreme gains.
        let mut none = *reporting(HEAD.set_points(&[0.0; 8])).raw();
        (none.alpha_uhz, none.beta_uhz, none.coupling_q8) = (0, u32::MAX, 0);
        none.target_ns = u64::MAX;
        let got = HEAD.in_force(&Summary::try_from(none).unwrap());
        assert_eq!([got[0], got[1], got[3]], [8.0, -8.0, -8.0]);
        assert!(got[2] > 5.0 && got[2] <= 8.0);
    }
}

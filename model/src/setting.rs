//! Settings of DualPI2's controller and their notation in files.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Factors on DualPI2's set-points, see [`l4sllm_abi::Steer`]. Ranges are
/// those of the kernel's default limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SettingText", into = "SettingText")]
pub struct Setting {
    /// Factor on the target delay, 0.1..=4.
    pub target: f64,
    /// Factors on the gains, 0.05..=20.
    pub gains: Gains,
    /// Factor on the controller's period, 0.1..=4.
    pub tupdate: f64,
}

/// Factors on the gains of DualPI2's controller. In files the key is `gain`
/// if both are equal, otherwise `alpha` and `beta`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "GainsText", into = "GainsText")]
pub struct Gains {
    /// Factor on the integral gain.
    pub alpha: f64,
    /// Factor on the proportional gain.
    pub beta: f64,
}

impl Setting {
    /// DualPI2 unchanged.
    pub const ONE: Setting = Setting {
        target: 1.0,
        gains: Gains::both(1.0),
        tupdate: 1.0,
    };

    /// The factors with their keys in files.
    pub fn factors(&self) -> [(&'static str, f64); 4] {
        [
            ("target", self.target),
            ("alpha", self.gains.alpha),
            ("beta", self.gains.beta),
            ("tupdate", self.tupdate),
        ]
    }
}

impl Gains {
    /// The same factor on both gains.
    pub const fn both(gain: f64) -> Gains {
        Gains {
            alpha: gain,
            beta: gain,
        }
    }
}

/// A factor on the target delay and one on both gains.
impl From<(f64, f64)> for Setting {
    fn from((target, gain): (f64, f64)) -> Setting {
        Setting {
            target,
            gains: Gains::both(gain),
            ..Setting::ONE
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gains { alpha, beta } = self.gains;
        write!(f, "target x {}, ", self.target)?;
        if alpha == beta {
            write!(f, "gains x {alpha}")?;
        } else {
            write!(f, "alpha x {alpha}, beta x {beta}")?;
        }
        if self.tupdate != 1.0 {
            write!(f, ", tupdate x {}", self.tupdate)?;
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingText {
    target: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    gain: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    alpha: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    beta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    tupdate: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct GainsText {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    gain: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    alpha: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    beta: Option<f64>,
}

impl From<Gains> for GainsText {
    fn from(Gains { alpha, beta }: Gains) -> GainsText {
        let same = alpha == beta;
        GainsText {
            gain: same.then_some(alpha),
            alpha: (!same).then_some(alpha),
            beta: (!same).then_some(beta),
        }
    }
}

impl TryFrom<GainsText> for Gains {
    type Error = &'static str;
    fn try_from(text: GainsText) -> Result<Gains, &'static str> {
        match (text.gain, text.alpha, text.beta) {
            (Some(gain), None, None) => Ok(Gains::both(gain)),
            (None, Some(alpha), Some(beta)) => Ok(Gains { alpha, beta }),
            _ => Err("expected either gain, or alpha and beta"),
        }
    }
}

impl From<Setting> for SettingText {
    fn from(setting: Setting) -> SettingText {
        let GainsText { gain, alpha, beta } = setting.gains.into();
        SettingText {
            target: setting.target,
            gain,
            alpha,
            beta,
            tupdate: (setting.tupdate != 1.0).then_some(setting.tupdate),
        }
    }
}

impl TryFrom<SettingText> for Setting {
    type Error = &'static str;
    fn try_from(text: SettingText) -> Result<Setting, &'static str> {
        let SettingText {
            target,
            gain,
            alpha,
            beta,
            tupdate,
        } = text;
        Ok(Setting {
            target,
            gains: GainsText { gain, alpha, beta }.try_into()?,
            tupdate: tupdate.unwrap_or(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of released policies keep their meaning and are written where
    /// they suffice.
    #[test]
    fn gain_sets_both_gains() {
        let old = r#"{"target":0.5,"gain":4.0}"#;
        let read: Setting = serde_json::from_str(old).unwrap();
        assert_eq!(read, Setting::from((0.5, 4.0)));
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
        let new = r#"{"target":0.5,"alpha":0.25,"beta":4.0,"tupdate":0.25}"#;
        let read: Setting = serde_json::from_str(new).unwrap();
        let gains = Gains {
            alpha: 0.25,
            beta: 4.0,
        };
        assert_eq!((read.gains, read.tupdate), (gains, 0.25));
        assert_eq!(serde_json::to_string(&read).unwrap(), new);
        for wrong in [
            r#"{"target":0.5}"#,
            r#"{"target":0.5,"gain":1,"alpha":1}"#,
            r#"{"target":0.5,"alpha":1}"#,
            r#"{"target":0.5,"gain":1,"threshold":1}"#,
        ] {
            assert!(serde_json::from_str::<Setting>(wrong).is_err(), "{wrong}");
        }
    }
}

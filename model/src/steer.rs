//! From probabilities to shifted set-points.

use l4sllm_abi::{Factor, Steer};

use crate::chooser::largest;
use crate::{ACTIONS, DecisionRule, HeadKind, PolicyConfig, Setting};

impl PolicyConfig {
    /// The shift of DualPI2's set-points that the probabilities of a head that
    /// steers ask for; none for a head that decides actions.
    pub fn steer(&self, probabilities: &[f32; ACTIONS]) -> Option<Steer> {
        let HeadKind::Steer(settings) = &self.head.kind else {
            return None;
        };
        let setting = match self.decision_rule {
            DecisionRule::Mean => mean(settings, probabilities),
            _ => settings[largest(probabilities)],
        };
        // Within 0.25 to 4 as each setting is: the conversions cannot fail.
        let (target, gain) = (Factor::new(setting.target), Factor::new(setting.gain));
        Steer::new(target.ok(), None, None, gain.ok()).ok()
    }
}

/// Factors multiply: between a half and two lies one.
fn mean(settings: &[Setting; ACTIONS], probabilities: &[f32; ACTIONS]) -> Setting {
    let of = |factor: fn(&Setting) -> f64| {
        let weighted = settings.iter().zip(probabilities);
        let log: f64 = weighted.map(|(s, p)| f64::from(*p) * factor(s).ln()).sum();
        // Rounded probabilities may add up to a trace more than 1.
        log.exp().clamp(0.25, 4.0)
    };
    Setting {
        target: of(|s| s.target),
        gain: of(|s| s.gain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Feature;

    fn config(rule: DecisionRule) -> PolicyConfig {
        let mut config = PolicyConfig::new("steers", &Feature::PAPER7);
        let setting = |target, gain| Setting { target, gain };
        config.head.kind =
            HeadKind::Steer([setting(1.0, 4.0), setting(0.5, 4.0), setting(0.25, 1.0)]);
        config.decision_rule = rule;
        config.check().unwrap();
        config
    }

    fn factors(steer: Steer) -> [f64; 2] {
        [steer.target().unwrap(), steer.gain().unwrap()].map(Factor::as_f64)
    }

    #[test]
    fn the_most_probable_setting_or_their_mean() {
        let p = [0.25, 0.5, 0.25];
        let steer = config(DecisionRule::Argmax).steer(&p).unwrap();
        assert_eq!(factors(steer), [0.5, 4.0]);
        let steer = config(DecisionRule::Mean).steer(&p).unwrap();
        let [target, gain] = factors(steer);
        assert!((target - 0.5).abs() < 1e-4, "{target}");
        assert!((gain - 4f64.powf(0.75)).abs() < 1e-4, "{gain}");
        assert_eq!(steer.threshold(), None);
        assert_eq!(steer.coupling(), None);
        let action = PolicyConfig::new("acts", &Feature::PAPER7);
        assert_eq!(action.steer(&p), None);
    }

    #[test]
    fn configurations_are_refused_by_key() {
        let refusal = |wrong: &PolicyConfig| wrong.check().unwrap_err().to_string();
        let mut wrong = config(DecisionRule::Mean);
        wrong.decision_rule = DecisionRule::Recur;
        assert!(refusal(&wrong).contains("decision_rule"));
        let mut wrong = config(DecisionRule::Mean);
        if let HeadKind::Steer(settings) = &mut wrong.head.kind {
            settings[1].gain = 5.0;
        }
        let error = refusal(&wrong);
        assert!(error.contains("head.kind.steer[1].gain"), "{error}");
        let mut wrong = PolicyConfig::new("acts", &Feature::PAPER7);
        wrong.decision_rule = DecisionRule::Mean;
        assert!(refusal(&wrong).contains("decision_rule"));
    }

    #[test]
    fn a_configuration_comes_back_from_its_text() {
        let config = config(DecisionRule::Mean);
        let again = PolicyConfig::from_json("config.json", config.to_json().as_bytes()).unwrap();
        assert_eq!(again, config);
    }
}

//! Converts probabilities to shifts of set-points.

use l4sllm_abi::{Factor, Factors, Steer};

use crate::chooser::largest;
use crate::{ACTIONS, DecisionRule, Gains, HeadKind, PolicyConfig, Setting};

impl PolicyConfig {
    /// The shift of DualPI2's set-points for the probabilities of a head that
    /// steers; `None` for a head that decides actions.
    pub fn steer(&self, probabilities: &[f32; ACTIONS]) -> Option<Steer> {
        let HeadKind::Steer(settings) = &self.head.kind else {
            return None;
        };
        let setting = match self.decision_rule {
            DecisionRule::Mean => mean(settings, probabilities),
            _ => settings[largest(probabilities)],
        };
        // Within the range of the settings: the conversions cannot fail.
        let factor = |factor| Factor::new(factor).ok();
        let shifts_period = settings.iter().any(|setting| setting.tupdate != 1.0);
        let factors = Factors {
            target: factor(setting.target),
            alpha: factor(setting.gains.alpha),
            beta: factor(setting.gains.beta),
            tupdate: shifts_period.then(|| factor(setting.tupdate)).flatten(),
            ..Factors::NONE
        };
        Steer::new(factors).ok()
    }
}

/// Factors multiply: halfway between a half and two is one.
fn mean(settings: &[Setting; ACTIONS], probabilities: &[f32; ACTIONS]) -> Setting {
    let of = |factor: fn(&Setting) -> f64| {
        let weighted = settings.iter().zip(probabilities);
        let log: f64 = weighted.map(|(s, p)| f64::from(*p) * factor(s).ln()).sum();
        // Rounded probabilities may add up to slightly more than 1.
        let all = settings.each_ref().map(factor);
        let least = all.into_iter().fold(f64::INFINITY, f64::min);
        log.exp()
            .clamp(least, all.into_iter().fold(least, f64::max))
    };
    Setting {
        target: of(|s| s.target),
        gains: Gains {
            alpha: of(|s| s.gains.alpha),
            beta: of(|s| s.gains.beta),
        },
        tupdate: of(|s| s.tupdate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Feature;

    fn config(rule: DecisionRule) -> PolicyConfig {
        let mut config = PolicyConfig::new("steers", &Feature::PAPER7);
        let settings = [(1.0, 4.0), (0.5, 4.0), (0.25, 1.0)].map(Setting::from);
        config.head.kind = HeadKind::Steer(settings);
        config.decision_rule = rule;
        config.check().unwrap();
        config
    }

    fn factors(steer: Steer) -> [f64; 2] {
        let factors = steer.factors();
        assert_eq!(factors.alpha, factors.beta);
        [factors.target.unwrap(), factors.alpha.unwrap()].map(Factor::as_f64)
    }

    #[test]
    fn picks_most_probable_setting_or_mean() {
        let p = [0.25, 0.5, 0.25];
        let steer = config(DecisionRule::Argmax).steer(&p).unwrap();
        assert_eq!(factors(steer), [0.5, 4.0]);
        let steer = config(DecisionRule::Mean).steer(&p).unwrap();
        let [target, gain] = factors(steer);
        assert!((target - 0.5).abs() < 1e-4, "{target}");
        assert!((gain - 4f64.powf(0.75)).abs() < 1e-4, "{gain}");
        let rest = steer.factors();
        assert_eq!(
            (rest.threshold, rest.coupling, rest.tupdate),
            (None, None, None)
        );
        let action = PolicyConfig::new("acts", &Feature::PAPER7);
        assert_eq!(action.steer(&p), None);
    }

    /// Separate gains, and a period that the settings shift.
    #[test]
    fn every_factor_of_a_setting_is_requested() {
        let mut config = config(DecisionRule::Argmax);
        if let HeadKind::Steer(settings) = &mut config.head.kind {
            settings[0].gains = Gains {
                alpha: 0.0625,
                beta: 16.0,
            };
            settings[1].tupdate = 0.25;
        }
        config.check().unwrap();
        let asked = |p: [f32; 3]| {
            let f = config.steer(&p).unwrap().factors();
            [f.target, f.alpha, f.beta, f.tupdate].map(|f| f.unwrap().as_f64())
        };
        assert_eq!(asked([1.0, 0.0, 0.0]), [1.0, 0.0625, 16.0, 1.0]);
        assert_eq!(asked([0.0, 1.0, 0.0]), [0.5, 4.0, 4.0, 0.25]);
    }

    #[test]
    fn configurations_are_refused_by_key() {
        let refusal = |wrong: &PolicyConfig| wrong.check().unwrap_err().to_string();
        let mut wrong = config(DecisionRule::Mean);
        wrong.decision_rule = DecisionRule::Recur;
        assert!(refusal(&wrong).contains("decision_rule"));
        let mut wrong = config(DecisionRule::Mean);
        if let HeadKind::Steer(settings) = &mut wrong.head.kind {
            settings[1].gains.beta = 21.0;
        }
        let error = refusal(&wrong);
        assert!(error.contains("head.kind.steer[1].beta"), "{error}");
        let mut wrong = PolicyConfig::new("acts", &Feature::PAPER7);
        wrong.decision_rule = DecisionRule::Mean;
        assert!(refusal(&wrong).contains("decision_rule"));
    }

    #[test]
    fn configuration_text_round_trips() {
        let config = config(DecisionRule::Mean);
        let again = PolicyConfig::from_json("config.json", config.to_json().as_bytes()).unwrap();
        assert_eq!(again, config);
    }
}

//! Meaning of a policy's outputs in words, for commands and for exported files.

use crate::{DecisionRule, HeadKind, PolicyConfig};

impl PolicyConfig {
    /// Meaning of each output, in order.
    pub fn outcomes(&self) -> Vec<String> {
        match &self.head.kind {
            HeadKind::Action => ["enqueue", "drop", "mark"].map(str::to_owned).to_vec(),
            HeadKind::Steer(settings) => settings.iter().map(ToString::to_string).collect(),
            HeadKind::SetPoints(head) => {
                let names = head.ranges().map(|(name, _)| name);
                let means = names.iter().map(|name| format!("{name}, mean"));
                let spreads = names.iter().map(|name| format!("{name}, log spread"));
                means.chain(spreads).collect()
            }
        }
    }

    /// Meanings of the outputs.
    pub fn outcome(&self) -> &'static str {
        match self.head.kind {
            HeadKind::Action => "actions (enqueue, drop, mark)",
            HeadKind::Steer(_) => "settings of DualPI2, which still decides each packet",
            HeadKind::SetPoints(_) => "set-points of DualPI2, which still decides each packet",
        }
    }

    /// The decision rule, in terms of the probabilities p.
    pub fn rule_in_words(&self) -> &'static str {
        match (&self.head.kind, self.decision_rule) {
            (HeadKind::Action, DecisionRule::Sample) => {
                "an action is drawn at random with these probabilities"
            }
            (HeadKind::Action, DecisionRule::Recur) => {
                "actions follow deterministically, with the probabilities as long-run shares"
            }
            (HeadKind::Action, _) => "the most probable action is taken",
            (HeadKind::Steer(_), DecisionRule::Mean) => {
                "each factor is exp(sum of p ln factor) over the settings"
            }
            (HeadKind::Steer(_), _) => "the most probable setting is taken",
            (HeadKind::SetPoints(_), _) => {
                "each set-point is exp(mean + std x output), within its range"
            }
        }
    }

    /// The subject of a decision.
    pub fn effect_in_words(&self) -> &'static str {
        match self.head.kind {
            HeadKind::Action => "the next packet, or packets, get the action",
            HeadKind::Steer(_) => {
                "the factors multiply DualPI2's target delay, its gains alpha and beta, and its \
                 update period"
            }
            HeadKind::SetPoints(_) => {
                "DualPI2's target delay, its gains alpha and beta, its coupling factor and its \
                 update period are shifted to these, within the device's limits"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Feature, Setting};

    #[test]
    fn head_determines_output_names() {
        let mut config = PolicyConfig::new("acts", &Feature::PAPER7);
        assert_eq!(config.outcomes(), ["enqueue", "drop", "mark"]);
        assert!(config.rule_in_words().contains("action"));
        let mut settings = [(1.0, 4.0), (0.5, 4.0), (0.25, 1.0)].map(Setting::from);
        settings[2].gains.beta = 2.0;
        settings[2].tupdate = 0.25;
        config.head.kind = HeadKind::Steer(settings);
        config.decision_rule = DecisionRule::Mean;
        let settings = config.outcomes();
        assert_eq!(settings[1], "target x 0.5, gains x 4");
        let third = "target x 0.25, alpha x 1, beta x 2, tupdate x 0.25";
        assert_eq!(settings[2], third);
        for text in [
            config.outcome(),
            config.rule_in_words(),
            config.effect_in_words(),
        ] {
            assert!(!text.contains("enqueue"), "{text}");
        }
        assert!(config.rule_in_words().contains("exp("));
        config.decision_rule = DecisionRule::Argmax;
        assert!(config.rule_in_words().contains("most probable setting"));
    }
}

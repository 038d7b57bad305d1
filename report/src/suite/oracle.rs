//! The oracle: for each condition, the best fixed setting.
//!
//! It is chosen on one half of the repetitions and evaluated on the other, so
//! that a lucky setting has no advantage.

use l4sllm_testbed::suite::{ArmOutcome, ConditionOutcome, Measures, PLAIN, TUNED};
use serde::Serialize;

use super::paired::{JAIN_KEPT, Ratio, UTILISATION_KEPT, log_ratio, mean};

/// The chosen setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Name of its arm.
    pub setting: String,
    /// Whether it keeps utilisation and Jain's index; if no setting does, it is
    /// the better of plain and tuned in utilisation.
    pub holds: bool,
}

/// Whether an arm is one of the oracle's grid.
pub(super) fn is_setting(arm: &str) -> bool {
    arm.starts_with("fixed-")
}

/// Chooses the setting with the least classic delay among those that keep
/// utilisation (compared with the better of plain and tuned) and Jain's index
/// (compared with tuned); none without a grid, without classic traffic, or
/// without a repetition for evaluation.
pub(super) fn choose(condition: &ConditionOutcome) -> Option<Choice> {
    let candidates = || {
        let arms = condition.arms.iter();
        arms.filter(|arm| is_setting(&arm.name) || arm.name == TUNED || arm.name == PLAIN)
    };
    if !candidates().any(|arm| is_setting(&arm.name)) {
        return None;
    }
    odd(condition.arm(TUNED)?).iter().flatten().next()?;
    let half = |arm: &ArmOutcome, of: fn(&Measures) -> Option<f64>| mean(&even(arm), of);
    let use_of = |arm: &ArmOutcome| half(arm, |m| Some(m.outcome.utilisation));
    let (tuned, plain) = (condition.arm(TUNED)?, condition.arm(PLAIN)?);
    let best = use_of(tuned)?.max(use_of(plain)?);
    let fairest = half(tuned, |m| m.outcome.jain);
    let holds = |arm: &&ArmOutcome| {
        let jain = half(arm, |m| m.outcome.jain);
        use_of(arm).is_some_and(|own| own >= UTILISATION_KEPT * best)
            && (jain.zip(fairest)).is_none_or(|(own, of)| own >= of - JAIN_KEPT)
    };
    let delay = |arm: &ArmOutcome| {
        log_ratio(&even(arm), &even(tuned), Measures::classic_delay_ms).map(|of| of.mean)
    };
    delay(tuned)?;
    let held = candidates().filter(holds);
    let held = held.filter_map(|arm| Some((delay(arm)?, arm)));
    let chosen = held.min_by(|a, b| a.0.total_cmp(&b.0));
    Some(match chosen {
        Some((_, arm)) => Choice {
            setting: arm.name.clone(),
            holds: true,
        },
        None => Choice {
            setting: match use_of(plain) > use_of(tuned) {
                true => PLAIN.to_owned(),
                false => TUNED.to_owned(),
            },
            holds: false,
        },
    })
}

impl Choice {
    /// The ratio of an arm's classic delay to that of the setting, on the
    /// other half of the repetitions.
    pub(super) fn judge(&self, condition: &ConditionOutcome, arm: &ArmOutcome) -> Option<Ratio> {
        let setting = condition.arm(&self.setting)?;
        Ratio::of(log_ratio(
            &odd(arm),
            &odd(setting),
            Measures::classic_delay_ms,
        ))
    }
}

fn even(arm: &ArmOutcome) -> Vec<Option<Measures>> {
    arm.repetitions.iter().step_by(2).cloned().collect()
}

fn odd(arm: &ArmOutcome) -> Vec<Option<Measures>> {
    arm.repetitions.iter().skip(1).step_by(2).cloned().collect()
}

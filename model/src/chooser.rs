//! Chooses an action from probabilities.

use l4sllm_abi::{Action, Queue};
use serde::{Deserialize, Serialize};

use crate::splitmix::SplitMix64;
use crate::{ACTIONS, DecisionRule};

/// State of a [`Chooser`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChooserState {
    random: u64,
    owed: [[f32; ACTIONS]; 2],
}

/// Applies a [`DecisionRule`]. One per session; equal probabilities give equal
/// actions.
///
/// On calibrated probabilities of a rare action, `argmax` hardly ever chooses
/// it, so marks would be missing; `sample` and `recur` keep its long-run share.
#[derive(Debug, Clone)]
pub struct Chooser {
    rule: DecisionRule,
    random: SplitMix64,
    owed: [[f32; ACTIONS]; 2], // per queue: accumulated probability without an action so far
}

impl Chooser {
    /// A chooser; `seed` is used only by [`DecisionRule::Sample`].
    pub fn new(rule: DecisionRule, seed: u64) -> Chooser {
        Chooser {
            rule,
            random: SplitMix64::new(seed),
            owed: [[0.0; ACTIONS]; 2],
        }
    }

    /// The state from which another chooser of the same rule continues.
    pub fn save(&self) -> ChooserState {
        ChooserState {
            random: self.random.state(),
            owed: self.owed,
        }
    }

    /// Continues from a saved state.
    pub fn restore(&mut self, state: &ChooserState) {
        self.random = SplitMix64::new(state.random);
        self.owed = state.owed;
    }

    /// The action for the queue of the newest record.
    pub fn choose(&mut self, queue: Queue, probabilities: &[f32; ACTIONS]) -> Action {
        let code = match self.rule {
            // A mean applies only to settings; `PolicyConfig::check` refuses it
            // for actions.
            DecisionRule::Argmax | DecisionRule::Mean => largest(probabilities),
            DecisionRule::Sample => {
                let mut left = self.random.uniform();
                let mut code = 0;
                while code + 1 < ACTIONS && left >= probabilities[code] {
                    left -= probabilities[code];
                    code += 1;
                }
                code
            }
            DecisionRule::Recur => {
                // RFC 9332's recur() for more than two outcomes.
                let owed = &mut self.owed[queue as usize];
                for (o, p) in owed.iter_mut().zip(probabilities) {
                    *o += p;
                }
                let code = largest(owed);
                owed[code] -= 1.0;
                code
            }
        };
        Action::ALL[code]
    }

    /// Resets the accumulated probabilities.
    pub fn reset(&mut self) {
        self.owed = [[0.0; ACTIONS]; 2];
    }
}

/// The first maximum.
pub(crate) fn largest(values: &[f32; ACTIONS]) -> usize {
    (1..ACTIONS).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(rule: DecisionRule, p: [f32; ACTIONS]) -> [usize; ACTIONS] {
        let mut chooser = Chooser::new(rule, 7);
        let mut counts = [0; ACTIONS];
        for _ in 0..10_000 {
            counts[chooser.choose(Queue::Classic, &p) as usize] += 1;
        }
        counts
    }

    #[test]
    fn each_rule_holds() {
        let p = [0.9, 0.02, 0.08];
        assert_eq!(shares(DecisionRule::Argmax, p), [10_000, 0, 0]);
        for (got, want) in shares(DecisionRule::Recur, p)
            .into_iter()
            .zip([9000, 200, 800])
        {
            assert!(usize::abs_diff(got, want) <= 3, "{got} {want}");
        }
        for (got, want) in shares(DecisionRule::Sample, p)
            .into_iter()
            .zip([9000, 200, 800])
        {
            assert!(usize::abs_diff(got, want) <= 100, "{got} {want}");
        }
    }

    #[test]
    fn queues_keep_separate_credit() {
        let mut chooser = Chooser::new(DecisionRule::Recur, 0);
        let p = [0.6, 0.0, 0.4];
        assert_eq!(chooser.choose(Queue::Classic, &p), Action::Enqueue);
        assert_eq!(chooser.choose(Queue::L4s, &p), Action::Enqueue);
        assert_eq!(chooser.choose(Queue::Classic, &p), Action::Mark);
        assert_eq!(chooser.choose(Queue::L4s, &p), Action::Mark);
    }
}

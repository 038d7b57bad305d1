//! What a decision earned.

use l4sllm_abi::Record;
use serde::{Deserialize, Serialize};

use crate::PolicyError;

/// Reward of one record: bytes forwarded over the delay that they met,
/// `packet_length / (current_queue_delay µs + offset_us)`, as the published
/// pools have it with an offset of 1000 µs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// Added to the delay, µs, above 0: what an empty queue counts as.
    pub offset_us: f64,
}

impl Default for Reward {
    fn default() -> Self {
        Reward { offset_us: 1000.0 }
    }
}

impl Reward {
    /// The reward, bytes per µs.
    pub fn of(&self, record: &Record) -> f64 {
        f64::from(record.packet_length) / (f64::from(record.current_queue_delay) + self.offset_us)
    }

    pub(crate) fn check(&self, key: &str) -> Result<(), PolicyError> {
        if self.offset_us.is_finite() && self.offset_us > 0.0 {
            return Ok(());
        }
        Err(PolicyError::config(
            format!("{key}.offset_us"),
            self.offset_us,
            "above 0",
        ))
    }
}

/// Replaces the rewards of one episode by their discounted returns-to-go:
/// `R(t) = r(t) + gamma R(t + 1)`, with nothing after the last.
pub fn returns_to_go(rewards: &mut [f64], gamma: f64) {
    let mut after = 0.0;
    for reward in rewards.iter_mut().rev() {
        after = *reward + gamma * after;
        *reward = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_discounted_sums() {
        let mut rewards = [1.0, 2.0, 4.0];
        returns_to_go(&mut rewards, 0.5);
        assert_eq!(rewards, [3.0, 4.0, 4.0]);
    }
}

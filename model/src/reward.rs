//! Reward of a decision.

use l4sllm_abi::{Action, Record};
use serde::{Deserialize, Serialize};

use crate::{ACTIONS, PolicyError};

/// Reward of a decision: the packet's bytes over the delay of its queue,
///
/// ```text
///        packet_length ^ throughput
/// --------------------------------------  x  (1 - fairness x imbalance)
/// (current_queue_delay + offset) ^ delay
/// ```
///
/// with the packet's length in bytes and both times in µs.  The defaults are
/// the published reward, `packet_length / (delay + 1)` with the delay in ms:
/// the authors' pools hold bytes over µs + 1000, a thousandth of it.
///
/// *Imbalance* is 0 if both queues forward equally many bytes and approaches
/// 1 if one forwards all: `|c - l| / (c + l)` of the bytes recently forwarded
/// by the classic and the L4S queue, with each record weighted
/// `1/fairness_records` less than the next. If a queue had no record among the
/// last `fairness_records`, the imbalance is 0, because there is no competing
/// traffic. The exponents separate throughput from delay: with `delay` 0 only
/// bytes count, with `throughput` 0 only delay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reward {
    /// Added to the delay, µs, above 0: the delay assigned to an empty queue.
    pub offset_us: f64,
    /// Exponent of the packet's length, 0 to 4.
    pub throughput: f64,
    /// Exponent of the delay, 0 to 4.
    pub delay: f64,
    /// Weight of the imbalance between the queues, 0 (none) to 1.
    pub fairness: f64,
    /// Records over which the imbalance is measured, at least 1.
    pub fairness_records: u32,
}

impl Default for Reward {
    fn default() -> Self {
        Reward {
            offset_us: 1000.0,
            throughput: 1.0,
            delay: 1.0,
            fairness: 0.0,
            fairness_records: 100,
        }
    }
}

impl Reward {
    /// Greatest exponent: beyond it, one packet's reward spans more decades
    /// than an f64 sum of returns can represent.
    const MAX_EXPONENT: f64 = 4.0;

    /// Reward of a single record without imbalance. For the records of a
    /// stream see [`Rewards`].
    pub fn of(&self, record: &Record) -> f64 {
        self.alone(
            f64::from(record.packet_length),
            f64::from(record.current_queue_delay),
        )
    }

    /// As above, from bytes and µs.
    pub fn alone(&self, packet_length: f64, delay_us: f64) -> f64 {
        packet_length.powf(self.throughput) / (delay_us + self.offset_us).powf(self.delay)
    }

    /// Checks every value; errors name the key below `key`.
    ///
    /// # Errors
    /// [`PolicyError::Config`] for a value out of range.
    pub fn check(&self, key: &str) -> Result<(), PolicyError> {
        let hold = |name: &str, value: f64, ok: bool, want: &str| match ok {
            true => Ok(()),
            false => Err(PolicyError::config(format!("{key}.{name}"), value, want)),
        };
        let exponent = |value: f64| (0.0..=Self::MAX_EXPONENT).contains(&value);
        let offset = self.offset_us;
        hold(
            "offset_us",
            offset,
            offset.is_finite() && offset > 0.0,
            "above 0",
        )?;
        hold(
            "throughput",
            self.throughput,
            exponent(self.throughput),
            "0 to 4",
        )?;
        hold("delay", self.delay, exponent(self.delay), "0 to 4")?;
        let weight = (0.0..=1.0).contains(&self.fairness);
        hold("fairness", self.fairness, weight, "0 to 1")?;
        hold(
            "fairness_records",
            self.fairness_records.into(),
            self.fairness_records > 0,
            "at least 1",
        )
    }
}

/// Computes the rewards of one scheduler's records in order.
#[derive(Debug, Clone)]
pub struct Rewards {
    reward: Reward,
    bytes: [f64; 2],  // recently forwarded, by queue
    silent: [u64; 2], // records since the queue's last one
}

impl Rewards {
    /// Creates the initial state.
    pub fn new(reward: Reward) -> Rewards {
        Rewards {
            reward,
            bytes: [0.0; 2],
            silent: [u64::MAX; 2],
        }
    }

    /// Whether the reward depends on the queue.
    #[cfg(feature = "pool")]
    pub(crate) fn needs_queue(&self) -> bool {
        self.reward.fairness > 0.0
    }

    /// Resets the state at the beginning of an episode.
    pub fn restart(&mut self) {
        *self = Rewards::new(self.reward);
    }

    /// Reward of the next record.
    pub fn next(&mut self, record: &Record) -> f64 {
        self.next_of(
            record.queue_type,
            record.dequeue_action,
            f64::from(record.packet_length),
            f64::from(record.current_queue_delay),
        )
    }

    /// As above, from the queue (0 classic, 1 L4S), action code, bytes and
    /// µs.
    pub fn next_of(&mut self, queue: u8, action: u8, packet_length: f64, delay_us: f64) -> f64 {
        debug_assert!(usize::from(action) < ACTIONS);
        let alone = self.reward.alone(packet_length, delay_us);
        if self.reward.fairness == 0.0 {
            return alone;
        }
        let queue = usize::from(queue & 1);
        let keep = 1.0 - 1.0 / f64::from(self.reward.fairness_records);
        self.bytes = self.bytes.map(|bytes| bytes * keep);
        self.silent = self.silent.map(|records| records.saturating_add(1));
        self.silent[queue] = 0;
        if action != Action::Drop as u8 {
            self.bytes[queue] += packet_length;
        }
        alone * (1.0 - self.reward.fairness * self.imbalance())
    }

    /// Imbalance, 0 to 1.
    fn imbalance(&self) -> f64 {
        let [classic, l4s] = self.bytes;
        let recent = u64::from(self.reward.fairness_records);
        let both = self.silent.iter().all(|records| *records < recent);
        if both && classic + l4s > 0.0 {
            (classic - l4s).abs() / (classic + l4s)
        } else {
            0.0
        }
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

    /// Bytes, µs and reward of rows of the authors' pool.
    #[test]
    fn the_default_is_the_published_reward() {
        for (bytes, delay_us, published) in [
            (1500.0, 370_000.0, 0.004043126684636119),
            (1500.0, 120_000.0, 0.012396694214876033),
            (52.0, 370_000.0, 0.00014016172506738545),
            (1500.0, 0.0, 1.5),
        ] {
            // Exact: 1/x and pow(x, 1) are exact.
            assert_eq!(Reward::default().alone(bytes, delay_us), published);
            assert_eq!(
                Rewards::new(Reward::default()).next_of(1, 0, bytes, delay_us),
                published
            );
        }
    }

    #[test]
    fn exponents_trade_throughput_against_delay() {
        let of = |throughput, delay| {
            let reward = Reward {
                throughput,
                delay,
                ..Reward::default()
            };
            reward.alone(400.0, 3000.0)
        };
        assert_eq!(of(1.0, 0.0), 400.0);
        assert_eq!(of(0.0, 1.0), 1.0 / 4000.0);
        assert_eq!(of(0.5, 0.0), 20.0);
        assert!((of(1.0, 2.0) - 400.0 / 16e6).abs() < 1e-18);
    }

    #[test]
    fn starving_one_queue_costs_the_fairness_weight() {
        let reward = Reward {
            fairness: 0.5,
            fairness_records: 20,
            ..Reward::default()
        };
        let alone = reward.alone(1000.0, 0.0);
        let last = |queue_of: fn(u32) -> u8, action_of: fn(u32) -> u8| {
            let mut rewards = Rewards::new(reward);
            let all = (0..400).map(|i| rewards.next_of(queue_of(i), action_of(i), 1000.0, 0.0));
            all.last().unwrap() / alone
        };
        // Alternating: nearly even, since the later one has more weight.
        assert!(last(|i| (i % 2) as u8, |_| 0) > 0.98);
        // Alone on the link: no imbalance.
        assert_eq!(last(|_| 1, |_| 0), 1.0);
        // Both have packets, and all of one queue's are dropped.
        assert_eq!(last(|i| (i % 2) as u8, |i| (i % 2) as u8), 0.5);
        // Nine of ten.
        let nine = last(|i| u8::from(i % 10 == 0), |_| 0);
        assert!((0.5..0.7).contains(&nine), "{nine}");
    }

    #[test]
    fn names_out_of_range_keys() {
        let wrong = |change: fn(&mut Reward)| {
            let mut reward = Reward::default();
            change(&mut reward);
            reward.check("returns.reward").unwrap_err().to_string()
        };
        assert!(
            wrong(|r| r.offset_us = 0.0).contains("returns.reward.offset_us = 0, expected above 0")
        );
        assert!(wrong(|r| r.throughput = -1.0).contains("throughput = -1"));
        assert!(wrong(|r| r.delay = f64::NAN).contains("delay = NaN"));
        assert!(wrong(|r| r.fairness = 1.5).contains("fairness = 1.5, expected 0 to 1"));
        assert!(wrong(|r| r.fairness_records = 0).contains("fairness_records = 0"));
        let text = "{\"offset_us\": 500.0}";
        let reward: Reward = serde_json::from_str(text).unwrap();
        assert_eq!((reward.offset_us, reward.delay), (500.0, 1.0));
        assert!(serde_json::from_str::<Reward>("{\"offset\": 1}").is_err());
    }
}

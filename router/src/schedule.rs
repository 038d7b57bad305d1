//! The link's rate during the router's run: the rates of the scenario's
//! repetitions in sequence.

use l4sllm_testbed::net::RateSchedule;
use l4sllm_testbed::scenario::Scenario;

/// The rates of the repetitions in sequence. Times are since the router's start.
#[derive(Debug)]
pub struct Schedule {
    scenario: Scenario,
    /// The first repetition.
    first: u32,
    /// The current one, counted from the first.
    repetition: u32,
    rate: RateSchedule,
    /// Start of the current rate, ns.
    from_ns: u64,
    /// Capacity before the start, bits.
    bits: u128,
}

impl Schedule {
    /// The rate of repetition `first`.
    pub fn new(scenario: &Scenario, first: u32) -> Schedule {
        Schedule {
            rate: scenario.link_rate(scenario.repetition_seed(first)),
            scenario: scenario.clone(),
            first,
            repetition: 0,
            from_ns: 0,
            bits: 0,
        }
    }

    /// The current rate.
    pub fn rate(&self) -> RateSchedule {
        self.rate.clone()
    }

    /// Start of the next repetition, ns; never if the rate is constant.
    pub fn repeats_ns(&self) -> u64 {
        match self.is_constant() {
            true => u64::MAX,
            false => {
                let ends = u64::from(self.repetition) + 1;
                ends.saturating_mul(self.scenario.duration_ns)
            }
        }
    }

    /// The rate from `now_ns` on, if another repetition has begun.
    pub fn next(&mut self, now_ns: u64) -> Option<RateSchedule> {
        if now_ns < self.repeats_ns() {
            return None;
        }
        self.bits += self.rate.capacity_bits(self.from_ns, now_ns);
        self.from_ns = now_ns;
        let repetition = now_ns / self.scenario.duration_ns;
        self.repetition = u32::try_from(repetition).unwrap_or(u32::MAX);
        let number = self.first.saturating_add(self.repetition);
        let seed = self.scenario.repetition_seed(number);
        let began_ns = repetition * self.scenario.duration_ns;
        self.rate = self.scenario.link_rate(seed).delayed(began_ns);
        Some(self.rate())
    }

    /// Bits that the link could send until `now_ns`.
    pub fn capacity_bits(&self, now_ns: u64) -> u128 {
        self.bits + self.rate.capacity_bits(self.from_ns, now_ns)
    }

    fn is_constant(&self) -> bool {
        let link = &self.scenario.link;
        self.scenario.bottleneck.steps().len() == 1 && link.walk.is_none() && link.bursts.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::net::{Bursts, Distribution, RateStep};

    const S: u64 = 1_000_000_000;

    fn steps(list: &[(u64, u64)]) -> RateSchedule {
        let steps = list.iter().map(|&(from_ns, bits_per_s)| RateStep {
            from_ns,
            bits_per_s,
        });
        RateSchedule::new(steps.collect()).unwrap()
    }

    #[test]
    fn a_constant_rate_never_repeats() {
        let mut schedule = Schedule::new(&Scenario::new("test", 8_000_000, 0), 0);
        assert_eq!(schedule.repeats_ns(), u64::MAX);
        assert_eq!(schedule.next(1 << 60), None);
        assert_eq!(schedule.capacity_bits(3600 * S), 3600 * 8_000_000);
    }

    #[test]
    fn steps_repeat() {
        let mut scenario = Scenario::new("test", 1, 0);
        scenario.duration_ns = 10 * S;
        scenario.bottleneck = steps(&[(0, 1000), (6 * S, 3000)]);
        let mut schedule = Schedule::new(&scenario, 0);
        assert_eq!(schedule.next(9 * S), None);
        assert_eq!(schedule.repeats_ns(), 10 * S);
        // A late call, as during the transmission of a packet.
        let next = schedule.next(11 * S).unwrap();
        assert_eq!(next, steps(&[(0, 1000), (16 * S, 3000)]));
        assert_eq!(schedule.repeats_ns(), 20 * S);
        // 6 s and 5 s, then 5 s and 1 s.
        assert_eq!(schedule.capacity_bits(17 * S), 6000 + 15_000 + 5000 + 3000);
        // Repetitions without a packet are skipped.
        schedule.next(35 * S).unwrap();
        assert_eq!(schedule.repeats_ns(), 40 * S);
    }

    #[test]
    fn bursts_are_drawn_again() {
        let mut scenario = Scenario::new("test", 1_000_000, 0);
        scenario.duration_ns = S;
        scenario.link.bursts = Some(Bursts::new(4_000_000, 6_000_000, Distribution::Exponential));
        let mut schedule = Schedule::new(&scenario, 0);
        let first = schedule.rate();
        let second = schedule.next(S).unwrap();
        assert_ne!(first.clone().delayed(S), second);
        assert_eq!(Schedule::new(&scenario, 0).rate(), first);
        // As in the emulator's second repetition.
        assert_eq!(Schedule::new(&scenario, 1).rate().delayed(S), second);
    }
}

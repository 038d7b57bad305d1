//! The bottleneck's rate over time.

use thiserror::Error;

/// The rate from some time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateStep {
    /// Start time, ns.
    pub from_ns: u64,
    /// Bits per second; 0 is an outage.
    pub bits_per_s: u64,
}

/// Error in a list of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RateError {
    /// There is no step.
    #[error("a rate schedule needs at least one step")]
    Empty,
    /// The first step is not at time 0.
    #[error("the first step is at {0} ns, expected 0")]
    Start(u64),
    /// Times do not increase.
    #[error("step {0} is not later than the one before it")]
    Order(usize),
    /// The rate never rises above 0.
    #[error("the rate is 0 throughout")]
    Zero,
}

/// A piecewise constant rate; the last step holds forever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateSchedule {
    steps: Vec<RateStep>,
}

impl RateSchedule {
    /// A constant rate, bits per second, at least 1.
    pub fn constant(bits_per_s: u64) -> Self {
        RateSchedule {
            steps: vec![RateStep {
                from_ns: 0,
                bits_per_s: bits_per_s.max(1),
            }],
        }
    }

    /// A schedule of these steps: the first at 0, each later than the one
    /// before.
    ///
    /// # Errors
    /// [`RateError`] names the violated rule.
    pub fn new(steps: Vec<RateStep>) -> Result<Self, RateError> {
        let first = steps.first().ok_or(RateError::Empty)?;
        if first.from_ns != 0 {
            return Err(RateError::Start(first.from_ns));
        }
        if let Some(at) = steps
            .windows(2)
            .position(|pair| pair[0].from_ns >= pair[1].from_ns)
        {
            return Err(RateError::Order(at + 1));
        }
        if steps.iter().all(|step| step.bits_per_s == 0) {
            return Err(RateError::Zero);
        }
        Ok(RateSchedule { steps })
    }

    /// The steps, in order of time.
    pub fn steps(&self) -> &[RateStep] {
        &self.steps
    }

    /// The same rates where the link is on, and 0 where it is off. `switches`
    /// are the moments at which it turns on (true) or off, ns, in order of time,
    /// the first at 0.
    pub(super) fn gated(&self, switches: &[(u64, bool)]) -> RateSchedule {
        let mut steps: Vec<RateStep> = Vec::with_capacity(switches.len() + self.steps.len());
        let (mut rates, mut gates) = (self.steps.iter().peekable(), switches.iter().peekable());
        let (mut bits_per_s, mut on) = (0, true);
        loop {
            let next = |from: Option<u64>| from.unwrap_or(u64::MAX);
            let rate_ns = next(rates.peek().map(|step| step.from_ns));
            let gate_ns = next(gates.peek().map(|gate| gate.0));
            let from_ns = rate_ns.min(gate_ns);
            if from_ns == u64::MAX {
                return RateSchedule { steps };
            }
            if let Some(step) = rates.next_if(|step| step.from_ns == from_ns) {
                bits_per_s = step.bits_per_s;
            }
            if let Some(gate) = gates.next_if(|gate| gate.0 == from_ns) {
                on = gate.1;
            }
            let bits_per_s = if on { bits_per_s } else { 0 };
            if steps.last().map(|last| last.bits_per_s) != Some(bits_per_s) {
                steps.push(RateStep {
                    from_ns,
                    bits_per_s,
                });
            }
        }
    }

    /// The same rates, `by_ns` later; the first holds until then, too.
    pub fn delayed(mut self, by_ns: u64) -> RateSchedule {
        for step in self.steps.iter_mut().skip(1) {
            step.from_ns = step.from_ns.saturating_add(by_ns);
        }
        self
    }

    /// The greatest rate, bits per second.
    pub fn max(&self) -> u64 {
        self.steps
            .iter()
            .map(|step| step.bits_per_s)
            .max()
            .unwrap_or(0)
    }

    /// Bits that the link can send from `start_ns` to `end_ns`.
    pub fn capacity_bits(&self, start_ns: u64, end_ns: u64) -> u128 {
        let ends = self
            .steps
            .iter()
            .skip(1)
            .map(|step| step.from_ns)
            .chain([u64::MAX]);
        let bit_ns: u128 = self
            .steps
            .iter()
            .zip(ends)
            .map(|(step, end)| {
                let overlap = end.min(end_ns).saturating_sub(step.from_ns.max(start_ns));
                u128::from(overlap) * u128::from(step.bits_per_s)
            })
            .sum();
        bit_ns / 1_000_000_000
    }
}

/// A position in a schedule that only moves forward.
#[derive(Debug, Clone)]
pub struct RateCursor {
    schedule: RateSchedule,
    step: usize,
    last: Serialised,
}

/// Size and transmission time of a packet sent at one rate: most packets of a
/// link have the same size, and the division would dominate the cost.
#[derive(Debug, Clone, Copy, Default)]
struct Serialised {
    bytes: u32,
    bits_per_s: u64,
    ns: Option<u64>,
}

impl RateCursor {
    /// The start of the schedule.
    pub fn new(schedule: RateSchedule) -> Self {
        RateCursor {
            schedule,
            step: 0,
            last: Serialised::default(),
        }
    }

    /// The schedule.
    pub fn schedule(&self) -> &RateSchedule {
        &self.schedule
    }

    /// When the rate is above 0, at or after `now_ns`; `None` if it is 0
    /// forever. Times must not decrease.
    pub fn next_on(&mut self, now_ns: u64) -> Option<u64> {
        self.advance(now_ns);
        let mut steps = self.schedule.steps[self.step..].iter();
        let step = steps.find(|step| step.bits_per_s > 0)?;
        Some(step.from_ns.max(now_ns))
    }

    /// When the rate is 0, at or after `now_ns`; `None` if never. Times must
    /// not decrease.
    pub fn next_off(&mut self, now_ns: u64) -> Option<u64> {
        self.advance(now_ns);
        let mut steps = self.schedule.steps[self.step..].iter();
        let step = steps.find(|step| step.bits_per_s == 0)?;
        Some(step.from_ns.max(now_ns))
    }

    /// Capacity of the link from `start_ns` to `end_ns`, bits times ns per
    /// second. Starts must not decrease.
    pub fn bit_ns(&mut self, start_ns: u64, end_ns: u64) -> u128 {
        self.advance(start_ns);
        let (mut sum, mut at) = (0, start_ns);
        for (index, step) in self.schedule.steps.iter().enumerate().skip(self.step) {
            let next = self.schedule.steps.get(index + 1);
            let until = next.map_or(end_ns, |next| next.from_ns.min(end_ns));
            sum += u128::from(until.saturating_sub(at)) * u128::from(step.bits_per_s);
            at = until.max(at);
            if at >= end_ns {
                break;
            }
        }
        sum
    }

    fn advance(&mut self, now_ns: u64) {
        let steps = &self.schedule.steps;
        while steps
            .get(self.step + 1)
            .is_some_and(|next| next.from_ns <= now_ns)
        {
            self.step += 1;
        }
    }

    /// When a packet of `bytes` whose transmission begins at `start_ns` has
    /// been sent, including rate changes in between; `None` if the rate stays 0
    /// forever. Starts must not decrease.
    pub fn finish(&mut self, start_ns: u64, bytes: u32) -> Option<u64> {
        self.advance(start_ns);
        let took_ns = self.at_one_rate(bytes);
        let end_ns = took_ns.and_then(|ns| start_ns.checked_add(ns));
        match self.schedule.steps.get(self.step + 1) {
            Some(next) if end_ns.is_none_or(|end_ns| end_ns > next.from_ns) => {
                self.finish_later(start_ns, bytes)
            }
            _ => end_ns,
        }
    }

    /// Transmission time of a packet at the current rate; `None` at rate 0.
    fn at_one_rate(&mut self, bytes: u32) -> Option<u64> {
        let bits_per_s = self.schedule.steps[self.step].bits_per_s;
        if (self.last.bytes, self.last.bits_per_s) != (bytes, bits_per_s) {
            let needed = u128::from(bytes) * 8 * 1_000_000_000;
            self.last = Serialised {
                bytes,
                bits_per_s,
                ns: time_ns(needed, bits_per_s),
            };
        }
        self.last.ns
    }

    /// As [`RateCursor::finish`], if the rate changes during the transmission.
    fn finish_later(&self, start_ns: u64, bytes: u32) -> Option<u64> {
        let steps = &self.schedule.steps;
        // In units of bits times ns per second: u128 never overflows here.
        let mut needed = u128::from(bytes) * 8 * 1_000_000_000;
        let mut at = start_ns;
        let mut step = self.step;
        loop {
            let rate = steps[step].bits_per_s;
            let Some(next) = steps.get(step + 1) else {
                return at.checked_add(time_ns(needed, rate)?);
            };
            let possible = u128::from(next.from_ns - at) * u128::from(rate);
            if possible >= needed {
                return at.checked_add(time_ns(needed, rate)?);
            }
            needed -= possible;
            at = next.from_ns;
            step += 1;
        }
    }
}

/// Time to send this many bits times ns per second at `bits_per_s`, rounded up;
/// `None` at rate 0 or if longer than a u64 of ns. Divides 64-bit numbers if a
/// packet fits, as all common ones do: 128-bit divisions take ten times as
/// long.
fn time_ns(needed: u128, bits_per_s: u64) -> Option<u64> {
    match u64::try_from(needed) {
        _ if bits_per_s == 0 => None,
        Ok(needed) => Some(needed.div_ceil(bits_per_s)),
        Err(_) => u64::try_from(needed.div_ceil(bits_per_s.into())).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    const MS: u64 = 1_000_000;

    fn steps(list: &[(u64, u64)]) -> RateSchedule {
        let steps = list.iter().map(|&(from_ns, bits_per_s)| RateStep {
            from_ns,
            bits_per_s,
        });
        RateSchedule::new(steps.collect()).unwrap()
    }

    #[test]
    fn constant_rate() {
        let mut cursor = RateCursor::new(RateSchedule::constant(8_000_000));
        assert_eq!(cursor.finish(0, 1500), Some(1_500_000));
        assert_eq!(cursor.finish(7, 1), Some(1007));
    }

    #[test]
    fn a_change_within_a_packet() {
        // Half of the packet at 12 Mbit/s (0.5 ms), half at 6 Mbit/s (1 ms).
        let mut cursor = RateCursor::new(steps(&[(0, 12_000_000), (10 * MS, 6_000_000)]));
        assert_eq!(cursor.finish(9_500_000, 1500), Some(11 * MS));
        assert_eq!(cursor.finish(11 * MS, 1500), Some(13 * MS));
    }

    /// A packet ends as soon as the link could have sent its bits, regardless
    /// of earlier packet sizes and rates.
    #[test]
    fn transmissions_end_as_early_as_possible() {
        let mut random = Random::stream(1, "rates");
        for _ in 0..200 {
            let rates = [0, 1_000_000, 7_000_001, 100_000_000];
            let list: Vec<(u64, u64)> = (0..20)
                .map(|at| (at * 300_000, rates[random.below(4) as usize]))
                .chain([(20 * 300_000, 3_000_000)])
                .collect();
            let mut cursor = RateCursor::new(steps(&list));
            let mut now_ns = 0;
            for _ in 0..40 {
                let bytes = [40, 52, 1500][random.below(3) as usize];
                let end_ns = cursor.finish(now_ns, bytes).unwrap();
                let needed = u128::from(bytes) * 8_000_000_000;
                assert!(cursor.bit_ns(now_ns, end_ns) >= needed);
                assert!(cursor.bit_ns(now_ns, end_ns - 1) < needed);
                now_ns += random.below(400_000);
            }
        }
    }

    #[test]
    fn an_outage_delays() {
        let mut cursor = RateCursor::new(steps(&[(0, 12_000_000), (MS, 0), (5 * MS, 12_000_000)]));
        assert_eq!(cursor.finish(500_000, 1500), Some(5_500_000));
        let mut dead = RateCursor::new(steps(&[(0, 12_000_000), (MS, 0)]));
        assert_eq!(dead.finish(500_000, 1500), None);
    }

    /// A change of rate while the link is off, and a switch at the moment of a
    /// change.
    #[test]
    fn gates() {
        let schedule = steps(&[(0, 8), (5, 6), (10, 4)]);
        let gated = schedule.gated(&[(0, true), (3, false), (7, true), (10, false), (12, true)]);
        assert_eq!(gated, steps(&[(0, 8), (3, 0), (7, 6), (10, 0), (12, 4)]));
        let mut cursor = RateCursor::new(gated);
        assert_eq!((cursor.next_on(2), cursor.next_off(2)), (Some(2), Some(3)));
        assert_eq!(cursor.bit_ns(2, 13), 8 + 3 * 6 + 4);
        assert_eq!((cursor.next_on(3), cursor.next_off(3)), (Some(7), Some(3)));
        assert_eq!(
            (cursor.next_on(100), cursor.next_off(100)),
            (Some(100), None)
        );
        assert_eq!(cursor.bit_ns(100, 101), 4);
        assert_eq!(RateCursor::new(steps(&[(0, 1), (5, 0)])).next_on(5), None);
    }

    #[test]
    fn capacity() {
        let schedule = steps(&[(0, 1000), (1_000_000_000, 3000)]);
        assert_eq!(schedule.capacity_bits(500_000_000, 2_000_000_000), 3500);
        assert_eq!(schedule.capacity_bits(0, 0), 0);
        assert_eq!(schedule.max(), 3000);
    }

    #[test]
    fn broken_schedules() {
        let step = |from_ns, bits_per_s| RateStep {
            from_ns,
            bits_per_s,
        };
        assert_eq!(RateSchedule::new(vec![]), Err(RateError::Empty));
        assert_eq!(
            RateSchedule::new(vec![step(1, 1)]),
            Err(RateError::Start(1))
        );
        assert_eq!(
            RateSchedule::new(vec![step(0, 1), step(0, 2)]),
            Err(RateError::Order(1))
        );
        assert_eq!(RateSchedule::new(vec![step(0, 0)]), Err(RateError::Zero));
    }
}

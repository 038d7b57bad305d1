//! PIE (RFC 8033), which measures delay with time stamps (section 4.3 allows
//! them instead of the rate estimate of 5.2).

use l4sllm_abi::{Action, Ecn};

use super::{Aqm, Backlog, Departure, Packet, PacketQueue, depart};
use crate::sim::Random;

/// Parameters of [`Pie`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PieParams {
    /// Target delay, ns (RFC 8033, QDELAY_REF: 15 ms).
    pub target_ns: u64,
    /// Period of the controller, ns (T_UPDATE: 15 ms).
    pub tupdate_ns: u64,
    /// Burst allowance, ns (MAX_BURST: 150 ms).
    pub max_burst_ns: u64,
    /// Integral gain, Hz (0.125).
    pub alpha: f64,
    /// Proportional gain, Hz (1.25).
    pub beta: f64,
    /// Above this probability ECN-capable packets are dropped too (section
    /// 5.1: 0.1); 0..=1.
    pub max_ecnth: f64,
    /// Maximum number of queued packets.
    pub limit_packets: u32,
    /// Mark ECN-capable packets instead of dropping them.
    pub ecn: bool,
}

impl Default for PieParams {
    fn default() -> Self {
        PieParams {
            target_ns: 15_000_000,
            tupdate_ns: 15_000_000,
            max_burst_ns: 150_000_000,
            alpha: 0.125,
            beta: 1.25,
            max_ecnth: 0.1,
            limit_packets: 10_000,
            ecn: true,
        }
    }
}

/// One queue under PIE. Decides on arrival.
#[derive(Debug)]
pub struct Pie {
    params: PieParams,
    queue: PacketQueue,
    random: Random,
    probability: f64,
    accumulated: f64,
    delay_ns: u64,
    previous_delay_ns: u64,
    burst_left_ns: u64,
    next_update_ns: u64,
}

impl Pie {
    /// An empty queue; `seed` is for the random drops.
    pub fn new(params: PieParams, seed: u64) -> Self {
        Pie {
            params,
            queue: PacketQueue::default(),
            random: Random::stream(seed, "pie"),
            probability: 0.0,
            accumulated: 0.0,
            delay_ns: 0,
            previous_delay_ns: 0,
            burst_left_ns: params.max_burst_ns,
            next_update_ns: params.tupdate_ns,
        }
    }

    /// Periods without an event are computed at the next event, because the
    /// state cannot be observed in between.
    fn update_until(&mut self, now_ns: u64) {
        while self.next_update_ns <= now_ns {
            self.update();
            self.next_update_ns += self.params.tupdate_ns;
            if self.is_at_rest() {
                let periods = (now_ns.saturating_sub(self.next_update_ns)) / self.params.tupdate_ns;
                self.next_update_ns += periods * self.params.tupdate_ns;
            }
        }
    }

    /// After a long idle time, further periods change nothing.
    fn is_at_rest(&self) -> bool {
        self.probability == 0.0
            && self.delay_ns == 0
            && self.previous_delay_ns == 0
            && self.burst_left_ns == self.params.max_burst_ns
    }

    /// Section 4.2, and the reset of the burst allowance in 4.4.
    fn update(&mut self) {
        let target = self.params.target_ns as f64 / 1e9;
        let delay = self.delay_ns as f64 / 1e9;
        let previous = self.previous_delay_ns as f64 / 1e9;
        let mut step = self.params.alpha * (delay - target) + self.params.beta * (delay - previous);
        step *= tuning(self.probability);
        // Section 5.5: no large step once the probability is high.
        if self.probability >= 0.1 && step > 0.02 {
            step = 0.02;
        }
        self.probability += step;
        if self.delay_ns == 0 && self.previous_delay_ns == 0 {
            self.probability *= 0.98;
        }
        self.probability = self.probability.clamp(0.0, 1.0);
        let half = self.params.target_ns / 2;
        if self.probability == 0.0 && self.delay_ns < half && self.previous_delay_ns < half {
            self.burst_left_ns = self.params.max_burst_ns;
        } else {
            self.burst_left_ns = self.burst_left_ns.saturating_sub(self.params.tupdate_ns);
        }
        self.previous_delay_ns = self.delay_ns;
    }

    /// Section 4.1 with 5.4, de-randomisation.
    fn signals(&mut self) -> bool {
        if self.burst_left_ns > 0 {
            return false;
        }
        if self.probability == 0.0 {
            self.accumulated = 0.0;
        }
        let short = self.previous_delay_ns < self.params.target_ns / 2 && self.probability < 0.2;
        if short || self.queue.bytes <= 2 * MEAN_PACKET_BYTES {
            return false;
        }
        self.accumulated += self.probability;
        if self.accumulated < 0.85 {
            return false;
        }
        let signal = self.accumulated >= 8.5 || self.random.unit() < self.probability;
        if signal {
            self.accumulated = 0.0;
        }
        signal
    }
}

impl Aqm for Pie {
    fn enqueue(&mut self, now_ns: u64, mut packet: Packet, drops: &mut Vec<Departure>) {
        self.update_until(now_ns);
        if self.queue.backlog().packets >= u64::from(self.params.limit_packets) {
            drops.push(depart(packet, 0, Action::Drop));
            return;
        }
        if self.signals() {
            let mark = self.params.ecn
                && packet.ecn != Ecn::NotEct
                && self.probability <= self.params.max_ecnth;
            if !mark {
                drops.push(depart(packet, 0, Action::Drop));
                return;
            }
            packet.cookie |= MARKED;
        }
        self.queue.push(now_ns, packet);
    }

    fn dequeue(&mut self, now_ns: u64, _drops: &mut Vec<Departure>) -> Option<Departure> {
        self.update_until(now_ns);
        let Some((arrived_ns, mut packet)) = self.queue.pop() else {
            self.delay_ns = 0;
            return None;
        };
        let sojourn_ns = now_ns - arrived_ns;
        self.delay_ns = if self.queue.bytes == 0 { 0 } else { sojourn_ns };
        let action = if packet.cookie & MARKED == 0 {
            Action::Enqueue
        } else {
            Action::Mark
        };
        packet.cookie &= !MARKED;
        Some(depart(packet, sojourn_ns, action))
    }

    fn backlog(&self) -> Backlog {
        self.queue.backlog()
    }
}

/// RFC 8033, MEAN_PKTSIZE.
const MEAN_PACKET_BYTES: u64 = 1024;

/// A mark set on arrival is stored in the cookie's top bit, because the
/// codepoint on arrival is still needed to classify the packet.
const MARKED: u64 = 1 << 63;

/// Scaling of a step at a given probability (section 4.2).
fn tuning(probability: f64) -> f64 {
    const TABLE: [(f64, f64); 6] = [
        (0.000_001, 2048.0),
        (0.000_01, 512.0),
        (0.000_1, 128.0),
        (0.001, 32.0),
        (0.01, 8.0),
        (0.1, 2.0),
    ];
    let row = TABLE.iter().find(|(below, _)| probability < *below);
    row.map_or(1.0, |(_, divisor)| 1.0 / divisor)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn tuning_table() {
        for (probability, divisor) in [
            (0.0, 2048.0),
            (0.000_005, 512.0),
            (0.000_05, 128.0),
            (0.000_5, 32.0),
            (0.005, 8.0),
            (0.05, 2.0),
            (0.1, 1.0),
            (1.0, 1.0),
        ] {
            assert_eq!(tuning(probability), 1.0 / divisor, "{probability}");
        }
    }

    /// One step of the controller, by hand: alpha * (35 - 15 ms) + beta *
    /// (35 - 25 ms) = 0.0025 + 0.0125, halved at probability 0.05.
    #[test]
    fn one_update() {
        let mut pie = Pie::new(PieParams::default(), 1);
        pie.probability = 0.05;
        pie.delay_ns = 35 * MS;
        pie.previous_delay_ns = 25 * MS;
        pie.update();
        assert!(
            (pie.probability - 0.0575).abs() < 1e-12,
            "{}",
            pie.probability
        );
        assert_eq!(pie.previous_delay_ns, 35 * MS);
    }

    #[test]
    fn steps_are_capped_and_idle_time_decays() {
        let mut pie = Pie::new(PieParams::default(), 1);
        pie.probability = 0.2;
        pie.delay_ns = 1_000 * MS;
        pie.update();
        assert!((pie.probability - 0.22).abs() < 1e-12);
        let mut idle = Pie::new(PieParams::default(), 1);
        idle.probability = 0.5;
        idle.update();
        assert!((idle.probability - (0.5 - 0.125 * 0.015) * 0.98).abs() < 1e-12);
    }

    /// No packet is dropped before the burst allowance of 150 ms is used up.
    #[test]
    fn burst_allowance() {
        let mut pie = Pie::new(
            PieParams {
                ecn: false,
                ..PieParams::default()
            },
            1,
        );
        let fed = feed(&mut pie, Ecn::NotEct, MS / 2, MS, 0, 3_000 * MS);
        assert!(!fed.dropped.is_empty());
        assert!(fed.dropped[0].0 >= 150 * MS, "{}", fed.dropped[0].0);
    }

    /// Unresponsive load at twice the capacity: about half is dropped, and the
    /// delay is eventually controlled.
    #[test]
    fn overload_is_dropped() {
        let mut pie = Pie::new(
            PieParams {
                ecn: false,
                ..PieParams::default()
            },
            1,
        );
        let fed = feed(&mut pie, Ecn::NotEct, MS / 2, MS, 0, 60_000 * MS);
        let late = fed
            .dropped
            .iter()
            .filter(|(at, _)| *at > 50_000 * MS)
            .count();
        let share = late as f64 / 20_000.0;
        assert!((0.45..0.55).contains(&share), "{share}");
        let last = fed.sent.last().unwrap().1.sojourn_ns;
        assert!(last < 100 * MS, "{last}");
    }

    #[test]
    fn ecn_is_marked_below_the_threshold_only() {
        let mut pie = Pie::new(PieParams::default(), 1);
        let fed = feed(&mut pie, Ecn::Ect0, MS * 19 / 20, MS, 0, 30_000 * MS);
        let marks = fed
            .sent
            .iter()
            .filter(|(_, sent)| sent.action == Action::Mark);
        assert!(marks.clone().count() > 0);
        assert!(
            marks
                .clone()
                .all(|(_, sent)| sent.ecn == Ecn::Ce && sent.cookie & MARKED == 0)
        );
        let mut overloaded = Pie::new(PieParams::default(), 1);
        let fed = feed(&mut overloaded, Ecn::Ect0, MS / 2, MS, 0, 60_000 * MS);
        assert!(!fed.dropped.is_empty());
    }

    #[test]
    fn long_idle_time_is_handled_in_constant_time() {
        let mut pie = Pie::new(
            PieParams {
                tupdate_ns: 1,
                ..PieParams::default()
            },
            1,
        );
        pie.burst_left_ns = pie.params.max_burst_ns;
        pie.enqueue(u64::MAX / 2, packet(0, 0, Ecn::NotEct), &mut Vec::new());
        assert_eq!(pie.backlog().packets, 1);
    }
}

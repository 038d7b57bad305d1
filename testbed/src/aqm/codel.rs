//! CoDel (RFC 8289).

use l4sllm_abi::{Action, Ecn};

use super::{Aqm, Backlog, Departure, Packet, PacketQueue, depart};

/// Parameters of [`Codel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodelParams {
    /// Acceptable standing delay, ns. RFC 8289, section 5.3: 5 ms.
    pub target_ns: u64,
    /// Time to distinguish a standing queue from a burst, ns. RFC 8289, section 5.3:
    /// 100 ms.
    pub interval_ns: u64,
    /// Maximum number of queued packets.
    pub limit_packets: u32,
    /// Mark ECN-capable packets instead of dropping them.
    pub ecn: bool,
}

impl Default for CodelParams {
    fn default() -> Self {
        CodelParams {
            target_ns: 5_000_000,
            interval_ns: 100_000_000,
            limit_packets: 10_000,
            ecn: true,
        }
    }
}

/// One queue under CoDel.
#[derive(Debug)]
pub struct Codel {
    params: CodelParams,
    queue: PacketQueue,
    state: ControlState,
}

impl Codel {
    /// An empty queue.
    pub fn new(params: CodelParams) -> Self {
        Codel {
            params,
            queue: PacketQueue::default(),
            state: ControlState::default(),
        }
    }
}

impl Aqm for Codel {
    fn enqueue(&mut self, now_ns: u64, packet: Packet, drops: &mut Vec<Departure>) {
        if self.queue.backlog().packets >= u64::from(self.params.limit_packets) {
            drops.push(depart(packet, 0, Action::Drop));
        } else {
            self.queue.push(now_ns, packet);
        }
    }

    fn dequeue(&mut self, now_ns: u64, drops: &mut Vec<Departure>) -> Option<Departure> {
        self.state
            .dequeue(&self.params, &mut self.queue, now_ns, drops)
    }

    fn backlog(&self) -> Backlog {
        self.queue.backlog()
    }
}

/// Below this backlog no packet is dropped: at least one packet must pass (RFC
/// 8289, section 5.3: the MTU).
const MAX_PACKET_BYTES: u64 = 1514;

/// The state machine of RFC 8289, section 5, for one queue.
#[derive(Debug, Default)]
pub(super) struct ControlState {
    /// When the delay will have been above target for an interval; 0 while it is
    /// below.
    first_above_ns: u64,
    drop_next_ns: u64,
    count: u32,
    last_count: u32,
    dropping: bool,
}

impl ControlState {
    /// The next packet of `queue` to send (section 5.5, `dequeue`).
    pub(super) fn dequeue(
        &mut self,
        params: &CodelParams,
        queue: &mut PacketQueue,
        now_ns: u64,
        drops: &mut Vec<Departure>,
    ) -> Option<Departure> {
        let (mut head, mut above) = self.take(params, queue, now_ns);
        if self.dropping {
            if !above {
                self.dropping = false;
            }
            while self.dropping && now_ns >= self.drop_next_ns {
                let (sojourn_ns, packet) = head?;
                self.count = self.count.saturating_add(1);
                if params.ecn && packet.ecn != Ecn::NotEct {
                    self.drop_next_ns = control_law(params, self.drop_next_ns, self.count);
                    return Some(depart(packet, sojourn_ns, Action::Mark));
                }
                drops.push(depart(packet, sojourn_ns, Action::Drop));
                (head, above) = self.take(params, queue, now_ns);
                if above {
                    self.drop_next_ns = control_law(params, self.drop_next_ns, self.count);
                } else {
                    self.dropping = false;
                }
            }
        } else if above {
            let (sojourn_ns, packet) = head?;
            let mark = params.ecn && packet.ecn != Ecn::NotEct;
            if !mark {
                drops.push(depart(packet, sojourn_ns, Action::Drop));
                (head, _) = self.take(params, queue, now_ns);
            }
            self.dropping = true;
            // Start at the rate that controlled the queue last time, if that was
            // recent (section 5.5).
            let delta = self.count.saturating_sub(self.last_count);
            let recent = now_ns.saturating_sub(self.drop_next_ns) < 16 * params.interval_ns;
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.drop_next_ns = control_law(params, now_ns, self.count);
            self.last_count = self.count;
            if mark {
                return Some(depart(packet, sojourn_ns, Action::Mark));
            }
        }
        head.map(|(sojourn_ns, packet)| depart(packet, sojourn_ns, Action::Enqueue))
    }

    /// Removes the head and computes its sojourn time; returns whether the
    /// delay has been above target for a whole interval (section 5.6,
    /// `dodequeue`).
    fn take(
        &mut self,
        params: &CodelParams,
        queue: &mut PacketQueue,
        now_ns: u64,
    ) -> (Option<(u64, Packet)>, bool) {
        let Some((arrived_ns, packet)) = queue.pop() else {
            self.first_above_ns = 0;
            return (None, false);
        };
        let sojourn_ns = now_ns - arrived_ns;
        let mut above = false;
        if sojourn_ns < params.target_ns || queue.bytes <= MAX_PACKET_BYTES {
            self.first_above_ns = 0;
        } else if self.first_above_ns == 0 {
            self.first_above_ns = now_ns + params.interval_ns;
        } else {
            above = now_ns >= self.first_above_ns;
        }
        (Some((sojourn_ns, packet)), above)
    }
}

/// `t + interval / sqrt(count)` (section 5.6).
fn control_law(params: &CodelParams, from_ns: u64, count: u32) -> u64 {
    // IEEE 754 makes the square root exact to the last bit, so it is the same
    // everywhere.
    from_ns + (params.interval_ns as f64 / f64::from(count).sqrt()) as u64
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// A standing queue: no drops in the first interval, then drops at intervals of
    /// 100 ms / sqrt(n).
    #[test]
    fn drops_follow_the_square_root_law() {
        let mut codel = Codel::new(CodelParams {
            ecn: false,
            ..CodelParams::default()
        });
        let fed = feed(&mut codel, Ecn::NotEct, MS / 4, MS, 0, 2_000 * MS);
        let times: Vec<u64> = fed.dropped.iter().map(|(at, _)| *at).collect();
        assert!(times[0] >= 100 * MS && times[0] < 110 * MS, "{}", times[0]);
        let mut expected = times[0] as f64;
        for (n, at) in times.iter().enumerate().skip(1).take(30) {
            expected += 1e8 / (n as f64).sqrt();
            let error = (*at as f64 - expected).abs();
            assert!(
                error <= 1.0 * MS as f64,
                "drop {n} at {at}, expected {expected}"
            );
        }
    }

    #[test]
    fn queue_below_target_is_unchanged() {
        let mut codel = Codel::new(CodelParams::default());
        let fed = feed(&mut codel, Ecn::NotEct, MS, MS, 0, 2_000 * MS);
        assert!(fed.dropped.is_empty());
        assert!(
            fed.sent
                .iter()
                .all(|(_, sent)| sent.action == Action::Enqueue)
        );
    }

    #[test]
    fn ecn_marks_at_the_same_times() {
        let times = |ecn| {
            let mut codel = Codel::new(CodelParams::default());
            let fed = feed(&mut codel, ecn, MS / 2, MS, 0, 1_000 * MS);
            let marks = fed
                .sent
                .iter()
                .filter(|(_, sent)| sent.action == Action::Mark);
            let marks: Vec<u64> = marks.map(|(at, _)| *at).collect();
            (
                fed.dropped.iter().map(|(at, _)| *at).collect::<Vec<u64>>(),
                marks,
            )
        };
        let (drops, none) = times(Ecn::NotEct);
        let (no_drops, marks) = times(Ecn::Ect0);
        assert!(none.is_empty() && no_drops.is_empty());
        assert_eq!(drops[..10], marks[..10]);
    }

    /// After a short pause dropping resumes near the old rate, not from 1.
    #[test]
    fn resumes_where_it_left_off() {
        let params = CodelParams {
            ecn: false,
            ..CodelParams::default()
        };
        let mut state = ControlState {
            count: 50,
            last_count: 10,
            ..ControlState::default()
        };
        state.drop_next_ns = 900 * MS;
        state.first_above_ns = 1;
        let mut queue = PacketQueue::default();
        for cookie in 0..20 {
            queue.push(100 * MS, packet(cookie, 0, Ecn::NotEct));
        }
        let mut drops = Vec::new();
        state.dequeue(&params, &mut queue, 1_000 * MS, &mut drops);
        assert_eq!((drops.len(), state.count, state.dropping), (1, 40, true));
        assert_eq!(state.drop_next_ns, control_law(&params, 1_000 * MS, 40));
    }
}

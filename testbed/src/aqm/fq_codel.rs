//! FQ-CoDel (RFC 8290): CoDel per flow, deficit round robin between flows,
//! sparse flows first.

use std::collections::VecDeque;

use l4sllm_abi::Action;
use l4sllm_model::SplitMix64;

use super::codel::ControlState;
use super::{Aqm, Backlog, CodelParams, Departure, Packet, PacketQueue, depart};

/// Parameters of [`FqCodel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FqCodelParams {
    /// Parameters of each flow's CoDel; `limit_packets` applies to all flows
    /// together (RFC 8290, section 5.2.3: 10240).
    pub codel: CodelParams,
    /// Bytes per round (section 5.2.4: 1514).
    pub quantum: u32,
    /// Number of queues for flow hashing (section 5.2.5: 1024).
    pub flows: u32,
}

impl Default for FqCodelParams {
    fn default() -> Self {
        let codel = CodelParams {
            limit_packets: 10_240,
            ..CodelParams::default()
        };
        FqCodelParams {
            codel,
            quantum: 1514,
            flows: 1024,
        }
    }
}

/// One queue per flow.
#[derive(Debug)]
pub struct FqCodel {
    params: FqCodelParams,
    salt: u64,
    flows: Vec<Flow>,
    new_flows: VecDeque<usize>,
    old_flows: VecDeque<usize>,
    backlog: Backlog,
}

impl FqCodel {
    /// Empty; `seed` perturbs the hash (section 4.1).
    pub fn new(params: FqCodelParams, seed: u64) -> Self {
        let flows = (0..params.flows.max(1)).map(|_| Flow::default()).collect();
        FqCodel {
            params,
            salt: seed,
            flows,
            new_flows: VecDeque::new(),
            old_flows: VecDeque::new(),
            backlog: Backlog::default(),
        }
    }

    fn bucket(&self, flow: u32) -> usize {
        let hash = SplitMix64::new(self.salt ^ u64::from(flow)).next_u64();
        (hash % self.flows.len() as u64) as usize
    }

    /// Drops from the head of the longest flow: half of its backlog or 64
    /// packets, whichever is less (section 4.1).
    fn drop_from_longest(&mut self, now_ns: u64, drops: &mut Vec<Departure>) {
        let longest = self
            .flows
            .iter_mut()
            .rev()
            .max_by_key(|flow| flow.queue.bytes);
        let Some(flow) = longest else { return };
        let half = flow.queue.bytes / 2;
        let mut dropped = Backlog::default();
        while let Some((arrived_ns, packet)) = flow.queue.pop() {
            drops.push(depart(packet, now_ns - arrived_ns, Action::Drop));
            dropped.packets += 1;
            dropped.bytes += u64::from(packet.bytes);
            if dropped.packets == 64 || dropped.bytes >= half {
                break;
            }
        }
        self.backlog.packets -= dropped.packets;
        self.backlog.bytes -= dropped.bytes;
    }
}

impl Aqm for FqCodel {
    fn enqueue(&mut self, now_ns: u64, packet: Packet, drops: &mut Vec<Departure>) {
        let at = self.bucket(packet.flow);
        let flow = &mut self.flows[at];
        flow.queue.push(now_ns, packet);
        if !flow.scheduled {
            flow.scheduled = true;
            flow.deficit = i64::from(self.params.quantum);
            self.new_flows.push_back(at);
        }
        self.backlog.packets += 1;
        self.backlog.bytes += u64::from(packet.bytes);
        if self.backlog.packets > u64::from(self.params.codel.limit_packets) {
            self.drop_from_longest(now_ns, drops);
        }
    }

    fn dequeue(&mut self, now_ns: u64, drops: &mut Vec<Departure>) -> Option<Departure> {
        // Each iteration sends, empties a flow, or grants a quantum, so the
        // loop terminates.
        loop {
            let from_new = !self.new_flows.is_empty();
            let at = *self.new_flows.front().or(self.old_flows.front())?;
            let flow = &mut self.flows[at];
            if flow.deficit <= 0 {
                flow.deficit += i64::from(self.params.quantum);
                self.unlist(from_new);
                self.old_flows.push_back(at);
                continue;
            }
            let before = flow.queue.backlog();
            let departure = flow
                .state
                .dequeue(&self.params.codel, &mut flow.queue, now_ns, drops);
            let after = flow.queue.backlog();
            self.backlog.packets -= before.packets - after.packets;
            self.backlog.bytes -= before.bytes - after.bytes;
            match departure {
                Some(departure) => {
                    flow.deficit -= i64::from(departure.bytes);
                    return Some(departure);
                }
                // A flow that has just become empty passes through the old list
                // once; otherwise a barely sparse flow could keep its priority
                // (section 4.2).
                None if from_new && !self.old_flows.is_empty() => {
                    self.unlist(true);
                    self.old_flows.push_back(at);
                }
                None => {
                    flow.scheduled = false;
                    self.unlist(from_new);
                }
            }
        }
    }

    fn backlog(&self) -> Backlog {
        self.backlog
    }
}

impl FqCodel {
    fn unlist(&mut self, from_new: bool) {
        if from_new {
            self.new_flows.pop_front();
        } else {
            self.old_flows.pop_front();
        }
    }
}

#[derive(Debug, Default)]
struct Flow {
    queue: PacketQueue,
    state: ControlState,
    deficit: i64,
    scheduled: bool,
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use l4sllm_abi::Ecn;

    fn drain(fq: &mut FqCodel, now_ns: u64, count: usize) -> Vec<u64> {
        let mut drops = Vec::new();
        (0..count)
            .filter_map(|_| fq.dequeue(now_ns, &mut drops))
            .map(|sent| sent.cookie)
            .collect()
    }

    #[test]
    fn backlogged_flows_share_by_bytes() {
        let mut fq = FqCodel::new(FqCodelParams::default(), 1);
        let mut drops = Vec::new();
        // Flow 1 sends packets of 1500 bytes, flow 2 of 500.
        for cookie in 0..300 {
            fq.enqueue(0, packet(cookie, 1, Ecn::NotEct), &mut drops);
            let small = Packet {
                bytes: 500,
                ..packet(1000 + cookie, 2, Ecn::NotEct)
            };
            fq.enqueue(0, small, &mut drops);
        }
        let sent = drain(&mut fq, 0, 200);
        let large = sent.iter().filter(|cookie| **cookie < 1000).count() * 1500;
        let small = sent.iter().filter(|cookie| **cookie >= 1000).count() * 500;
        let ratio = large as f64 / small as f64;
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_sparse_flow_goes_first() {
        let mut fq = FqCodel::new(FqCodelParams::default(), 1);
        let mut drops = Vec::new();
        for cookie in 0..100 {
            fq.enqueue(0, packet(cookie, 1, Ecn::NotEct), &mut drops);
        }
        drain(&mut fq, MS, 10);
        fq.enqueue(MS, packet(7777, 2, Ecn::NotEct), &mut drops);
        assert!(drain(&mut fq, MS, 2).contains(&7777));
    }

    #[test]
    fn overload_drops_from_the_longest() {
        let params = FqCodelParams {
            codel: CodelParams {
                limit_packets: 100,
                ..CodelParams::default()
            },
            ..FqCodelParams::default()
        };
        let mut fq = FqCodel::new(params, 1);
        let mut drops = Vec::new();
        for cookie in 0..5 {
            fq.enqueue(0, packet(9000 + cookie, 2, Ecn::NotEct), &mut drops);
        }
        for cookie in 0..200 {
            fq.enqueue(0, packet(cookie, 1, Ecn::NotEct), &mut drops);
        }
        assert!(!drops.is_empty());
        assert!(
            drops.iter().all(|drop| drop.cookie < 9000),
            "the short flow lost packets"
        );
        assert_eq!(fq.backlog().packets + drops.len() as u64, 205);
        let left = fq.backlog().packets as usize;
        assert_eq!(drain(&mut fq, 0, 1000).len(), left);
        assert_eq!(fq.backlog(), Backlog::default());
    }
}

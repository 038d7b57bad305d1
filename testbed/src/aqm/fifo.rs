//! Drop-tail, the default of most routers.

use l4sllm_abi::Action;

use super::{Aqm, Backlog, Departure, Packet, PacketQueue, depart};

/// Parameters of [`Fifo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FifoParams {
    /// Maximum number of queued packets, 1..=1048576. Default 100: 150 ms at 8
    /// Mbit/s.
    pub limit_packets: u32,
}

impl Default for FifoParams {
    fn default() -> Self {
        FifoParams { limit_packets: 100 }
    }
}

/// A finite FIFO that drops packets that do not fit and never marks.
#[derive(Debug)]
pub struct Fifo {
    params: FifoParams,
    queue: PacketQueue,
}

impl Fifo {
    /// An empty queue.
    pub fn new(params: FifoParams) -> Self {
        Fifo {
            params,
            queue: PacketQueue::default(),
        }
    }
}

impl Aqm for Fifo {
    fn enqueue(&mut self, now_ns: u64, packet: Packet, drops: &mut Vec<Departure>) {
        if self.queue.backlog().packets >= u64::from(self.params.limit_packets) {
            drops.push(depart(packet, 0, Action::Drop));
        } else {
            self.queue.push(now_ns, packet);
        }
    }

    fn dequeue(&mut self, now_ns: u64, _drops: &mut Vec<Departure>) -> Option<Departure> {
        let (arrived_ns, packet) = self.queue.pop()?;
        Some(depart(packet, now_ns - arrived_ns, Action::Enqueue))
    }

    fn backlog(&self) -> Backlog {
        self.queue.backlog()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use l4sllm_abi::Ecn;

    #[test]
    fn keeps_order_and_drops_the_newest() {
        let mut fifo = Fifo::new(FifoParams { limit_packets: 2 });
        let mut drops = Vec::new();
        for cookie in 0..3 {
            fifo.enqueue(cookie, packet(cookie, 0, Ecn::Ect0), &mut drops);
        }
        assert_eq!(
            drops.iter().map(|drop| drop.cookie).collect::<Vec<_>>(),
            [2]
        );
        let first = fifo.dequeue(10, &mut drops).unwrap();
        assert_eq!(
            (first.cookie, first.sojourn_ns, first.ecn),
            (0, 10, Ecn::Ect0)
        );
        assert_eq!(fifo.dequeue(10, &mut drops).unwrap().cookie, 1);
        assert_eq!(fifo.dequeue(10, &mut drops), None);
        assert_eq!(fifo.backlog(), Backlog::default());
    }
}

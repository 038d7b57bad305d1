//! Packets in flight on a link with delay.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Side;
use crate::pool::Slot;

/// A packet with its departure time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Departure time, ns.
    pub at_ns: u64,
    /// Sequence number: packets with equal departure times leave in the order of
    /// insertion.
    number: u64,
    /// Destination.
    pub to: Side,
    /// The packet.
    pub slot: Slot,
}

/// Packets ordered by departure time.
#[derive(Debug, Default)]
pub struct DelayLine {
    heap: BinaryHeap<Reverse<Due>>,
    count: u64,
}

impl DelayLine {
    /// Inserts a packet.
    pub fn push(&mut self, at_ns: u64, to: Side, slot: Slot) {
        let due = Due {
            at_ns,
            number: self.count,
            to,
            slot,
        };
        self.count += 1;
        self.heap.push(Reverse(due));
    }

    /// Departure time of the first packet, ns.
    pub fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|first| first.0.at_ns)
    }

    /// Removes the first packet.
    pub fn pop(&mut self) -> Option<Due> {
        self.heap.pop().map(|first| first.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_by_time_then_in_insertion_order() {
        let mut line = DelayLine::default();
        for (slot, at_ns) in [30, 10, 20, 10, 10].into_iter().enumerate() {
            line.push(at_ns, Side::Out, slot as Slot);
        }
        assert_eq!(line.next_ns(), Some(10));
        let order: Vec<Slot> = std::iter::from_fn(|| line.pop())
            .map(|due| due.slot)
            .collect();
        assert_eq!(order, [1, 3, 4, 2, 0]);
        assert_eq!(line.next_ns(), None);
    }
}

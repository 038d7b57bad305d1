//! The event queue: earliest first, ties in the order of scheduling.
//!
//! Most events of a network come from sources whose times never decrease: a
//! link delivers in the order in which it was sent on. Such a source has a
//! [`Lane`], a FIFO. The other events, timers for the most part, are in a heap
//! instead. A [`Tournament`] selects the next event from only the first of each
//! lane and of the heap: its cost grows with the number of links, not with that
//! of packets in flight or timers.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::tournament::Tournament;

/// Events waiting for their time.
///
/// Two events at the same nanosecond occur in the order of scheduling,
/// regardless of their lanes, so that a run does not depend on the queue's
/// layout.
#[derive(Debug)]
pub struct EventQueue<E> {
    lanes: Vec<VecDeque<Entry<E>>>,
    /// Events outside lanes.
    heap: BinaryHeap<Entry<E>>,
    /// Keys of the first events: of the heap at leaf [`HEAP`], of lane n at n.
    firsts: Tournament,
    scheduled: u64,
    taken: u64,
    now_ns: u64,
}

/// A FIFO of events whose times do not decrease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane(u32);

#[derive(Debug, Clone, Copy)]
struct Entry<E> {
    key: Key,
    event: E,
}

/// Time, then the number of the scheduling call, then the leaf of the event,
/// which does not affect the order: one integer, so that keys compare without a
/// branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

/// Bits of a leaf's number: more lanes than fit in memory.
const LEAF_BITS: u32 = 24;

/// Bits of a scheduling call's number: a day's at 10^7 calls a second.
const ORDER_BITS: u32 = 64 - LEAF_BITS;

/// The heap's leaf.
const HEAP: u32 = 0;

impl Key {
    fn new(at_ns: u64, order: u64, leaf: u32) -> Key {
        debug_assert!(order >> ORDER_BITS == 0);
        Key(u128::from(at_ns) << 64 | u128::from(order << LEAF_BITS | u64::from(leaf)))
    }

    fn at_ns(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn leaf(self) -> u32 {
        self.0 as u32 & ((1 << LEAF_BITS) - 1)
    }
}

/// The heap has its greatest entry on top: the earliest is the greatest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E: Copy> EventQueue<E> {
    /// An empty queue at time 0.
    pub fn new() -> Self {
        EventQueue {
            // The place of the heap's leaf: lanes count from 1.
            lanes: vec![VecDeque::new()],
            heap: BinaryHeap::new(),
            firsts: Tournament::new(1),
            scheduled: 0,
            taken: 0,
            now_ns: 0,
        }
    }

    /// Time of the last event removed, ns.
    pub fn now(&self) -> u64 {
        self.now_ns
    }

    /// Creates a lane.
    pub fn lane(&mut self) -> Lane {
        let lane = self.lanes.len() as u32;
        assert!(lane >> LEAF_BITS == 0, "fewer than 2^{LEAF_BITS} lanes");
        self.lanes.push(VecDeque::new());
        self.firsts.grow(self.lanes.len());
        Lane(lane)
    }

    /// Adds an event. A time in the past means now: time never decreases.
    pub fn schedule(&mut self, at_ns: u64, event: E) {
        let key = self.key(at_ns, HEAP);
        self.heap.push(Entry { key, event });
        if self.heap.peek().is_some_and(|first| first.key == key) {
            self.firsts.lower(HEAP as usize, key.0);
        }
    }

    /// As [`EventQueue::schedule`], for an event that is not before those of
    /// its lane. An earlier event still occurs in order, at the cost of an
    /// event outside lanes.
    pub fn schedule_in(&mut self, lane: Lane, at_ns: u64, event: E) {
        let key = self.key(at_ns, lane.0);
        let waiting = &mut self.lanes[lane.0 as usize];
        match waiting.back() {
            None => self.firsts.lower(lane.0 as usize, key.0),
            Some(newest) if newest.key.at_ns() <= key.at_ns() => {}
            Some(_) => {
                self.scheduled -= 1;
                return self.schedule(at_ns, event);
            }
        }
        waiting.push_back(Entry { key, event });
    }

    /// Time of the next event, ns.
    pub fn next_time(&self) -> Option<u64> {
        let first = self.firsts.least();
        (first != Tournament::ABSENT).then(|| Key(first).at_ns())
    }

    /// Removes the next event if its time is at most `until_ns`, and advances
    /// the time to it.
    pub fn pop_until(&mut self, until_ns: u64) -> Option<(u64, E)> {
        let key = Key(self.firsts.least());
        if key.at_ns() > until_ns || key.0 == Tournament::ABSENT {
            return None;
        }
        self.now_ns = key.at_ns();
        self.taken += 1;
        let event = match key.leaf() {
            HEAP => {
                let first = self.heap.pop()?;
                let next = self.heap.peek();
                let next = next.map_or(Tournament::ABSENT, |next| next.key.0);
                self.firsts.set(HEAP as usize, next);
                first.event
            }
            lane => {
                let waiting = &mut self.lanes[lane as usize];
                let first = waiting.pop_front()?;
                let next = waiting
                    .front()
                    .map_or(Tournament::ABSENT, |next| next.key.0);
                self.firsts.set(lane as usize, next);
                first.event
            }
        };
        Some((key.at_ns(), event))
    }

    /// Advances the time if no event is left before it.
    pub fn advance_to(&mut self, now_ns: u64) {
        debug_assert!(self.next_time().is_none_or(|next| next >= now_ns));
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Number of events removed.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn key(&mut self, at_ns: u64, leaf: u32) -> Key {
        let order = self.scheduled;
        self.scheduled += 1;
        Key::new(at_ns.max(self.now_ns), order, leaf)
    }
}

impl<E: Copy> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sim::Random;

    #[test]
    fn earliest_first_and_ties_in_order() {
        let mut queue = EventQueue::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b'), (5, 'e')] {
            queue.schedule(at, event);
        }
        let mut seen = String::new();
        while let Some((_, event)) = queue.pop_until(5) {
            seen.push(event);
        }
        assert_eq!(seen, "abcde");
        assert_eq!(queue.taken(), 5);
    }

    #[test]
    fn stops_at_the_bound() {
        let mut queue = EventQueue::new();
        queue.schedule(10, ());
        assert_eq!(queue.pop_until(9), None);
        assert_eq!(queue.pop_until(10), Some((10, ())));
    }

    #[test]
    fn past_times_are_clamped_to_now() {
        let mut queue = EventQueue::new();
        let lane = queue.lane();
        queue.schedule(10, 'a');
        queue.pop_until(10);
        queue.schedule(3, 'b');
        queue.schedule_in(lane, 2, 'c');
        queue.schedule(1, 'd');
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop_until(10)).collect();
        assert_eq!(rest, [(10, 'b'), (10, 'c'), (10, 'd')]);
    }

    /// Lanes change the cost of scheduling, not the order: events occur as in a
    /// map sorted by time and number, with many ties, lanes that become empty,
    /// and events that are before others of their lane.
    #[test]
    fn lanes_keep_the_order() {
        let mut random = Random::stream(3, "queue");
        let mut queue = EventQueue::new();
        let lanes: Vec<Lane> = (0..5).map(|_| queue.lane()).collect();
        let mut sorted = BTreeMap::new();
        for number in 0..20_000_u64 {
            let at_ns = queue.now() + random.below(20);
            sorted.insert((at_ns, number), number);
            match lanes.get(random.below(8) as usize) {
                Some(&lane) => queue.schedule_in(lane, at_ns, number),
                None => queue.schedule(at_ns, number),
            }
            // As many as arrive on average, in bursts.
            if random.below(4) == 0 {
                for _ in 0..random.below(8) {
                    let until_ns = queue.now() + 10;
                    let first = sorted.first_entry().filter(|e| e.key().0 <= until_ns);
                    let expected = first.map(|first| (first.key().0, first.remove()));
                    assert_eq!(queue.pop_until(until_ns), expected);
                }
            }
        }
        while let Some(((at_ns, _), number)) = sorted.pop_first() {
            assert_eq!(queue.pop_until(u64::MAX), Some((at_ns, number)));
        }
        assert_eq!(queue.pop_until(u64::MAX), None);
        assert_eq!(queue.taken(), 20_000);
    }
}

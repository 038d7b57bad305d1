//! The event queue: earliest first, ties in the order of scheduling.
//!
//! Most events of a network come from sources whose times never decrease: a
//! link delivers in the order in which it was sent on. Such a source has a
//! [`Lane`], a FIFO of which only the first event takes part in the ordering.
//! So the heap holds one entry a lane and one a timer, not one a packet in
//! flight, and scheduling behind another event of a lane costs one append.

use std::collections::VecDeque;

/// Events waiting for their time.
///
/// Two events of the same nanosecond come out in the order in which they went
/// in, by whatever lane, so that a run does not depend on the queue's layout.
#[derive(Debug)]
pub struct EventQueue<E> {
    /// A heap of [`ARITY`] children a node: the first event of each lane, and
    /// the events outside lanes.
    heap: Vec<Entry<E>>,
    lanes: Vec<Waiting<E>>,
    scheduled: u64,
    taken: u64,
    now_ns: u64,
}

/// A FIFO of events whose times do not decrease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane(u32);

/// What a lane holds behind its first event, which is in the heap.
#[derive(Debug)]
struct Waiting<E> {
    events: VecDeque<(Key, E)>,
    /// Time of the newest event, ns.
    newest_ns: u64,
    /// Whether the heap holds an event of this lane.
    begun: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry<E> {
    key: Key,
    lane: u32,
    event: E,
}

/// Time, then the number of the scheduling call: one integer, so that keys
/// compare without a branch, which would be mispredicted half of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

impl Key {
    fn new(at_ns: u64, order: u64) -> Key {
        Key(u128::from(at_ns) << 64 | u128::from(order))
    }

    fn at_ns(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// Of an entry outside lanes.
const NO_LANE: u32 = u32::MAX;

/// Children of a node: with four, a level fits two cache lines, and the heap
/// is half as deep as a binary one.
const ARITY: usize = 4;

impl<E: Copy> EventQueue<E> {
    /// Empty, at time 0.
    pub fn new() -> Self {
        EventQueue {
            heap: Vec::with_capacity(64),
            lanes: Vec::new(),
            scheduled: 0,
            taken: 0,
            now_ns: 0,
        }
    }

    /// The time of the last event taken, ns.
    pub fn now(&self) -> u64 {
        self.now_ns
    }

    /// Makes a lane.
    pub fn lane(&mut self) -> Lane {
        // A lane takes 48 bytes, so memory ends before the numbers.
        let lane = u32::try_from(self.lanes.len()).expect("fewer than 2^32 lanes");
        self.lanes.push(Waiting {
            events: VecDeque::new(),
            newest_ns: 0,
            begun: false,
        });
        Lane(lane)
    }

    /// Adds an event. A time that has passed means now: time never goes back.
    pub fn schedule(&mut self, at_ns: u64, event: E) {
        let key = self.key(at_ns);
        self.push(Entry {
            key,
            lane: NO_LANE,
            event,
        });
    }

    /// As [`EventQueue::schedule`], for an event that is not before those of
    /// its lane. One that is, comes in its order nevertheless, at the cost of
    /// an event outside lanes.
    pub fn schedule_in(&mut self, lane: Lane, at_ns: u64, event: E) {
        let key = self.key(at_ns);
        let waiting = &mut self.lanes[lane.0 as usize];
        if waiting.begun && key.at_ns() >= waiting.newest_ns {
            waiting.newest_ns = key.at_ns();
            waiting.events.push_back((key, event));
            return;
        }
        let lane = if waiting.begun { NO_LANE } else { lane.0 };
        if !waiting.begun {
            waiting.begun = true;
            waiting.newest_ns = key.at_ns();
        }
        self.push(Entry { key, lane, event });
    }

    /// When the next event is due, ns.
    pub fn next_time(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.key.at_ns())
    }

    /// Takes the next event if it is due at `until_ns` or before, and moves
    /// the time to it.
    pub fn pop_until(&mut self, until_ns: u64) -> Option<(u64, E)> {
        let &Entry { key, lane, event } = self.heap.first()?;
        if key.at_ns() > until_ns {
            return None;
        }
        self.now_ns = key.at_ns();
        self.taken += 1;
        match self.next_of(lane) {
            Some(next) => self.sink(next),
            None => {
                if let Some(last) = self.heap.pop().filter(|_| !self.heap.is_empty()) {
                    self.sink(last);
                }
            }
        }
        Some((key.at_ns(), event))
    }

    /// Moves the time forward where no event is left before it.
    pub fn advance_to(&mut self, now_ns: u64) {
        debug_assert!(self.next_time().is_none_or(|next| next >= now_ns));
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Events taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn key(&mut self, at_ns: u64) -> Key {
        let order = self.scheduled;
        self.scheduled += 1;
        Key::new(at_ns.max(self.now_ns), order)
    }

    /// The event that follows the first of a lane, now to be the first.
    fn next_of(&mut self, lane: u32) -> Option<Entry<E>> {
        let waiting = self.lanes.get_mut(lane as usize)?;
        let Some((key, event)) = waiting.events.pop_front() else {
            waiting.begun = false;
            return None;
        };
        Some(Entry { key, lane, event })
    }

    fn push(&mut self, entry: Entry<E>) {
        let mut at = self.heap.len();
        self.heap.push(entry);
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent].key < entry.key {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = entry;
    }

    /// Puts an entry in the place of the first, and restores the order.
    fn sink(&mut self, entry: Entry<E>) {
        let mut at = 0;
        loop {
            let first = at * ARITY + 1;
            let least = match self.heap.get(first..first + ARITY) {
                Some(children) => least(children),
                None => match self.heap.get(first..) {
                    Some(children @ [_, ..]) => least(children),
                    _ => break,
                },
            };
            let child = self.heap[first + least];
            if entry.key < child.key {
                break;
            }
            self.heap[at] = child;
            at = first + least;
        }
        self.heap[at] = entry;
    }
}

/// Where the earliest of some entries is.
#[inline]
fn least<E>(entries: &[Entry<E>]) -> usize {
    let mut least = (0, entries[0].key);
    for (place, entry) in entries.iter().enumerate().skip(1) {
        if entry.key < least.1 {
            least = (place, entry.key);
        }
    }
    least.0
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
    fn the_past_means_now() {
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

    /// Lanes change what scheduling costs, not the order: events come out as
    /// from a map sorted by time and number, with many ties, lanes that run
    /// empty, and events that are before others of their lane.
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
            // As many as come on average, in spurts.
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

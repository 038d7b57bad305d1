//! The event queue: earliest first, ties in the order of scheduling.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events waiting for their time.
///
/// Two events of the same nanosecond come out in the order in which they went
/// in, so that a run does not depend on the heap's layout.
#[derive(Debug)]
pub struct EventQueue<E> {
    heap: BinaryHeap<Entry<E>>,
    scheduled: u64,
    now_ns: u64,
}

impl<E> EventQueue<E> {
    /// Empty, at time 0.
    pub fn new() -> Self {
        EventQueue {
            heap: BinaryHeap::with_capacity(256),
            scheduled: 0,
            now_ns: 0,
        }
    }

    /// The time of the last event taken, ns.
    pub fn now(&self) -> u64 {
        self.now_ns
    }

    /// Adds an event. A time that has passed means now: time never goes back.
    pub fn schedule(&mut self, at_ns: u64, event: E) {
        let entry = Entry {
            at_ns: at_ns.max(self.now_ns),
            order: self.scheduled,
            event,
        };
        self.scheduled += 1;
        self.heap.push(entry);
    }

    /// When the next event is due, ns.
    pub fn next_time(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at_ns)
    }

    /// Takes the next event if it is due at `until_ns` or before, and moves
    /// the time to it.
    pub fn pop_until(&mut self, until_ns: u64) -> Option<(u64, E)> {
        if self.next_time()? > until_ns {
            return None;
        }
        let entry = self.heap.pop()?;
        self.now_ns = entry.at_ns;
        Some((entry.at_ns, entry.event))
    }

    /// Moves the time forward where no event is left before it.
    pub fn advance_to(&mut self, now_ns: u64) {
        debug_assert!(self.next_time().is_none_or(|next| next >= now_ns));
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Events taken so far.
    pub fn taken(&self) -> u64 {
        self.scheduled - self.heap.len() as u64
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Entry<E> {
    at_ns: u64,
    order: u64,
    event: E,
}

impl<E> Ord for Entry<E> {
    // The heap is a max-heap: the earliest has to be the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.order).cmp(&(self.at_ns, self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

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
        queue.schedule(10, 'a');
        queue.pop_until(10);
        queue.schedule(3, 'b');
        assert_eq!(queue.pop_until(10), Some((10, 'b')));
    }
}

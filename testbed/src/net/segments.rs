//! Segments in flight: one slot each, so that queues and events carry a number
//! instead of the segment.

use crate::transport::Segment;

/// Segments between their sender and their receiver.
#[derive(Debug, Default)]
pub struct Segments {
    slots: Vec<Option<Segment>>,
    free: Vec<u32>,
}

impl Segments {
    /// Stores a segment; returns its number.
    pub fn insert(&mut self, segment: Segment) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(segment);
                slot
            }
            None => {
                self.slots.push(Some(segment));
                // 2^32 segments would need hundreds of GiB.
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 segments in transit")
            }
        }
    }

    /// The segment with a number in use.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Segment> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// As [`Segments::get_mut`], read-only.
    pub fn get(&self, slot: u32) -> Option<&Segment> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Removes a segment, which must be there; its number may be reused.
    pub fn remove(&mut self, slot: u32) {
        debug_assert!(self.get(slot).is_some());
        self.slots[slot as usize] = None;
        self.free.push(slot);
    }

    /// Number of segments in flight.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether no segment is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

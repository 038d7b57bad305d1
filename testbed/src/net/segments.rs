//! Segments under way: one place each, so that queues and events carry a
//! number instead of the segment.

use crate::transport::Segment;

/// Segments between their sender and their receiver.
#[derive(Debug, Default)]
pub struct Segments {
    slots: Vec<Option<Segment>>,
    free: Vec<u32>,
}

impl Segments {
    /// Keeps a segment; its number.
    pub fn insert(&mut self, segment: Segment) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(segment);
                slot
            }
            None => {
                self.slots.push(Some(segment));
                // 2^32 segments would need hundreds of GiB.
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 segments under way")
            }
        }
    }

    /// The segment of a number that is in use.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Segment> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Takes it out; its number may be used again.
    pub fn take(&mut self, slot: u32) -> Option<Segment> {
        let segment = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(segment)
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

//! A pool of packet buffers, which are allocated once.

use l4sllm_abi::Ecn;

/// Index of a packet in a [`Pool`].
pub type Slot = u32;

/// Metadata of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Info {
    /// Length, bytes.
    pub length: u32,
    /// ECN codepoint on arrival.
    pub ecn: Ecn,
    /// Its flow.
    pub flow: u32,
    /// Arrival time, ns.
    pub arrived_ns: u64,
}

/// Buffers of one size. The pool grows by [`CHUNK`] buffers when none is free, up
/// to a limit, and never shrinks.
#[derive(Debug)]
pub struct Pool {
    buffer_bytes: usize,
    limit: usize,
    chunks: Vec<Box<[u8]>>,
    infos: Vec<Info>,
    free: Vec<Slot>,
}

/// Buffers allocated at a time.
pub const CHUNK: usize = 1024;

impl Pool {
    /// A pool of at most `limit` buffers of `buffer_bytes` each.
    pub fn new(buffer_bytes: usize, limit: usize) -> Pool {
        let mut pool = Pool {
            buffer_bytes,
            limit,
            chunks: Vec::new(),
            infos: Vec::new(),
            free: Vec::new(),
        };
        pool.grow();
        pool
    }

    /// Takes a free buffer; `None` at the limit.
    pub fn take(&mut self) -> Option<Slot> {
        if self.free.is_empty() {
            self.grow();
        }
        self.free.pop()
    }

    /// Gives back a buffer from [`Pool::take`].
    pub fn give(&mut self, slot: Slot) {
        debug_assert!(self.free.len() < self.infos.len());
        self.free.push(slot);
    }

    /// The whole buffer.
    pub fn buffer(&mut self, slot: Slot) -> &mut [u8] {
        let (chunk, at) = self.place(slot);
        &mut self.chunks[chunk][at..at + self.buffer_bytes]
    }

    /// Sets the metadata of the packet in [`Pool::buffer`].
    pub fn set_info(&mut self, slot: Slot, info: Info) {
        debug_assert!(info.length as usize <= self.buffer_bytes);
        self.infos[slot as usize] = info;
    }

    /// The metadata of a packet.
    pub fn info(&self, slot: Slot) -> &Info {
        &self.infos[slot as usize]
    }

    /// A packet's bytes.
    pub fn packet(&self, slot: Slot) -> &[u8] {
        let (chunk, at) = self.place(slot);
        &self.chunks[chunk][at..at + self.infos[slot as usize].length as usize]
    }

    /// A packet's bytes, mutable.
    pub fn packet_mut(&mut self, slot: Slot) -> &mut [u8] {
        let (chunk, at) = self.place(slot);
        let length = self.infos[slot as usize].length as usize;
        &mut self.chunks[chunk][at..at + length]
    }

    /// Number of buffers in use.
    pub fn in_use(&self) -> usize {
        self.infos.len() - self.free.len()
    }

    fn place(&self, slot: Slot) -> (usize, usize) {
        let slot = slot as usize;
        (slot / CHUNK, slot % CHUNK * self.buffer_bytes)
    }

    fn grow(&mut self) {
        let have = self.infos.len();
        let more = CHUNK.min(self.limit - have);
        if more == 0 {
            return;
        }
        self.chunks
            .push(vec![0; more * self.buffer_bytes].into_boxed_slice());
        let nothing = Info {
            length: 0,
            ecn: Ecn::NotEct,
            flow: 0,
            arrived_ns: 0,
        };
        self.infos.resize(have + more, nothing);
        // Reserve space for all, so that giving back never allocates.
        self.free.reserve(have + more);
        self.free
            .extend((have..have + more).rev().map(|slot| slot as Slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_distinct_and_reused() {
        let mut pool = Pool::new(16, CHUNK + 3);
        let slots: Vec<Slot> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((slots.len(), pool.in_use()), (CHUNK + 3, CHUNK + 3));
        for slot in &slots {
            pool.buffer(*slot)
                .copy_from_slice(&u128::from(*slot).to_ne_bytes());
            let info = Info {
                length: 4,
                ..*pool.info(*slot)
            };
            pool.set_info(*slot, info);
        }
        for slot in &slots {
            assert_eq!(pool.packet(*slot), slot.to_ne_bytes());
            pool.give(*slot);
        }
        assert_eq!(pool.in_use(), 0);
        let again = pool.take().unwrap();
        pool.packet_mut(again)[0] = 1;
        assert_eq!(pool.packet(again)[0], 1);
    }
}

//! Data that an application offers to a sender over time.

/// An application that offers data in equal chunks at regular times, like a
/// video player that fetches segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Payload of each, bytes; whole segments for a stream.
    pub bytes: u64,
    /// Time between two, ns. The first is offered when the flow begins.
    pub every_ns: u64,
}

/// Data offered so far by a stream's application.
#[derive(Debug)]
pub(super) struct Source {
    chunks: Option<Chunks>,
    offered: u64,
    /// When the next chunk is offered, once the flow has begun.
    next_ns: Option<u64>,
}

impl Source {
    /// Without `chunks` everything is offered at once.
    pub fn new(chunks: Option<Chunks>) -> Source {
        Source {
            chunks,
            offered: if chunks.is_some() { 0 } else { u64::MAX },
            next_ns: None,
        }
    }

    /// Payload offered so far, bytes.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Time of the next offer, ns.
    pub fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Adds the data offered up to `now_ns`; returns whether there was any.
    pub fn advance(&mut self, now_ns: u64) -> bool {
        let Some(chunks) = self.chunks else {
            return false;
        };
        let before = self.offered;
        let mut next_ns = self.next_ns.unwrap_or(now_ns);
        while next_ns <= now_ns {
            self.offered = self.offered.saturating_add(chunks.bytes);
            next_ns += chunks.every_ns.max(1);
        }
        self.next_ns = Some(next_ns);
        self.offered > before
    }
}

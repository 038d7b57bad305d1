//! A client's own link: a rate, a delay and a finite FIFO.

/// A FIFO link whose only state is the time at which its transmitter becomes
/// idle.
///
/// With one FIFO and one rate, a packet's departure is known on arrival, so
/// that the link needs no separate events.
#[derive(Debug, Clone)]
pub struct AccessLink {
    bits_per_s: u64,
    delay_ns: u64,
    limit_bytes: u64,
    idle_at_ns: u64,
    /// Size and transmission time, ns, of the last packet: most packets of a
    /// link have the same size, and the division would dominate the cost.
    last: (u32, u64),
    sent: u64,
    dropped: u64,
}

impl AccessLink {
    /// A link of `bits_per_s` (0: infinitely fast), with a propagation delay
    /// and a buffer of `limit_bytes` in addition to the packet being sent.
    pub fn new(bits_per_s: u64, delay_ns: u64, limit_bytes: u64) -> Self {
        AccessLink {
            bits_per_s,
            delay_ns,
            limit_bytes,
            idle_at_ns: 0,
            last: (0, 0),
            sent: 0,
            dropped: 0,
        }
    }

    /// Sends `bytes` at `now_ns`; returns the arrival time at the other end, or
    /// `None` if the buffer is full and they are lost.
    pub fn send(&mut self, now_ns: u64, bytes: u32) -> Option<u64> {
        let begin = self.idle_at_ns.max(now_ns);
        // Bytes times 8 · 10^9, again without a division.
        let waiting = u128::from(begin - now_ns) * u128::from(self.bits_per_s);
        if waiting >= (u128::from(self.limit_bytes) + 1) * 8_000_000_000 {
            self.dropped += 1;
            return None;
        }
        self.idle_at_ns = begin + self.serialisation_ns(bytes);
        self.sent += 1;
        Some(self.idle_at_ns + self.delay_ns)
    }

    /// Number of packets sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Number of packets lost to a full buffer.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn serialisation_ns(&mut self, bytes: u32) -> u64 {
        if self.last.0 != bytes {
            let ns = (u64::from(bytes) * 8_000_000_000).div_ceil(self.bits_per_s.max(1));
            self.last = (bytes, ns * u64::from(self.bits_per_s != 0));
        }
        self.last.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialises_in_order_then_propagates() {
        // 1500 bytes at 12 Mbit/s take 1 ms.
        let mut link = AccessLink::new(12_000_000, 5_000_000, 100_000);
        assert_eq!(link.send(0, 1500), Some(6_000_000));
        assert_eq!(link.send(0, 1500), Some(7_000_000));
        assert_eq!(link.send(10_000_000, 1500), Some(16_000_000));
    }

    #[test]
    fn transmission_time_is_proportional_to_size() {
        let mut link = AccessLink::new(12_000_000, 0, 100_000);
        let ends = [1500, 750, 750, 1500].map(|bytes| link.send(0, bytes));
        assert_eq!(ends, [1_000_000, 1_500_000, 2_000_000, 3_000_000].map(Some));
    }

    #[test]
    fn a_full_buffer_loses() {
        let mut link = AccessLink::new(12_000_000, 0, 3000);
        let arrived = (0..10).filter(|_| link.send(0, 1500).is_some()).count();
        // One in transmission, two in the buffer.
        assert_eq!(arrived, 3);
        assert_eq!((link.sent(), link.dropped()), (3, 7));
    }

    #[test]
    fn infinitely_fast() {
        let mut link = AccessLink::new(0, 7, 0);
        assert_eq!(link.send(1, 1500), Some(8));
        assert_eq!(link.send(1, 1500), Some(8));
    }
}

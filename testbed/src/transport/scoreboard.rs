//! What is in flight, what arrived, what is lost (RFC 6675).
//!
//! Segments stand in a ring, one small slot each, indexed by their number: the
//! stream is cut at multiples of the segment size, so sequence numbers divide
//! out. Every transmission gets an ordinal. A segment is lost when a
//! transmission [`DUP_THRESH`] or more ordinals later has arrived: on a path that
//! does not reorder this is RFC 6675's IsLost() with DupThresh for first
//! transmissions, and finds lost retransmissions as well (RFC 8985's idea with
//! the packet threshold of RFC 9002, section 6.1.1). Work per acknowledgement
//! is proportional to what it newly acknowledges.

use std::collections::VecDeque;

use super::ranges::Ranges;
use super::segment::{MAX_SACK, MSS};

/// Later deliveries that prove a loss (RFC 6675, section 2).
pub(super) const DUP_THRESH: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Lost,
    Sacked,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Ordinal and time (ns) of the latest transmission.
    ordinal: u64,
    sent_ns: u64,
    state: State,
    retransmitted: bool,
}

/// State of the segments from the first unacknowledged to the last sent.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    slots: VecDeque<Slot>,
    /// Number of the segment in the first slot.
    base: u64,
    /// First byte not acknowledged; first byte not sent.
    una: u64,
    nxt: u64,
    sacked: Ranges,
    /// Segments in state InFlight and Lost.
    in_flight: u32,
    lost: u32,
    transmissions: u64,
    /// Highest ordinal known to have arrived, plus one.
    arrived: u64,
    /// First transmissions below this segment number are judged.
    judged: u64,
    /// No segment below this number is lost and waiting.
    retransmit_from: u64,
    /// Retransmissions in flight, (ordinal, segment), in order of ordinals.
    retransmissions: VecDeque<(u64, u64)>,
}

/// What an acknowledgement brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Segments newly known to have arrived.
    pub segments: u32,
    /// Their payload, bytes.
    pub bytes: u64,
    /// Segments newly found lost.
    pub lost: u32,
    /// The first unacknowledged byte moved.
    pub advanced: bool,
}

impl Scoreboard {
    /// First byte not acknowledged.
    pub fn una(&self) -> u64 {
        self.una
    }

    /// First byte not sent.
    pub fn nxt(&self) -> u64 {
        self.nxt
    }

    /// Segments in the network (RFC 6675's pipe, in segments).
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Segments lost and not yet sent again.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Whether everything sent is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Notes `len` bytes of new data, at most a segment; gives their first byte.
    pub fn send_new(&mut self, now_ns: u64, len: u32) -> u64 {
        let seq = self.nxt;
        debug_assert_eq!(seq % u64::from(MSS), 0, "only the last segment is short");
        self.slots.push_back(Slot {
            ordinal: self.transmissions,
            sent_ns: now_ns,
            state: State::InFlight,
            retransmitted: false,
        });
        self.transmissions += 1;
        self.in_flight += 1;
        self.nxt += u64::from(len);
        seq
    }

    /// Notes the retransmission of the first lost segment; gives its first byte
    /// and length.
    pub fn retransmit(&mut self, now_ns: u64) -> Option<(u64, u32)> {
        if self.lost == 0 {
            return None;
        }
        let from = self.retransmit_from.max(self.base) - self.base;
        let offset = self
            .slots
            .iter()
            .skip(from as usize)
            .position(|slot| slot.state == State::Lost)? as u64
            + from;
        let number = self.base + offset;
        let slot = &mut self.slots[offset as usize];
        slot.ordinal = self.transmissions;
        slot.sent_ns = now_ns;
        slot.state = State::InFlight;
        slot.retransmitted = true;
        self.retransmissions.push_back((self.transmissions, number));
        self.transmissions += 1;
        self.lost -= 1;
        self.in_flight += 1;
        self.retransmit_from = number + 1;
        let seq = number * u64::from(MSS);
        Some((seq, (self.nxt - seq).min(u64::from(MSS)) as u32))
    }

    /// Counts an acknowledgement; `echo_ns` is when the segment that caused it
    /// was sent.
    pub fn acknowledge(
        &mut self,
        cumulative: u64,
        sack: &[(u64, u64); MAX_SACK],
        echo_ns: u64,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        let cumulative = cumulative.min(self.nxt);
        if cumulative > self.una {
            delivered.advanced = true;
            let end = if cumulative == self.nxt {
                self.base + self.slots.len() as u64
            } else {
                cumulative / u64::from(MSS)
            };
            while self.base < end {
                self.arrive(self.base, echo_ns, &mut delivered);
                self.slots.pop_front();
                self.base += 1;
            }
            self.una = cumulative;
            self.sacked.remove_below(cumulative);
        }
        for &(start, end) in sack {
            let (start, end) = (start.max(self.una), end.min(self.nxt));
            let mut ranges = std::mem::take(&mut self.sacked);
            ranges.insert(start, end, |start, end| {
                let mss = u64::from(MSS);
                for number in start / mss..end.div_ceil(mss) {
                    self.arrive(number, echo_ns, &mut delivered);
                }
            });
            self.sacked = ranges;
        }
        delivered.lost = self.find_losses();
        delivered
    }

    /// The retransmission timer ran out: all that did not arrive is lost (RFC
    /// 6675, section 5.1, keeping what SACK reported). Gives how many were in flight.
    pub fn lose_all(&mut self) -> u32 {
        let was_in_flight = self.in_flight;
        for slot in &mut self.slots {
            if slot.state == State::InFlight {
                slot.state = State::Lost;
                self.lost += 1;
            }
        }
        self.in_flight = 0;
        self.retransmissions.clear();
        self.retransmit_from = self.base;
        self.judged = self.base + self.slots.len() as u64;
        was_in_flight
    }

    fn arrive(&mut self, number: u64, echo_ns: u64, delivered: &mut Delivered) {
        let slot = &mut self.slots[(number - self.base) as usize];
        match slot.state {
            State::Sacked => return,
            State::InFlight => self.in_flight -= 1,
            State::Lost => self.lost -= 1,
        }
        slot.state = State::Sacked;
        let mss = u64::from(MSS);
        delivered.segments += 1;
        delivered.bytes += (self.nxt - number * mss).min(mss);
        // If the echo is older than the latest transmission, an earlier one arrived
        // (the timeout was spurious): it says nothing about the latest.
        if !slot.retransmitted || echo_ns >= slot.sent_ns {
            self.arrived = self.arrived.max(slot.ordinal + 1);
        }
    }

    fn find_losses(&mut self) -> u32 {
        // Ordinals below `proven` have DUP_THRESH later deliveries or more.
        let Some(proven) = self.arrived.checked_sub(DUP_THRESH) else {
            return 0;
        };
        let mut found = 0;
        self.judged = self.judged.max(self.base);
        while let Some(slot) = self.slots.get_mut((self.judged - self.base) as usize) {
            // Retransmitted ones are judged below. First transmissions have
            // ascending ordinals.
            if !slot.retransmitted {
                if slot.ordinal >= proven {
                    break;
                }
                if slot.state == State::InFlight {
                    slot.state = State::Lost;
                    self.retransmit_from = self.retransmit_from.min(self.judged);
                    found += 1;
                }
            }
            self.judged += 1;
        }
        while let Some(&(ordinal, number)) = self.retransmissions.front() {
            if ordinal >= proven {
                break;
            }
            self.retransmissions.pop_front();
            let slot = number
                .checked_sub(self.base)
                .and_then(|offset| self.slots.get_mut(offset as usize));
            if let Some(slot) = slot {
                if slot.ordinal == ordinal && slot.state == State::InFlight {
                    slot.state = State::Lost;
                    self.retransmit_from = self.retransmit_from.min(number);
                    found += 1;
                }
            }
        }
        self.in_flight -= found;
        self.lost += found;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [(u64, u64); MAX_SACK] = [(0, 0); MAX_SACK];

    fn seq(number: u64) -> u64 {
        number * u64::from(MSS)
    }

    fn sack(start: u64, end: u64) -> [(u64, u64); MAX_SACK] {
        [(seq(start), seq(end)), (0, 0), (0, 0)]
    }

    fn sent(count: u64) -> Scoreboard {
        let mut board = Scoreboard::default();
        for i in 0..count {
            assert_eq!(board.send_new(i, MSS), seq(i));
        }
        board
    }

    #[test]
    fn cumulative() {
        let mut board = sent(5);
        let d = board.acknowledge(seq(2), &NONE, 1);
        assert_eq!((d.segments, d.bytes, d.lost), (2, seq(2), 0));
        assert!(d.advanced);
        assert_eq!(
            (board.una(), board.nxt(), board.in_flight()),
            (seq(2), seq(5), 3)
        );
        assert_eq!(board.acknowledge(seq(2), &NONE, 1), Delivered::default());
    }

    #[test]
    fn three_later_deliveries_prove_a_loss() {
        let mut board = sent(6);
        assert_eq!(board.acknowledge(0, &sack(1, 2), 1).lost, 0);
        assert_eq!(board.acknowledge(0, &sack(1, 3), 2).lost, 0);
        assert_eq!(board.acknowledge(0, &sack(1, 4), 3).lost, 1);
        assert_eq!((board.in_flight(), board.lost()), (2, 1));
        assert_eq!(board.retransmit(10), Some((0, MSS)));
        assert_eq!(board.retransmit(10), None);
        let d = board.acknowledge(seq(4), &NONE, 10);
        assert_eq!((d.segments, d.lost), (1, 0));
    }

    #[test]
    fn lost_retransmission_is_found() {
        let mut board = sent(4);
        board.acknowledge(0, &sack(1, 4), 3);
        assert_eq!(board.retransmit(10), Some((0, MSS)));
        for i in 4..7 {
            board.send_new(10 + i, MSS);
        }
        assert_eq!(board.acknowledge(0, &sack(1, 6), 15).lost, 0);
        assert_eq!(board.acknowledge(0, &sack(1, 7), 16).lost, 1);
        assert_eq!(board.retransmit(20), Some((0, MSS)));
        board.acknowledge(seq(7), &NONE, 20);
        assert!(board.is_empty());
        assert_eq!((board.in_flight(), board.lost()), (0, 0));
    }

    #[test]
    fn echo_of_the_original_does_not_condemn() {
        let mut board = sent(8);
        assert_eq!(board.lose_all(), 8);
        for _ in 0..8 {
            board.retransmit(100);
        }
        // The originals were merely late: the first half of the repetitions has
        // not been overtaken by the second.
        let d = board.acknowledge(0, &sack(4, 8), 7);
        assert_eq!((d.segments, d.lost), (4, 0));
        assert_eq!(board.in_flight(), 4);
        let d = board.acknowledge(0, &sack(4, 8), 100);
        assert_eq!((d.segments, d.lost), (0, 0));
    }

    #[test]
    fn short_last_segment() {
        let mut board = sent(2);
        board.send_new(2, 100);
        board.lose_all();
        assert_eq!(board.retransmit(9), Some((0, MSS)));
        assert_eq!(board.retransmit(9), Some((seq(1), MSS)));
        assert_eq!(board.retransmit(9), Some((seq(2), 100)));
        let d = board.acknowledge(seq(2) + 100, &NONE, 9);
        assert_eq!(d.bytes, seq(2) + 100);
        assert!(board.is_empty());
    }
}

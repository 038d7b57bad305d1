//! Tracks segments in flight, delivered and lost (RACK; RFC 8985, section 6).
//!
//! Segments are in a ring, one small slot each, indexed by number: the stream is
//! segmented at multiples of the segment size, so sequence numbers convert by
//! division. Every transmission gets an ordinal, which orders transmissions as
//! RACK_sent_after() does. A segment is lost when a later transmission has
//! arrived and the segment is overdue by the reordering window, which the caller
//! chooses. Work per acknowledgement is proportional to what it newly
//! acknowledges.

use std::collections::VecDeque;

use super::ranges::Ranges;
use super::segment::{MAX_SACK, MSS};

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
    /// The latest transmission known to have arrived (RACK.segment).
    latest: Option<Latest>,
    /// When the next segment becomes overdue, ns.
    overdue_at: Option<u64>,
    /// First transmissions below this segment number have been checked.
    judged: u64,
    /// No segment below this number is lost and waiting.
    retransmit_from: u64,
    /// Retransmissions in flight, (ordinal, segment), in order of ordinals.
    retransmissions: VecDeque<(u64, u64)>,
}

/// A delivered transmission.
#[derive(Debug, Clone, Copy)]
struct Latest {
    ordinal: u64,
    /// Time from its sending to its acknowledgement (RACK.rtt), ns.
    rtt_ns: u64,
}

/// Effects of an acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Segments newly known to have arrived.
    pub segments: u32,
    /// Their payload, bytes.
    pub bytes: u64,
    /// The first unacknowledged byte moved.
    pub advanced: bool,
    /// Ordinal and number of the segment among them that was sent last.
    pub newest: Option<(u64, u64)>,
}

impl Scoreboard {
    /// First byte not acknowledged.
    pub fn una(&self) -> u64 {
        self.una
    }

    /// Number of the first segment not acknowledged.
    pub fn base(&self) -> u64 {
        self.base
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

    /// Segments that arrived beyond the first unacknowledged byte.
    pub fn sacked(&self) -> u32 {
        self.segments() - self.in_flight - self.lost
    }

    /// Segments sent and not cumulatively acknowledged (FlightSize of RFC 5681).
    pub fn segments(&self) -> u32 {
        self.slots.len() as u32
    }

    /// When [`Scoreboard::find_losses`] is due without an acknowledgement, ns.
    pub fn overdue_at(&self) -> Option<u64> {
        self.overdue_at
    }

    /// Whether everything sent is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Records the transmission of `len` bytes of new data, at most a segment;
    /// returns their first byte.
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

    /// Records the retransmission of the first lost segment; returns its first
    /// byte and length.
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
        self.lost -= 1;
        self.in_flight += 1;
        self.retransmit_from = self.base + offset + 1;
        Some(self.sent_again(now_ns, offset))
    }

    /// Records the retransmission of the last segment although it may still
    /// arrive; returns its first byte and length. `None` if it arrived or was
    /// marked as lost.
    pub fn retransmit_last(&mut self, now_ns: u64) -> Option<(u64, u32)> {
        let last = self.slots.back()?;
        (last.state == State::InFlight).then(|| {
            let offset = self.slots.len() as u64 - 1;
            self.sent_again(now_ns, offset)
        })
    }

    fn sent_again(&mut self, now_ns: u64, offset: u64) -> (u64, u32) {
        let number = self.base + offset;
        let slot = &mut self.slots[offset as usize];
        slot.ordinal = self.transmissions;
        slot.sent_ns = now_ns;
        slot.state = State::InFlight;
        slot.retransmitted = true;
        self.retransmissions.push_back((self.transmissions, number));
        self.transmissions += 1;
        let seq = number * u64::from(MSS);
        (seq, (self.nxt - seq).min(u64::from(MSS)) as u32)
    }

    /// Counts an acknowledgement; `echo_ns` is when the segment that caused it
    /// was sent.
    pub fn acknowledge(
        &mut self,
        now_ns: u64,
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
                self.arrive(now_ns, self.base, echo_ns, &mut delivered);
                self.slots.pop_front();
                self.base += 1;
            }
            self.una = cumulative;
            self.sacked.remove_below(cumulative);
        }
        for &(start, end) in sack {
            let (start, end) = (start.max(self.una), end.min(self.nxt));
            if start >= end {
                continue;
            }
            let mut ranges = std::mem::take(&mut self.sacked);
            ranges.insert(start, end, |start, end| {
                let mss = u64::from(MSS);
                for number in start / mss..end.div_ceil(mss) {
                    self.arrive(now_ns, number, echo_ns, &mut delivered);
                }
            });
            self.sacked = ranges;
        }
        delivered
    }

    /// Finds overdue segments: they were sent before one that arrived, and more
    /// than a round trip plus `window_ns` ago (RFC 8985, section 6.2, step 5).
    /// Returns the number of newly lost ones.
    pub fn find_losses(&mut self, now_ns: u64, window_ns: u64) -> u32 {
        self.overdue_at = None;
        let Some(latest) = self.latest else {
            return 0;
        };
        let wait_ns = latest.rtt_ns + window_ns;
        let before = self.lost;
        self.judge_first_transmissions(now_ns, latest.ordinal, wait_ns);
        self.judge_retransmissions(now_ns, latest.ordinal, wait_ns);
        self.lost - before
    }

    /// The retransmission timer expired: the first segment is lost, as is every
    /// other with an overdue acknowledgement, whether or not a later one arrived
    /// (RFC 8985, section 6.3). SACK information is kept.
    pub fn time_out(&mut self, now_ns: u64, window_ns: u64) {
        let wait_ns = self.latest.map_or(0, |latest| latest.rtt_ns) + window_ns;
        for (offset, slot) in self.slots.iter_mut().enumerate() {
            let overdue = offset == 0 || slot.sent_ns + wait_ns <= now_ns;
            if slot.state == State::InFlight && overdue {
                slot.state = State::Lost;
                self.lost += 1;
                self.in_flight -= 1;
            }
        }
        self.retransmit_from = self.base;
    }

    fn arrive(&mut self, now_ns: u64, number: u64, echo_ns: u64, delivered: &mut Delivered) {
        let slot = &mut self.slots[(number - self.base) as usize];
        match slot.state {
            State::Sacked => return,
            State::InFlight => self.in_flight -= 1,
            State::Lost => self.lost -= 1,
        }
        slot.state = State::Sacked;
        let mss = u64::from(MSS);
        delivered.segments += 1;
        delivered.newest = delivered.newest.max(Some((slot.ordinal, number)));
        delivered.bytes += (self.nxt - number * mss).min(mss);
        // If the echo is older than the latest transmission, an earlier one arrived
        // (the retransmission was spurious), which gives no information about the
        // latest.
        let of_latest = !slot.retransmitted || echo_ns >= slot.sent_ns;
        if of_latest && self.latest.is_none_or(|at| slot.ordinal > at.ordinal) {
            self.latest = Some(Latest {
                ordinal: slot.ordinal,
                rtt_ns: now_ns.saturating_sub(slot.sent_ns),
            });
        }
    }

    /// First transmissions have ascending ordinals and times.
    fn judge_first_transmissions(&mut self, now_ns: u64, latest: u64, wait_ns: u64) {
        self.judged = self.judged.max(self.base);
        while let Some(slot) = self.slots.get_mut((self.judged - self.base) as usize) {
            if !slot.retransmitted && slot.state == State::InFlight {
                if slot.ordinal > latest {
                    return;
                }
                if slot.sent_ns + wait_ns > now_ns {
                    self.overdue_at = Some(slot.sent_ns + wait_ns);
                    return;
                }
                slot.state = State::Lost;
                self.in_flight -= 1;
                self.lost += 1;
                self.retransmit_from = self.retransmit_from.min(self.judged);
            }
            self.judged += 1;
        }
    }

    fn judge_retransmissions(&mut self, now_ns: u64, latest: u64, wait_ns: u64) {
        while let Some(&(ordinal, number)) = self.retransmissions.front() {
            if ordinal > latest {
                return;
            }
            let slot = number
                .checked_sub(self.base)
                .and_then(|offset| self.slots.get_mut(offset as usize))
                .filter(|slot| slot.ordinal == ordinal && slot.state == State::InFlight);
            if let Some(slot) = slot {
                let overdue_at = slot.sent_ns + wait_ns;
                if overdue_at > now_ns {
                    let first = self.overdue_at.unwrap_or(overdue_at);
                    self.overdue_at = Some(first.min(overdue_at));
                    return;
                }
                slot.state = State::Lost;
                self.in_flight -= 1;
                self.lost += 1;
                self.retransmit_from = self.retransmit_from.min(number);
            }
            self.retransmissions.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [(u64, u64); MAX_SACK] = [(0, 0); MAX_SACK];
    /// From a transmission to its acknowledgement, ns.
    const RTT: u64 = 100;

    fn seq(number: u64) -> u64 {
        number * u64::from(MSS)
    }

    fn sack(start: u64, end: u64) -> [(u64, u64); MAX_SACK] {
        [(seq(start), seq(end)), (0, 0), (0, 0)]
    }

    /// Segment `i` was sent at `i` ns.
    fn sent(count: u64) -> Scoreboard {
        let mut board = Scoreboard::default();
        for i in 0..count {
            assert_eq!(board.send_new(i, MSS), seq(i));
        }
        board
    }

    /// Segments `start .. end` arrived, the last of them sent at `echo`.
    fn sacked(board: &mut Scoreboard, start: u64, end: u64, echo: u64) -> Delivered {
        board.acknowledge(echo + RTT, 0, &sack(start, end), echo)
    }

    #[test]
    fn cumulative() {
        let mut board = sent(5);
        let d = board.acknowledge(RTT, seq(2), &NONE, 1);
        assert_eq!((d.segments, d.bytes), (2, seq(2)));
        assert!(d.advanced);
        assert_eq!(board.find_losses(9 * RTT, 0), 0);
        assert_eq!(
            (board.una(), board.nxt(), board.in_flight()),
            (seq(2), seq(5), 3)
        );
        let again = board.acknowledge(RTT, seq(2), &NONE, 1);
        assert_eq!(again, Delivered::default());
    }

    /// RFC 8985, section 6.2, step 5: a segment sent before one that arrived is
    /// lost a round trip plus the window after it was sent.
    #[test]
    fn overdue_segments_are_lost() {
        let mut board = sent(6);
        sacked(&mut board, 2, 3, 2);
        assert_eq!(board.find_losses(2 + RTT, 25), 0);
        assert_eq!(board.overdue_at(), Some(RTT + 25));
        assert_eq!(board.find_losses(RTT + 25, 25), 1);
        assert_eq!(board.overdue_at(), Some(1 + RTT + 25));
        assert_eq!(board.find_losses(1 + RTT + 25, 25), 1);
        assert_eq!(board.overdue_at(), None);
        assert_eq!(
            board.find_losses(9 * RTT, 25),
            0,
            "later ones are not judged"
        );
        assert_eq!((board.in_flight(), board.lost(), board.sacked()), (3, 2, 1));
        assert_eq!(board.retransmit(10 * RTT), Some((0, MSS)));
        assert_eq!(board.retransmit(10 * RTT), Some((seq(1), MSS)));
        assert_eq!(board.retransmit(10 * RTT), None);
    }

    #[test]
    fn without_a_window_one_later_delivery_proves_a_loss() {
        let mut board = sent(6);
        sacked(&mut board, 1, 2, 1);
        assert_eq!(board.find_losses(1 + RTT, 0), 1);
        assert_eq!((board.in_flight(), board.lost()), (4, 1));
        assert_eq!(board.retransmit(1 + RTT), Some((0, MSS)));
        let d = board.acknowledge(1 + 2 * RTT, seq(6), &NONE, 1 + RTT);
        assert_eq!(d.segments, 5);
        assert_eq!(board.find_losses(1 + 2 * RTT, 0), 0);
    }

    #[test]
    fn lost_retransmission_is_found() {
        let mut board = sent(4);
        sacked(&mut board, 1, 4, 3);
        assert_eq!(board.find_losses(3 + RTT, 0), 1);
        assert_eq!(board.retransmit(3 + RTT), Some((0, MSS)));
        board.send_new(4 + RTT, MSS);
        sacked(&mut board, 1, 5, 4 + RTT);
        assert_eq!(board.find_losses(4 + 2 * RTT, 25), 0);
        assert_eq!(board.overdue_at(), Some(3 + 2 * RTT + 25));
        assert_eq!(board.find_losses(4 + 2 * RTT, 0), 1);
        assert_eq!(board.retransmit(4 + 2 * RTT), Some((0, MSS)));
        board.acknowledge(4 + 3 * RTT, seq(5), &NONE, 4 + 2 * RTT);
        assert!(board.is_empty());
        assert_eq!((board.in_flight(), board.lost()), (0, 0));
    }

    /// A retransmission of the last segment arrives: segments sent before are
    /// lost.
    #[test]
    fn repeated_last_segment() {
        let mut board = sent(3);
        assert_eq!(board.retransmit_last(50), Some((seq(2), MSS)));
        assert_eq!(board.in_flight(), 3);
        sacked(&mut board, 2, 3, 50);
        assert_eq!(board.find_losses(50 + RTT, 25), 2);
        assert_eq!(board.retransmit_last(200), None, "it arrived");
    }

    /// RFC 8985, section 6.3: the first segment and overdue ones are lost.
    #[test]
    fn time_out_spares_recent_segments() {
        let mut board = sent(2);
        board.acknowledge(1 + RTT, seq(2), &NONE, 1);
        for at in [500, 500, 900] {
            board.send_new(at, MSS);
        }
        board.time_out(500 + RTT + 25, 25);
        assert_eq!((board.in_flight(), board.lost()), (1, 2));
        let mut board = sent(2);
        board.acknowledge(1 + RTT, seq(2), &NONE, 1);
        board.send_new(900, MSS);
        board.time_out(901, 25);
        assert_eq!((board.in_flight(), board.lost()), (0, 1));
    }

    #[test]
    fn echo_of_the_original_does_not_condemn() {
        let mut board = sent(8);
        board.time_out(100, 0);
        assert_eq!((board.in_flight(), board.lost()), (0, 8));
        for _ in 0..8 {
            board.retransmit(100);
        }
        // The originals were merely late: the first half of the repetitions has
        // not been overtaken by the second.
        assert_eq!(sacked(&mut board, 4, 8, 7).segments, 4);
        assert_eq!(board.find_losses(200, 0), 0);
        assert_eq!(board.in_flight(), 4);
        assert_eq!(sacked(&mut board, 4, 8, 100).segments, 0);
        assert_eq!(board.find_losses(200, 0), 0);
    }

    #[test]
    fn short_last_segment() {
        let mut board = sent(2);
        board.send_new(2, 100);
        board.time_out(9, 0);
        assert_eq!(board.retransmit(9), Some((0, MSS)));
        assert_eq!(board.retransmit(9), Some((seq(1), MSS)));
        assert_eq!(board.retransmit(9), Some((seq(2), 100)));
        let d = board.acknowledge(19, seq(2) + 100, &NONE, 9);
        assert_eq!(d.bytes, seq(2) + 100);
        assert!(board.is_empty());
    }
}

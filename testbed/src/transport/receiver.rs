//! The receiving end of a stream: reassembly and acknowledgements.
//!
//! Delayed acknowledgements are those of RFC 5681, section 4.2: at least every
//! second segment, within [`DELAYED_ACK_NS`], and immediately for a segment out of
//! order, one that fills a gap, and a duplicate. The end of a limited flow (FIN) is
//! acknowledged immediately, as is a change of the ECN echo: RFC 8257, section 3.2,
//! requires it, and Linux does it for classic ECN too. Duplicates are reported
//! (DSACK, RFC 2883).

use l4sllm_abi::Ecn;

use super::ranges::Ranges;
use super::segment::{Body, EcnCounts, HEADER_BYTES, MAX_SACK, Segment};
use super::{Endpoint, FlowConfig, ReceiverStats};

/// Maximum wait for a second segment, ns. RFC 5681 allows 500 ms; Linux and FreeBSD
/// 14 use 40 ms.
pub(super) const DELAYED_ACK_NS: u64 = 40_000_000;

/// A TCP receiver.
#[derive(Debug)]
pub(super) struct TcpReceiver {
    flow: u32,
    scalable: bool,
    limit: u64,
    next: u64,
    beyond: Ranges,
    /// A byte of each range to report, most recent first (RFC 2018, section 4).
    recent: [u64; MAX_SACK],
    /// Duplicate range that is not reported yet.
    duplicate: Option<(u64, u64)>,
    ece: bool,
    /// Segments not acknowledged yet.
    pending: u32,
    due: bool,
    delayed_until: Option<u64>,
    echo_ns: u64,
    stats: ReceiverStats,
}

impl TcpReceiver {
    pub fn new(config: &FlowConfig) -> TcpReceiver {
        TcpReceiver {
            flow: config.flow,
            scalable: config.cc.is_scalable(),
            limit: config.bytes.unwrap_or(u64::MAX),
            next: 0,
            beyond: Ranges::default(),
            recent: [0; MAX_SACK],
            duplicate: None,
            ece: false,
            pending: 0,
            due: false,
            delayed_until: None,
            echo_ns: 0,
            stats: ReceiverStats::default(),
        }
    }

    pub fn stats(&self) -> ReceiverStats {
        self.stats
    }

    /// Adds bytes `seq .. end`; returns whether they are the next in order.
    fn reassemble(&mut self, seq: u64, end: u64) -> bool {
        if self.beyond.is_empty() && seq == self.next {
            self.next = end;
            self.stats.delivered_bytes += end - seq;
            return true;
        }
        let mut fresh = 0;
        self.beyond
            .insert(seq.max(self.next), end, |start, end| fresh += end - start);
        if fresh == 0 {
            // Segment boundaries are fixed, so a segment is either new or a
            // duplicate.
            self.stats.duplicate_bytes += end - seq;
            self.duplicate = Some((seq, end));
            if seq >= self.next {
                self.note_recent(seq);
            }
            return false;
        }
        if let Some(reach) = self.beyond.take_contiguous(self.next) {
            self.stats.delivered_bytes += reach - self.next;
            self.next = reach;
        } else {
            self.note_recent(seq);
        }
        false
    }

    /// Moves the range of `seq` to the front of those to report.
    fn note_recent(&mut self, seq: u64) {
        let range = self.beyond.containing(seq);
        let same = self
            .recent
            .iter()
            .position(|&at| self.beyond.containing(at) == range)
            .unwrap_or(MAX_SACK - 1);
        self.recent.copy_within(0..same, 1);
        self.recent[0] = seq;
    }

    fn echo_ecn(&mut self, ce: bool, cwr: bool) -> bool {
        let was = self.ece;
        self.ece = if self.scalable {
            ce
        } else {
            // CE on the segment that carries CWR is a new signal (RFC 3168, 6.1.3).
            ce || (self.ece && !cwr)
        };
        self.ece != was
    }
}

impl Endpoint for TcpReceiver {
    fn on_segment(&mut self, now_ns: u64, segment: &Segment) {
        let Body::Data { seq, len, cwr, .. } = segment.body else {
            return;
        };
        let ce = segment.ecn == Ecn::Ce;
        self.stats.counts.count(len, ce);
        let in_order = self.reassemble(seq, seq + u64::from(len));
        let echo_changed = self.echo_ecn(ce, cwr);
        self.echo_ns = segment.sent_ns;
        self.pending += 1;
        if self.next == self.limit {
            self.stats.finished_ns.get_or_insert(now_ns);
        }
        if !in_order || echo_changed || self.pending >= 2 || self.next == self.limit {
            self.due = true;
        } else {
            self.delayed_until.get_or_insert(now_ns + DELAYED_ACK_NS);
        }
    }

    fn on_timer(&mut self, now_ns: u64) {
        if self.delayed_until.is_some_and(|at| now_ns >= at) {
            self.due = true;
        }
    }

    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment> {
        if !self.due {
            return None;
        }
        self.due = false;
        self.pending = 0;
        self.delayed_until = None;

        let mut sack = [(0, 0); MAX_SACK];
        let mut blocks = 0;
        if let Some(duplicate) = self.duplicate.take() {
            sack[0] = duplicate;
            blocks = 1;
        }
        let first = blocks;
        if !self.beyond.is_empty() {
            for at in self.recent {
                let range = self.beyond.containing(at);
                let range = range.filter(|range| !sack[first..blocks].contains(range));
                if let (Some(range), Some(block)) = (range, sack.get_mut(blocks)) {
                    *block = range;
                    blocks += 1;
                }
            }
        }
        Some(Segment {
            flow: self.flow,
            // Two bytes of option header, two of padding, eight per block.
            bytes: HEADER_BYTES + if blocks > 0 { 4 + 8 * blocks as u32 } else { 0 },
            ecn: Ecn::NotEct,
            sent_ns: now_ns,
            body: Body::Ack {
                cumulative: self.next,
                sack,
                ece: self.ece,
                counts: self.stats.counts,
                echo_ns: self.echo_ns,
            },
        })
    }

    fn next_timer(&self) -> Option<u64> {
        self.delayed_until
    }
}

impl EcnCounts {
    /// Counts a packet.
    pub(super) fn count(&mut self, payload: u32, ce: bool) {
        self.packets += 1;
        self.bytes += u64::from(payload);
        if ce {
            self.ce_packets += 1;
            self.ce_bytes += u64::from(payload);
        }
    }
}

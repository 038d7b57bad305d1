//! Datagrams: an unresponsive constant-bit-rate sender, and the receiver of any
//! datagram flow.

use l4sllm_abi::Ecn;

use super::segment::{Body, DATAGRAM_HEADER_BYTES, Segment};
use super::{Cc, Chunks, Endpoint, FlowConfig, ReceiverStats, SenderStats};

/// Size of udp_prague's acknowledgement on the wire, bytes.
const ACK_BYTES: u32 = DATAGRAM_HEADER_BYTES + 26;

/// Sends packets of one size at exact intervals.
#[derive(Debug)]
pub(super) struct ConstantRate {
    flow: u32,
    ecn: Ecn,
    bytes: u32,
    rate_bps: u64,
    limit: u64,
    sent_payload: u64,
    chunks: Option<Chunks>,
    /// When the burst began, once the first packet has left; without chunks,
    /// there is one.
    burst_ns: Option<u64>,
    /// Packets and payload of this burst so far.
    burst_packets: u64,
    burst_payload: u64,
    stats: SenderStats,
}

impl ConstantRate {
    pub fn new(config: &FlowConfig) -> ConstantRate {
        ConstantRate {
            flow: config.flow,
            ecn: config.ecn_codepoint(),
            bytes: config.packet_bytes,
            rate_bps: config.rate_bps.unwrap_or(0),
            limit: config.bytes.unwrap_or(u64::MAX),
            sent_payload: 0,
            chunks: config.chunks,
            burst_ns: None,
            burst_packets: 0,
            burst_payload: 0,
            stats: SenderStats::default(),
        }
    }

    pub fn stats(&self) -> SenderStats {
        SenderStats {
            pacing_rate: Some(self.rate_bps / 8),
            ..self.stats
        }
    }

    /// When the next packet leaves: relative to the burst's start, so that
    /// rounding errors do not accumulate. `None` before the first.
    fn due(&self) -> Option<u64> {
        let bits = u128::from(self.burst_packets) * u128::from(self.bytes) * 8;
        self.burst_ns
            .map(|start| start + (bits * 1_000_000_000 / u128::from(self.rate_bps)) as u64)
    }

    /// The next burst begins its period after this one did.
    fn count_in_burst(&mut self, payload: u64) {
        self.burst_packets += 1;
        self.burst_payload += payload;
        let Some(chunks) = self.chunks else { return };
        if self.burst_payload >= chunks.bytes {
            self.burst_ns = self.burst_ns.map(|begun_ns| begun_ns + chunks.every_ns);
            self.burst_packets = 0;
            self.burst_payload = 0;
        }
    }

    fn active(&self) -> bool {
        self.rate_bps > 0 && self.sent_payload < self.limit
    }
}

impl Endpoint for ConstantRate {
    fn on_segment(&mut self, _now_ns: u64, _segment: &Segment) {}

    fn on_timer(&mut self, _now_ns: u64) {}

    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment> {
        if !self.active() || self.due().is_some_and(|due| now_ns < due) {
            return None;
        }
        self.burst_ns.get_or_insert(now_ns);
        let room = u64::from(self.bytes.saturating_sub(DATAGRAM_HEADER_BYTES).max(1));
        let burst = self.chunks.map_or(u64::MAX, |chunks| chunks.bytes);
        let payload = room
            .min(self.limit - self.sent_payload)
            .min(burst - self.burst_payload);
        let seq = self.stats.sent_packets;
        self.sent_payload += payload;
        self.stats.sent_packets += 1;
        self.count_in_burst(payload);
        if self.sent_payload == self.limit {
            self.stats.finished_ns = Some(now_ns);
        }
        Some(Segment {
            flow: self.flow,
            bytes: payload as u32 + DATAGRAM_HEADER_BYTES,
            ecn: self.ecn,
            sent_ns: now_ns,
            body: Body::Datagram { seq },
        })
    }

    fn next_timer(&self) -> Option<u64> {
        if self.active() { self.due() } else { None }
    }
}

/// Counts datagrams, and acknowledges each if the sender listens.
#[derive(Debug)]
pub(super) struct DatagramReceiver {
    flow: u32,
    acknowledges: bool,
    next: u64,
    lost: u64,
    /// Time of sending of the datagram to acknowledge.
    due: Option<u64>,
    stats: ReceiverStats,
}

impl DatagramReceiver {
    pub fn new(config: &FlowConfig) -> DatagramReceiver {
        DatagramReceiver {
            flow: config.flow,
            acknowledges: config.cc == Cc::UdpPrague,
            next: 0,
            lost: 0,
            due: None,
            stats: ReceiverStats::default(),
        }
    }

    pub fn stats(&self) -> ReceiverStats {
        self.stats
    }
}

impl Endpoint for DatagramReceiver {
    fn on_segment(&mut self, _now_ns: u64, segment: &Segment) {
        let Body::Datagram { seq } = segment.body else {
            return;
        };
        let payload = segment.bytes.saturating_sub(DATAGRAM_HEADER_BYTES);
        self.stats.counts.count(payload, segment.ecn == Ecn::Ce);
        self.stats.delivered_bytes += u64::from(payload);
        self.lost += seq.saturating_sub(self.next);
        self.next = self.next.max(seq + 1);
        self.due = Some(segment.sent_ns);
    }

    fn on_timer(&mut self, _now_ns: u64) {}

    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment> {
        let echo_ns = self.due.take()?;
        self.acknowledges.then_some(Segment {
            flow: self.flow,
            bytes: ACK_BYTES,
            ecn: Ecn::NotEct,
            sent_ns: now_ns,
            body: Body::DatagramAck {
                next: self.next,
                counts: self.stats.counts,
                lost: self.lost,
                echo_ns,
            },
        })
    }

    fn next_timer(&self) -> Option<u64> {
        None
    }
}

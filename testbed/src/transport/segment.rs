//! Segments exchanged by endpoints.

use l4sllm_abi::Ecn;

/// Bytes of IP and TCP (with timestamps) headers on each segment.
pub const HEADER_BYTES: u32 = 52;
/// Payload of a full segment: a 1500-byte packet on the wire.
pub const MSS: u32 = 1448;

/// Bytes of IP and UDP headers on each datagram.
pub const DATAGRAM_HEADER_BYTES: u32 = 28;

/// Maximum number of SACK blocks in one acknowledgement with timestamps (RFC
/// 2018, section 3).
pub const MAX_SACK: usize = 3;

/// One packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its flow, in either direction.
    pub flow: u32,
    /// Bytes on the wire, headers included.
    pub bytes: u32,
    /// Codepoint; routers may turn it into CE.
    pub ecn: Ecn,
    /// Sending time, ns.
    pub sent_ns: u64,
    /// Content.
    pub body: Body,
}

/// Content of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Stream data, bytes `seq .. seq + len`.
    Data {
        /// First byte.
        seq: u64,
        /// Payload bytes.
        len: u32,
        /// Retransmission.
        retransmit: bool,
        /// Congestion window reduced (RFC 3168, 6.1.2).
        cwr: bool,
    },
    /// Acknowledgement of stream data.
    Ack {
        /// Next byte expected.
        cumulative: u64,
        /// Ranges received above it, most recent first; `(0, 0)` if unused. The
        /// first may be a duplicate (RFC 2883) instead, which is below
        /// `cumulative` or within the second.
        sack: [(u64, u64); MAX_SACK],
        /// ECN echo (RFC 3168, 6.1.3).
        ece: bool,
        /// Accurate feedback: counts so far.
        counts: EcnCounts,
        /// `sent_ns` of the segment that caused this acknowledgement.
        echo_ns: u64,
    },
    /// A datagram, numbered.
    Datagram {
        /// From 0, one per packet.
        seq: u64,
    },
    /// Feedback on datagrams (udp_prague's per-packet acknowledgement).
    DatagramAck {
        /// Highest number received plus one.
        next: u64,
        /// Counts so far.
        counts: EcnCounts,
        /// Datagrams found missing so far.
        lost: u64,
        /// `sent_ns` of the datagram that caused this.
        echo_ns: u64,
    },
}

/// Cumulative counts at a receiver (the packet and byte counters of accurate
/// ECN feedback).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EcnCounts {
    /// Packets received.
    pub packets: u64,
    /// Packets received with CE.
    pub ce_packets: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Payload bytes in packets with CE.
    pub ce_bytes: u64,
}

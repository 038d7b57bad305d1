//! Senders and receivers without I/O: segments and the time go in, segments
//! and the next deadline come out.
//!
//! Times are virtual and absolute, in nanoseconds. An endpoint never reads a
//! clock, and draws random numbers only from the seed in its configuration, so a
//! run depends only on what the network does to its segments. After every call of [`Endpoint::on_segment`]
//! or [`Endpoint::on_timer`], and once after creation, the owner takes segments
//! from [`Endpoint::poll_transmit`] until it returns `None`, then arms one
//! timer for [`Endpoint::next_timer`].
//!
//! Scope of the model:
//! - A connection is established on creation: no handshake and no FIN. A flow with
//!   a limit ends when its last byte is acknowledged.
//! - One segment is one packet; no segmentation offload. Streams are segmented at
//!   fixed multiples of [`MSS`].
//! - Losses are detected as in Linux and in FreeBSD's RACK stack, with RACK and
//!   tail loss probes (RFC 8985). The network does not reorder the packets of one
//!   flow, so the reordering window stays at a quarter of the least round-trip
//!   time; more reordering than that, or than three packets, would cost needless
//!   retransmissions, not correctness.
//! - No F-RTO (RFC 5682), no undoing of a reduction that proves needless (RFC
//!   3708, RFC 4015), no proportional rate reduction (RFC 6937).
//! - Acknowledgements are Not-ECT.

pub mod cc;
mod datagram;
mod delivery_rate;
mod probe;
mod ranges;
mod rate_reduction;
mod receiver;
mod rtt;
mod scoreboard;
mod segment;
mod source;
mod tcp;
mod udp_prague;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;

use l4sllm_abi::Ecn;

pub use cc::{Cc, UnknownCc};
pub use segment::{Body, DATAGRAM_HEADER_BYTES, EcnCounts, HEADER_BYTES, MAX_SACK, MSS, Segment};
pub use source::Chunks;

/// One end of a flow.
pub trait Endpoint {
    /// Handles a segment that arrived at `now_ns`.
    fn on_segment(&mut self, now_ns: u64, segment: &Segment);

    /// Handles the deadlines that have passed; calls before a deadline do nothing.
    fn on_timer(&mut self, now_ns: u64);

    /// The next segment that may leave at `now_ns`.
    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment>;

    /// When [`Endpoint::on_timer`] and [`Endpoint::poll_transmit`] must be
    /// called again if no segment arrives: retransmission, loss detection,
    /// probe, delayed acknowledgement and pacing. May be in the past if the
    /// owner is late.
    fn next_timer(&self) -> Option<u64>;
}

/// Configuration of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowConfig {
    /// Number that its segments carry.
    pub flow: u32,
    /// Congestion control.
    pub cc: Cc,
    /// Whether it sends ECN-capable packets.
    pub ecn: bool,
    /// Codepoint if `ecn`; by default the control's ([`Cc::codepoint`]).
    pub codepoint: Option<Ecn>,
    /// Payload bytes after which the flow ends; endless if `None`. For `udp` and
    /// `udp-prague`, bytes sent, whether or not they arrive.
    pub bytes: Option<u64>,
    /// Chunks offered by its application; all data at once if `None`. For `udp`,
    /// bursts at `rate_bps`; not for `udp-prague`.
    pub chunks: Option<Chunks>,
    /// Rate of `udp` and ceiling of `udp-prague`, bits/s on the wire.
    /// `udp-prague` has none if `None`, `udp` then sends nothing.
    pub rate_bps: Option<u64>,
    /// Largest packet of `udp` and `udp-prague` on the wire, bytes,
    /// 150 ..= 65535. TCP sends 1500.
    pub packet_bytes: u32,
    /// Receiver's window, bytes.
    pub receive_window: u64,
    /// Round-trip time that the handshake would have measured, ns. Without it the
    /// first timeout is 1 s and Prague's initial window is not paced.
    pub handshake_rtt_ns: Option<u64>,
    /// HyStart++ (RFC 9406) in the slow start of `newreno` and `cubic`.
    pub hystart: bool,
    /// Proportional rate reduction (RFC 9937) of `newreno` and `cubic`.
    pub prr: bool,
    /// Seed of random choices, which only `bbr` makes.
    pub seed: u64,
}

impl FlowConfig {
    /// An endless flow with the control's own codepoint: ECN on except for `udp`
    /// and `bbr`, 1500-byte packets, a window of 16 MiB, no HyStart++ (the FreeBSD release of
    /// the published testbed has none).
    pub fn new(flow: u32, cc: Cc) -> FlowConfig {
        FlowConfig {
            flow,
            cc,
            // BBR ignores marks, so they would only cost the queue its drops.
            ecn: !matches!(cc, Cc::Udp | Cc::Bbr),
            codepoint: None,
            bytes: None,
            chunks: None,
            rate_bps: None,
            packet_bytes: MSS + HEADER_BYTES,
            receive_window: 16 << 20,
            handshake_rtt_ns: None,
            hystart: false,
            prr: false,
            seed: u64::from(flow),
        }
    }

    /// Codepoint of the flow's new data.
    pub fn ecn_codepoint(&self) -> Ecn {
        if self.ecn {
            self.codepoint.unwrap_or(self.cc.codepoint())
        } else {
            Ecn::NotEct
        }
    }
}

/// A sender's statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SenderStats {
    /// Congestion window, bytes on the wire (0 for `udp`).
    pub cwnd_bytes: u64,
    /// Slow start threshold, bytes on the wire; `u64::MAX` before the first
    /// reduction.
    pub ssthresh_bytes: u64,
    /// Smoothed round-trip time, ns; 0 before the first sample.
    pub srtt_ns: u64,
    /// Pacing rate, bytes/s; `None` if not paced.
    pub pacing_rate: Option<u64>,
    /// DCTCP's and Prague's moving average of the marked share, 0 ..= 1; otherwise
    /// 0.
    pub alpha: f64,
    /// Segments sent, retransmissions included.
    pub sent_packets: u64,
    /// Segments retransmitted.
    pub retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Tail loss probes sent (RFC 8985, section 7), of new data or old.
    pub probes: u64,
    /// Window reductions for loss, timeouts included.
    pub loss_events: u64,
    /// Window reductions for ECN.
    pub ecn_events: u64,
    /// Payload bytes known to have arrived.
    pub delivered_bytes: u64,
    /// Packets known to have arrived with CE.
    pub ce_packets: u64,
    /// When the last byte of a limited flow was acknowledged (`udp`,
    /// `udp-prague`: sent), ns.
    pub finished_ns: Option<u64>,
}

impl SenderStats {
    /// Whether the flow is done.
    pub fn finished(&self) -> bool {
        self.finished_ns.is_some()
    }
}

/// A receiver's statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Payload bytes handed to the application, in order and exactly once
    /// (datagrams: as they arrive).
    pub delivered_bytes: u64,
    /// Packets and bytes that arrived, duplicates included.
    pub counts: EcnCounts,
    /// Payload bytes that had arrived before.
    pub duplicate_bytes: u64,
    /// When the last byte of a limited stream arrived, ns: minus the start, this is
    /// the flow completion time.
    pub finished_ns: Option<u64>,
}

/// The sending end.
#[derive(Debug)]
pub struct Sender(SenderKind);

#[derive(Debug)]
enum SenderKind {
    Tcp(Box<tcp::TcpSender>),
    Udp(Box<datagram::ConstantRate>),
    UdpPrague(Box<udp_prague::UdpPrague>),
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver(ReceiverKind);

#[derive(Debug)]
enum ReceiverKind {
    Tcp(Box<receiver::TcpReceiver>),
    Datagram(datagram::DatagramReceiver),
}

/// The sender of a flow; it may send from its first [`Endpoint::poll_transmit`] on.
pub fn sender(config: &FlowConfig) -> Sender {
    Sender(match config.cc {
        Cc::Udp => SenderKind::Udp(Box::new(datagram::ConstantRate::new(config))),
        Cc::UdpPrague => SenderKind::UdpPrague(Box::new(udp_prague::UdpPrague::new(config))),
        Cc::NewReno | Cc::Cubic | Cc::Dctcp | Cc::Prague | Cc::Bbr => {
            SenderKind::Tcp(Box::new(tcp::TcpSender::new(config)))
        }
    })
}

/// The receiver that belongs to [`sender`] of the same configuration.
pub fn receiver(config: &FlowConfig) -> Receiver {
    Receiver(match config.cc {
        Cc::Udp | Cc::UdpPrague => ReceiverKind::Datagram(datagram::DatagramReceiver::new(config)),
        Cc::NewReno | Cc::Cubic | Cc::Dctcp | Cc::Prague | Cc::Bbr => {
            ReceiverKind::Tcp(Box::new(receiver::TcpReceiver::new(config)))
        }
    })
}

impl Sender {
    /// Current statistics.
    pub fn stats(&self) -> SenderStats {
        match &self.0 {
            SenderKind::Tcp(s) => s.stats(),
            SenderKind::Udp(s) => s.stats(),
            SenderKind::UdpPrague(s) => s.stats(),
        }
    }
}

impl Receiver {
    /// Current statistics.
    pub fn stats(&self) -> ReceiverStats {
        match &self.0 {
            ReceiverKind::Tcp(r) => r.stats(),
            ReceiverKind::Datagram(r) => r.stats(),
        }
    }
}

impl Endpoint for Sender {
    fn on_segment(&mut self, now_ns: u64, segment: &Segment) {
        match &mut self.0 {
            SenderKind::Tcp(s) => s.on_segment(now_ns, segment),
            SenderKind::Udp(s) => s.on_segment(now_ns, segment),
            SenderKind::UdpPrague(s) => s.on_segment(now_ns, segment),
        }
    }

    fn on_timer(&mut self, now_ns: u64) {
        match &mut self.0 {
            SenderKind::Tcp(s) => s.on_timer(now_ns),
            SenderKind::Udp(s) => s.on_timer(now_ns),
            SenderKind::UdpPrague(s) => s.on_timer(now_ns),
        }
    }

    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment> {
        match &mut self.0 {
            SenderKind::Tcp(s) => s.poll_transmit(now_ns),
            SenderKind::Udp(s) => s.poll_transmit(now_ns),
            SenderKind::UdpPrague(s) => s.poll_transmit(now_ns),
        }
    }

    fn next_timer(&self) -> Option<u64> {
        match &self.0 {
            SenderKind::Tcp(s) => s.next_timer(),
            SenderKind::Udp(s) => s.next_timer(),
            SenderKind::UdpPrague(s) => s.next_timer(),
        }
    }
}

impl Endpoint for Receiver {
    fn on_segment(&mut self, now_ns: u64, segment: &Segment) {
        match &mut self.0 {
            ReceiverKind::Tcp(r) => r.on_segment(now_ns, segment),
            ReceiverKind::Datagram(r) => r.on_segment(now_ns, segment),
        }
    }

    fn on_timer(&mut self, now_ns: u64) {
        match &mut self.0 {
            ReceiverKind::Tcp(r) => r.on_timer(now_ns),
            ReceiverKind::Datagram(r) => r.on_timer(now_ns),
        }
    }

    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment> {
        match &mut self.0 {
            ReceiverKind::Tcp(r) => r.poll_transmit(now_ns),
            ReceiverKind::Datagram(r) => r.poll_transmit(now_ns),
        }
    }

    fn next_timer(&self) -> Option<u64> {
        match &self.0 {
            ReceiverKind::Tcp(r) => r.next_timer(),
            ReceiverKind::Datagram(r) => r.next_timer(),
        }
    }
}

//! UDP Prague: Prague's law over numbered datagrams, as in L4STeam's
//! udp_prague.
//!
//! It differs from TCP Prague in the needs of media senders: instead of slow
//! start, a low initial rate and, after some virtual round trips without marks,
//! growth by a millisecond of queue at a time; packets that shrink so that two
//! are sent in 25 ms even at the lowest rate; every datagram is acknowledged
//! and none is retransmitted.

use l4sllm_abi::Ecn;

use super::cc::prague::{Law, MIN_RATE, Mode, REFERENCE_RTT_NS};
use super::segment::{Body, DATAGRAM_HEADER_BYTES, EcnCounts, Segment};
use super::{Endpoint, FlowConfig, SenderStats};

/// Smallest packet, bytes.
const MIN_PACKET: f64 = 150.0;
/// Fewest packets in flight, and fewest in 25 ms.
const MIN_PACKETS: f64 = 2.0;
/// Virtual round trips without marks before faster growth: this number, plus
/// one per `GROWTH_STEP` bytes/s.
const GROWTH_ROUNDS: f64 = 7.0;
const GROWTH_STEP: f64 = 1_920_000.0;
/// Queue that a round of faster growth adds, seconds.
const GROWTH_QUEUE_S: f64 = 1e-3;
/// Packets may leave together if their transmission takes at most this long,
/// seconds.
const BURST_S: f64 = 250e-6;
/// Up to this round trip, ns, the rate is the state.
const RATE_MODE_RTT_NS: u64 = 2_000_000;
/// Slack of the window over the rate, which alone should govern.
const WINDOW_SLACK: f64 = 1.03;
/// With a full window and no acknowledgement for this long, start over, ns.
const TIMEOUT_NS: u64 = 1_000_000_000;

/// Condition for a further reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first acknowledgement.
    Initial,
    Open,
    /// Reduced for a mark or a loss: packets sent by then, and the time.
    Cwr {
        sent: u64,
        at_ns: u64,
    },
    Loss {
        sent: u64,
        at_ns: u64,
    },
}

/// A UDP Prague sender.
#[derive(Debug)]
pub(super) struct UdpPrague {
    flow: u32,
    ecn: Ecn,
    max_packet: f64,
    max_rate: f64,
    limit: u64,
    sent_payload: u64,
    law: Law,
    state: State,
    rounds_to_growth: f64,
    /// Latest feedback.
    counts: EcnCounts,
    lost: u64,
    /// Feedback and packets sent when the observation began.
    observed: EcnCounts,
    observed_sent: u64,
    observed_at_ns: u64,
    packet: f64,
    in_flight: u64,
    /// Pacing: start of the current burst, its packets, and the time of the
    /// next one.
    burst_at: u64,
    in_burst: u64,
    next_send: u64,
    /// Start of the time with a full window and no acknowledgement.
    blocked_since: Option<u64>,
    stats: SenderStats,
}

impl UdpPrague {
    pub fn new(config: &FlowConfig) -> UdpPrague {
        let max_rate = config
            .rate_bps
            .map_or(f64::INFINITY, |bps| bps as f64 / 8.0);
        let max_packet = f64::from(config.packet_bytes).max(MIN_PACKET);
        let mut sender = UdpPrague {
            flow: config.flow,
            ecn: config.ecn_codepoint(),
            max_packet,
            max_rate: max_rate.max(MIN_RATE),
            limit: config.bytes.unwrap_or(u64::MAX),
            sent_payload: 0,
            law: Law {
                mode: Mode::Window,
                window: super::cc::INITIAL_WINDOW * max_packet,
                rate: MIN_RATE,
                srtt_ns: 0,
                virtual_rtt_ns: REFERENCE_RTT_NS,
                alpha: 0.0,
            },
            state: State::Initial,
            rounds_to_growth: growth_rounds(MIN_RATE),
            counts: EcnCounts::default(),
            lost: 0,
            observed: EcnCounts::default(),
            observed_sent: 0,
            observed_at_ns: 0,
            packet: max_packet,
            in_flight: 0,
            burst_at: 0,
            in_burst: 0,
            next_send: 0,
            blocked_since: None,
            stats: SenderStats::default(),
        };
        sender.fit_packet();
        sender
    }

    pub fn stats(&self) -> SenderStats {
        SenderStats {
            cwnd_bytes: self.law.window as u64,
            ssthresh_bytes: u64::MAX,
            srtt_ns: self.law.srtt_ns,
            pacing_rate: Some(self.law.rate as u64),
            alpha: self.law.alpha,
            delivered_bytes: self.counts.bytes,
            ce_packets: self.counts.ce_packets,
            ..self.stats
        }
    }

    /// Two packets in 25 ms, within the limits.
    fn fit_packet(&mut self) {
        let virtual_rtt = self.law.virtual_rtt_ns as f64 / 1e9;
        let packet = self.law.rate * virtual_rtt / MIN_PACKETS;
        self.packet = packet.clamp(MIN_PACKET, self.max_packet).floor();
    }

    fn packet_window(&self) -> u64 {
        let packets = self.law.window * WINDOW_SLACK / self.packet + 1.0;
        packets.max(MIN_PACKETS) as u64
    }

    fn burst(&self) -> u64 {
        (self.law.rate * BURST_S / self.packet).max(1.0) as u64
    }

    fn active(&self) -> bool {
        self.sent_payload < self.limit
    }

    fn on_feedback(&mut self, now_ns: u64, counts: EcnCounts, lost: u64, rtt_ns: u64) {
        if counts.packets <= self.counts.packets {
            return;
        }
        self.blocked_since = None;
        self.measure(rtt_ns);
        let sent = self.stats.sent_packets;
        let settled = counts.packets + lost;
        let virtual_rtt_ns = self.law.virtual_rtt_ns;
        let passed = |since: u64, at_ns: u64| settled > since && now_ns >= at_ns + virtual_rtt_ns;

        if passed(self.observed_sent, self.observed_at_ns) {
            let packets = counts.packets - self.observed.packets;
            let marked = counts.ce_packets - self.observed.ce_packets;
            self.law.sample(marked as f64 / packets.max(1) as f64);
            self.observed = counts;
            self.observed_sent = sent;
            self.observed_at_ns = now_ns;
            self.rounds_to_growth = (self.rounds_to_growth - 1.0).max(0.0);
        }
        if let State::Loss { sent, at_ns } = self.state {
            if passed(sent, at_ns) {
                self.state = State::Open;
            }
        }
        if lost > self.lost && !matches!(self.state, State::Loss { .. }) {
            self.on_loss(now_ns, sent);
        }
        let marked = counts.ce_packets - self.counts.ce_packets;
        let unmarked = (counts.packets - self.counts.packets).saturating_sub(marked);
        if unmarked > 0 && !matches!(self.state, State::Loss { .. }) {
            self.law
                .increase(unmarked as f64, self.packet, self.increment());
        }
        if let State::Cwr { sent, at_ns } = self.state {
            if passed(sent, at_ns) {
                self.state = State::Open;
            }
        }
        if marked > 0 && self.state == State::Open {
            self.rounds_to_growth = growth_rounds(self.law.rate);
            self.law.decrease(self.law.alpha / 2.0);
            self.state = State::Cwr {
                sent,
                at_ns: now_ns,
            };
            self.stats.ecn_events += 1;
        }
        self.law.align(self.max_rate);
        self.fit_packet();
        self.counts = counts;
        self.lost = lost;
        self.in_flight = sent.saturating_sub(settled);
    }

    /// Counts a round-trip sample and selects the state quantity.
    fn measure(&mut self, rtt_ns: u64) {
        let law = &mut self.law;
        law.srtt_ns = if self.state == State::Initial {
            rtt_ns
        } else {
            (7 * law.srtt_ns + rtt_ns) / 8
        }
        .max(1);
        law.virtual_rtt_ns = law.srtt_ns.max(REFERENCE_RTT_NS);
        let srtt = law.srtt_ns as f64 / 1e9;
        if self.state == State::Initial {
            law.window = law.rate * srtt;
            self.state = State::Open;
        }
        // Below the distance of two packets the round trip measures the pacing.
        if law.srtt_ns <= RATE_MODE_RTT_NS || srtt <= self.packet / law.rate {
            law.mode = Mode::Rate;
        } else {
            if law.mode == Mode::Rate {
                law.window = law.rate * srtt;
            }
            law.mode = Mode::Window;
        }
    }

    /// Bytes that a round of unmarked packets adds.
    fn increment(&self) -> f64 {
        if self.rounds_to_growth > 0.0 {
            self.max_packet
        } else {
            (self.law.rate * GROWTH_QUEUE_S).max(self.max_packet)
        }
    }

    fn on_loss(&mut self, now_ns: u64, sent: u64) {
        // Until a flow with 25 ms would get feedback from the same bottleneck.
        let reference = REFERENCE_RTT_NS as f64;
        self.rounds_to_growth = (self.law.rate / 2.0 / self.max_packet * reference / 1e9
            * (reference / self.law.virtual_rtt_ns as f64))
            .floor();
        self.law.decrease(0.5);
        self.state = State::Loss {
            sent,
            at_ns: now_ns,
        };
        self.stats.loss_events += 1;
    }

    fn start_over(&mut self, now_ns: u64) {
        self.state = State::Initial;
        self.law.mode = Mode::Window;
        self.law.alpha = 0.0;
        self.law.rate = MIN_RATE;
        self.law.window = self.max_packet;
        self.rounds_to_growth = growth_rounds(MIN_RATE);
        self.observed_at_ns = now_ns;
        self.fit_packet();
        self.in_flight = 0;
        self.next_send = now_ns;
        self.blocked_since = None;
        self.stats.timeouts += 1;
    }
}

fn growth_rounds(rate: f64) -> f64 {
    (rate / GROWTH_STEP).floor() + GROWTH_ROUNDS
}

impl Endpoint for UdpPrague {
    fn on_segment(&mut self, now_ns: u64, segment: &Segment) {
        if let Body::DatagramAck {
            counts,
            lost,
            echo_ns,
            ..
        } = segment.body
        {
            self.on_feedback(now_ns, counts, lost, now_ns.saturating_sub(echo_ns));
        }
    }

    fn on_timer(&mut self, now_ns: u64) {
        if self
            .blocked_since
            .is_some_and(|since| now_ns >= since + TIMEOUT_NS)
        {
            self.start_over(now_ns);
        }
    }

    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment> {
        if !self.active() {
            self.stats.finished_ns.get_or_insert(now_ns);
            return None;
        }
        if self.in_flight >= self.packet_window() {
            self.blocked_since.get_or_insert(now_ns);
            return None;
        }
        if now_ns >= self.next_send {
            self.burst_at = now_ns;
            self.in_burst = 0;
        } else if now_ns != self.burst_at || self.in_burst >= self.burst() {
            return None;
        }

        let room = self.packet as u64 - u64::from(DATAGRAM_HEADER_BYTES);
        let payload = room.min(self.limit - self.sent_payload);
        let seq = self.stats.sent_packets;
        self.sent_payload += payload;
        self.stats.sent_packets += 1;
        self.in_flight += 1;
        self.in_burst += 1;
        let pacing = self.law.paced(now_ns.saturating_sub(self.observed_at_ns));
        let interval = self.in_burst as f64 * self.packet * 1e9 / pacing;
        self.next_send = self.burst_at + interval as u64;
        Some(Segment {
            flow: self.flow,
            bytes: payload as u32 + DATAGRAM_HEADER_BYTES,
            ecn: self.ecn,
            sent_ns: now_ns,
            body: Body::Datagram { seq },
        })
    }

    fn next_timer(&self) -> Option<u64> {
        match self.blocked_since {
            Some(since) => Some(since + TIMEOUT_NS),
            None => self.active().then_some(self.next_send),
        }
    }
}

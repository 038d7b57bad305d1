//! The sending end of a stream: scheduling of transmissions and handling of
//! acknowledgements.
//!
//! Loss recovery is RFC 6675's, with losses detected by the [`scoreboard`]
//! (RACK) and [`probe`]s (RFC 8985): the window is reduced once per window of
//! data, the first lost segment is retransmitted immediately, and everything
//! else as the segments in flight fall below the window. SACKed segments are
//! not in flight, so the first duplicate acknowledgements release new data
//! (limited transmit, RFC 3042). The scoreboard also covers partial
//! acknowledgements (RFC 6582). With proportional rate reduction ([`rate_reduction`]),
//! the window shrinks during a round trip instead of at once.
//!
//! [`scoreboard`]: super::scoreboard
//! [`probe`]: super::probe
//! [`rate_reduction`]: super::rate_reduction

use l4sllm_abi::Ecn;

use super::cc::{Ack, CongestionControl, Repair, control};
use super::delivery_rate::{DeliveryRate, RateSample};
use super::probe::TailLossProbe;
use super::rate_reduction::RateReduction;
use super::rtt::Rtt;
use super::scoreboard::{Delivered, Scoreboard};
use super::segment::{Body, EcnCounts, HEADER_BYTES, MSS, Segment};
use super::source::Source;
use super::{Cc, Endpoint, FlowConfig, SenderStats};

/// SACKed segments that prove losses without a reordering window, as duplicate
/// acknowledgements would (RFC 8985, section 6.2, step 4).
const DUP_THRESH: u32 = 3;

/// Recovery until everything sent before its start is acknowledged.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    /// First byte not sent at its start.
    until: u64,
    /// Started by the retransmission timer: the window grows.
    timeout: bool,
}

/// A TCP sender.
#[derive(Debug)]
pub(super) struct TcpSender {
    flow: u32,
    ecn: Ecn,
    scalable: bool,
    limit: u64,
    source: Source,
    /// Time of the last data transmission.
    sent_ns: u64,
    receive_window: u64,
    board: Scoreboard,
    rtt: Rtt,
    cc: Box<dyn CongestionControl>,
    recovery: Option<Recovery>,
    /// The next transmission ignores the window (RFC 6675, section 5, step 4.3).
    retransmit_now: bool,
    /// Classic ECN: data up to here was sent before the last reduction.
    reduced_until: Option<u64>,
    /// Proportional rate reduction: of reductions of the window, and the current one.
    proportional: bool,
    reduction: Option<RateReduction>,
    /// The next new segment carries CWR.
    send_cwr: bool,
    timeout_at: Option<u64>,
    probe: TailLossProbe,
    /// Pacing: nothing is sent before this time, except for the rest of a burst.
    next_send: u64,
    burst_left: u32,
    /// For controls that sample the delivery rate.
    delivery_rate: Option<DeliveryRate>,
    counts: EcnCounts,
    stats: SenderStats,
}

impl TcpSender {
    pub fn new(config: &FlowConfig) -> TcpSender {
        let mut rtt = Rtt::default();
        let mut probe = TailLossProbe::default();
        if let Some(ns) = config.handshake_rtt_ns {
            rtt.sample(ns);
            probe.sample();
        }
        let cc = control(config, rtt.smoothed_ns());
        TcpSender {
            flow: config.flow,
            ecn: config.ecn_codepoint(),
            scalable: config.cc.is_scalable(),
            limit: config.bytes.unwrap_or(u64::MAX),
            source: Source::new(config.chunks),
            sent_ns: 0,
            receive_window: config.receive_window.max(u64::from(MSS)),
            board: Scoreboard::default(),
            delivery_rate: cc.samples_rate().then(DeliveryRate::default),
            cc,
            rtt,
            recovery: None,
            retransmit_now: false,
            reduced_until: None,
            proportional: config.prr && matches!(config.cc, Cc::NewReno | Cc::Cubic),
            reduction: None,
            send_cwr: false,
            timeout_at: None,
            probe,
            next_send: 0,
            burst_left: 0,
            counts: EcnCounts::default(),
            stats: SenderStats::default(),
        }
    }

    pub fn stats(&self) -> SenderStats {
        let wire = f64::from(MSS + HEADER_BYTES);
        SenderStats {
            cwnd_bytes: (self.cc.window() * wire) as u64,
            // Saturates to u64::MAX from infinity.
            ssthresh_bytes: (self.cc.ssthresh() * wire) as u64,
            srtt_ns: self.rtt.smoothed_ns(),
            pacing_rate: self.cc.pacing_rate(self.next_send).map(|rate| rate as u64),
            alpha: self.cc.alpha(),
            ecn_events: self.stats.ecn_events + self.cc.ecn_events(),
            ce_packets: self.counts.ce_packets,
            ..self.stats
        }
    }

    fn new_data(&self) -> u32 {
        let nxt = self.board.nxt();
        let end = self.limit.min(self.source.offered());
        let left = end.saturating_sub(nxt).min(u64::from(MSS));
        let in_window = nxt + left <= self.board.una() + self.receive_window;
        if in_window { left as u32 } else { 0 }
    }

    fn has_room(&self) -> bool {
        let reduction = self.reduction.as_ref();
        let allowance = reduction.map_or_else(|| self.cc.allowance(), RateReduction::allowance);
        self.board.in_flight() < allowance
    }

    fn may_send(&self) -> bool {
        if self.probe.is_due() {
            true
        } else if self.board.lost() > 0 {
            self.retransmit_now || self.has_room()
        } else {
            self.has_room() && self.new_data() > 0
        }
    }

    /// The application offers data again. After an idle time of a timeout, the old
    /// window is no longer valid for the path.
    fn end_idleness(&mut self, now_ns: u64) {
        let idle_ns = now_ns.saturating_sub(self.sent_ns);
        if self.stats.sent_packets > 0 && self.board.is_empty() && idle_ns > self.rtt.timeout_ns() {
            self.cc.after_idle();
        }
    }

    fn restart_timer(&mut self, now_ns: u64) {
        self.timeout_at = Some(now_ns + self.rtt.timeout_ns());
    }

    fn on_ack(
        &mut self,
        now_ns: u64,
        cumulative: u64,
        sack: &[(u64, u64); super::MAX_SACK],
        ece: bool,
        counts: &EcnCounts,
        echo_ns: u64,
    ) {
        let app_limited = self.new_data() == 0 && self.board.lost() == 0;
        let prior_in_flight = self.board.in_flight();
        let delivered = self.board.acknowledge(now_ns, cumulative, sack, echo_ns);
        let una = self.board.una();
        self.stats.delivered_bytes += delivered.bytes;
        if delivered.segments > 0 {
            self.rtt.sample(now_ns.saturating_sub(echo_ns));
            self.probe.sample();
        }
        if delivered.advanced {
            self.rtt.progress();
            if self.board.is_empty() {
                self.timeout_at = None;
            } else {
                self.restart_timer(now_ns);
            }
        }
        if self.recovery.is_some_and(|recovery| una >= recovery.until) {
            self.recovery = None;
        }
        if self.probe.on_ack(una, duplicate(una, sack)) && self.recovery.is_none() {
            self.reduce_for_loss(now_ns);
        }
        let lost = self.detect_losses(now_ns);
        let classic = !self.scalable && self.cc.responds_to_ecn();
        if ece && classic && self.recovery.is_none() && !self.in_reduction() {
            self.reduce(|cc| cc.on_ecn_echo(now_ns));
            self.stats.ecn_events += 1;
            self.reduced_until = Some(self.board.nxt());
            self.send_cwr = true;
        }

        self.continue_reduction(delivered.segments, delivered.advanced && lost == 0);
        let repairing = self.is_repairing();
        let sample = self.sample_rate(now_ns, &delivered);
        self.cc.on_ack(&Ack {
            now_ns,
            acked: delivered.segments,
            packets: counts.packets.saturating_sub(self.counts.packets),
            ce_packets: counts.ce_packets.saturating_sub(self.counts.ce_packets),
            rtt_ns: self.rtt.latest_ns(),
            srtt_ns: self.rtt.smoothed_ns(),
            una,
            nxt: self.board.nxt(),
            recovering: repairing || self.in_reduction(),
            app_limited,
            sample,
            prior_in_flight,
            in_flight: self.board.in_flight(),
            lost,
            repair: match self.recovery {
                None => Repair::None,
                Some(Recovery { timeout: true, .. }) => Repair::Timeout,
                Some(_) => Repair::Losses,
            },
        });
        if self.cc.is_below_capacity() {
            self.limit_samples();
        }
        if counts.packets > self.counts.packets {
            self.counts = *counts;
        }
        if una == self.limit {
            self.stats.finished_ns.get_or_insert(now_ns);
        }
        if delivered.advanced || self.board.sacked() > 0 {
            self.schedule_probe(now_ns);
        }
    }

    /// RFC 8985, section 6.2, step 4, on a path that does not reorder.
    fn reordering_window_ns(&self) -> u64 {
        if self.recovery.is_some() || self.board.sacked() >= DUP_THRESH {
            0
        } else {
            self.rtt.min_ns() / 4
        }
    }

    /// Returns the number of segments newly found lost.
    fn detect_losses(&mut self, now_ns: u64) -> u32 {
        let window_ns = self.reordering_window_ns();
        let lost = self.board.find_losses(now_ns, window_ns);
        if lost > 0 && self.recovery.is_none() {
            self.enter_recovery(now_ns);
        }
        lost
    }

    fn sample_rate(&mut self, now_ns: u64, delivered: &Delivered) -> Option<RateSample> {
        let (_, newest) = delivered.newest?;
        let (segments, una) = (delivered.segments, self.board.base());
        let rate = self.delivery_rate.as_mut()?;
        Some(rate.deliver(now_ns, segments, newest, una))
    }

    /// Until the segments in flight have arrived, samples do not show the network's
    /// rate.
    fn limit_samples(&mut self) {
        if let Some(rate) = &mut self.delivery_rate {
            rate.limit_by_application(self.board.in_flight());
        }
    }

    /// Whether everything that the application has offered has been sent, and the
    /// window would let more.
    fn is_app_limited(&self) -> bool {
        let end = self.limit.min(self.source.offered());
        self.board.nxt() >= end && self.board.lost() == 0 && self.has_room()
    }

    /// Restarts the timer of the tail loss probe, or stops it while losses will be
    /// detected otherwise (RFC 8985, section 7.2).
    fn schedule_probe(&mut self, now_ns: u64) {
        match self.timeout_at {
            Some(at) if self.recovery.is_none() && self.board.sacked() == 0 => {
                let (srtt, segments) = (self.rtt.smoothed_ns(), self.board.segments());
                self.probe.schedule(now_ns, srtt, segments, at);
            }
            _ => self.probe.cancel(),
        }
    }

    /// Classic ECN: whether data from before the last reduction is still being
    /// acknowledged. The window does not grow or shrink again; the segment that
    /// carries CWR begins at this point (RFC 3168, section 6.1.2).
    fn in_reduction(&self) -> bool {
        self.reduced_until
            .is_some_and(|until| self.board.una() <= until)
    }

    /// Losses found by later deliveries are repaired.
    fn is_repairing(&self) -> bool {
        self.recovery.is_some_and(|recovery| !recovery.timeout)
    }

    /// Reduces the window, at once or in proportion to deliveries. Without data in
    /// flight there will be no deliveries.
    fn reduce(&mut self, by: impl FnOnce(&mut dyn CongestionControl)) {
        let prior = self.cc.allowance();
        by(&mut *self.cc);
        if self.proportional && self.board.in_flight() > 0 {
            self.reduction = Some(RateReduction::new(prior, self.cc.allowance()));
        }
    }

    /// Deliveries during a reduction, which ends with the repair or once CWR has been
    /// acknowledged.
    fn continue_reduction(&mut self, delivered: u32, safe: bool) {
        if !self.is_repairing() && !self.in_reduction() {
            self.reduction = None;
        }
        let in_flight = self.board.in_flight();
        if let Some(reduction) = &mut self.reduction {
            reduction.deliver(delivered, in_flight, safe);
        }
    }

    /// One reduction per window, for loss or ECN (RFC 3168, section 6.1.2).
    /// Scalable controls always respond to a loss (RFC 8257, section 3.5).
    fn reduce_for_loss(&mut self, now_ns: u64) {
        if self.scalable || !self.in_reduction() {
            self.reduce(|cc| cc.on_loss(now_ns));
            self.stats.loss_events += 1;
            self.send_cwr = !self.scalable && self.ecn != Ecn::NotEct;
        }
    }

    fn enter_recovery(&mut self, now_ns: u64) {
        self.reduce_for_loss(now_ns);
        self.recovery = Some(Recovery {
            until: self.board.nxt(),
            timeout: false,
        });
        self.retransmit_now = true;
        self.probe.reset();
        self.restart_timer(now_ns);
    }

    fn on_timeout(&mut self, now_ns: u64) {
        let first = !self.rtt.backed_off();
        self.rtt.back_off();
        self.board.time_out(now_ns, self.reordering_window_ns());
        self.cc.on_timeout(now_ns, first);
        self.stats.timeouts += 1;
        self.stats.loss_events += u64::from(first);
        self.recovery = Some(Recovery {
            until: self.board.nxt(),
            timeout: true,
        });
        self.reduced_until = None;
        self.reduction = None;
        self.send_cwr = !self.scalable && self.ecn != Ecn::NotEct;
        self.retransmit_now = true;
        self.probe.reset();
        self.next_send = now_ns;
        self.restart_timer(now_ns);
    }

    /// Records the transmission of the next segment; returns its first byte, its
    /// length and whether it is a retransmission.
    fn next_segment(&mut self, now_ns: u64) -> Option<(u64, u32, bool)> {
        if let Some((seq, len)) = self.board.retransmit(now_ns) {
            return Some((seq, len, true));
        }
        let len = self.new_data();
        if len > 0 {
            return Some((self.board.send_new(now_ns, len), len, false));
        }
        let (seq, len) = self.board.retransmit_last(now_ns)?;
        Some((seq, len, true))
    }
}

/// The range that an acknowledgement reports as a duplicate (RFC 2883, section 4).
fn duplicate(cumulative: u64, sack: &[(u64, u64); super::MAX_SACK]) -> Option<(u64, u64)> {
    let [first, second, ..] = *sack;
    let below = first.1 <= cumulative;
    let within = second.0 <= first.0 && first.1 <= second.1;
    (first.0 < first.1 && (below || within)).then_some(first)
}

impl Endpoint for TcpSender {
    fn on_segment(&mut self, now_ns: u64, segment: &Segment) {
        if let Body::Ack {
            cumulative,
            sack,
            ece,
            counts,
            echo_ns,
        } = &segment.body
        {
            self.on_ack(now_ns, *cumulative, sack, *ece, counts, *echo_ns);
        }
    }

    fn on_timer(&mut self, now_ns: u64) {
        let overdue = self.board.overdue_at().is_some_and(|at| now_ns >= at);
        if overdue && self.detect_losses(now_ns) > 0 {
            // As if a delivery had shown it, as in Linux.
            self.continue_reduction(1, false);
        }
        // A probe is sent before the retransmission timer expires, which then
        // restarts (RFC 8985, section 7.3).
        if self.probe.on_timer(now_ns) {
            self.restart_timer(now_ns);
        }
        if self.timeout_at.is_some_and(|at| now_ns >= at) {
            self.on_timeout(now_ns);
        }
    }

    fn poll_transmit(&mut self, now_ns: u64) -> Option<Segment> {
        if self.limit == 0 {
            self.stats.finished_ns.get_or_insert(now_ns);
        }
        let app_limited = self.is_app_limited();
        if self.source.advance(now_ns) {
            self.end_idleness(now_ns);
        }
        if app_limited {
            self.limit_samples();
        }
        if now_ns < self.next_send && (now_ns > self.sent_ns || self.burst_left == 0)
            || !self.may_send()
        {
            return None;
        }
        if self.board.is_empty() {
            self.cc.on_transmit_start(now_ns, app_limited);
        }
        let probe = self.probe.is_due();
        let (seq, len, retransmit) = self.next_segment(now_ns)?;
        if let Some(rate) = &mut self.delivery_rate {
            rate.send(now_ns, seq / u64::from(MSS));
        }
        let cwr = !retransmit && std::mem::take(&mut self.send_cwr);
        let bytes = len + HEADER_BYTES;
        self.retransmit_now = false;
        if let Some(reduction) = &mut self.reduction {
            reduction.send();
        }
        self.stats.sent_packets += 1;
        self.sent_ns = now_ns;
        self.stats.retransmits += u64::from(retransmit);
        if self.timeout_at.is_none() {
            self.restart_timer(now_ns);
        }
        if probe {
            self.stats.probes += 1;
            self.probe.sent(self.board.nxt(), retransmit);
        } else if !retransmit {
            self.schedule_probe(now_ns);
        }
        if let Some(rate) = self.cc.pacing_rate(now_ns) {
            if now_ns >= self.next_send {
                // No credit for unused time, because a burst would queue at the
                // bottleneck.
                self.next_send = now_ns;
                self.burst_left = self.cc.burst();
            }
            self.burst_left -= 1;
            self.next_send += (f64::from(bytes) * 1e9 / rate) as u64;
        }
        Some(Segment {
            flow: self.flow,
            bytes,
            // Retransmissions of classic flows are Not-ECT (RFC 3168, section 6.1.5);
            // those of scalable flows stay in their queue, as in Linux.
            ecn: if retransmit && !self.scalable {
                Ecn::NotEct
            } else {
                self.ecn
            },
            sent_ns: now_ns,
            body: Body::Data {
                seq,
                len,
                retransmit,
                cwr,
            },
        })
    }

    fn next_timer(&self) -> Option<u64> {
        // Segments that need no pacing have been sent already.
        let paced = self.next_send > self.sent_ns && self.may_send();
        let deadlines = [
            self.timeout_at,
            self.probe.due_at(),
            self.board.overdue_at(),
            self.source.next_ns(),
            paced.then_some(self.next_send),
        ];
        let first = deadlines.map(|at| at.unwrap_or(u64::MAX)).into_iter().min();
        first.filter(|at| *at != u64::MAX)
    }
}

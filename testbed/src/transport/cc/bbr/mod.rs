//! BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00), with the
//! behaviour of Linux.
//!
//! BBR models the path: the bottleneck's rate is the maximum of the delivery rates
//! of ten rounds, the propagation delay the minimum round-trip time of ten seconds.
//! It paces at a gain times the rate, and keeps at most a gain times their product
//! in flight. A cycle of gains probes for a higher rate; every ten seconds without
//! a shorter round trip, the flow nearly stops, so that the queue drains and the
//! delay can be measured.
//!
//! Losses cause at most a round of packet conservation; marks are ignored.
//! Beyond the draft, as in Linux: the window allows for aggregated acknowledgements
//! and for the bursts of segmentation offload, in which the sender also paces.
//! Not included: detection of policers ("long-term" bandwidth in Linux), and the
//! estimate of the packets in flight at the next departure.

mod filter;
#[cfg(test)]
mod tests;

use l4sllm_model::SplitMix64;

use self::filter::{Aggregation, WindowedMax};
use super::{Ack, CongestionControl, INITIAL_WINDOW, Repair};
use crate::transport::delivery_rate::RateSample;
use crate::transport::segment::{HEADER_BYTES, MSS};

/// Gain of STARTUP, 2 / ln 2: the least that doubles the rate every round.
const HIGH_GAIN: f64 = 2.0 / std::f64::consts::LN_2;
/// Gain of DRAIN: removes in a round the queue that STARTUP made.
const DRAIN_GAIN: f64 = 1.0 / HIGH_GAIN;
/// Pacing gains of PROBE_BW, one after another, each for a round-trip time.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Window over the product of rate and delay in PROBE_BW: room for delayed and
/// aggregated acknowledgements.
const WINDOW_GAIN: f64 = 2.0;
/// Rounds that a rate is remembered: a cycle and two.
const BANDWIDTH_ROUNDS: u64 = 10;
/// The pipe is full when the rate has not grown by 25 % in three rounds.
const FULL_GROWTH: f64 = 1.25;
const FULL_ROUNDS: u32 = 3;
/// The minimum round-trip time is remembered for this long, ns.
const MIN_RTT_WINDOW_NS: u64 = 10_000_000_000;
/// PROBE_RTT lasts this long, and at least a round.
const PROBE_RTT_NS: u64 = 200_000_000;
/// Fewest segments in flight, and those in flight in PROBE_RTT: they keep delayed
/// acknowledgements coming.
const MIN_SEGMENTS: f64 = 4.0;
/// Share of the rate that is paced, so that the queue does not grow.
const PACED_SHARE: f64 = 0.99;
/// Bytes of a full packet, and of its payload.
const PACKET: f64 = (MSS + HEADER_BYTES) as f64;
const PAYLOAD: f64 = MSS as f64;
/// Below this rate, bytes/s (1.2 Mbit/s), bursts are single segments.
const LEAST_BURST_RATE: f64 = 150_000.0;
/// Bytes of the largest burst (GSO).
const MAX_BURST_BYTES: f64 = 65_000.0;
/// Bursts per second: a burst is a millisecond of data.
const BURSTS_PER_S: f64 = 1024.0;
/// Round-trip time for the first pacing rate if none was measured, ns.
const DEFAULT_RTT_NS: u64 = 1_000_000;

/// State of BBR's state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Grows quickly until the pipe is full.
    Startup,
    /// Drains the queue that STARTUP made.
    Drain,
    /// Follows the rate; the phase is an index of [`CYCLE`].
    ProbeBw { phase: usize, since_ns: u64 },
    /// Nearly stops to measure the delay.
    ProbeRtt(ProbeRtt),
}

/// State of PROBE_RTT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ProbeRtt {
    /// The earliest end, ns, once few segments are in flight.
    until_ns: Option<u64>,
    /// A round has passed since.
    round_passed: bool,
}

/// BBR's model, rate and window.
#[derive(Debug)]
pub(crate) struct Bbr {
    mode: Mode,
    /// Segments.
    window: f64,
    /// Bytes/s on the wire.
    pacing_rate: f64,
    /// The pacing rate comes from a measured round-trip time.
    saw_rtt: bool,
    /// Segments/s.
    bandwidth: WindowedMax,
    aggregation: Aggregation,
    min_rtt_ns: Option<u64>,
    min_rtt_at_ns: Option<u64>,
    rounds: u64,
    /// Segments delivered at the end of the current round, and now.
    round_end: u64,
    delivered: u64,
    round_start: bool,
    /// The pipe is full; the rate that must be exceeded before, and for how many
    /// rounds it has not been.
    full_pipe: bool,
    full_bandwidth: f64,
    full_rounds: u32,
    repair: Repair,
    /// Packet conservation: as much is sent as arrives.
    conserving: bool,
    /// Window before a recovery or PROBE_RTT.
    prior_window: f64,
    /// Data was sent after idleness that the application caused.
    idle_restart: bool,
    random: SplitMix64,
}

impl Bbr {
    /// `srtt_ns` is 0 if not known yet; `seed` chooses the phases in which cycles
    /// begin.
    pub fn new(srtt_ns: u64, seed: u64) -> Bbr {
        Bbr {
            mode: Mode::Startup,
            window: INITIAL_WINDOW,
            pacing_rate: initial_rate(srtt_ns),
            saw_rtt: srtt_ns > 0,
            bandwidth: WindowedMax::default(),
            aggregation: Aggregation::default(),
            min_rtt_ns: (srtt_ns > 0).then_some(srtt_ns),
            min_rtt_at_ns: None,
            rounds: 0,
            round_end: 0,
            delivered: 0,
            round_start: false,
            full_pipe: false,
            full_bandwidth: 0.0,
            full_rounds: 0,
            repair: Repair::None,
            conserving: false,
            prior_window: 0.0,
            idle_restart: false,
            random: SplitMix64::new(seed),
        }
    }

    fn pacing_gain(&self) -> f64 {
        match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBw { phase, .. } => CYCLE[phase],
            Mode::ProbeRtt(_) => 1.0,
        }
    }

    fn window_gain(&self) -> f64 {
        match self.mode {
            Mode::Startup | Mode::Drain => HIGH_GAIN,
            Mode::ProbeBw { .. } => WINDOW_GAIN,
            Mode::ProbeRtt(_) => 1.0,
        }
    }

    /// Segments of a burst.
    fn burst_segments(&self) -> f64 {
        let bytes = (self.pacing_rate / BURSTS_PER_S).min(MAX_BURST_BYTES);
        let least = match self.pacing_rate < LEAST_BURST_RATE {
            true => 1.0,
            false => 2.0,
        };
        (bytes / PAYLOAD).floor().max(least)
    }

    /// Segments that `gain` keeps in flight.
    fn product(&self, gain: f64) -> f64 {
        match self.min_rtt_ns {
            None => INITIAL_WINDOW,
            Some(ns) => (self.bandwidth.max() * ns as f64 / 1e9 * gain).ceil(),
        }
    }

    /// Allows for bursts, and for the acknowledgements of every second segment.
    fn with_bursts(&self, segments: f64) -> f64 {
        let segments = ((segments + 3.0 * self.burst_segments()) / 2.0).ceil() * 2.0;
        let probing = matches!(self.mode, Mode::ProbeBw { phase: 0, .. });
        if probing { segments + 2.0 } else { segments }
    }

    /// Segments in flight with `gain`, bursts included.
    fn inflight(&self, gain: f64) -> f64 {
        self.with_bursts(self.product(gain))
    }

    /// A round passes when a segment sent after its start has arrived.
    fn update_bandwidth(&mut self, ack: &Ack, sample: &RateSample) {
        self.delivered = sample.delivered;
        self.round_start = false;
        // Shorter than any round trip: an artefact (draft-cheng, section 4.1.3).
        let least_ns = self.min_rtt_ns.unwrap_or(0).min(ack.rtt_ns).max(1);
        if sample.interval_ns < least_ns {
            return;
        }
        if sample.prior_delivered >= self.round_end {
            self.round_end = sample.delivered;
            self.rounds += 1;
            self.round_start = true;
            self.conserving = false;
        }
        let segments = (sample.delivered - sample.prior_delivered) as f64;
        let bandwidth = segments * 1e9 / sample.interval_ns as f64;
        if !sample.app_limited || bandwidth >= self.bandwidth.max() {
            self.bandwidth
                .update(self.rounds, bandwidth, BANDWIDTH_ROUNDS);
        }
    }

    fn update_phase(&mut self, ack: &Ack) {
        let Mode::ProbeBw { phase, since_ns } = self.mode else {
            return;
        };
        let min_rtt_ns = self.min_rtt_ns.unwrap_or(0);
        let has_lasted = ack.now_ns.saturating_sub(since_ns) > min_rtt_ns;
        let in_flight = f64::from(ack.prior_in_flight);
        let is_over = match CYCLE[phase] {
            // Until the pipe is fuller by the gain, unless its buffer is too short.
            gain if gain > 1.0 => {
                let filled = in_flight + self.burst_segments() >= self.inflight(gain);
                has_lasted && (ack.lost > 0 || filled)
            }
            // Until the queue is gone, which may take less.
            gain if gain < 1.0 => has_lasted || in_flight <= self.inflight(1.0),
            _ => has_lasted,
        };
        if is_over {
            self.mode = Mode::ProbeBw {
                phase: (phase + 1) % CYCLE.len(),
                since_ns: ack.now_ns,
            };
        }
    }

    /// Begins with any phase but the second, which would drain a queue that nothing
    /// has made.
    fn probe_bandwidth(&mut self, now_ns: u64) {
        let draw = (self.random.next_u64() % (CYCLE.len() as u64 - 1)) as usize;
        self.mode = Mode::ProbeBw {
            phase: if draw == 0 { 0 } else { draw + 1 },
            since_ns: now_ns,
        };
    }

    fn check_full_pipe(&mut self, sample: &RateSample) {
        if self.full_pipe || !self.round_start || sample.app_limited {
            return;
        }
        let bandwidth = self.bandwidth.max();
        if bandwidth >= self.full_bandwidth * FULL_GROWTH {
            self.full_bandwidth = bandwidth;
            self.full_rounds = 0;
        } else {
            self.full_rounds += 1;
            self.full_pipe = self.full_rounds >= FULL_ROUNDS;
        }
    }

    fn check_drain(&mut self, ack: &Ack) {
        if self.mode == Mode::Startup && self.full_pipe {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && f64::from(ack.in_flight) <= self.inflight(1.0) {
            self.probe_bandwidth(ack.now_ns);
        }
    }

    fn update_min_rtt(&mut self, ack: &Ack) {
        let at_ns = *self.min_rtt_at_ns.get_or_insert(ack.now_ns);
        let has_expired = ack.now_ns > at_ns + MIN_RTT_WINDOW_NS;
        if has_expired || self.min_rtt_ns.is_none_or(|least| ack.rtt_ns < least) {
            self.min_rtt_ns = Some(ack.rtt_ns);
            self.min_rtt_at_ns = Some(ack.now_ns);
        }
        if has_expired && !self.idle_restart && !matches!(self.mode, Mode::ProbeRtt(_)) {
            self.save_window();
            self.mode = Mode::ProbeRtt(ProbeRtt::default());
        }
        if let Mode::ProbeRtt(mut probe) = self.mode {
            match probe.until_ns {
                None if f64::from(ack.in_flight) <= MIN_SEGMENTS => {
                    probe.until_ns = Some(ack.now_ns + PROBE_RTT_NS);
                    self.round_end = self.delivered;
                }
                None => {}
                Some(_) => probe.round_passed |= self.round_start,
            }
            self.mode = Mode::ProbeRtt(probe);
            self.check_probe_rtt(ack.now_ns);
        }
        self.idle_restart = false;
    }

    fn check_probe_rtt(&mut self, now_ns: u64) {
        let Mode::ProbeRtt(probe) = self.mode else {
            return;
        };
        if !probe.round_passed || probe.until_ns.is_none_or(|until| now_ns <= until) {
            return;
        }
        self.min_rtt_at_ns = Some(now_ns);
        self.window = self.window.max(self.prior_window);
        match self.full_pipe {
            true => self.probe_bandwidth(now_ns),
            false => self.mode = Mode::Startup,
        }
    }

    fn set_pacing_rate(&mut self, gain: f64, srtt_ns: u64) {
        if !self.saw_rtt && srtt_ns > 0 {
            self.saw_rtt = true;
            self.pacing_rate = initial_rate(srtt_ns);
        }
        let rate = PACED_SHARE * gain * self.bandwidth.max() * PACKET;
        // The first samples are of a short flight.
        if self.full_pipe || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    /// The window before the first of several reductions.
    fn save_window(&mut self) {
        let reduced = self.repair != Repair::None || matches!(self.mode, Mode::ProbeRtt(_));
        self.prior_window = match reduced {
            true => self.prior_window.max(self.window),
            false => self.window,
        };
    }

    /// Losses: segments in flight are conserved for a round, and the window is
    /// restored when all is repaired.
    fn repair(&mut self, ack: &Ack) {
        if ack.repair == Repair::Losses && self.repair != Repair::Losses {
            self.save_window();
        }
        self.window = (self.window - f64::from(ack.lost)).max(1.0);
        match (self.repair, ack.repair) {
            (Repair::None | Repair::Timeout, Repair::Losses) => {
                self.conserving = true;
                self.round_end = self.delivered;
                self.window = f64::from(ack.in_flight + ack.acked);
            }
            (Repair::Losses | Repair::Timeout, Repair::None) => {
                self.conserving = false;
                self.window = self.window.max(self.prior_window);
            }
            _ => {}
        }
        self.repair = ack.repair;
    }

    fn set_window(&mut self, ack: &Ack) {
        self.repair(ack);
        let acked = f64::from(ack.acked);
        if self.conserving {
            self.window = self.window.max(f64::from(ack.in_flight) + acked);
        } else {
            let extra = match self.full_pipe {
                true => self.aggregation.allowance(self.bandwidth.max()),
                false => 0.0,
            };
            let target = self.with_bursts(self.product(self.window_gain()) + extra.ceil());
            if self.full_pipe {
                self.window = (self.window + acked).min(target);
            } else if self.window < target || (self.delivered as f64) < INITIAL_WINDOW {
                self.window += acked;
            }
            self.window = self.window.max(MIN_SEGMENTS);
        }
        if matches!(self.mode, Mode::ProbeRtt(_)) {
            self.window = self.window.min(MIN_SEGMENTS);
        }
    }
}

/// Pacing rate of the initial window, bytes/s.
fn initial_rate(srtt_ns: u64) -> f64 {
    let rtt_ns = if srtt_ns > 0 { srtt_ns } else { DEFAULT_RTT_NS };
    PACED_SHARE * HIGH_GAIN * INITIAL_WINDOW * PACKET * 1e9 / rtt_ns as f64
}

impl CongestionControl for Bbr {
    fn on_ack(&mut self, ack: &Ack) {
        let Some(sample) = &ack.sample else {
            return;
        };
        self.update_bandwidth(ack, sample);
        self.aggregation.update(
            ack.now_ns,
            ack.acked,
            self.bandwidth.max(),
            self.round_start,
            self.window,
        );
        self.update_phase(ack);
        self.check_full_pipe(sample);
        self.check_drain(ack);
        self.update_min_rtt(ack);
        self.set_pacing_rate(self.pacing_gain(), ack.srtt_ns);
        self.set_window(ack);
    }

    // Acknowledgements include the number of lost segments.
    fn on_loss(&mut self, _now_ns: u64) {}

    fn on_ecn_echo(&mut self, _now_ns: u64) {}

    fn responds_to_ecn(&self) -> bool {
        false
    }

    fn on_timeout(&mut self, _now_ns: u64, _first: bool) {
        self.save_window();
        self.repair = Repair::Timeout;
        // The path may have changed.
        self.full_bandwidth = 0.0;
        self.window = 1.0;
    }

    // The model remains valid for a while; pacing avoids a burst.
    fn after_idle(&mut self) {}

    fn on_transmit_start(&mut self, now_ns: u64, app_limited: bool) {
        self.min_rtt_at_ns.get_or_insert(now_ns);
        if !app_limited {
            return;
        }
        self.idle_restart = true;
        self.aggregation.restart(now_ns);
        match self.mode {
            Mode::ProbeBw { .. } => self.set_pacing_rate(1.0, 0),
            Mode::ProbeRtt(_) => self.check_probe_rtt(now_ns),
            Mode::Startup | Mode::Drain => {}
        }
    }

    fn window(&self) -> f64 {
        self.window
    }

    fn ssthresh(&self) -> f64 {
        f64::INFINITY
    }

    fn pacing_rate(&self, _now_ns: u64) -> Option<f64> {
        Some(self.pacing_rate)
    }

    fn burst(&self) -> u32 {
        self.burst_segments() as u32
    }

    fn samples_rate(&self) -> bool {
        true
    }

    fn is_below_capacity(&self) -> bool {
        matches!(self.mode, Mode::ProbeRtt(_))
    }
}

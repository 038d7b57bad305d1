//! Prague (draft-briscoe-iccrg-prague-congestion-control), as in its Linux
//! implementation.
//!
//! A moving average alpha of the marked share, updated once per virtual round
//! trip; a reduction by alpha/2, at most once per virtual round trip; additive
//! increase for every segment that arrived without a mark, even during a
//! reduction, scaled so that flows with less than 25 ms grow and yield as if
//! their round trip were 25 ms. Everything is paced.
//!
//! Above a few packets the window is the state and the rate follows; below, the
//! rate is the state and the window, then fractional, follows, because at one
//! packet per round trip a window is too coarse.

use super::{Ack, CongestionControl, INITIAL_WINDOW};
use crate::transport::segment::{HEADER_BYTES, MSS};

/// Virtual round trip of flows with shorter ones, ns.
pub(crate) const REFERENCE_RTT_NS: u64 = 25_000_000;
/// Lowest rate, bytes/s (100 kbit/s).
pub(crate) const MIN_RATE: f64 = 12_500.0;
/// Weight of a new sample in the moving average.
pub(crate) const GAIN: f64 = 1.0 / 16.0;
/// The pacing rate is this share above the rate in the first half of a virtual
/// round trip and below it in the second, which makes the queue's depth visible.
const RATE_OFFSET: f64 = 0.03;
/// Round trips after slow start before round trips become virtual.
const TRANSITION_ROUNDS: u32 = 4;
/// At this window or less, segments, the rate is the state.
const RATE_MODE_SEGMENTS: f64 = 4.0;
/// Bytes of a full packet.
const PACKET: f64 = (MSS + HEADER_BYTES) as f64;

/// Which of the two quantities is the state; the other is derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Window,
    Rate,
}

/// The control law shared by TCP and UDP Prague.
#[derive(Debug, Clone)]
pub(crate) struct Law {
    pub mode: Mode,
    /// Bytes in flight; a fraction of a packet is possible.
    pub window: f64,
    /// Bytes/s.
    pub rate: f64,
    pub srtt_ns: u64,
    pub virtual_rtt_ns: u64,
    pub alpha: f64,
}

impl Law {
    /// Additive increase for `acks` unmarked packets of `packet` bytes: one round
    /// trip adds `step` bytes times (round trip / virtual one)^2.
    pub fn increase(&mut self, acks: f64, packet: f64, step: f64) {
        let virtual_rtt = self.virtual_rtt_ns as f64 / 1e9;
        match self.mode {
            Mode::Window => {
                let scale = self.srtt_ns as f64 / self.virtual_rtt_ns as f64;
                self.window += acks * packet * step / self.window * scale * scale;
            }
            Mode::Rate => {
                self.rate += acks * packet * step / (self.rate * virtual_rtt * virtual_rtt);
            }
        }
    }

    /// Multiplicative decrease by `share` of the state.
    pub fn decrease(&mut self, share: f64) {
        match self.mode {
            Mode::Window => self.window -= self.window * share,
            Mode::Rate => self.rate -= self.rate * share,
        }
    }

    /// Updates the other quantity, within the rates.
    pub fn align(&mut self, max_rate: f64) {
        let srtt = self.srtt_ns.max(1) as f64 / 1e9;
        if self.mode == Mode::Window {
            self.rate = self.window / srtt;
        }
        self.rate = self.rate.clamp(MIN_RATE, max_rate);
        self.window = self.rate * srtt;
    }

    /// Counts a sample of the marked share.
    pub fn sample(&mut self, share: f64) {
        self.alpha += GAIN * (share - self.alpha);
    }

    /// The pacing rate `since_ns` after the last sample.
    pub fn paced(&self, since_ns: u64) -> f64 {
        if since_ns < self.virtual_rtt_ns / 2 {
            self.rate * (1.0 + RATE_OFFSET)
        } else {
            self.rate / (1.0 + RATE_OFFSET)
        }
    }
}

/// TCP Prague's window.
#[derive(Debug)]
pub(crate) struct Prague {
    law: Law,
    /// A flag instead of a comparison of window and threshold, because in rate
    /// mode the window changes with every round-trip sample.
    slow_start: bool,
    ssthresh: f64,
    /// Without marks there is no average: there may be no AQM that marks.
    saw_ce: bool,
    /// Observation: packets, marked ones, its last byte, its start.
    packets: u64,
    ce_packets: u64,
    observe_until: u64,
    observe_from_ns: u64,
    /// Rounds since slow start.
    rounds: u32,
    /// The last reduction: last byte sent at that time, and the time.
    reduced: Option<(u64, u64)>,
    reductions: u64,
}

impl Prague {
    /// `srtt_ns` is 0 if there is no sample yet.
    pub fn new(srtt_ns: u64) -> Prague {
        let window = INITIAL_WINDOW * PACKET;
        Prague {
            law: Law {
                mode: Mode::Window,
                window,
                rate: if srtt_ns > 0 {
                    window * 1e9 / srtt_ns as f64
                } else {
                    0.0
                },
                srtt_ns,
                virtual_rtt_ns: srtt_ns,
                alpha: 1.0,
            },
            slow_start: true,
            ssthresh: f64::INFINITY,
            saw_ce: false,
            packets: 0,
            ce_packets: 0,
            observe_until: 0,
            observe_from_ns: 0,
            rounds: 0,
            reduced: None,
            reductions: 0,
        }
    }

    fn rtt_independent(&self) -> bool {
        self.rounds >= TRANSITION_ROUNDS && !self.slow_start
    }

    fn grow(&mut self, unmarked: f64) {
        if self.slow_start {
            self.law.window = (self.law.window + unmarked * PACKET).min(self.ssthresh);
            self.slow_start = self.law.window < self.ssthresh;
        } else {
            self.law.increase(unmarked, PACKET, PACKET);
        }
    }

    fn end_slow_start(&mut self) {
        self.slow_start = false;
        self.ssthresh = self.law.window;
    }

    /// Ends an observation when a round trip and a virtual one have passed.
    fn observe(&mut self, ack: &Ack) {
        self.packets += ack.packets;
        self.ce_packets += ack.ce_packets;
        let elapsed = ack.now_ns - self.observe_from_ns;
        if ack.una < self.observe_until
            || self.packets == 0
            || (self.rtt_independent() && elapsed < self.law.virtual_rtt_ns)
        {
            return;
        }
        if self.saw_ce {
            self.law
                .sample(self.ce_packets as f64 / self.packets as f64);
        }
        if !self.slow_start {
            self.rounds = self.rounds.saturating_add(1);
        }
        self.packets = 0;
        self.ce_packets = 0;
        self.observe_until = ack.nxt;
        self.observe_from_ns = ack.now_ns;
    }

    fn may_reduce(&self, ack: &Ack) -> bool {
        self.reduced.is_none_or(|(until, at_ns)| {
            let virtual_passed = ack.now_ns - at_ns >= self.law.virtual_rtt_ns;
            ack.una > until && (virtual_passed || !self.rtt_independent())
        })
    }

    fn choose_mode(&mut self) {
        let small = self.law.window <= RATE_MODE_SEGMENTS * PACKET;
        self.law.mode = if self.saw_ce && small && !self.slow_start {
            Mode::Rate
        } else {
            Mode::Window
        };
    }
}

impl CongestionControl for Prague {
    fn on_ack(&mut self, ack: &Ack) {
        if ack.srtt_ns == 0 {
            return;
        }
        self.law.srtt_ns = ack.srtt_ns;
        self.law.virtual_rtt_ns = if self.rtt_independent() {
            ack.srtt_ns.max(REFERENCE_RTT_NS)
        } else {
            ack.srtt_ns
        };
        self.saw_ce |= ack.ce_packets > 0;
        if !ack.recovering {
            let unmarked = f64::from(ack.acked) - ack.ce_packets as f64;
            if unmarked > 0.0 && !ack.app_limited {
                self.grow(unmarked);
            }
            if ack.ce_packets > 0 && self.may_reduce(ack) {
                self.law.decrease(self.law.alpha / 2.0);
                self.end_slow_start();
                self.reduced = Some((ack.nxt, ack.now_ns));
                self.reductions += 1;
            }
        }
        self.observe(ack);
        self.law.align(f64::INFINITY);
        self.choose_mode();
    }

    fn on_loss(&mut self, _now_ns: u64) {
        // Like Reno, whatever alpha is.
        self.law.decrease(0.5);
        self.law.align(f64::INFINITY);
        self.end_slow_start();
    }

    fn on_ecn_echo(&mut self, _now_ns: u64) {}

    fn on_timeout(&mut self, _now_ns: u64, first: bool) {
        if first {
            self.ssthresh = self.law.window / 2.0;
        }
        self.slow_start = true;
        self.law.mode = Mode::Window;
        self.law.window = PACKET;
        self.law.align(f64::INFINITY);
    }

    fn after_idle(&mut self) {
        self.law.mode = Mode::Window;
        self.law.window = self.law.window.min(INITIAL_WINDOW * PACKET);
        self.law.align(f64::INFINITY);
        self.slow_start = self.law.window < self.ssthresh;
    }

    fn window(&self) -> f64 {
        self.law.window / PACKET
    }

    fn ssthresh(&self) -> f64 {
        self.ssthresh / PACKET
    }

    fn allowance(&self) -> u32 {
        if self.slow_start {
            return self.window().max(1.0) as u32;
        }
        // The rate governs. The window must not limit it while the pacing is
        // above the rate or the receiver delays an acknowledgement; it protects
        // against a network that freezes.
        (self.window() * (1.0 + RATE_OFFSET)).ceil().max(1.0) as u32 + 1
    }

    fn pacing_rate(&self, now_ns: u64) -> Option<f64> {
        if self.law.srtt_ns == 0 {
            return None;
        }
        Some(
            if self.slow_start && self.law.window < self.ssthresh / 2.0 {
                2.0 * self.law.rate
            } else {
                self.law.paced(now_ns.saturating_sub(self.observe_from_ns))
            },
        )
    }

    fn alpha(&self) -> f64 {
        self.law.alpha
    }

    fn ecn_events(&self) -> u64 {
        self.reductions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(mode: Mode, rtt_ms: u64) -> Law {
        Law {
            mode,
            window: 20.0 * PACKET,
            rate: 20.0 * PACKET * 1e3 / rtt_ms as f64,
            srtt_ns: rtt_ms * 1_000_000,
            virtual_rtt_ns: (rtt_ms * 1_000_000).max(REFERENCE_RTT_NS),
            alpha: 0.5,
        }
    }

    /// A round of 20 unmarked packets adds a packet times (10 / 25)^2, whichever
    /// quantity is the state.
    #[test]
    fn increase_is_scaled_to_the_reference() {
        for mode in [Mode::Window, Mode::Rate] {
            let mut law = law(mode, 10);
            law.increase(20.0, PACKET, PACKET);
            law.align(f64::INFINITY);
            let added = law.window / PACKET - 20.0;
            assert!((added - 0.16).abs() < 1e-9, "{mode:?}: {added}");
        }
    }

    #[test]
    fn decrease_and_average() {
        for mode in [Mode::Window, Mode::Rate] {
            let mut law = law(mode, 10);
            law.sample(1.0);
            assert!((law.alpha - (0.5 + 0.5 / 16.0)).abs() < 1e-12);
            law.decrease(0.25);
            law.align(f64::INFINITY);
            assert!((law.window / PACKET - 15.0).abs() < 1e-9, "{mode:?}");
            assert!((law.rate - 15.0 * PACKET * 100.0).abs() < 1e-6, "{mode:?}");
        }
    }

    #[test]
    fn rates_are_bounded() {
        let mut law = law(Mode::Window, 10);
        law.window = 1.0;
        law.align(1e6);
        assert_eq!(law.rate, MIN_RATE);
        assert!((law.window - 125.0).abs() < 1e-9);
        law.window = 1e9;
        law.align(1e6);
        assert_eq!(law.rate, 1e6);
    }
}

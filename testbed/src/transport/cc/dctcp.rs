//! DCTCP (RFC 8257).
//!
//! As in FreeBSD, additive increase continues during a reduction: a mark is not a
//! congestion event but a sample. A reduction follows the first mark after a
//! window has passed since the last, so under random marking at probability p the
//! time between reductions is a round trip plus the wait for a mark. With x = pW
//! marks per round trip, the balance x/2 = 1 + 1/x gives a mean window of (1 +
//! sqrt 3) / p, or the familiar 2/p if there is always a mark.

use super::newreno::Growth;
use super::{Ack, CongestionControl};

/// Weight of a new sample in the moving average (section 4.2).
const G: f64 = 1.0 / 16.0;

/// DCTCP's window.
#[derive(Debug)]
pub(crate) struct Dctcp {
    growth: Growth,
    alpha: f64,
    /// Packets in this observation window, marked packets, and its last byte.
    packets: u64,
    ce_packets: u64,
    observe_until: u64,
    /// No further reduction until a byte beyond this is acknowledged.
    reduced_until: Option<u64>,
    reductions: u64,
}

impl Default for Dctcp {
    fn default() -> Dctcp {
        Dctcp {
            growth: Growth::default(),
            // Conservative until measured (section 4.2).
            alpha: 1.0,
            packets: 0,
            ce_packets: 0,
            observe_until: 0,
            reduced_until: None,
            reductions: 0,
        }
    }
}

impl Dctcp {
    /// Section 3.3: the share of marks, once a window.
    fn observe(&mut self, ack: &Ack) {
        self.packets += ack.packets;
        self.ce_packets += ack.ce_packets;
        if ack.una <= self.observe_until || self.packets == 0 {
            return;
        }
        let share = self.ce_packets as f64 / self.packets as f64;
        self.alpha += G * (share - self.alpha);
        self.packets = 0;
        self.ce_packets = 0;
        self.observe_until = ack.nxt;
    }
}

impl CongestionControl for Dctcp {
    fn on_ack(&mut self, ack: &Ack) {
        self.observe(ack);
        if ack.recovering {
            return;
        }
        let may_reduce = self.reduced_until.is_none_or(|until| ack.una > until);
        if ack.ce_packets > 0 && may_reduce {
            self.growth.reduce(1.0 - self.alpha / 2.0);
            self.reduced_until = Some(ack.nxt);
            self.reductions += 1;
        } else if ack.app_limited {
        } else if self.growth.in_slow_start() {
            self.growth.slow_start(ack.acked, 1.0);
        } else {
            self.growth.additive(ack.acked);
        }
    }

    fn on_loss(&mut self, _now_ns: u64) {
        // As without ECN (section 3.5).
        self.growth.reduce(0.5);
    }

    fn on_ecn_echo(&mut self, _now_ns: u64) {}

    fn on_timeout(&mut self, _now_ns: u64, first: bool) {
        self.growth.collapse(0.5, first);
    }

    fn after_idle(&mut self) {
        self.growth.restart();
    }

    fn window(&self) -> f64 {
        self.growth.window
    }

    fn ssthresh(&self) -> f64 {
        self.growth.ssthresh
    }

    fn alpha(&self) -> f64 {
        self.alpha
    }

    fn ecn_events(&self) -> u64 {
        self.reductions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window of ten acknowledged at once, `marked` of it with CE.
    fn window(round: u64, marked: u64) -> Ack {
        Ack {
            now_ns: round,
            acked: 10,
            packets: 10,
            ce_packets: marked,
            rtt_ns: 1,
            srtt_ns: 1,
            una: 11 * round,
            nxt: 11 * round + 10,
            app_limited: true,
            ..Ack::default()
        }
    }

    /// RFC 8257, section 3.3: alpha = (1 - g) alpha + g F, and cwnd (1 - alpha/2).
    #[test]
    fn alpha_moves_by_a_sixteenth() {
        let mut dctcp = Dctcp::default();
        for round in 1..=16 {
            dctcp.on_ack(&window(round, 0));
        }
        assert!((dctcp.alpha() - (15.0f64 / 16.0).powi(16)).abs() < 1e-12);
        let (alpha, before) = (dctcp.alpha(), dctcp.window());
        dctcp.on_ack(&window(17, 5));
        let expected = alpha + (0.5 - alpha) / 16.0;
        assert!((dctcp.alpha() - expected).abs() < 1e-12);
        assert!((dctcp.window() - before * (1.0 - expected / 2.0)).abs() < 1e-9);
    }
}

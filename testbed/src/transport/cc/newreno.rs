//! NewReno: slow start, additive increase, halving (RFC 5681), counting bytes
//! instead of acknowledgements (RFC 3465), so delayed acknowledgements do not
//! slow it down: its mean window is sqrt(3 / 2p) with or without them.

use super::hystart::HyStart;
use super::{Ack, CongestionControl, INITIAL_WINDOW, MIN_WINDOW};

/// Maximum increase of the window per acknowledgement in slow start, segments
/// (RFC 3465, section 2.3, L = 2).
const SLOW_START_LIMIT: u32 = 2;

/// Slow start and additive increase, also used by DCTCP.
#[derive(Debug)]
pub(super) struct Growth {
    /// Congestion window, segments.
    pub window: f64,
    /// Slow start threshold, segments.
    pub ssthresh: f64,
    /// Segments acknowledged towards the next increase.
    credit: f64,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth {
            window: INITIAL_WINDOW,
            ssthresh: f64::INFINITY,
            credit: 0.0,
        }
    }
}

impl Growth {
    /// Whether the window is below the threshold.
    pub fn in_slow_start(&self) -> bool {
        self.window < self.ssthresh
    }

    /// Slow start by `acked` segments, times `factor`.
    pub fn slow_start(&mut self, acked: u32, factor: f64) {
        self.window += f64::from(acked.min(SLOW_START_LIMIT)) * factor;
    }

    /// One segment for each window acknowledged.
    pub fn additive(&mut self, acked: u32) {
        self.credit += f64::from(acked);
        if self.credit >= self.window {
            self.credit -= self.window;
            self.window += 1.0;
        }
    }

    /// Multiplicative decrease.
    pub fn reduce(&mut self, factor: f64) {
        self.ssthresh = (self.window * factor).max(MIN_WINDOW);
        self.window = self.ssthresh;
    }

    /// At most the initial window (RFC 5681, section 4.1).
    pub fn restart(&mut self) {
        self.window = self.window.min(INITIAL_WINDOW);
        self.credit = 0.0;
    }

    /// Back to one segment (RFC 5681, section 3.1).
    pub fn collapse(&mut self, factor: f64, first: bool) {
        if first {
            self.ssthresh = (self.window * factor).max(MIN_WINDOW);
        }
        self.window = 1.0;
        self.credit = 0.0;
    }
}

/// NewReno's window.
#[derive(Debug)]
pub(crate) struct NewReno {
    growth: Growth,
    hystart: HyStart,
}

impl NewReno {
    pub fn new(hystart: bool) -> NewReno {
        NewReno {
            growth: Growth::default(),
            hystart: HyStart::new(hystart),
        }
    }
}

impl CongestionControl for NewReno {
    fn on_ack(&mut self, ack: &Ack) {
        if ack.recovering || ack.app_limited {
            return;
        }
        if self.growth.in_slow_start() {
            match self.hystart.on_ack(ack) {
                Some(factor) => self.growth.slow_start(ack.acked, factor),
                None => self.growth.ssthresh = self.growth.window,
            }
        } else {
            self.growth.additive(ack.acked);
        }
    }

    fn on_loss(&mut self, _now_ns: u64) {
        self.hystart.stop();
        self.growth.reduce(0.5);
        self.growth.credit = 0.0;
    }

    fn on_ecn_echo(&mut self, now_ns: u64) {
        // Handled like a loss (RFC 3168, section 6.1.2); no ABE (RFC 8511).
        self.on_loss(now_ns);
    }

    fn on_timeout(&mut self, _now_ns: u64, first: bool) {
        self.hystart.stop();
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
}

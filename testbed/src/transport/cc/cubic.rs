//! CUBIC (RFC 9438).

use super::hystart::HyStart;
use super::newreno::Growth;
use super::{Ack, CongestionControl};

/// Aggressiveness, segments/s^3 (section 4.1.1).
const C: f64 = 0.4;
/// Decrease factor (section 4.6).
const BETA: f64 = 0.7;
/// Increase of the Reno-friendly estimate, segments per round, below the window
/// before the reduction (section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// CUBIC's window.
#[derive(Debug)]
pub(crate) struct Cubic {
    growth: Growth,
    hystart: HyStart,
    /// Plateau of the cubic; 0 before the first reduction.
    w_max: f64,
    /// Window just before the last reduction.
    prior: f64,
    epoch: Option<Epoch>,
}

/// A stage of congestion avoidance.
#[derive(Debug)]
struct Epoch {
    start_ns: u64,
    /// Plateau, and seconds from the start to it.
    w_max: f64,
    k: f64,
    /// Reno's window estimate.
    estimate: f64,
}

impl Cubic {
    pub fn new(hystart: bool) -> Cubic {
        Cubic {
            growth: Growth::default(),
            hystart: HyStart::new(hystart),
            w_max: 0.0,
            prior: 0.0,
            epoch: None,
        }
    }

    fn avoid_congestion(&mut self, ack: &Ack) {
        let window = self.growth.window;
        let prior = self.prior;
        let w_max = self.w_max;
        let epoch = self
            .epoch
            .get_or_insert_with(|| Epoch::new(ack.now_ns, window, w_max));

        let acked = f64::from(ack.acked);
        let alpha = if epoch.estimate >= prior { 1.0 } else { ALPHA };
        epoch.estimate += alpha * acked / window;

        let t = (ack.now_ns - epoch.start_ns) as f64 / 1e9;
        let rtt = ack.srtt_ns as f64 / 1e9;
        self.growth.window = if epoch.at(t) < epoch.estimate {
            window.max(epoch.estimate)
        } else {
            let target = epoch.at(t + rtt).clamp(window, 1.5 * window);
            window + (target - window) / window * acked
        };
    }

    fn remember(&mut self) {
        self.hystart.stop();
        let window = self.growth.window;
        self.prior = window;
        // Fast convergence (section 4.7): a flow that did not regain its plateau
        // yields.
        self.w_max = if window < self.w_max {
            window * (1.0 + BETA) / 2.0
        } else {
            window
        };
        self.epoch = None;
    }
}

impl Epoch {
    fn new(start_ns: u64, window: f64, w_max: f64) -> Epoch {
        // Without a plateau above (slow start ended without a reduction), grow
        // from here (section 4.8 and 4.10).
        let w_max = w_max.max(window);
        Epoch {
            start_ns,
            w_max,
            k: ((w_max - window) / C).cbrt(),
            estimate: window,
        }
    }

    /// The cubic at `t` seconds (section 4.2, equation 1).
    fn at(&self, t: f64) -> f64 {
        let d = t - self.k;
        C * d * d * d + self.w_max
    }
}

impl CongestionControl for Cubic {
    fn on_ack(&mut self, ack: &Ack) {
        if ack.recovering || ack.app_limited || ack.acked == 0 {
            return;
        }
        if self.growth.in_slow_start() {
            match self.hystart.on_ack(ack) {
                Some(factor) => self.growth.slow_start(ack.acked, factor),
                None => self.growth.ssthresh = self.growth.window,
            }
        } else {
            self.avoid_congestion(ack);
        }
    }

    fn on_loss(&mut self, _now_ns: u64) {
        self.remember();
        self.growth.reduce(BETA);
    }

    fn on_ecn_echo(&mut self, now_ns: u64) {
        self.on_loss(now_ns);
    }

    fn on_timeout(&mut self, _now_ns: u64, first: bool) {
        if first {
            self.remember();
        }
        self.growth.collapse(BETA, first);
        // The plateau will be where slow start ends (section 4.8).
        self.w_max = 0.0;
        self.epoch = None;
    }

    fn after_idle(&mut self) {
        self.growth.restart();
        // The cubic's clock stops while the sender is idle.
        self.epoch = None;
    }

    fn window(&self) -> f64 {
        self.growth.window
    }

    fn ssthresh(&self) -> f64 {
        self.growth.ssthresh
    }
}

//! HyStart++ (RFC 9406): leaves slow start when the round-trip time rises.

use super::Ack;

/// Bounds and divisor of the relevant rise, ns (section 4.3).
const MIN_RTT_THRESH_NS: u64 = 4_000_000;
const MAX_RTT_THRESH_NS: u64 = 16_000_000;
const MIN_RTT_DIVISOR: u64 = 8;
/// Minimum number of samples for evaluating a round.
const N_RTT_SAMPLE: u32 = 8;
/// Growth in conservative slow start is divided by this.
const CSS_GROWTH_DIVISOR: f64 = 4.0;
/// Rounds of conservative slow start before congestion avoidance.
const CSS_ROUNDS: u32 = 5;

/// State of the first slow start. Later ones run as plain slow start (section 4.2).
#[derive(Debug)]
pub(super) struct HyStart {
    active: bool,
    /// The round ends when this byte is acknowledged.
    round_end: u64,
    last_min_ns: u64,
    current_min_ns: u64,
    samples: u32,
    conservative: Option<Conservative>,
}

#[derive(Debug)]
struct Conservative {
    baseline_ns: u64,
    rounds: u32,
}

impl HyStart {
    pub fn new(active: bool) -> HyStart {
        HyStart {
            active,
            round_end: 0,
            last_min_ns: u64::MAX,
            current_min_ns: u64::MAX,
            samples: 0,
            conservative: None,
        }
    }

    /// Factor on slow start's growth for this acknowledgement; `None` when slow
    /// start is over.
    pub fn on_ack(&mut self, ack: &Ack) -> Option<f64> {
        if !self.active {
            return Some(1.0);
        }
        if ack.una > self.round_end {
            self.round_end = ack.nxt;
            self.last_min_ns = self.current_min_ns;
            self.current_min_ns = u64::MAX;
            self.samples = 0;
            if let Some(css) = &mut self.conservative {
                css.rounds += 1;
                if css.rounds > CSS_ROUNDS {
                    self.active = false;
                    return None;
                }
            }
        }
        self.current_min_ns = self.current_min_ns.min(ack.rtt_ns);
        self.samples += 1;
        if self.samples >= N_RTT_SAMPLE {
            self.judge();
        }
        Some(match self.conservative {
            Some(_) => 1.0 / CSS_GROWTH_DIVISOR,
            None => 1.0,
        })
    }

    /// The first slow start ended by other means.
    pub fn stop(&mut self) {
        self.active = false;
    }

    fn judge(&mut self) {
        match &self.conservative {
            Some(css) if self.current_min_ns < css.baseline_ns => self.conservative = None,
            Some(_) => {}
            None if self.last_min_ns < u64::MAX => {
                let threshold = (self.last_min_ns / MIN_RTT_DIVISOR)
                    .clamp(MIN_RTT_THRESH_NS, MAX_RTT_THRESH_NS);
                if self.current_min_ns >= self.last_min_ns + threshold {
                    self.conservative = Some(Conservative {
                        baseline_ns: self.current_min_ns,
                        rounds: 0,
                    });
                }
            }
            None => {}
        }
    }
}

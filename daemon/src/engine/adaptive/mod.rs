//! The adaptive rule: an integral controller on the link's idle share.

mod config;
mod mean;
#[cfg(test)]
mod tests;

pub use config::{AdaptiveConfig, Preset};

use l4sllm_abi::{Queue, Record, Summary};
use l4sllm_model::IdleBudget;

use super::{Decision, Engine, SetPoints};
use mean::Mean;

/// Chooses target, gains and k of DualPI2 from summaries.
///
/// The target is as short as the link's idle share allows. With every summary,
/// over an interval of dt seconds:
///
/// ```text
/// I   idle share of the link, mean over 0.2 s;  I5: over 5 s
/// s5  classic marks and drops per second, mean over 5 s
/// ε = 0.0025 + 0.05 · I5                          the idle budget
/// e = I − ε
/// e > 0:  dx/dt = 100 · min(e, 0.2)
/// else:   dx/dt = min(0.35, 0.05 · s5) · e / ε    x = ln(T / 1 ms)
/// T within max(1.5 ms, one packet of 1500 bytes) and the cap; dt ≤ 0.5 s
/// ```
///
/// A signal that comes too early leaves the link idle, and the target rises at
/// once; without idle time it falls, but only as often as signals arrive: a
/// single CUBIC flow shows every 4 to 6 s what its last signal cost.
///
/// Gains and k follow the target T and the context:
///
/// ```text
/// α, β ∝ (10 ms / T)^0.3 below 10 ms, (10 ms / T)^1.2 above
///        · (1 + c · max(0, σ − 0.15)) · g
/// k = 2 · (T / 10 ms)^0.28
///
/// σ²  variance of ln(drain rate) in windows of 24 ms of busy time around its
///     mean over 3 s, mean over 15 s: links whose rate varies need gain
/// ρ = Σ|Δp'| per 16 ms over the mean of p', both over 4 s: links that send in
///     bursts turn gain into pulses of p'
/// ρ > 1.3:  d ln g/dt = −0.5 · ln(ρ / 1.3)
/// else:     d ln g/dt = 0.25                      g within 0.08 and 1
/// ```
///
/// The constants are those of [`AdaptiveConfig`]. Means are exponential and
/// decay by time, so the rule is the same for any period of decisions, whether
/// intervals are merged or not: about 16 ms to 1 s.
#[derive(Debug, Clone)]
pub struct Adaptive {
    config: AdaptiveConfig,
    /// `config.idle_budget` unless the operator sets another.
    own_budget: f64,
    idle: Mean,
    idle_long: Mean,
    signals: Mean,
    /// Bytes forwarded, and busy time, per second: their ratio is the rate.
    bytes: Mean,
    busy: Mean,
    p: Mean,
    p_variation: Mean,
    log_rate: Mean,
    log_rate_variance: Mean,
    /// x: logarithm of the target in ms.
    log_target: f64,
    /// ln g.
    log_ripple_gain: f64,
}

/// Time constant of the drain rate that the least target is taken from, s.
const RATE_TIME: f64 = 1.0;

/// The packet of the least target, bytes.
const PACKET: f64 = 1500.0;

impl Adaptive {
    /// A rule that has seen nothing.
    pub fn new(config: AdaptiveConfig) -> Adaptive {
        Adaptive {
            idle: Mean::over(config.idle_time),
            idle_long: Mean::over(config.budget_time),
            signals: Mean::over(config.budget_time),
            bytes: Mean::over(RATE_TIME),
            busy: Mean::over(RATE_TIME),
            p: Mean::over(config.ripple_time),
            p_variation: Mean::over(config.ripple_time),
            log_rate: Mean::over(config.rate_time),
            log_rate_variance: Mean::over(config.volatility_time),
            log_target: config.initial_target.ln(),
            log_ripple_gain: 0.0,
            own_budget: config.idle_budget,
            config,
        }
    }

    /// Takes the instance's next summary; the set-points from now on.
    pub fn update(&mut self, summary: &Summary) -> SetPoints {
        let dt = summary.duration_ns() as f64 / 1e9;
        if dt > 0.0 {
            self.observe_link(summary, dt);
            self.observe_rates(summary, dt);
            self.observe_controller(summary, dt);
            let step = dt.min(self.config.max_step);
            self.move_target(step);
            self.move_ripple_gain(step);
        }
        self.set_points()
    }

    fn observe_link(&mut self, summary: &Summary, dt: f64) {
        let idle = summary.idle_ns as f64 / 1e9 / dt;
        self.idle.add(idle, dt);
        self.idle_long.add(idle, dt);
        let signals = summary.queue(Queue::Classic).signals() as f64;
        self.signals.add(signals / dt, dt);
        let bytes: f64 = summary.queue.iter().map(|q| q.forwarded_bytes as f64).sum();
        self.bytes.add(bytes / dt, dt);
        self.busy.add(1.0 - idle, dt);
    }

    fn observe_rates(&mut self, summary: &Summary, dt: f64) {
        let (windows, sum, squares) = summary.rate_moments();
        if windows == 0.0 {
            return;
        }
        let mean = self.log_rate.value().unwrap_or(sum / windows);
        let variance = (squares - 2.0 * mean * sum) / windows + mean * mean;
        self.log_rate_variance.add(variance.max(0.0), dt);
        self.log_rate.add(sum / windows, dt);
    }

    fn observe_controller(&mut self, summary: &Summary, dt: f64) {
        let Some(p) = summary.p_mean() else { return };
        self.p.add(p, dt);
        let per_interval = summary.p_variation() * self.config.ripple_interval / dt;
        self.p_variation.add(per_interval, dt);
    }

    fn move_target(&mut self, dt: f64) {
        let c = &self.config;
        let budget = c.idle_budget + c.idle_budget_slope * self.idle_long.value().unwrap_or(0.0);
        let excess = self.idle.value().unwrap_or(0.0) - budget;
        let slope = if excess > 0.0 {
            c.rise * excess.min(c.max_excess)
        } else {
            let signals = self.signals.value().unwrap_or(0.0);
            c.max_fall.min(c.fall_per_signal * signals) * excess / budget
        };
        let least = c.min_target.max(self.packet_time_ms()).min(c.max_target);
        self.log_target = (self.log_target + slope * dt).clamp(least.ln(), c.max_target.ln());
    }

    fn move_ripple_gain(&mut self, dt: f64) {
        let c = &self.config;
        let ripple = self.ripple();
        let slope = if ripple > c.ripple_threshold {
            -c.ripple_fall * (ripple / c.ripple_threshold).ln()
        } else {
            c.ripple_recovery
        };
        self.log_ripple_gain = (self.log_ripple_gain + slope * dt).clamp(c.ripple_floor.ln(), 0.0);
    }

    /// ρ; 0 while p' is.
    fn ripple(&self) -> f64 {
        match (self.p_variation.value(), self.p.value()) {
            (Some(variation), Some(p)) if p > 0.0 => variation / p,
            _ => 0.0,
        }
    }

    /// σ_r.
    fn volatility(&self) -> f64 {
        self.log_rate_variance.value().unwrap_or(0.0).sqrt()
    }

    /// Time that the link takes for a packet, ms; 0 while that is unknown.
    fn packet_time_ms(&self) -> f64 {
        match (self.bytes.value(), self.busy.value()) {
            (Some(bytes), Some(busy)) if bytes > 0.0 => 1e3 * PACKET * busy / bytes,
            _ => 0.0,
        }
    }

    fn set_points(&self) -> SetPoints {
        let c = &self.config;
        let target = self.log_target.exp();
        let relative = target / c.reference_target;
        let exponent = if relative < 1.0 {
            c.gain_exponent
        } else {
            c.gain_exponent_above
        };
        let volatility = (self.volatility() - c.volatility_threshold).max(0.0);
        let gain = relative.powf(-exponent)
            * (1.0 + c.volatility_gain * volatility)
            * self.log_ripple_gain.exp();
        let (least, most) = c.coupling_range;
        SetPoints {
            target_s: target / 1e3,
            alpha_hz: c.alpha * gain,
            beta_hz: c.beta * gain,
            tupdate_s: c.tupdate,
            coupling: c.coupling * relative.powf(c.coupling_exponent).clamp(least, most),
        }
    }
}

impl Engine for Adaptive {
    fn observe(&mut self, _record: &Record) -> Option<Decision> {
        None
    }

    fn observe_summary(&mut self, summary: &Summary) -> Option<Decision> {
        Some(Decision::SetPoints(self.update(summary)))
    }

    fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.config.idle_budget = budget.map_or(self.own_budget, IdleBudget::share);
    }

    /// Means and target stay: they are of the link, and decay by time.
    fn reset(&mut self) {}
}

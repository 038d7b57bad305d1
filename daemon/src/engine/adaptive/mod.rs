//! The adaptive rule: an integral controller on the link's idle share.

mod config;
mod demand;
mod rates;
mod ripple;
mod state;
#[cfg(test)]
mod tests;

pub use config::{AdaptiveConfig, Preset};
pub use state::AdaptiveState;

use l4sllm_abi::{Queue, Record, Summary};
use l4sllm_model::{DecayingMean, IdleBudget};

use super::{Decision, Engine, EngineState, RestoreError, SetPoints};

/// Chooses target, gains and k of DualPI2 from summaries.
///
/// The target is as short as the link's idle share allows. With every summary,
/// over an interval of dt seconds:
///
/// ```text
/// I   idle share of the link, mean over 0.2 s;  I5: over 5 s
/// s5  classic marks and drops per second, mean over 5 s
/// ε = 0.004 + 0.05 · I5                           the idle budget
/// r = min(0.35, 0.05 · s5), at least 0.1 while I > ε
/// dx/dt = r · (I / ε − 1)                         x = ln(T / 1 ms)
/// T within max(1.5 ms, one packet of 1500 bytes) and 17 ms; dt ≤ 0.5 s
/// ```
///
/// After a signal that comes too early, the link becomes idle, and the target
/// rises in proportion. Without idle time it falls, but only as often as
/// signals arrive: with a single CUBIC flow, the cost of the last signal shows
/// only every 4 to 6 s. Because the law is linear in I, the link is idle for ε
/// in the long run.
///
/// Idle time is a loss only if a flow would have used it: a classic flow that
/// sent in every half second of the last 4 s, or such an L4S flow while L4S
/// traffic uses more than 15 % of the link. In the first 4 s, and in the first 4 s
/// after a silence of 4 s, any traffic counts as such a flow. Without one, idle
/// time does not count and the settings go to those of the profile `tuned`: T to 10 ms, with
/// |dx/dt| ≤ 0.35, and the gain to g = 4. On a link with a drain rate R above
/// 50 Mbit/s, g is lower, and from 200 Mbit/s on that of plain DualPI2: a flow whose
/// slow start is marked early takes a time to fill the link that grows with R.
///
/// Between 10 ms and 17 ms the gain f, a factor on RFC 9332's gains, falls to 1,
/// so that a link that stays idle gets the gains of plain DualPI2 (RFC 9332,
/// appendix A.1):
///
/// ```text
/// f = 3.2 · (10 ms / T)^0.3 below 10 ms;  3.2^(1 − u) above,
///     u = ln(T / 10 ms) / ln(17 / 10)
/// f = f^(1 − w) · g^w     w: share of the time without such a flow, mean over 4 s
///     g = 4 · 50 Mbit/s / R, within 1 and 4
/// k = 2 · (T / 10 ms)^0.28 below 10 ms;  2 above
/// β ∝ f;  α ∝ tupdate · f', where f' is f with 1.6 in place of 3.2
/// tupdate = 4 ms below 14 ms;  16 ms above
/// ```
///
/// The rule recognises links whose rate varies by the drain rate in windows of
/// 24 ms of busy time. A summary's mean of its logarithm is m:
///
/// ```text
/// c   typical |Δm| between summaries: exp(mean ln(|Δm| + 0.01) over 4 s) − 0.01
/// σ²  variance around the mean over 3 s, mean over 15 s
/// z   change of the delay between updates of p', Σ|Δp'| / β / updates, at most
///     twice the mean L4S delay, over √(packet time · tupdate), the change by
///     random arrivals; mean over 4 s
/// c > 0.01:       variable (cellular, Wi-Fi): dx/dt = 2
/// else z > 1.7, with a flow that would fill the link:
///                 bursty (regular bursts): dx/dt = 2, at 4 ms
/// else σ from 0.15 to 0.25:  stepping: f and f' go to 6, at 4 ms
/// ```
///
/// A variable link changes within a round trip, faster than set-points can
/// follow; the gains of plain DualPI2 keep it busy. With 4 ms, p' would follow each
/// burst and be clamped to 0 after it. Regular bursts hardly show in the rates of
/// windows that last several bursts, only in the delay, and with 16 ms, close to
/// the period of many bursts, not even there. A link with rare but large changes
/// needs a higher gain, to drain the long queue after each step down.
///
/// The numbers above are those of [`AdaptiveConfig::balanced`]; the operator's
/// idle budget replaces 0.004. Means are exponential and decay over time, so the
/// rule behaves the same for any decision period from about 16 ms to 0.5 s,
/// whether or not intervals are merged.
#[derive(Debug, Clone)]
pub struct Adaptive {
    config: AdaptiveConfig,
    /// Idle budget of the preset, used unless the operator sets another.
    own_budget: f64,
    state: AdaptiveState,
}

/// Packet size for the minimum target, bytes.
const PACKET: f64 = 1500.0;

/// RFC 9332's gains, period and coupling.
const PLAIN: SetPoints = SetPoints::RFC9332;

impl Adaptive {
    /// A rule without observations, at the initial target.
    pub fn new(config: AdaptiveConfig) -> Adaptive {
        Adaptive {
            state: AdaptiveState::new(&config),
            own_budget: config.idle_budget,
            config,
        }
    }

    /// Adds the instance's next summary and returns the new set-points.
    pub fn update(&mut self, summary: &Summary) -> SetPoints {
        let dt = summary.duration_ns() as f64 / 1e9;
        if dt > 0.0 {
            self.observe_link(summary, dt);
            self.state.rates.observe(summary, dt);
            let packet_time_ms = self.packet_time_ms();
            self.state.ripple.observe(summary, packet_time_ms, dt);
            self.move_target(dt.min(self.config.max_step));
        }
        self.set_points()
    }

    fn observe_link(&mut self, summary: &Summary, dt: f64) {
        let classic = summary.queue(Queue::Classic);
        let idle = summary.idle_ns as f64 / 1e9 / dt;
        self.state.demand.observe(summary, idle, dt);
        let counts = match self.state.demand.fills() {
            true => idle,
            false => 0.0,
        };
        self.state.idle.add(counts, dt);
        self.state.idle_long.add(counts, dt);
        self.state.signals.add(classic.signals() as f64 / dt, dt);
        let bytes: f64 = summary.queue.iter().map(|q| q.forwarded_bytes as f64).sum();
        self.state.bytes.add(bytes / dt, dt);
        self.state.busy.add(1.0 - idle, dt);
    }

    fn move_target(&mut self, dt: f64) {
        let c = &self.config;
        let step = if self.is_variable() || self.is_bursty() {
            c.variable_rise * dt
        } else if !self.state.demand.fills() {
            let most = c.relaxation * dt;
            (c.relaxed_target.ln() - self.state.log_target).clamp(-most, most)
        } else {
            self.law() * dt
        };
        let least = c.min_target.max(self.packet_time_ms()).min(c.max_target);
        self.state.log_target = (self.state.log_target + step).clamp(least.ln(), c.max_target.ln());
    }

    /// dx/dt from idle share and signals.
    fn law(&self) -> f64 {
        let c = &self.config;
        let idle = |mean: &DecayingMean| mean.value().unwrap_or(0.0);
        let budget = c.idle_budget + c.idle_budget_slope * idle(&self.state.idle_long);
        let excess = idle(&self.state.idle) / budget - 1.0;
        let signals = self.state.signals.value().unwrap_or(0.0);
        let rate = c.max_rate.min(c.rate_per_signal * signals);
        match excess > 0.0 {
            true => rate.max(c.least_rise) * excess,
            false => rate * excess,
        }
    }

    /// Whether the link's rate varies faster than set-points can follow.
    fn is_variable(&self) -> bool {
        self.state.rates.typical_change() > self.config.variable_change
    }

    /// Whether the link sends in bursts that its rates do not show.
    pub fn is_bursty(&self) -> bool {
        !self.is_variable()
            && self.state.demand.fills()
            && self.state.ripple.value() > self.config.burst_ripple
    }

    /// Degree to which the link's rate changes in steps, 0 to 1.
    fn stepping(&self) -> f64 {
        let (from, to) = self.config.stepping;
        match self.is_variable() || self.is_bursty() {
            true => 0.0,
            false => ((self.state.rates.volatility() - from) / (to - from)).clamp(0.0, 1.0),
        }
    }

    /// Transmission time of a packet, ms; 0 while the rate is unknown.
    fn packet_time_ms(&self) -> f64 {
        match (self.state.bytes.value(), self.state.busy.value()) {
            (Some(bytes), Some(busy)) if bytes > 0.0 => 1e3 * PACKET * busy / bytes,
            _ => 0.0,
        }
    }

    /// Gain without a flow that would fill the link.
    fn relaxed_gain(&self) -> f64 {
        let c = &self.config;
        match self.packet_time_ms() {
            0.0 => c.relaxed_gain,
            ms => {
                let mbps = 8.0 * PACKET / 1e3 / ms;
                let most = c.relaxed_gain.max(1.0);
                (c.relaxed_gain * c.relaxed_gain_mbps / mbps).clamp(1.0, most)
            }
        }
    }

    /// Gain for a target whose logarithm is `log_relative` above that of the
    /// reference, at which it is `reference`, on a link that is `stepping` to this
    /// degree.
    fn gain(&self, reference: f64, log_relative: f64, stepping: f64) -> f64 {
        let c = &self.config;
        let by_target = match log_relative > 0.0 {
            true => {
                reference.ln() * (1.0 - log_relative / (c.max_target / c.reference_target).ln())
            }
            false => reference.ln() - c.gain_exponent * log_relative,
        };
        let towards = |gain: f64, share: f64, from: f64| from + share * (gain.ln() - from);
        let relaxed = match self.is_variable() {
            true => 0.0,
            false => self.state.demand.absence(),
        };
        let log_gain = towards(self.relaxed_gain(), relaxed, by_target);
        towards(c.step_gain, stepping, log_gain).exp()
    }

    /// The set-points for the current target and link.
    pub(super) fn set_points(&self) -> SetPoints {
        let c = &self.config;
        let target = self.state.log_target.exp();
        let log_relative = (target / c.reference_target).ln();
        let stepping = self.stepping();
        let gain = |reference| self.gain(reference, log_relative, stepping);
        let fast = target < c.plain_from || stepping > 0.5 || self.is_bursty();
        let tupdate_s = match fast {
            true => c.tupdate,
            false => PLAIN.tupdate_s,
        };
        SetPoints {
            target_s: target / 1e3,
            alpha_hz: PLAIN.alpha_hz * gain(c.integral_gain) * tupdate_s / PLAIN.tupdate_s,
            beta_hz: PLAIN.beta_hz * gain(c.gain),
            tupdate_s,
            coupling: PLAIN.coupling * (c.coupling_exponent * log_relative.min(0.0)).exp(),
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

    fn save(&self) -> EngineState {
        EngineState {
            rule: Some(self.state.clone()),
            ..EngineState::default()
        }
    }

    fn restore(&mut self, state: &EngineState) -> Result<(), RestoreError> {
        let rule = state.rule.as_ref().ok_or(RestoreError::Missing)?;
        if !rule.is_like(&self.state) {
            return Err(RestoreError::Rule);
        }
        self.state = rule.clone();
        Ok(())
    }

    /// Keeps means and target: they describe the link, and decay over time.
    fn reset(&mut self) {}
}

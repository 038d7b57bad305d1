//! The constants of the adaptive rule.

/// Constants of the [adaptive rule](super::Adaptive). Times are in seconds,
/// delays in milliseconds, rates in hertz.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveConfig {
    /// Target at the start, ms.
    pub initial_target: f64,
    /// Least target, ms; one packet time where that is longer.
    pub min_target: f64,
    /// Greatest target, ms. What long paths and bursty links need is above
    /// what is best elsewhere: a higher cap keeps more utilisation.
    pub max_target: f64,

    /// Time constant of the idle share that moves the target, s: a few round
    /// trips.
    pub idle_time: f64,
    /// Time constant of the idle share that raises the budget, and of the rate
    /// of signals, s: longer than the sawtooth of a flow on a long path.
    pub budget_time: f64,
    /// ε of a link that is never idle for long: the share of idle time that is
    /// spent for delay.
    pub idle_budget: f64,
    /// What of the long-term idle share is added to ε: a link that senders do
    /// not fill is idle whatever the target is.
    pub idle_budget_slope: f64,
    /// Rate at which the target's logarithm rises, per second and idle share
    /// above ε.
    pub rise: f64,
    /// Greatest excess that counts for it.
    pub max_excess: f64,
    /// Greatest rate at which the target's logarithm falls, per second.
    pub max_fall: f64,
    /// The same for each congestion signal a second: the target falls only as
    /// often as signals arrive, since a single flow shows only once a sawtooth
    /// whether it left the link idle.
    pub fall_per_signal: f64,
    /// Longest step of the integration, s.
    pub max_step: f64,

    /// Gains at `reference_target`: α and β, Hz, at a period of `tupdate` s.
    pub alpha: f64,
    /// β, Hz.
    pub beta: f64,
    /// The controller's period, s.
    pub tupdate: f64,
    /// The target, ms, at which gains and k are as given here.
    pub reference_target: f64,
    /// Gains are proportional to the target to minus this power below
    /// `reference_target`: a shorter queue has to be controlled faster.
    pub gain_exponent: f64,
    /// The same above it: such targets come with long or bursty paths, whose
    /// loop is slow.
    pub gain_exponent_above: f64,
    /// k at `reference_target`.
    pub coupling: f64,
    /// k is proportional to the target to this power: classic flows with a
    /// shorter queue have a shorter round trip and a higher p.
    pub coupling_exponent: f64,
    /// Bounds of k as a factor on `coupling`.
    pub coupling_range: (f64, f64),

    /// Volatility σ_r from which gains are raised: links of constant rate have
    /// 0, Wi-Fi-like ones up to 0.15, LTE-like ones 0.3 to 1.
    pub volatility_threshold: f64,
    /// How much more gain there is for each unit of σ_r above that.
    pub volatility_gain: f64,
    /// Time constant of the mean rate that σ_r is measured around, s.
    pub rate_time: f64,
    /// Time constant of σ_r², s.
    pub volatility_time: f64,

    /// Ripple ρ from which gains are lowered; infinite: never. Bursty links
    /// have 1.9 to 3.5, others 1.5 at most.
    pub ripple_threshold: f64,
    /// Time constant of ρ, s.
    pub ripple_time: f64,
    /// The interval that ρ is of, s.
    pub ripple_interval: f64,
    /// Rate at which ln g falls for each unit of ln(ρ / threshold), per second.
    pub ripple_fall: f64,
    /// Rate at which ln g comes back, per second.
    pub ripple_recovery: f64,
    /// Least g.
    pub ripple_floor: f64,
}

impl AdaptiveConfig {
    /// Rule q3: cap 15 ms. Shorter queues than [`AdaptiveConfig::q2`], at up to
    /// 3 points of utilisation in the worst stationary condition.
    pub const fn q3() -> AdaptiveConfig {
        AdaptiveConfig {
            initial_target: 6.0,
            min_target: 1.5,
            max_target: 15.0,
            idle_time: 0.2,
            budget_time: 5.0,
            idle_budget: 0.0025,
            idle_budget_slope: 0.05,
            rise: 100.0,
            max_excess: 0.2,
            max_fall: 0.35,
            fall_per_signal: 0.05,
            max_step: 0.5,
            alpha: 0.8 * 0.16,
            beta: 0.8 * 12.8,
            tupdate: 0.004,
            reference_target: 10.0,
            gain_exponent: 0.3,
            gain_exponent_above: 1.2,
            coupling: 2.0,
            coupling_exponent: 0.28,
            coupling_range: (0.5, 1.5),
            volatility_threshold: 0.15,
            volatility_gain: 7.0,
            rate_time: 3.0,
            volatility_time: 15.0,
            ripple_threshold: 1.3,
            ripple_time: 4.0,
            ripple_interval: 0.016,
            ripple_fall: 0.5,
            ripple_recovery: 0.25,
            ripple_floor: 0.08,
        }
    }

    /// Rule q2: cap 20 ms. Keeps the utilisation of plain DualPI2.
    pub const fn q2() -> AdaptiveConfig {
        AdaptiveConfig {
            max_target: 20.0,
            volatility_gain: 5.0,
            ..AdaptiveConfig::q3()
        }
    }

    /// Rule h1: cap 10 ms and gains that know no context. For links of constant
    /// rate only.
    pub const fn h1() -> AdaptiveConfig {
        AdaptiveConfig {
            max_target: 10.0,
            volatility_gain: 0.0,
            ripple_threshold: f64::INFINITY,
            ..AdaptiveConfig::q3()
        }
    }
}

impl Default for AdaptiveConfig {
    fn default() -> AdaptiveConfig {
        Preset::default().config()
    }
}

/// Named constants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preset {
    /// [`AdaptiveConfig::q3`]
    #[default]
    Q3,
    /// [`AdaptiveConfig::q2`]
    Q2,
    /// [`AdaptiveConfig::h1`]
    H1,
}

impl Preset {
    /// All presets by their names.
    pub const NAMES: [(&str, Preset); 3] =
        [("q3", Preset::Q3), ("q2", Preset::Q2), ("h1", Preset::H1)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Preset::NAMES[self as usize].0
    }

    /// Its constants.
    pub const fn config(self) -> AdaptiveConfig {
        match self {
            Preset::Q3 => AdaptiveConfig::q3(),
            Preset::Q2 => AdaptiveConfig::q2(),
            Preset::H1 => AdaptiveConfig::h1(),
        }
    }
}

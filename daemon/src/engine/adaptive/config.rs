//! The constants of the adaptive rule.

/// Constants of the [adaptive rule](super::Adaptive). Times are in seconds, delays
/// in milliseconds and rates in hertz; gains are factors on RFC 9332's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveConfig {
    /// Target at the start, ms.
    pub initial_target: f64,
    /// Minimum target, ms; one packet time if that is longer.
    pub min_target: f64,
    /// Maximum target, ms, with the gains of plain DualPI2. It is slightly longer
    /// than plain's 15 ms: plain's own utilisation varies on links that stay idle
    /// at this target, and 2 ms more keep the rule's above it.
    pub max_target: f64,

    /// Time constant of the idle share that moves the target, s: a few round
    /// trips.
    pub idle_time: f64,
    /// Time constant of the idle share that raises the budget, and of the rate
    /// of signals, s: longer than the sawtooth of a flow on a long path.
    pub budget_time: f64,
    /// Idle budget ε of a link that is never idle for long: the share of its
    /// time that may be idle in exchange for shorter queues.
    pub idle_budget: f64,
    /// Part of the long-term idle share that is added to ε: a link that senders
    /// do not fill is idle whatever the target is.
    pub idle_budget_slope: f64,
    /// Maximum rate at which the target's logarithm moves by one budget, per
    /// second.
    pub max_rate: f64,
    /// Rate per congestion signal a second: the target moves only as often as
    /// signals arrive, because with a single flow only one signal per sawtooth
    /// shows whether the link becomes idle.
    pub rate_per_signal: f64,
    /// Minimum rate while the target rises: few signals slow its fall, but not
    /// its response to idle time.
    pub least_rise: f64,
    /// Maximum step of the integration, s.
    pub max_step: f64,

    /// Minimum share of the link taken by L4S traffic at which a long-lived L4S
    /// flow is assumed to fill the link if it could; below, it is a paced
    /// stream.
    pub filling_l4s_load: f64,
    /// Target without a flow that would fill the link, ms.
    pub relaxed_target: f64,
    /// Maximum rate at which the target's logarithm approaches
    /// `relaxed_target`, per second.
    pub relaxation: f64,
    /// Gain without a flow that would fill the link, that of the profile `tuned`.
    /// A higher one shortens the delay further, but short flows take longer.
    pub relaxed_gain: f64,
    /// Drain rate, Mbit/s, above which `relaxed_gain` falls with the rate, down to
    /// plain's.
    pub relaxed_gain_mbps: f64,
    /// Time constant of the gain's transition to `relaxed_gain` and back, s.
    pub relaxed_gain_time: f64,

    /// Proportional gain at `reference_target`.
    pub gain: f64,
    /// Integral gain at `reference_target`. Half of the proportional gain damps
    /// the queue more: at the same idle share, the target is 3 to 5 % shorter.
    pub integral_gain: f64,
    /// Target, ms, at which the gains are `gain` and `integral_gain`, and k is 2.
    /// Above it the gains fall to 1 at `max_target`, and k stays.
    pub reference_target: f64,
    /// The gains are proportional to the target to minus this power below
    /// `reference_target`: a shorter queue must be controlled faster.
    pub gain_exponent: f64,
    /// k is proportional to the target to this power below `reference_target`:
    /// classic flows with a shorter queue have a shorter round trip and a
    /// higher p.
    pub coupling_exponent: f64,
    /// The controller's period, s.
    pub tupdate: f64,
    /// Target, ms, from which the period is RFC 9332's.
    pub plain_from: f64,

    /// Volatility σ of the drain rate at which a link starts to count as
    /// stepping, and at which it fully does.
    pub stepping: (f64, f64),
    /// Gain on a stepping link, at any target.
    pub step_gain: f64,
    /// Time constant of the mean rate around which σ is measured, s.
    pub rate_time: f64,
    /// Time constant of σ², s.
    pub volatility_time: f64,

    /// Minimum typical change of the drain rate's logarithm between two summaries
    /// at which a link counts as variable.
    pub variable_change: f64,
    /// Minimum ripple of the queue delay at which a link counts as bursty: 3 to 5
    /// with the set-points of such a link, and below them 1.6 to 3. On a constant
    /// rate it is at most 1 with paced senders, and 1.5 with others.
    pub burst_ripple: f64,
    /// Time constant of the typical change and of the ripple, s.
    pub change_time: f64,
    /// Rate at which the target's logarithm rises on a variable or bursty link,
    /// per second.
    pub variable_rise: f64,
}

impl AdaptiveConfig {
    /// Constants with an idle budget of 0.4 % of the link's time.
    pub const fn balanced() -> AdaptiveConfig {
        AdaptiveConfig {
            initial_target: 10.0,
            min_target: 1.5,
            max_target: 17.0,
            idle_time: 0.2,
            budget_time: 5.0,
            idle_budget: 0.004,
            idle_budget_slope: 0.05,
            max_rate: 0.35,
            rate_per_signal: 0.05,
            least_rise: 0.1,
            max_step: 0.5,
            filling_l4s_load: 0.15,
            relaxed_target: 10.0,
            relaxation: 0.35,
            relaxed_gain: 4.0,
            relaxed_gain_mbps: 50.0,
            relaxed_gain_time: 4.0,
            gain: 3.2,
            integral_gain: 1.6,
            reference_target: 10.0,
            gain_exponent: 0.3,
            coupling_exponent: 0.28,
            tupdate: 0.004,
            plain_from: 14.0,
            stepping: (0.15, 0.25),
            step_gain: 6.0,
            rate_time: 3.0,
            volatility_time: 15.0,
            variable_change: 0.01,
            burst_ripple: 1.7,
            change_time: 4.0,
            variable_rise: 2.0,
        }
    }

    /// The same constants with an idle budget of 1 %, for shorter queues.
    pub const fn low_delay() -> AdaptiveConfig {
        AdaptiveConfig {
            idle_budget: 0.01,
            ..AdaptiveConfig::balanced()
        }
    }
}

impl Default for AdaptiveConfig {
    fn default() -> AdaptiveConfig {
        Preset::default().config()
    }
}

/// Named sets of constants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preset {
    /// [`AdaptiveConfig::balanced`]
    #[default]
    Balanced,
    /// [`AdaptiveConfig::low_delay`]
    LowDelay,
}

impl Preset {
    /// All presets by name.
    pub const NAMES: [(&str, Preset); 2] = [
        ("balanced", Preset::Balanced),
        ("low-delay", Preset::LowDelay),
    ];

    /// Name in configuration and scenario files.
    pub fn name(self) -> &'static str {
        Preset::NAMES[self as usize].0
    }

    /// Constants of the preset.
    pub const fn config(self) -> AdaptiveConfig {
        match self {
            Preset::Balanced => AdaptiveConfig::balanced(),
            Preset::LowDelay => AdaptiveConfig::low_delay(),
        }
    }
}

//! The numbers of a record or a summary that a policy reads, and their scaling.

mod decaying_mean;
mod long_lived;
mod period;
mod summary;

use l4sllm_abi::Record;
use serde::{Deserialize, Deserializer, Serialize};

pub use decaying_mean::DecayingMean;
pub use long_lived::LongLived;
pub use period::{MEMORY, PERSISTENCE, Period, Periods};
pub use summary::SummaryFeature;

const U32: (u64, u64) = (0, u32::MAX as u64);
const U64: (u64, u64) = (0, u64::MAX);
/// A probability of one, Q31.
const ONE: u64 = l4sllm_abi::raw::L4S_PROB_ONE as u64;
/// Bytes of an IP packet (RFC 791, section 3.1).
const PACKET: (u64, u64) = (1, u16::MAX as u64);

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $name:literal [$unit:literal] in $range:expr, |$r:ident| $value:expr, $transform:ident;)+) => {
        /// A scalar field of a record.  Names are those of the kernel log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Feature { $($(#[$doc])* $variant),+ }

        impl Feature {
            /// Every feature, in the order of a pool's columns.
            pub const ALL: &'static [Feature] = &[$(Feature::$variant),+];

            /// The name in configurations, pools and logs.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$variant => $name),+ }
            }

            /// The unit of the raw value; empty for a code.
            pub fn unit(self) -> &'static str {
                match self { $(Feature::$variant => $unit),+ }
            }

            /// Least and greatest valid raw value of the record's field. Pools,
            /// tables and logs contain no other values.
            pub const fn range(self) -> (u64, u64) {
                match self { $(Feature::$variant => $range),+ }
            }

            /// The raw value, in the record's unit.  Every field but counters
            /// beyond 2^53 is represented exactly.
            pub fn value(self, record: &Record) -> f64 {
                match self { $(Feature::$variant => { let $r = record; $value as f64 }),+ }
            }

            /// The transform that suits the field's range.
            pub fn transform(self) -> Transform {
                match self { $(Feature::$variant => Transform::$transform),+ }
            }
        }
    };
}

features! {
    /// 0 classic, 1 L4S.
    QueueType = "queue_type" [""] in (0, 1), |r| r.queue_type, Linear;
    /// Burst allowance left, µs.
    BurstAllowance = "burst_allowance" ["us"] in U32, |r| r.burst_allowance, Log1p;
    /// The queue's own probability, Q31.
    DropProbability = "drop_probability" ["Q31"] in (0, ONE), |r| r.drop_probability, Log1p;
    /// Queue delay after the decision, µs.
    CurrentQueueDelay = "current_queue_delay" ["us"] in U32, |r| r.current_queue_delay, Log1p;
    /// Queue delay at the last controller update, µs.
    PreviousQueueDelay = "previous_queue_delay" ["us"] in U32, |r| r.previous_queue_delay, Log1p;
    /// Probability accumulated since the last mark or drop, Q31.
    AccumulatedProbability = "accumulated_probability" ["Q31"] in U64, |r| r.accumulated_probability, Log1p;
    /// Departure-rate estimate, µs per sample.
    AverageDequeueTime = "average_dequeue_time" ["us"] in U32, |r| r.average_dequeue_time, Log1p;
    /// Bytes in the running departure-rate sample.
    DequeueCount = "dequeue_count" ["bytes"] in U32, |r| r.dequeue_count, Log1p;
    /// Packets that ever arrived at the queue.
    TotalPackets = "total_packets" ["packets"] in U64, |r| r.total_packets, Log1p;
    /// Bytes that ever arrived at the queue.
    TotalBytes = "total_bytes" ["bytes"] in U64, |r| r.total_bytes, Log1p;
    /// Packets queued.
    QueueLength = "queue_length" ["packets"] in U32, |r| r.queue_length, Log1p;
    /// Bytes queued.
    LengthInBytes = "length_in_bytes" ["bytes"] in U32, |r| r.length_in_bytes, Log1p;
    /// Drops of the queue so far.
    TotalDrops = "total_drops" ["packets"] in U64, |r| r.total_drops, Log1p;
    /// Length of the packet, bytes.
    PacketLength = "packet_length" ["bytes"] in PACKET, |r| r.packet_length, Linear;
    /// The base controller's p', Q31.
    BaseProbability = "base_probability" ["Q31"] in (0, ONE), |r| r.base_probability, Log1p;
    /// Codepoint on arrival (RFC 3168).
    Ecn = "ecn" [""] in (0, 3), |r| r.ecn, Linear;
    /// Sojourn time of the packet, ns.
    SojournNs = "sojourn_ns" ["ns"] in U64, |r| r.sojourn_ns, Log1p;
}

impl Feature {
    /// The feature of that name.
    pub fn named(name: &str) -> Option<Feature> {
        Feature::ALL.iter().copied().find(|f| f.name() == name)
    }

    /// The seven of the published experience pools.
    pub const PAPER7: [Feature; 7] = [
        Feature::QueueType,
        Feature::BurstAllowance,
        Feature::DropProbability,
        Feature::CurrentQueueDelay,
        Feature::AccumulatedProbability,
        Feature::LengthInBytes,
        Feature::PacketLength,
    ];

    /// The eight of the authors' earlier pools, which contain the queue's
    /// counters instead of the lengths of the queue and the packet.
    pub const PAPER8: [Feature; 8] = [
        Feature::QueueType,
        Feature::BurstAllowance,
        Feature::DropProbability,
        Feature::CurrentQueueDelay,
        Feature::AccumulatedProbability,
        Feature::AverageDequeueTime,
        Feature::TotalBytes,
        Feature::TotalDrops,
    ];
}

/// An input of a policy: a field of a record, or a number of a summary.
/// Configurations contain only the name, which is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum InputFeature {
    /// A field of a record.
    Record(Feature),
    /// A number of a summary.
    Summary(SummaryFeature),
}

impl InputFeature {
    /// The feature of that name.
    pub fn named(name: &str) -> Option<InputFeature> {
        let of_record = Feature::named(name).map(InputFeature::Record);
        of_record.or_else(|| SummaryFeature::named(name).map(InputFeature::Summary))
    }

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            InputFeature::Record(feature) => feature.name(),
            InputFeature::Summary(feature) => feature.name(),
        }
    }

    /// The unit of the raw value; empty for a code or a ratio.
    pub fn unit(self) -> &'static str {
        match self {
            InputFeature::Record(feature) => feature.unit(),
            InputFeature::Summary(feature) => feature.unit(),
        }
    }

    /// The transform that suits the range.
    pub fn transform(self) -> Transform {
        match self {
            InputFeature::Record(feature) => feature.transform(),
            InputFeature::Summary(feature) => feature.transform(),
        }
    }

    /// The raw value in a record; `None` for a number of a summary.
    #[inline]
    pub fn of_record(self, record: &Record) -> Option<f64> {
        match self {
            InputFeature::Record(feature) => Some(feature.value(record)),
            InputFeature::Summary(_) => None,
        }
    }

    /// The raw value in a period; `None` for a field of a record, and if
    /// [`SummaryFeature::value`] returns none.
    pub fn of_period(self, period: &Period) -> Option<f64> {
        match self {
            InputFeature::Record(_) => None,
            InputFeature::Summary(feature) => feature.value(period),
        }
    }
}

impl From<Feature> for InputFeature {
    fn from(feature: Feature) -> InputFeature {
        InputFeature::Record(feature)
    }
}

impl From<SummaryFeature> for InputFeature {
    fn from(feature: SummaryFeature) -> InputFeature {
        InputFeature::Summary(feature)
    }
}

impl<'de> Deserialize<'de> for InputFeature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InputFeature, D::Error> {
        let name = String::deserialize(deserializer)?;
        InputFeature::named(&name).ok_or_else(|| {
            let of_records = Feature::ALL.iter().map(|f| f.name());
            let names = of_records.chain(SummaryFeature::ALL.iter().map(|f| f.name()));
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            let error = format!("unknown variant `{name}`, expected one of {names}");
            serde::de::Error::custom(error)
        })
    }
}

/// Transform of a raw value before it is standardised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Nothing.
    Linear,
    /// ln(1 + x), for x >= 0: probabilities, delays and lengths span decades.
    Log1p,
    /// ln x, for factors: gains, shares. Values below 1e-6 count as 1e-6.
    Log,
}

impl Transform {
    /// Minimum value for `Log`; smaller ones are clamped to it.
    pub(crate) const LOG_FLOOR: f64 = 1e-6;

    /// Applies the transform.  Negative input to `Log1p` counts as 0.
    pub fn apply(self, raw: f64) -> f64 {
        match self {
            Transform::Linear => raw,
            Transform::Log1p => raw.max(0.0).ln_1p(),
            Transform::Log => raw.max(Transform::LOG_FLOOR).ln(),
        }
    }

    /// Undoes [`Transform::apply`].
    pub fn invert(self, value: f64) -> f64 {
        match self {
            Transform::Linear => value,
            Transform::Log1p => value.exp_m1(),
            Transform::Log => value.exp(),
        }
    }
}

/// Scaling of a scalar to an input of the network: `(transform(x) - mean) /
/// std`, clamped to `-clip..=clip`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Applied first.
    pub transform: Transform,
    /// Mean of the transformed training values.
    pub mean: f64,
    /// Their standard deviation, above 0.
    pub std: f64,
    /// Bound of the result, above 0, which keeps inputs never seen in training
    /// close to those that were.
    pub clip: f64,
}

impl Scaling {
    /// Identity, for tests and for unfitted policies.
    pub const IDENTITY: Scaling = Scaling {
        transform: Transform::Linear,
        mean: 0.0,
        std: 1.0,
        clip: 1e9,
    };

    /// Default bound of a scaled value.
    pub const CLIP: f64 = 8.0;

    /// Fits mean and standard deviation to raw values.
    pub fn fit(transform: Transform, values: impl Iterator<Item = f64>) -> Scaling {
        let mut fit = Fit::new(transform);
        values.for_each(|value| fit.add(value));
        fit.finish()
    }

    /// The network's input for a raw value.
    pub fn apply(&self, raw: f64) -> f32 {
        let scaled = (self.transform.apply(raw) - self.mean) / self.std;
        scaled.clamp(-self.clip, self.clip) as f32
    }

    /// The raw value of an input that was not clipped.
    pub fn invert(&self, scaled: f32) -> f64 {
        self.transform
            .invert(f64::from(scaled) * self.std + self.mean)
    }
}

/// Accumulates a [`Scaling`] (Welford: one pass, no cancellation at large
/// means).
#[derive(Debug, Clone)]
pub struct Fit {
    transform: Transform,
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fit {
    /// Creates an accumulator without values.
    pub fn new(transform: Transform) -> Fit {
        Fit {
            transform,
            count: 0.0,
            mean: 0.0,
            squares: 0.0,
        }
    }

    /// Adds one raw value.
    pub fn add(&mut self, raw: f64) {
        let value = self.transform.apply(raw);
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    /// The scaling.  A constant column gets a deviation of 1, so that it maps
    /// to 0.
    pub fn finish(self) -> Scaling {
        let std = (self.squares / self.count.max(1.0)).sqrt();
        let std = if std > 1e-9 * self.mean.abs().max(1.0) {
            std
        } else {
            1.0
        };
        Scaling {
            transform: self.transform,
            mean: self.mean,
            std,
            clip: Scaling::CLIP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_round_trips() {
        for transform in [Transform::Linear, Transform::Log1p, Transform::Log] {
            let values = [1e-6, 1.0, 40.0, 1500.0, 2_147_483_647.0];
            let scaling = Scaling::fit(transform, values.iter().copied());
            for value in values {
                let back = scaling.invert(scaling.apply(value));
                // Computed in f32: the tolerance is a share of the spread or of
                // the value.
                let tolerance = match transform {
                    Transform::Linear => 1e-6 * scaling.std,
                    Transform::Log1p => 1e-4 * (1.0 + value),
                    Transform::Log => 1e-4 * value,
                };
                assert!((back - value).abs() <= tolerance, "{value} became {back}");
            }
        }
    }

    #[test]
    fn a_fitted_column_has_mean_zero_and_deviation_one() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i * i)).collect();
        let scaling = Scaling::fit(Transform::Log1p, values.iter().copied());
        let scaled: Vec<f64> = values
            .iter()
            .map(|v| f64::from(scaling.apply(*v)))
            .collect();
        let mean = scaled.iter().sum::<f64>() / 1000.0;
        let variance = scaled.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!(
            mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3,
            "{mean} {variance}"
        );
    }

    #[test]
    fn a_constant_column_maps_to_zero() {
        let scaling = Scaling::fit(Transform::Linear, [150_000.0; 9].into_iter());
        assert_eq!(scaling.apply(150_000.0), 0.0);
    }

    #[test]
    fn unseen_values_are_clipped() {
        let scaling = Scaling::fit(Transform::Linear, [0.0, 1.0].into_iter());
        assert_eq!(scaling.apply(1e12), Scaling::CLIP as f32);
        assert_eq!(scaling.apply(-1e12), -Scaling::CLIP as f32);
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for feature in Feature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.name());
            assert_eq!(Feature::named(feature.name()), Some(*feature));
        }
    }
}

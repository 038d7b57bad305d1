//! Valid values of the columns of pools, for all formats.

use std::fmt;

use crate::{ACTIONS, Feature};

/// Domain of a column: numbers within a range, whole for codes and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Domain {
    least: u64,
    most: u64,
    whole: bool,
}

impl Domain {
    pub(super) const ACTION: Domain = Domain::whole(ACTIONS as u64 - 1);
    pub(super) const REASON: Domain = Domain::whole(u8::MAX as u64);
    pub(super) const EPISODE: Domain = Domain::whole(u32::MAX as u64);
    pub(super) const TIME: Domain = Domain::whole(u64::MAX);
    pub(super) const DONE: Domain = Domain::whole(1);

    /// Whole numbers from 0.
    pub(super) const fn whole(most: u64) -> Domain {
        Domain {
            least: 0,
            most,
            whole: true,
        }
    }

    /// Domain of a feature. Averages are allowed, so only codes must be whole.
    pub(super) const fn of(feature: Feature) -> Domain {
        let (least, most) = feature.range();
        Domain {
            least,
            most,
            whole: matches!(feature, Feature::QueueType | Feature::Ecn),
        }
    }

    /// The domain with every number increased by one, for codes that count from
    /// 1.
    pub(super) const fn counted_from_one(self) -> Domain {
        Domain {
            least: self.least + 1,
            most: self.most + 1,
            whole: self.whole,
        }
    }

    /// Whether it contains this number, which must be finite.
    pub(super) fn has(self, value: f64) -> bool {
        (self.least as f64..=self.most as f64).contains(&value)
            && (!self.whole || value.trunc() == value)
    }

    /// Whether it contains this exact number.
    pub(super) fn has_exact(self, value: u64) -> bool {
        (self.least..=self.most).contains(&value)
    }

    /// Converts to a whole number of the domain, from a number with a zero
    /// fraction.
    pub(super) fn take(self, value: f64) -> Option<u64> {
        // Beyond 2^53 floating-point numbers are not exact.
        let exact = value.trunc() == value && value < 9_007_199_254_740_992.0;
        (exact && self.has(value)).then_some(value as u64)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.whole {
            "a whole number from "
        } else {
            ""
        };
        write!(f, "{whole}{} to {}", self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_values_out_of_domain() {
        let delay = Domain::of(Feature::CurrentQueueDelay);
        assert_eq!(delay.to_string(), "0 to 4294967295");
        for good in [0.0, -0.0, 0.5, 4_294_967_295.0] {
            assert!(delay.has(good), "{good}");
        }
        for bad in [
            -1.0,
            4_294_967_296.0,
            f64::NAN,
            f64::INFINITY,
            -f64::INFINITY,
        ] {
            assert!(!delay.has(bad), "{bad}");
        }
        assert!(!Domain::of(Feature::QueueType).has(0.5));
        assert!(!Domain::of(Feature::PacketLength).has(0.0));
        assert_eq!(Domain::ACTION.to_string(), "a whole number from 0 to 2");
        assert_eq!(Domain::ACTION.take(2.0), Some(2));
        assert_eq!(
            (Domain::ACTION.take(1.5), Domain::ACTION.take(3.0)),
            (None, None)
        );
        assert_eq!(Domain::ACTION.counted_from_one().take(3.0), Some(3));
        assert_eq!(Domain::TIME.take(1e300), None);
        assert!(Domain::TIME.has_exact(u64::MAX));
    }
}

//! The idle budget of the link, set by an operator.

use std::fmt;
use std::ops::RangeInclusive;

/// Share of time that the link may be idle in exchange for less delay, 0.001 to
/// 0.02 in steps of a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdleBudget(u32);

impl IdleBudget {
    /// Acceptable shares.
    pub const SHARES: RangeInclusive<f64> = 0.001..=0.02;

    /// Acceptable shares in millionths.
    pub const MILLIONTHS: RangeInclusive<u32> = 1000..=20_000;

    /// Creates it from a share; `None` outside [`IdleBudget::SHARES`].
    pub fn new(share: f64) -> Option<IdleBudget> {
        let in_range = IdleBudget::SHARES.contains(&share);
        in_range.then(|| IdleBudget((share * 1e6).round() as u32))
    }

    /// Creates it from millionths; `None` outside [`IdleBudget::MILLIONTHS`].
    pub fn from_millionths(millionths: u32) -> Option<IdleBudget> {
        let in_range = IdleBudget::MILLIONTHS.contains(&millionths);
        in_range.then_some(IdleBudget(millionths))
    }

    /// The share.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl fmt::Display for IdleBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_budget_range_is_0_1_to_2_percent() {
        for share in [0.001, 0.0025, 0.005, 0.02] {
            let budget = IdleBudget::new(share).map(|b| (b.share(), b.to_string()));
            assert_eq!(budget, Some((share, share.to_string())));
        }
        assert_eq!(IdleBudget::from_millionths(5000), IdleBudget::new(0.005));
        for share in [0.0, 0.0009, 0.0201, f64::NAN, -1.0] {
            assert_eq!(IdleBudget::new(share), None, "{share}");
        }
        for millionths in [0, 999, 20_001, u32::MAX] {
            assert_eq!(IdleBudget::from_millionths(millionths), None);
        }
    }
}

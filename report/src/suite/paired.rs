//! Statistics over pairs of repetitions, and the definition of kept.

use l4sllm_testbed::suite::Measures;
use serde::Serialize;

use crate::verdict::Interval;

/// Minimum share of the better of plain's and tuned's utilisation that counts
/// as kept.
pub const UTILISATION_KEPT: f64 = 0.995;

/// Maximum loss of Jain's index that counts as kept.
pub const JAIN_KEPT: f64 = 0.02;

/// Minimum number of values for an interval. Student's t of two is 12.7, so
/// their interval is meaningless.
pub const LEAST_VALUES: usize = 3;

/// A mean with its interval, which requires [`LEAST_VALUES`]; none without
/// values.
pub(super) fn mean_with_interval(values: &[f64]) -> Option<Interval> {
    let interval = Interval::of(values)?;
    Some(Interval {
        half_width: interval.half_width.filter(|_| values.len() >= LEAST_VALUES),
        ..interval
    })
}

/// A geometric mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The geometric mean.
    pub mean: f64,
    /// Lower end of the interval; none with fewer than [`LEAST_VALUES`].
    pub low: Option<f64>,
    /// Upper end, likewise.
    pub high: Option<f64>,
}

impl Ratio {
    /// Computes it from a mean of logarithms.
    pub(super) fn of(logs: Option<Interval>) -> Option<Ratio> {
        logs.map(|of| Ratio {
            mean: of.mean.exp(),
            low: of.half_width.map(|half| (of.mean - half).exp()),
            high: of.half_width.map(|half| (of.mean + half).exp()),
        })
    }
}

/// Pairs of finished repetitions.
fn pairs(
    own: &[Option<Measures>],
    reference: &[Option<Measures>],
    of: impl Fn(&Measures) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let both = own.iter().zip(reference);
    both.filter_map(|(a, b)| Some((of(a.as_ref()?)?, of(b.as_ref()?)?)))
        .collect()
}

/// Mean logarithm of ratios over pairs. Pairs with a value of 0 are skipped.
pub(super) fn log_ratio(
    own: &[Option<Measures>],
    reference: &[Option<Measures>],
    of: impl Fn(&Measures) -> Option<f64>,
) -> Option<Interval> {
    let pairs = pairs(own, reference, of).into_iter();
    let logs: Vec<f64> = pairs
        .filter(|(a, b)| *a > 0.0 && *b > 0.0)
        .map(|(a, b)| (a / b).ln())
        .collect();
    mean_with_interval(&logs)
}

/// Mean difference over pairs.
pub(super) fn differences(
    own: &[Option<Measures>],
    reference: &[Option<Measures>],
    of: impl Fn(&Measures) -> Option<f64>,
) -> Option<Interval> {
    let pairs = pairs(own, reference, of).into_iter();
    mean_with_interval(&pairs.map(|(a, b)| a - b).collect::<Vec<_>>())
}

pub(super) fn mean(
    repetitions: &[Option<Measures>],
    of: impl Fn(&Measures) -> Option<f64>,
) -> Option<f64> {
    let values = repetitions.iter().flatten().filter_map(of);
    Interval::of(&values.collect::<Vec<_>>()).map(|of| of.mean)
}

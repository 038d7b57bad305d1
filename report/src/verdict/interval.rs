//! Means with their confidence intervals.

use super::CONFIDENCE;
use super::student::quantile;

/// A mean, and half the width of its [`CONFIDENCE`] interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width; none with fewer than two values, whose spread is
    /// unknown.
    pub half_width: Option<f64>,
}

impl Interval {
    /// The mean of `values` with Student's t interval; none without values.
    pub fn of(values: &[f64]) -> Option<Interval> {
        let moments = Moments::of(values)?;
        let half_width = moments
            .variance
            .map(|variance| t(moments.count - 1.0) * (variance / moments.count).sqrt());
        Some(Interval {
            mean: moments.mean,
            half_width,
        })
    }

    /// The difference of the means of `own` and `reference`, with possibly
    /// different variances (Welch, with Satterthwaite's degrees of freedom);
    /// none if either is empty.
    pub fn welch(own: &[f64], reference: &[f64]) -> Option<Interval> {
        let (a, b) = (Moments::of(own)?, Moments::of(reference)?);
        let half_width = a.variance.zip(b.variance).map(|(va, vb)| {
            let (ea, eb) = (va / a.count, vb / b.count);
            let error = ea + eb;
            let freedom =
                error.powi(2) / (ea.powi(2) / (a.count - 1.0) + eb.powi(2) / (b.count - 1.0));
            // Two constants differ by exactly their difference.
            if error > 0.0 {
                t(freedom) * error.sqrt()
            } else {
                0.0
            }
        });
        Some(Interval {
            mean: a.mean - b.mean,
            half_width,
        })
    }

    /// The interval of the negated values.
    pub fn negated(self) -> Interval {
        Interval {
            mean: -self.mean,
            ..self
        }
    }
}

struct Moments {
    count: f64,
    mean: f64,
    /// Standard deviation of the population from which the values are a sample;
    /// none with fewer than two values.
    variance: Option<f64>,
}

impl Moments {
    fn of(values: &[f64]) -> Option<Moments> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Moments {
            count,
            mean,
            variance: (values.len() >= 2).then(|| squares / (count - 1.0)),
        })
    }
}

/// Student's t of a two-sided interval.
fn t(freedom: f64) -> f64 {
    quantile(0.5 + CONFIDENCE / 2.0, freedom)
}

//! A distribution in six numbers.

/// Five quantiles and the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BoxPlot {
    /// Lower whisker: 1st percentile.
    pub p1: f64,
    /// Lower end of the box: 25th percentile.
    pub p25: f64,
    /// Median, a thick line.
    pub p50: f64,
    /// Upper end of the box: 75th percentile.
    pub p75: f64,
    /// Upper whisker: 99th percentile.
    pub p99: f64,
    /// Mean, a dot.
    pub mean: f64,
}

impl BoxPlot {
    /// Computes it from a quantile function and the mean; none without values.
    pub(crate) fn new(quantile: impl Fn(f64) -> Option<f64>, mean: Option<f64>) -> Option<BoxPlot> {
        Some(BoxPlot {
            p1: quantile(0.01)?,
            p25: quantile(0.25)?,
            p50: quantile(0.5)?,
            p75: quantile(0.75)?,
            p99: quantile(0.99)?,
            mean: mean?,
        })
    }

    /// Computes it from values in ascending order; none without values.
    pub(crate) fn of_sorted(sorted: &[f64]) -> Option<BoxPlot> {
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        BoxPlot::new(|share| nearest_rank(sorted, share), Some(mean))
    }
}

/// The nearest-rank quantile of `sorted` for a share; none without values.
pub(crate) fn nearest_rank(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        let plot = BoxPlot::of_sorted(&sorted).unwrap();
        let quantiles = [plot.p1, plot.p25, plot.p50, plot.p75, plot.p99];
        assert_eq!(quantiles, [2.0, 50.0, 100.0, 150.0, 198.0]);
        assert_eq!(plot.mean, 100.5);
        assert_eq!(BoxPlot::of_sorted(&[3.0]).unwrap().p1, 3.0);
        assert_eq!(BoxPlot::of_sorted(&[]), None);
    }
}

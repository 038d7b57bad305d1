//! Quantiles of Student's t.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The value that a share `p` of Student's t with `freedom` degrees of freedom
/// stays below. `p` in (0, 1), `freedom` at least 1, not necessarily whole.
pub(super) fn quantile(p: f64, freedom: f64) -> f64 {
    let student = StudentsT::new(0.0, 1.0, freedom.max(1.0));
    student
        .expect("scale and degrees of freedom are positive")
        .inverse_cdf(p)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    /// Two-sided 95 % and 99 %: NIST/SEMATECH e-Handbook, table 1.3.6.7.2;
    /// those of fractional degrees from R's `qt`.
    #[test]
    fn quantiles_match_published_tables() {
        let tables = [
            (1.0, 12.706, 63.657),
            (2.0, 4.303, 9.925),
            (3.0, 3.182, 5.841),
            (4.0, 2.776, 4.604),
            (5.0, 2.571, 4.032),
            (9.0, 2.262, 3.250),
            (20.0, 2.086, 2.845),
            (30.0, 2.042, 2.750),
            (100.0, 1.984, 2.626),
        ];
        for (freedom, at_95, at_99) in tables {
            let known = [(0.975, at_95), (0.995, at_99)];
            for (p, t) in known {
                let found = quantile(p, freedom);
                assert!((found - t).abs() < 6e-4, "{freedom}, {p}: {found}, not {t}");
                assert!((quantile(1.0 - p, freedom) + found).abs() < 1e-9);
            }
        }
    }

    /// One and two degrees have closed forms; between them quantiles fall.
    #[test]
    fn small_and_fractional_degrees_are_exact() {
        let exact_1 = (std::f64::consts::PI * 0.475).tan();
        let exact_2 = 0.95 * (2.0_f64 / (4.0 * 0.975 * 0.025)).sqrt();
        assert!((quantile(0.975, 1.0) / exact_1 - 1.0).abs() < 1e-6);
        assert!((quantile(0.975, 2.0) / exact_2 - 1.0).abs() < 1e-6);
        let mut before = f64::INFINITY;
        for step in 0..200 {
            let t = quantile(0.975, 1.0 + f64::from(step) * 0.1);
            assert!(t < before && t > 1.96, "{step}: {t}");
            before = t;
        }
    }
}

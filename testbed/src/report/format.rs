//! Numbers for people.

/// Three significant digits where there is a fraction: 0.412, 4.12, 41.2, 412.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        // 9.996 would otherwise become 10.00.
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// With its sign, a true minus: two significant digits below ten, else none
/// behind the point.
pub(super) fn signed(value: f64) -> String {
    let decimals = usize::from(value.abs() < 9.95);
    let text = format!("{:.decimals$}", value.abs());
    if text.chars().all(|c| matches!(c, '0' | '.')) {
        return "0".to_owned();
    }
    let sign = if value < 0.0 { '\u{2212}' } else { '+' };
    format!("{sign}{text}")
}

/// Digits in groups of three from five digits on, narrow spaces between.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Up to two decimals, none that say nothing: 10, 6.67.
pub(super) fn plain(value: f64) -> String {
    ((value * 100.0).round() / 100.0).to_string()
}

/// A rate: 8 Mbit/s, 2.5 Gbit/s.
pub(super) fn rate(bits_per_s: u64) -> String {
    let (value, unit) = match bits_per_s {
        0..1_000 => (bits_per_s as f64, "bit/s"),
        1_000..1_000_000 => (bits_per_s as f64 / 1e3, "kbit/s"),
        1_000_000..1_000_000_000 => (bits_per_s as f64 / 1e6, "Mbit/s"),
        _ => (bits_per_s as f64 / 1e9, "Gbit/s"),
    };
    format!("{} {unit}", plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let cases = [
            (0.0412, "0.041"),
            (0.9996, "1.00"),
            (9.996, "10.0"),
            (15.04, "15.0"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(412.4), "412");
    }

    #[test]
    fn signs_are_explicit_and_nothing_has_none() {
        assert_eq!(signed(-3.24), "\u{2212}3.2");
        assert_eq!(signed(12.6), "+13");
        assert_eq!(signed(-0.04), "0");
    }

    #[test]
    fn counts_and_rates() {
        assert_eq!(count(1234), "1234");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(plain(10.0), "10");
        assert_eq!(rate(8_000_000), "8 Mbit/s");
        assert_eq!(rate(2_500_000_000), "2.5 Gbit/s");
    }
}

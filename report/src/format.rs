//! Formats numbers for readers.

/// Three significant digits for fractions: 0.412, 4.12, 41.2, 412.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        // Otherwise 9.996 would become 10.00.
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// With its sign, using a true minus: two significant digits below ten,
/// otherwise no decimals.
pub(super) fn signed(value: f64) -> String {
    let decimals = usize::from(value.abs() < 9.95);
    let text = format!("{:.decimals$}", value.abs());
    if text.chars().all(|c| matches!(c, '0' | '.')) {
        return "0".to_owned();
    }
    let sign = if value < 0.0 { '\u{2212}' } else { '+' };
    format!("{sign}{text}")
}

/// An index of 0 to 1: 0.934.
pub(super) fn index(value: f64) -> String {
    format!("{value:.3}")
}

/// Numbers of five or more digits in groups of three, with narrow spaces.
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

/// `1 family`, `13 families`.
pub(super) fn counted(count: usize, one: &str, several: &str) -> String {
    let word = if count == 1 { one } else { several };
    format!("{count} {word}")
}

/// Up to two decimals, without trailing zeros: 10, 6.67.
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

/// A number of weights: 812, 4.13 k, 124 M, 6.74 G.
pub(super) fn quantity(value: u64) -> String {
    let (divisor, unit) = match value {
        0..1_000 => return value.to_string(),
        1_000..1_000_000 => (1e3, "k"),
        1_000_000..1_000_000_000 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    format!("{}\u{a0}{unit}", number(value as f64 / divisor))
}

/// Memory: 84.0 MiB, 1.21 GiB.
pub(super) fn bytes(value: u64) -> String {
    let mib = value as f64 / f64::from(1 << 20);
    match mib {
        mib if mib < 1000.0 => format!("{}\u{a0}MiB", number(mib)),
        mib => format!("{}\u{a0}GiB", number(mib / 1024.0)),
    }
}

/// A span of time: 0.21 s, 94.0 s, 21 min, 3.5 h.
pub(super) fn seconds(value: f64) -> String {
    match value {
        s if s < 0.1 => format!("{}\u{a0}ms", number(s * 1e3)),
        s if s < 120.0 => format!("{}\u{a0}s", number(s)),
        s if s < 7200.0 => format!("{:.0}\u{a0}min", s / 60.0),
        s => format!("{:.1}\u{a0}h", s / 3600.0),
    }
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
    fn signs_are_explicit_except_for_zero() {
        assert_eq!(signed(-3.24), "\u{2212}3.2");
        assert_eq!(signed(12.6), "+13");
        assert_eq!(signed(-0.04), "0");
    }

    #[test]
    fn sizes_and_times() {
        assert_eq!(quantity(124_439_808), "124\u{a0}M");
        assert_eq!(quantity(812), "812");
        assert_eq!(bytes(88_080_384), "84.0\u{a0}MiB");
        assert_eq!(bytes(3 << 30), "3.00\u{a0}GiB");
        assert_eq!(seconds(0.021), "21.0\u{a0}ms");
        assert_eq!(seconds(1260.0), "21\u{a0}min");
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

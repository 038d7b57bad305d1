//! Quantities with units: `10 ms`, `8 Mbit/s`, `1.5 MB`.

/// A kind of quantity: its units, each with its value in the base unit.
#[derive(Debug)]
pub struct Quantity {
    /// Name in errors.
    pub what: &'static str,
    /// Units from the base unit upwards; the factors are powers of ten.
    units: &'static [(&'static str, u64)],
    /// Accepted in input, not used for printing.
    other: &'static [(&'static str, u64)],
}

/// Durations, in ns.
pub const DURATION: Quantity = Quantity {
    what: "duration",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
    ],
    other: &[("min", 60_000_000_000), ("h", 3_600_000_000_000)],
};

/// Rates, in bit/s.
pub const RATE: Quantity = Quantity {
    what: "rate",
    units: &[
        ("bit/s", 1),
        ("kbit/s", 1_000),
        ("Mbit/s", 1_000_000),
        ("Gbit/s", 1_000_000_000),
    ],
    other: &[],
};

/// Sizes, in bytes.
pub const SIZE: Quantity = Quantity {
    what: "size",
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ],
    other: &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)],
};

impl Quantity {
    /// Parses a value in the base unit; the error is the expected form.
    ///
    /// # Errors
    /// The text is not a number with one of the units, or the value is too
    /// large.
    pub fn parse(&self, text: &str) -> Result<u64, String> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_');
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let number = number
            .replace('_', "")
            .parse::<f64>()
            .map_err(|_| self.expected())?;
        let unit = unit.trim();
        let mut units = self.units.iter().chain(self.other);
        let (_, factor) = units
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| self.expected())?;
        let value = number * *factor as f64;
        // Above 2^53 the product is no longer exact.
        if value > 9e15 {
            Err(self.expected())
        } else {
            Ok(value.round() as u64)
        }
    }

    /// Formats `value` in the largest unit that keeps it integral.
    pub fn show(&self, value: u64) -> String {
        let fits = |(_, factor): &&(&str, u64)| value >= *factor && value % factor == 0;
        let (unit, factor) = self.units.iter().rev().find(fits).unwrap_or(&self.units[0]);
        format!("{} {unit}", value / factor)
    }

    /// Description of the expected form.
    pub fn syntax(&self) -> String {
        let units = self.units.iter().chain(self.other);
        let units: Vec<&str> = units.map(|(name, _)| *name).collect();
        format!("a number with one of {}", units.join(", "))
    }

    fn expected(&self) -> String {
        format!("a {} in quotes: {}", self.what, self.syntax())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_displays() {
        assert_eq!(DURATION.parse("10 ms"), Ok(10_000_000));
        assert_eq!(DURATION.parse("0.1ms"), Ok(100_000));
        assert_eq!(DURATION.parse("2 min"), Ok(120_000_000_000));
        assert_eq!(DURATION.parse("1.5h"), Ok(5_400_000_000_000));
        assert_eq!(RATE.parse("8 Mbit/s"), Ok(8_000_000));
        assert_eq!(RATE.parse("1_000 bit/s"), Ok(1_000));
        assert_eq!(SIZE.parse("1 MiB"), Ok(1 << 20));
        assert_eq!(DURATION.show(1_500_000), "1500 us");
        assert_eq!(DURATION.show(0), "0 ns");
        assert_eq!(RATE.show(8_000_000), "8 Mbit/s");
    }

    #[test]
    fn rejects_invalid_quantities() {
        for text in [
            "",
            "ms",
            "10",
            "10 parsecs",
            "-1 ms",
            "1e3 ms",
            "1.2.3 s",
            "99999999 s",
        ] {
            assert!(DURATION.parse(text).is_err(), "{text}");
        }
        assert!(RATE.parse("8 MB/s").unwrap_err().contains("Mbit/s"));
    }
}

//! Durations in options: a number with a unit, as in scenario files.

use std::ops::RangeInclusive;

use l4sllm_model::strict_toml::DURATION;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Parses the virtual time of a repetition, within the bounds of a scenario
/// file's `duration`, into ns.
pub fn repetition(text: &str) -> Result<u64, String> {
    within(text, 100 * MS..=86_400 * S)
}

/// Parses a virtual time of 1 s to 1 h into ns.
pub fn measured(text: &str) -> Result<u64, String> {
    within(text, S..=3600 * S)
}

/// Parses the duration of a long run, 10 s to 24 h, into ns.
pub fn soak(text: &str) -> Result<u64, String> {
    within(text, 10 * S..=86_400 * S)
}

/// Parses a real time of 1 ms to 1 min into ns.
pub fn watch(text: &str) -> Result<u64, String> {
    within(text, MS..=60 * S)
}

/// Parses the time between two displays, 100 ms to 1 h, into ns.
pub fn refresh(text: &str) -> Result<u64, String> {
    within(text, 100 * MS..=3600 * S)
}

/// Parses a duration within `range`, in ns.
///
/// # Errors
/// Not a number with a unit, or out of range.
pub fn within(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let expected = || {
        format!(
            "expected {} to {}, such as 10s or 1.5h",
            DURATION.show(*range.start()),
            DURATION.show(*range.end())
        )
    };
    match DURATION.parse(text) {
        Ok(ns) if range.contains(&ns) => Ok(ns),
        Ok(_) => Err(expected()),
        Err(_) => Err(format!("{}; {}", expected(), DURATION.syntax())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::scenario::Scenario;

    #[test]
    fn durations_parse_as_in_scenario_files() {
        for (text, ns) in [
            ("100ms", Some(100 * MS)),
            ("10s", Some(10 * S)),
            ("10 s", Some(10 * S)),
            ("24h", Some(86_400 * S)),
            ("1.5min", Some(90 * S)),
            ("99.9ms", None),
            ("86401s", None),
            ("NaN", None),
            ("-1s", None),
            ("10", None),
        ] {
            assert_eq!(repetition(text).ok(), ns, "{text}");
        }
        let minimal = include_str!("../../scenarios/paper.toml");
        let accepted = |duration: &str| {
            let text: Vec<String> = minimal
                .lines()
                .map(|line| match line.starts_with("duration =") {
                    true => format!("duration = \"{duration}\""),
                    false => line.to_owned(),
                })
                .collect();
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/paper.toml");
            match Scenario::parse(path.as_ref(), &text.join("\n")) {
                Ok(_) => true,
                Err(error) => {
                    assert!(error.to_string().contains("duration"), "{error}");
                    false
                }
            }
        };
        assert!(accepted("24 h") && !accepted("86401 s") && !accepted("99 ms"));
    }

    #[test]
    fn names_missing_unit() {
        let error = repetition("10").unwrap_err();
        assert_eq!(
            error,
            "expected 100 ms to 86400 s, such as 10s or 1.5h; \
             a number with one of ns, us, ms, s, min, h"
        );
    }
}

//! `--duration`: how long a scenario runs, in place of what its file says.

/// Bounds of a scenario file's `duration`, in seconds.
const BOUNDS_S: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;

/// Parses virtual seconds into nanoseconds.
///
/// # Errors
/// Not a number, or out of bounds.
pub fn duration_ns(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seconds) if BOUNDS_S.contains(&seconds) => Ok((seconds * 1e9).round() as u64),
        _ => {
            let (least, most) = (BOUNDS_S.start(), BOUNDS_S.end());
            Err(format!("want {least} to {most} seconds"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::scenario::Scenario;

    #[test]
    fn durations_are_those_of_scenario_files() {
        for (text, ns) in [
            ("0.1", Some(100_000_000)),
            ("86400", Some(86_400_000_000_000)),
            ("0.0999", None),
            ("86401", None),
            ("NaN", None),
            ("-1", None),
            ("10s", None),
        ] {
            assert_eq!(duration_ns(text).ok(), ns, "{text}");
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
        assert!(accepted("86400 s") && !accepted("86401 s") && !accepted("99 ms"));
    }
}

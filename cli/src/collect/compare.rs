//! How behaviours did beside each other, condition by condition.

use std::collections::BTreeMap;

use l4sllm_model::pool::{EpisodeFacts, Outcome};

/// One behaviour against the first, over all conditions.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    conditions: usize,
    utilisation: f64,
    /// Mean and worst difference of utilisation.
    difference: [f64; 2],
    /// Factors, as geometric means: classic mean and 99th percentile, L4S
    /// 99th percentile.
    factors: [Option<f64>; 3],
    jain: Option<f64>,
    /// Conditions with less classic delay, and no more than half a percent of
    /// the capacity given up.
    better: usize,
}

/// A table in Markdown.  Delays are factors on those of the first behaviour
/// in the same condition.
pub fn table(episodes: &[EpisodeFacts]) -> String {
    let lines = lines(episodes);
    let Some(first) = lines.first() else {
        return String::new();
    };
    let mut text = format!(
        "\n{} conditions; delays as factors on those of {} in the same condition (geometric mean)\n\n\
         | behaviour | utilisation | difference: mean, worst | classic mean | classic p99 \
         | L4S p99 | Jain | less delay, same utilisation |\n|---|---|---|---|---|---|---|---|\n",
        first.conditions, first.name
    );
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
    for line in &lines {
        let [mean, worst] = line.difference.map(|d| format!("{:+.2}", 100.0 * d));
        let [classic, classic99, l4s] = line.factors.map(number);
        text += &format!(
            "| {} | {:.2} % | {mean}, {worst} | {classic} | {classic99} | {l4s} | {} | {} of {} |\n",
            line.name,
            100.0 * line.utilisation,
            number(line.jain),
            line.better,
            line.conditions,
        );
    }
    text
}

fn lines(episodes: &[EpisodeFacts]) -> Vec<Line> {
    let mut names: Vec<&str> = Vec::new();
    let mut conditions: BTreeMap<&str, BTreeMap<&str, Outcome>> = BTreeMap::new();
    for episode in episodes {
        let name = episode.behaviour.name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
        let condition = conditions.entry(&episode.scenario).or_default();
        condition.insert(name, episode.outcome);
    }
    let line = |name: &&str| {
        let pairs: Vec<(Outcome, Outcome)> = conditions
            .values()
            .filter_map(|of| Some((*of.get(name)?, *of.get(names[0])?)))
            .collect();
        let factor = |delay: fn(&Outcome) -> Option<f64>| {
            let logs = pairs.iter().filter_map(|(own, first)| {
                let factor = delay(own)? / delay(first)?;
                (factor > 0.0 && factor.is_finite()).then(|| factor.ln())
            });
            mean(logs).map(f64::exp)
        };
        let differences = || {
            pairs
                .iter()
                .map(|(own, first)| own.utilisation - first.utilisation)
        };
        Line {
            name: (*name).to_owned(),
            conditions: pairs.len(),
            utilisation: mean(pairs.iter().map(|(own, _)| own.utilisation)).unwrap_or(0.0),
            difference: [
                mean(differences()).unwrap_or(0.0),
                differences().fold(f64::INFINITY, f64::min),
            ],
            factors: [
                factor(|o| o.classic_mean_ms),
                factor(|o| o.classic_p99_ms),
                factor(|o| o.l4s_p99_ms),
            ],
            jain: mean(pairs.iter().filter_map(|(own, _)| own.jain)),
            better: pairs
                .iter()
                .filter(|(own, first)| {
                    own.classic_mean_ms < first.classic_mean_ms
                        && own.utilisation >= first.utilisation - 0.005
                })
                .count(),
        }
    };
    names.iter().map(line).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then_some(sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn episode(scenario: &str, name: &str, utilisation: f64, classic: Option<f64>) -> EpisodeFacts {
        let outcome = json!({
            "utilisation": utilisation, "classic_mean_ms": classic, "classic_p50_ms": null,
            "classic_p99_ms": null, "l4s_mean_ms": null, "l4s_p99_ms": 1.0, "jain": null,
        });
        let behaviour = json!({
            "name": name, "target_ns": 1, "gain": 1.0, "coupling": 2.0, "l4s_threshold_ns": 1,
        });
        let facts = json!({
            "episode": 0, "scenario": scenario, "rows": 1, "seed": 1, "rate_bps": 1, "rtt_ns": 1,
            "flows": [], "behaviour": behaviour, "outcome": outcome,
        });
        serde_json::from_value(facts).unwrap()
    }

    #[test]
    fn behaviours_are_compared_within_conditions() {
        let episodes = [
            episode("a", "base", 1.0, Some(10.0)),
            episode("a", "new", 0.998, Some(5.0)),
            episode("b", "base", 0.9, Some(4.0)),
            episode("b", "new", 0.8, Some(2.0)),
            episode("c", "base", 0.9, None),
            episode("c", "new", 0.9, None),
        ];
        let lines = lines(&episodes);
        assert_eq!((lines.len(), lines[0].name.as_str()), (2, "base"));
        assert_eq!(lines[0].factors[0], Some(1.0));
        let new = &lines[1];
        assert!((new.factors[0].unwrap() - 0.5).abs() < 1e-12);
        assert_eq!((new.factors[1], new.jain), (None, None));
        assert!(
            (new.difference[0] + 0.034).abs() < 1e-9,
            "{:?}",
            new.difference
        );
        assert!(
            (new.difference[1] + 0.1).abs() < 1e-9,
            "{:?}",
            new.difference
        );
        // Less delay in two conditions, but in one of them capacity is given up.
        assert_eq!((new.better, new.conditions), (1, 3));
        let table = table(&episodes);
        assert!(
            table.contains("| new | 89.93 % | -3.40, -10.00 | 0.500 | - |"),
            "{table}"
        );
    }
}

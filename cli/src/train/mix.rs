//! Sampling weights of the parts of pools.

use crate::output::{bail_usage, ensure_usage};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::Context;
use l4sllm_model::pool::Episode;
use l4sllm_model::torch::Portion;

/// Portions according to a rule of `--mix`; `train` are the training rows.
pub fn portions(
    rule: &str,
    paths: &[PathBuf],
    episodes: &[Episode],
    train: &[Range<usize>],
) -> anyhow::Result<Vec<Portion>> {
    let episode = |range: &Range<usize>| {
        let at = episodes.partition_point(|e| e.rows.end <= range.start);
        episodes.get(at).context("a range of no episode")
    };
    let grouped =
        |key: &dyn Fn(&Episode) -> Option<(String, f64)>| -> anyhow::Result<Vec<Portion>> {
            let mut groups: BTreeMap<String, Portion> = BTreeMap::new();
            for range in train.iter().filter(|range| !range.is_empty()) {
                if let Some((name, weight)) = key(episode(range)?) {
                    let portion = groups.entry(name).or_insert_with(|| Portion {
                        ranges: Vec::new(),
                        weight,
                    });
                    portion.ranges.push(range.clone());
                }
            }
            Ok(groups.into_values().collect())
        };
    let pool = |e: &Episode| paths[e.pool].display().to_string();
    match rule {
        "rows" => Ok(Portion::plain(train)),
        "pools" => grouped(&|e| Some((pool(e), 1.0))),
        "scenarios" => grouped(&|e| Some((e.scenario.clone(), 1.0))),
        _ => {
            let shares = shares(rule)?;
            for (name, _) in &shares {
                let known = |e: &Episode| *name == e.scenario || *name == pool(e);
                ensure_usage!(
                    episodes.iter().any(known),
                    "--mix: {name} is neither a scenario of the pools nor a file of --pool"
                );
            }
            grouped(&|e| {
                let named = |name: &str| name == e.scenario || name == pool(e);
                shares.iter().find(|(name, _)| named(name)).cloned()
            })
        }
    }
}

fn shares(rule: &str) -> anyhow::Result<Vec<(String, f64)>> {
    rule.split(',')
        .map(|part| {
            let share = part.rsplit_once('=').and_then(|(name, share)| {
                let share: f64 = share.parse().ok()?;
                (share.is_finite() && share > 0.0).then(|| (name.to_owned(), share))
            });
            let Some(share) = share else {
                bail_usage!(
                    "--mix {part}: expected rows, pools, scenarios, or NAME=SHARE with a share above 0"
                );
            };
            Ok(share)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus() -> (Vec<PathBuf>, Vec<Episode>, Vec<Range<usize>>) {
        let episode = |rows, pool, scenario: &str| Episode {
            rows,
            pool,
            scenario: scenario.to_owned(),
        };
        let episodes = vec![
            episode(0..100, 0, "wired"),
            episode(100..110, 0, "wifi"),
            episode(110..200, 1, "wired"),
        ];
        let train = vec![0..80, 100..108, 110..180];
        (vec!["a".into(), "b".into()], episodes, train)
    }

    fn mixed(rule: &str) -> String {
        let (paths, episodes, train) = corpus();
        let portions = portions(rule, &paths, &episodes, &train).unwrap();
        let mut text: Vec<String> = Vec::new();
        for Portion { ranges, weight } in portions {
            text.push(format!("{weight} of {ranges:?}"));
        }
        text.join(", ")
    }

    #[test]
    fn rules() {
        assert_eq!(mixed("rows"), "1 of [0..80, 100..108, 110..180]");
        assert_eq!(mixed("pools"), "1 of [0..80, 100..108], 1 of [110..180]");
        let scenarios = "1 of [100..108], 1 of [0..80, 110..180]";
        assert_eq!(mixed("scenarios"), scenarios);
        assert_eq!(mixed("b=1,wifi=0.5"), "1 of [110..180], 0.5 of [100..108]");
    }

    #[test]
    fn explains_invalid_rules() {
        let (paths, episodes, train) = corpus();
        for (rule, want) in [
            ("lte=1", "neither"),
            ("wifi=0", "above 0"),
            ("even", "NAME=SHARE"),
        ] {
            let error = portions(rule, &paths, &episodes, &train).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
        }
    }
}

//! Combines several results: their arms are drawn in the same axes and compared
//! between the results.

use std::path::{Path, PathBuf};

use super::compare::{Comparison, Pair};
use super::conclusion::list;
use super::data::{ArmData, Data};
use l4sllm_testbed::result::{Arm, ArmFacts, Facts, Warning};

/// Overlays named results. The others are compared with the first.
pub(super) fn overlay(results: Vec<(String, Data)>) -> Option<Data> {
    let first = results.first()?.1.clone();
    let scenarios: Vec<&str> = results
        .iter()
        .map(|(_, data)| data.facts.scenario.as_str())
        .collect();
    let mut facts = Facts {
        scenario: match scenarios.iter().all(|name| *name == scenarios[0]) {
            true => scenarios[0].to_owned(),
            false => list(&scenarios),
        },
        arms: Vec::new(),
        baselines: Vec::new(),
        warnings: Vec::new(),
        floor: None,
        lab: None,
        ..first.facts
    };
    let mut summary = first.summary;
    summary.arms.clear();
    summary.warnings.clear();
    let mut whole = Data {
        planned: Vec::new(),
        arms: Vec::new(),
        sources: results.iter().map(|(name, _)| name.clone()).collect(),
        results: results.iter().map(|(_, data)| data.facts.clone()).collect(),
        series_ns: first.series_ns,
        warmup_s: first.warmup_s,
        end_s: first.end_s,
        facts: facts.clone(),
        summary,
    };
    let mut arms: Vec<(Arm, ArmData)> = Vec::new();
    for (source, (name, data)) in results.into_iter().enumerate() {
        let named = |arm: &str| format!("{arm} ({name})");
        facts
            .arms
            .extend(data.facts.arms.into_iter().map(|arm| ArmFacts {
                name: named(&arm.name),
                ..arm
            }));
        let warnings = data.summary.warnings.into_iter();
        whole.summary.warnings.extend(warnings.map(|of| Warning {
            arm: Some(of.arm.map_or_else(|| name.clone(), |arm| named(&arm))),
            ..of
        }));
        let planned = data.planned.into_iter();
        whole
            .planned
            .extend(planned.map(|(arm, count)| (named(&arm), count)));
        for (mut arm, own) in data.summary.arms.into_iter().zip(data.arms) {
            arm.name = named(&arm.name);
            arms.push((arm, ArmData { source, ..own }));
        }
        whole.summary.complete &= data.summary.complete;
        whole.series_ns = whole.series_ns.max(data.series_ns);
        whole.warmup_s = whole.warmup_s.max(data.warmup_s);
        whole.end_s = whole.end_s.max(data.end_s);
    }
    // The arms of one result next to those of another.
    let bases: Vec<String> = arms.iter().map(|(_, own)| own.base.clone()).collect();
    arms.sort_by_key(|(_, own)| (bases.iter().position(|base| *base == own.base), own.source));
    let references = arms.iter().filter(|(_, own)| own.source == 0);
    facts.baselines = references.map(|(arm, _)| arm.name.clone()).collect();
    whole.facts = facts;
    (whole.summary.arms, whole.arms) = arms.into_iter().unzip();
    Some(whole)
}

/// Compares each arm of the first result with the same arm of the others.
pub(super) fn comparison(data: &Data) -> Comparison<'_> {
    let arms = || data.summary.arms.iter().zip(&data.arms);
    let mut baselines = Vec::new();
    let mut pairs = Vec::new();
    for (reference, first) in arms().filter(|(_, own)| own.source == 0) {
        let others = arms().filter(|(_, own)| own.source > 0 && own.base == first.base);
        pairs.extend(others.map(|(arm, _)| Pair::of(arm, reference)));
        baselines.push(reference);
    }
    Comparison { baselines, pairs }
}

/// Names of directories: the minimum number of last components that makes them
/// distinct.
pub(super) fn names(dirs: &[PathBuf]) -> Vec<String> {
    let parts = |dir: &Path| -> Vec<String> {
        let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let parts = whole.iter().map(|part| part.to_string_lossy().into_owned());
        parts.filter(|part| part != "/").collect()
    };
    let parts: Vec<Vec<String>> = dirs.iter().map(|dir| parts(dir)).collect();
    let last =
        |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let named = |count: usize| -> Vec<String> { parts.iter().map(|of| last(of, count)).collect() };
    let differ = |names: &[String]| {
        let mut sorted = names.to_vec();
        sorted.sort();
        sorted.dedup();
        sorted.len() == names.len()
    };
    let counts = 1..=longest.max(1);
    let found = counts.map(named).find(|names| differ(names));
    found.unwrap_or_else(|| named(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_labels_are_the_shortest_unique_ones() {
        let dirs = |dirs: &[&str]| names(&dirs.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(
            dirs(&["/none/a/before", "/none/b/after"]),
            ["before", "after"]
        );
        assert_eq!(dirs(&["/none/a/out", "/none/b/out"]), ["a/out", "b/out"]);
    }
}

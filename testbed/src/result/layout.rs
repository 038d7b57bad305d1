//! What a result directory consists of: the names of its parts.

use std::path::{Path, PathBuf};

pub(super) const FACTS: &str = "facts.json";
pub(super) const SUMMARY: &str = "summary.json";
/// Everything of a repetition that is not a row.
pub(super) const META: &str = "run.json";
pub(super) const HOST: &str = "host.json";
pub(super) const SCENARIO: &str = "scenario";
pub(super) const ARMS: &str = "arms";

/// Every part of a result directory: all that `force` removes. Facts come
/// first: without them nothing that is left counts as a result.
pub(super) const OWN: [&str; 7] = [
    FACTS,
    SUMMARY,
    SCENARIO,
    ARMS,
    HOST,
    "figures",
    "report.html",
];

/// Longest JSON file of a result that is read, bytes: 100,000 flows need a tenth.
pub(super) const JSON_MAX: u64 = 256 << 20;

/// Directory of one repetition of an arm.
pub(super) fn run_dir(path: &Path, arm: &str, repetition: u32) -> PathBuf {
    path.join(ARMS).join(arm).join(repetition.to_string())
}

//! Names of the parts of a result directory.

use std::path::{Path, PathBuf};

pub(super) const FACTS: &str = "facts.json";
pub(super) const SUMMARY: &str = "summary.json";
/// All data of a repetition that is not in rows.
pub(super) const META: &str = "run.json";
pub(super) const HOST: &str = "host.json";
pub(super) const SCENARIO: &str = "scenario";
pub(super) const ARMS: &str = "arms";

/// Every part of a result directory: the files that `force` removes. Facts come
/// first, because without them the remaining files are not a result.
pub(super) const OWN: [&str; 7] = [
    FACTS,
    SUMMARY,
    SCENARIO,
    ARMS,
    HOST,
    "figures",
    "report.html",
];

/// Maximum size of a result's JSON file, bytes: 100,000 flows need a tenth.
pub(super) const JSON_MAX: u64 = 256 << 20;

/// Directory of one repetition of an arm.
pub(super) fn run_dir(path: &Path, arm: &str, repetition: u32) -> PathBuf {
    path.join(ARMS).join(arm).join(repetition.to_string())
}

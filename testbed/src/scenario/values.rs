//! Values that several sections have.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::ScenarioError;
use super::reader::Field;

/// Round-trip times, ns.
pub(super) const RTT: RangeInclusive<u64> = 1_000..=10_000_000_000;

/// A name that can be a directory's.
pub(super) fn name(field: &Field<'_>) -> Result<String, ScenarioError> {
    let name = field.text()?;
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || name.len() > 64 || !name.chars().all(good) {
        return Err(field.error(format_args!(
            "\"{name}\" is not a name of at most 64 letters, digits, '-', '_' and '.'"
        )));
    }
    Ok(name.to_owned())
}

/// A file that a scenario names: beside it, or else as seen from here.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    let near = file.parent().unwrap_or(Path::new("")).join(name);
    if near.exists() {
        near
    } else {
        PathBuf::from(name)
    }
}

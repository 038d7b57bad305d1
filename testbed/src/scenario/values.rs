//! Values used in several sections.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use l4sllm_model::strict_toml::{Field, TomlError};
use l4sllm_model::text::shown;

/// Round-trip times, ns.
pub(super) const RTT: RangeInclusive<u64> = 1_000..=10_000_000_000;

/// A round-trip time, ns.
pub(super) fn rtt(field: &Field<'_>) -> Result<f64, TomlError> {
    Ok(field.duration(RTT)? as f64)
}

/// A name that is valid for a directory.
pub(super) fn name(field: &Field<'_>) -> Result<String, TomlError> {
    let name = field.text()?;
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || name.len() > 64 || !name.chars().all(good) {
        return Err(field.error(format_args!(
            "\"{}\" is not a name of at most 64 letters, digits, '-', '_' and '.'",
            shown(name)
        )));
    }
    Ok(name.to_owned())
}

/// A file named in a scenario: in the scenario's directory, or otherwise in the
/// working directory.
pub(super) fn near(file: &Path, name: &str) -> PathBuf {
    let sibling = file.parent().unwrap_or(Path::new("")).join(name);
    if sibling.exists() {
        sibling
    } else {
        PathBuf::from(name)
    }
}

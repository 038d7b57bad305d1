//! Files of captures: `--pcap`.

use std::path::Path;

use anyhow::Context;
use l4sllm_model::files::AtomicFile;
use l4sllm_model::text::shown;
use l4sllm_testbed::capture::CaptureCounts;

use crate::output::{self, ensure_usage, note};

/// Creates the file for a capture, under a temporary name.
///
/// # Errors
/// It exists and must not be replaced, or cannot be created.
pub fn create(path: &Path, force: bool) -> anyhow::Result<AtomicFile> {
    ensure_usage!(
        path != Path::new("-"),
        "--pcap -: cannot write to standard output; expected a file name (./- for a file of this \
         name)"
    );
    let existing = output::existing(path, force)?;
    AtomicFile::create(path, existing)
        .with_context(|| format!("{}: cannot write the capture", shown(path)))
}

/// Gives a finished capture its name, and prints its counters.
///
/// # Errors
/// The system's.
pub fn commit(file: AtomicFile, counts: &CaptureCounts) -> anyhow::Result<()> {
    let path = file.path().to_owned();
    file.commit()
        .with_context(|| format!("{}: cannot write the capture", shown(&path)))?;
    let missing = match counts.missing {
        0 => String::new(),
        missing => format!("; {missing} more were not captured, because writing was too slow"),
    };
    note!("{}: {} packets{missing}", shown(&path), counts.written);
    Ok(())
}

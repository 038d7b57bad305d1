//! The daemon's wall clock jumps; its monotonic clock does not.

use std::fs;
use std::path::{Path, PathBuf};

use super::bench::Bench;
use super::{Outcome, PATIENCE, watch_unshaken};
use crate::LabError;

/// Jumps of the wall clock, in the syntax of libfaketime.
const JUMPS: [&str; 2] = ["-30d", "+365d"];
/// File with the clock's offset, which libfaketime reads at every use.
const OFFSET: &str = "clock";

/// The library that changes a program's clock, from Debian's package libfaketime.
pub fn library() -> Option<PathBuf> {
    let dirs = fs::read_dir("/usr/lib").ok()?.flatten();
    let dirs = dirs.map(|entry| entry.path().join("faketime"));
    let mut files = dirs
        .chain([PathBuf::from("/usr/lib/faketime")])
        .map(|dir| dir.join("libfaketimeMT.so.1"));
    files.find(|file| file.is_file())
}

/// Gives the daemon a separate wall clock.
///
/// # Errors
/// The file with the offset cannot be written.
pub fn prepare(bench: &mut Bench<'_>) -> Result<(), LabError> {
    let offset = bench.dir().join(OFFSET);
    set(&offset, "+0")?;
    let library = library().unwrap_or_default();
    bench.extras.environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    Ok(())
}

/// Moves the clock. Each time, a reload logs a line with the new date.
///
/// # Errors
/// The daemon, the device or the host does not respond in time.
pub fn drill(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let offset = bench.dir().join(OFFSET);
    let mut dates = vec![date_of(&bench.log())];
    for (jump, reloads) in JUMPS.iter().zip(1..) {
        bench.fail(|_| set(&offset, jump))?;
        watch_unshaken(bench, outcome)?;
        bench.signal(rustix::process::Signal::HUP)?;
        bench.wait_for("a reload", PATIENCE, |bench| {
            let status = bench.status();
            Ok(status.is_some_and(|status| status.reloads.succeeded == reloads))
        })?;
        dates.push(date_of(&bench.log()));
    }
    if dates[0] == dates[1] || dates[1] == dates[2] {
        let fault = format!("the clock did not jump, so nothing was shown: {dates:?}");
        outcome.faults.push(fault);
    }
    Ok(())
}

/// The date of the last line of a log.
fn date_of(log: &str) -> Option<String> {
    log.lines().next_back()?.get(..10).map(str::to_owned)
}

fn set(path: &Path, offset: &str) -> Result<(), LabError> {
    // Replaced atomically, because the daemon may read it at any time.
    let new = path.with_extension("new");
    fs::write(&new, offset)
        .and_then(|()| fs::rename(&new, path))
        .map_err(LabError::system("set the daemon's clock"))
}

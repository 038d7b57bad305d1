//! The disk of the flight recorder is full for some time.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bench::Bench;
use super::{Outcome, PATIENCE, watch_unshaken};
use crate::LabError;
use crate::topology::{DISK, unmount};

/// Options of the file system: space for a recording of 1 MB.
const OPTIONS: &str = "size=2m,mode=0755";
/// Frames after which the recorder surely writes again.
const FRAMES: u64 = 5;

/// A small file system in the bench's directory, unmounted on drop.
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Mounts it, and lets the daemon record there.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount(bench: &mut Bench<'_>) -> Result<Disk, LabError> {
        let dir = bench.dir().join(DISK);
        fs::create_dir_all(&dir).map_err(LabError::system("make a directory"))?;
        mount(&dir)?;
        bench.extras.sections = format!("\n[recorder]\ndirectory = {dir:?}\nsize_mb = 1\n");
        Ok(Disk { dir })
    }

    /// Fills the disk and frees it again.
    ///
    /// # Errors
    /// The disk cannot be filled, or the daemon does not respond in time.
    pub fn drill(&self, bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
        let filler = self.dir.join("filler");
        bench.wait_for("frames", PATIENCE, |bench| {
            Ok(recorder(bench).is_some_and(|status| status.frames > FRAMES))
        })?;
        bench.fail(|_| fill(&filler).map_err(LabError::system("fill the disk")))?;
        bench.wait_for("a failed write", PATIENCE, |bench| {
            Ok(recorder(bench).is_some_and(|status| status.failures > 0))
        })?;
        // Several attempts to write fail meanwhile.
        watch_unshaken(bench, outcome)?;
        expect_logged(bench, "cannot write", outcome);
        let before = recorder(bench).map_or(0, |status| status.frames);
        bench.heal(|_| fs::remove_file(&filler).map_err(LabError::system("free the disk")))?;
        bench.wait_for("frames again", PATIENCE, |bench| {
            Ok(recorder(bench).is_some_and(|status| status.frames > before + FRAMES))
        })?;
        expect_logged(bench, "writes again", outcome);
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.dir);
    }
}

fn recorder(bench: &Bench<'_>) -> Option<l4sllmd::status::RecorderStatus> {
    bench.status()?.recorder
}

/// Checks that `text` is logged once, not at every write.
fn expect_logged(bench: &Bench<'_>, text: &str, outcome: &mut Outcome) {
    let times = bench.logged(text);
    if times != 1 {
        let fault = format!("{text:?} was logged {times} times, expected once");
        outcome.faults.push(fault);
    }
}

fn mount(dir: &Path) -> Result<(), LabError> {
    let mut command = Command::new("mount");
    command
        .args(["-t", "tmpfs", "-o", OPTIONS, "tmpfs"])
        .arg(dir);
    let failed = |reason| LabError::Program {
        program: "mount".to_owned(),
        reason,
    };
    let output = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    loop {
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

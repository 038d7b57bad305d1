//! Writes one repetition while it is emulated, so memory does not grow with its
//! duration.

use std::path::Path;

use l4sllm_model::files::AtomicDir;

use super::columns::RowFile;
use super::error::ResultError;
use super::files::{json, remove, write_atomically};
use super::layout::META;
use super::statistics::{Recorder, Samples};
use super::{DecisionRow, FlowRow, PacketRow, RunMeta, SetPointRow, Window};

/// Rows of a part of a repetition, in time order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// One row per departure or drop at the bottleneck.
    pub packets: Vec<PacketRow>,
    /// One row per flow and sample.
    pub flows: Vec<FlowRow>,
    /// One row per decision of the controller.
    pub decisions: Vec<DecisionRow>,
    /// One row per sample with changed set-points.
    pub set_points: Vec<SetPointRow>,
}

/// Writes the rows of a repetition next to its final location.
/// [`super::ResultDir::finish`] renames it; if dropped before, it is removed.
pub struct RunWriter {
    whole: AtomicDir,
    packets: RowFile<PacketRow>,
    flows: RowFile<FlowRow>,
    decisions: RowFile<DecisionRow>,
    set_points: RowFile<SetPointRow>,
    recorder: Recorder,
}

impl RunWriter {
    /// Starts writing the future `dir`, for a number of flows.
    pub(super) fn create(dir: &Path, window: Window, flows: usize) -> Result<Self, ResultError> {
        let whole = AtomicDir::next(dir).map_err(ResultError::io("create", dir))?;
        Ok(RunWriter {
            packets: RowFile::create(whole.temporary())?,
            flows: RowFile::create(whole.temporary())?,
            decisions: RowFile::create(whole.temporary())?,
            set_points: RowFile::create(whole.temporary())?,
            recorder: Recorder::new(window, flows),
            whole,
        })
    }

    /// Adds rows, which must be later than the previous ones.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn add(&mut self, rows: &Rows) -> Result<(), ResultError> {
        self.recorder.packets(&rows.packets);
        self.recorder.decisions(&rows.decisions);
        self.packets.add(&rows.packets)?;
        self.flows.add(&rows.flows)?;
        self.decisions.add(&rows.decisions)?;
        self.set_points.add(&rows.set_points)
    }

    /// Adds a file with other measurements of the repetition. `name` must not be
    /// one of the result's own.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn attach(&self, name: &str, bytes: &[u8]) -> Result<(), ResultError> {
        write_atomically(&self.whole.temporary().join(name), bytes)
    }

    /// Ends the files and renames their directory to `dir`.
    pub(super) fn commit(self, dir: &Path, meta: &RunMeta) -> Result<Samples, ResultError> {
        self.packets.finish()?;
        self.flows.finish()?;
        self.decisions.finish()?;
        self.set_points.finish()?;
        write_atomically(&self.whole.temporary().join(META), &json(meta))?;
        remove(dir)?;
        self.whole
            .commit()
            .map_err(ResultError::io("create", dir))?;
        Ok(self.recorder.finish(meta))
    }
}

impl std::fmt::Debug for RunWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RunWriter")
            .field(&self.whole.temporary())
            .finish()
    }
}

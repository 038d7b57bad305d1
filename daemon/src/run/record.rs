//! Messages from the worker to the flight recorder.

use std::time::{SystemTime, UNIX_EPOCH};

use l4sllm_abi::Message;

use super::Daemon;
use super::worker::Worker;
use crate::clock::now_ns;
use crate::error::Error;
use crate::recorder::frame::{Base, ConfigState};
use crate::recorder::ring::Ring;
use crate::recorder::{Checkpoint, Frame, Recorder, Turn, start};

/// About the number of bytes of a frame without messages.
const SMALL: usize = 256;

impl Daemon {
    /// Opens the files of the flight recorder, if it is on, and starts its
    /// thread.
    pub(super) fn start_recording(&mut self) -> Result<Option<Recorder>, Error> {
        let Some(config) = &self.config.recorder else {
            return Ok(None);
        };
        let ring = Ring::open(&config.directory)
            .map_err(|(path, source)| Error::Recorder { path, source })?;
        let (recorder, recording) = start(ring, config.bytes).map_err(Error::Runtime)?;
        self.recording = Some(recording);
        Ok(Some(recorder))
    }
}

impl Worker {
    /// Records a small frame, if the recorder is on.
    pub(super) fn record(&mut self, frame: Frame) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(frame, SMALL);
        }
    }

    /// Records the configuration and the engines in force.
    pub(super) fn record_configuration(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            let config = ConfigState::of(&self.in_force);
            let frame = Frame::Configure(config, Box::new(self.engines.spec()));
            recorder.record(frame, SMALL);
        }
    }

    /// Records parameters and limits.
    pub(super) fn record_base(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            let (params, limits) = self.pipeline.base();
            recorder.record(Frame::Base(Base::of(params, limits)), SMALL);
        }
    }

    /// Records a turn after its decisions, and a checkpoint if one is due.
    pub(super) fn record_turn(&mut self, turn: Option<Turn>, backlog: &[Message]) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        match turn {
            Some(mut turn) => {
                turn.add(backlog);
                let size = turn.size();
                recorder.record(Frame::Turn(turn), size);
            }
            None => recorder.lose(),
        }
        self.record_checkpoint();
    }

    /// Records a checkpoint if one is due.
    pub(super) fn record_checkpoint(&mut self) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if !recorder.is_checkpoint_due() {
            return;
        }
        let (params, limits) = self.pipeline.base();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let (lost, follows) = recorder.history();
        let checkpoint = Checkpoint {
            version: env!("CARGO_PKG_VERSION").into(),
            unix_ms: since.map_or(0, |since| since.as_millis() as u64),
            now_ns: now_ns(),
            lost,
            follows,
            config: ConfigState::of(&self.in_force),
            engine: self.engines.spec(),
            base: Base::of(params, limits),
            state: self.pipeline.save(),
        };
        recorder.record(Frame::Checkpoint(Box::new(checkpoint)), SMALL);
    }
}

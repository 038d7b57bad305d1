//! The thread that writes a recording, and the bounded queue to it.
//!
//! The worker never waits for the disk. If the queue is full, frames are
//! dropped and counted, and recording continues with a checkpoint in a new
//! segment, so that a recording never has a gap inside a segment.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use l4sllm_model::throttle::Throttle;

use super::codec;
use super::frame::Frame;
use super::ring::{Ring, SEGMENTS};
use crate::os_error::explain;
use crate::status::RecorderStatus;

/// Maximum number and size, bytes, of frames that wait for the disk.
const QUEUE: usize = 256;
const QUEUE_BYTES: usize = 16 << 20;

/// Pause before writing again after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Time that the last frames have at the end of the program.
const GRACE: Duration = Duration::from_secs(2);

/// Shared by the worker and the thread.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes in the queue.
    queued: AtomicUsize,
    frames: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
    /// The last write failed: the segment is over.
    failed: AtomicBool,
}

/// The worker's side of a recording.
#[derive(Debug)]
pub struct Recorder {
    queue: SyncSender<(Frame, usize)>,
    shared: Arc<Shared>,
    /// Maximum size of a segment, bytes.
    segment_bytes: usize,
    /// Bytes of the current segment so far, before encoding.
    segment: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first checkpoint.
    New,
    /// Every frame since the last checkpoint was passed on.
    Open,
    /// Frames were lost from this time on; a checkpoint must come next.
    Gap(Instant),
}

/// The handle that the rest of the program keeps.
#[derive(Debug)]
pub struct Recording {
    shared: Arc<Shared>,
    ended: Receiver<()>,
    descriptors: Vec<RawFd>,
}

/// Starts writing to `ring`, at most `bytes` in all files.
///
/// # Errors
/// The thread cannot be started.
pub fn start(ring: Ring, bytes: u64) -> io::Result<(Recorder, Recording)> {
    start_with(ring, bytes, QUEUE)
}

fn start_with(ring: Ring, bytes: u64, frames: usize) -> io::Result<(Recorder, Recording)> {
    let (queue, frames) = sync_channel(frames);
    let (end, ended) = sync_channel(0);
    let shared = Arc::new(Shared::default());
    let descriptors = ring.descriptors();
    let (writer, recording) = (Arc::clone(&shared), Arc::clone(&shared));
    std::thread::Builder::new()
        .name("recorder".into())
        .spawn(move || {
            write_all(ring, &frames, &writer);
            // Dropping `end` tells the receiver.
            drop(end);
        })?;
    let recorder = Recorder {
        queue,
        shared,
        segment_bytes: (bytes / SEGMENTS as u64) as usize,
        segment: 0,
        state: State::New,
    };
    let recording = Recording {
        shared: recording,
        ended,
        descriptors,
    };
    Ok((recorder, recording))
}

impl Recorder {
    /// Whether the next frame must be a checkpoint: at the start, when the
    /// segment is full, and a moment after a loss or a failure.
    pub fn is_checkpoint_due(&mut self) -> bool {
        if self.shared.failed.load(Ordering::Acquire) {
            self.break_off();
        }
        match self.state {
            State::New => true,
            State::Open => self.segment >= self.segment_bytes,
            State::Gap(since) => since.elapsed() >= PAUSE,
        }
    }

    /// Whether frames can be recorded now. Otherwise [`Recorder::record`] counts
    /// them as lost, so the caller need not make them.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The state for the next checkpoint: frames lost so far, and whether it
    /// follows the previous segment without a gap.
    pub fn history(&self) -> (u64, bool) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        (lost, self.is_open())
    }

    /// Passes a frame of about `size` bytes to the thread.
    pub fn record(&mut self, frame: Frame, size: usize) {
        if matches!(frame, Frame::Checkpoint(_)) {
            self.state = State::Open;
            self.segment = 0;
            self.shared.failed.store(false, Ordering::Release);
        }
        match self.state {
            State::New => return, // the first checkpoint contains it
            State::Open => {}
            State::Gap(_) => return self.lose(),
        }
        let waiting = self.shared.queued.fetch_add(size, Ordering::Relaxed);
        let full = waiting > 0 && waiting + size > QUEUE_BYTES;
        let sent = match full {
            true => false,
            false => match self.queue.try_send((frame, size)) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            },
        };
        if sent {
            self.segment += size;
        } else {
            self.shared.queued.fetch_sub(size, Ordering::Relaxed);
            self.lose();
        }
    }

    /// Counts a frame that is not recorded.
    pub fn lose(&mut self) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        self.break_off();
    }

    fn break_off(&mut self) {
        if self.state == State::Open {
            self.state = State::Gap(Instant::now());
        }
    }
}

impl Recording {
    /// Counters of the recording.
    pub fn status(&self) -> RecorderStatus {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecorderStatus {
            frames: load(&self.shared.frames),
            bytes: load(&self.shared.bytes),
            lost: load(&self.shared.lost),
            failures: load(&self.shared.failures),
        }
    }

    /// Descriptors of the files.
    pub fn descriptors(&self) -> &[RawFd] {
        &self.descriptors
    }

    /// Waits until the last frames are written, once the [`Recorder`] is
    /// dropped, or for two seconds.
    pub fn finish(&self) {
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(GRACE) {
            tracing::warn!("the flight recorder's last frames are abandoned: the disk is too slow");
        }
    }
}

/// Logs the beginning and the end of a disk outage, but not each failed write.
#[derive(Debug, Default)]
struct Outage {
    /// Disks may fail and recover many times.
    log: Throttle,
    /// During an outage: whether its beginning was logged.
    logged: Option<bool>,
}

impl Outage {
    fn begin(&mut self, error: &io::Error) {
        if self.logged.is_some() {
            return;
        }
        let allowed = self.log.allow();
        if let Some(suppressed) = allowed {
            tracing::warn!(error = %explain(error), suppressed,
                "flight recorder: cannot write; it continues when it can");
        }
        self.logged = Some(allowed.is_some());
    }

    fn end(&mut self) {
        if self.logged.take() == Some(true) {
            tracing::info!("flight recorder: writes again");
        }
    }
}

fn write_all(mut ring: Ring, frames: &Receiver<(Frame, usize)>, shared: &Shared) {
    let mut outage = Outage::default();
    let mut bytes = Vec::new();
    let mut open = false;
    while let Ok((frame, size)) = frames.recv() {
        let begins = matches!(frame, Frame::Checkpoint(_));
        if begins || open {
            match write(&mut ring, &frame, &mut bytes) {
                Ok(()) => {
                    open = true;
                    outage.end();
                    shared.frames.fetch_add(1, Ordering::Relaxed);
                    let bytes = bytes.len() as u64;
                    shared.bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                Err(error) => {
                    open = false;
                    shared.failures.fetch_add(1, Ordering::Relaxed);
                    shared.lost.fetch_add(1, Ordering::Relaxed);
                    shared.failed.store(true, Ordering::Release);
                    outage.begin(&error);
                }
            }
        } else {
            shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        shared.queued.fetch_sub(size, Ordering::Relaxed);
    }
}

fn write(ring: &mut Ring, frame: &Frame, bytes: &mut Vec<u8>) -> io::Result<()> {
    if !codec::encode(frame, bytes) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the frame is larger than 64 MiB",
        ));
    }
    if matches!(frame, Frame::Checkpoint(_)) {
        ring.rotate()?;
    }
    ring.append(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::ring::file;

    /// A recorder without a thread that empties its queue.
    fn stalled(frames: usize) -> (Recorder, Receiver<(Frame, usize)>) {
        let (queue, receiver) = sync_channel(frames);
        let recorder = Recorder {
            queue,
            shared: Arc::new(Shared::default()),
            segment_bytes: 1 << 20,
            segment: 0,
            state: State::Open,
        };
        (recorder, receiver)
    }

    fn lost(recorder: &Recorder) -> u64 {
        recorder.shared.lost.load(Ordering::Relaxed)
    }

    #[test]
    fn a_full_queue_loses_frames_and_does_not_wait() {
        let (mut recorder, receiver) = stalled(3);
        for _ in 0..10 {
            recorder.record(Frame::Opened, 10);
        }
        assert_eq!((lost(&recorder), recorder.is_open()), (7, false));
        // The disk has caught up, but a checkpoint must come first.
        assert_eq!(receiver.try_iter().count(), 3);
        recorder.record(Frame::Opened, 10);
        assert_eq!(lost(&recorder), 8);
        assert!(!recorder.is_checkpoint_due(), "a moment later");
        let State::Gap(since) = &mut recorder.state else {
            panic!("a gap");
        };
        *since -= PAUSE;
        assert!(recorder.is_checkpoint_due());
        assert_eq!(recorder.history(), (8, false));
    }

    #[test]
    fn the_bytes_in_the_queue_are_bounded() {
        let (mut recorder, _receiver) = stalled(1000);
        for _ in 0..5 {
            recorder.record(Frame::Opened, QUEUE_BYTES / 4);
        }
        assert_eq!(lost(&recorder), 1);
    }

    #[test]
    fn a_frame_before_the_first_checkpoint_is_not_lost() {
        let (mut recorder, receiver) = stalled(3);
        recorder.state = State::New;
        recorder.record(Frame::Opened, 10);
        assert_eq!((lost(&recorder), receiver.try_iter().count()), (0, 0));
        assert!(recorder.is_checkpoint_due());
    }

    #[test]
    fn a_frame_without_a_segment_is_counted_as_lost() {
        let place = tempfile::tempdir().expect("a directory");
        let ring = Ring::open(place.path()).expect("a ring");
        let (recorder, recording) = start(ring, 8 << 20).expect("a thread");
        recorder
            .queue
            .send((Frame::Opened, 0))
            .expect("the thread runs");
        drop(recorder);
        recording.finish();
        let status = recording.status();
        assert_eq!((status.frames, status.lost), (0, 1));
        let written = std::fs::metadata(file(place.path(), 0)).expect("a file");
        assert_eq!(written.len(), 0);
    }
}

//! A capture of the packets on which the queue takes a verdict, for Wireshark.
//!
//! A thread formats and writes; the forwarding thread copies headers into a bounded
//! queue of fixed size, which is allocated once, and never waits. Packets that find
//! it full are counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use l4sllm_testbed::aqm::Departure;
use l4sllm_testbed::capture::{About, Capture, CaptureCounts, SNAP_BYTES, Verdict};
use l4sllm_testbed::net::Bottleneck;
use l4sllm_testbed::router::InForce;

use crate::observe::Observer;

/// Maximum number of packets that wait to be written, about 10 MB: 0.2 s of 1500-byte
/// packets at 1 Gbit/s.
const WAITING: usize = 16_384;

/// A packet for the writing thread.
#[derive(Debug)]
struct Packet {
    at_ns: u64,
    departure: Departure,
    in_force: Option<InForce>,
    /// Packets that were not captured since the previous one.
    missing: u64,
    /// Bytes of `bytes` that are used.
    length: usize,
    bytes: [u8; SNAP_BYTES],
}

/// The forwarding thread's side of a capture; dropping it ends the capture.
#[derive(Debug)]
pub struct CaptureObserver {
    to: SyncSender<Packet>,
    /// Packets not captured since the last captured one.
    missing: u64,
    /// The same, for the writing thread at the end.
    missing_at_end: Arc<AtomicU64>,
}

/// The thread that writes a capture.
#[derive(Debug)]
pub struct CaptureThread(JoinHandle<io::Result<CaptureCounts>>);

impl CaptureObserver {
    /// Starts a capture into `out` of a router that started at `started`.
    ///
    /// # Errors
    /// No thread is available, or the beginning cannot be written.
    pub fn start(
        out: impl Write + Send + 'static,
        started: SystemTime,
        about: About<'_>,
    ) -> io::Result<(CaptureObserver, CaptureThread)> {
        CaptureObserver::with_space(out, started, about, WAITING)
    }

    /// As [`CaptureObserver::start`], with space for `waiting` packets.
    ///
    /// # Errors
    /// As [`CaptureObserver::start`].
    pub fn with_space(
        out: impl Write + Send + 'static,
        started: SystemTime,
        about: About<'_>,
        waiting: usize,
    ) -> io::Result<(CaptureObserver, CaptureThread)> {
        let capture = Capture::begin(out, about)?;
        let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (to, from) = sync_channel(waiting);
        let missing_at_end = Arc::new(AtomicU64::new(0));
        let missing = Arc::clone(&missing_at_end);
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || write_all(capture, &from, started, &missing))?;
        let observer = CaptureObserver {
            to,
            missing: 0,
            missing_at_end,
        };
        Ok((observer, CaptureThread(thread)))
    }
}

impl Observer for CaptureObserver {
    fn left(&mut self, at_ns: u64, departure: &Departure, packet: &[u8], bottleneck: &Bottleneck) {
        let length = packet.len().min(SNAP_BYTES);
        let mut bytes = [0; SNAP_BYTES];
        bytes[..length].copy_from_slice(&packet[..length]);
        let sent = self.to.try_send(Packet {
            at_ns,
            departure: *departure,
            in_force: bottleneck.router().map(|router| router.in_force()),
            missing: self.missing,
            length,
            bytes,
        });
        match sent {
            Ok(()) => self.missing = 0,
            Err(_) => self.missing += 1,
        }
    }
}

impl Drop for CaptureObserver {
    fn drop(&mut self) {
        // The thread reads it after the end of the queue, which follows.
        self.missing_at_end.store(self.missing, Ordering::Release);
    }
}

impl CaptureThread {
    /// Waits until everything is written, after the [`CaptureObserver`] was dropped.
    ///
    /// # Errors
    /// The output's, as on a full disk: the capture ended there.
    pub fn finish(self) -> io::Result<CaptureCounts> {
        match self.0.join() {
            Ok(counts) => counts,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write_all<W: Write>(
    mut capture: Capture<W>,
    from: &Receiver<Packet>,
    started: Duration,
    missing_at_end: &AtomicU64,
) -> io::Result<CaptureCounts> {
    loop {
        let packet = match from.try_recv() {
            Ok(packet) => Ok(packet),
            // The queue is empty: readers of the file see all packets so far.
            Err(TryRecvError::Empty) => {
                capture.flush()?;
                from.recv()
            }
            Err(TryRecvError::Disconnected) => break,
        };
        let Ok(packet) = packet else { break };
        capture.add(&Verdict {
            at: started + Duration::from_nanos(packet.at_ns),
            departure: &packet.departure,
            in_force: packet.in_force.as_ref(),
            packet: &packet.bytes[..packet.length],
            missing: packet.missing,
        })?;
    }
    capture.finish(missing_at_end.load(Ordering::Acquire))
}

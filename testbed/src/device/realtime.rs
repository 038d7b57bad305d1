//! A packet path in real time: packets arrive at a constant rate, are queued in
//! the router, and leave over a link.

use std::io;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use l4sllm_abi::Ecn;
use l4sllmd::clock::now_ns;

use super::SharedRouter;
use crate::aqm::{Aqm, Packet};

/// The source and the link. A source above the link's rate causes a queue that
/// an AQM cannot remove, because the source is unresponsive.
#[derive(Debug, Clone)]
pub struct Load {
    /// Bytes of each packet.
    pub packet_bytes: u32,
    /// Codepoints of the packets, repeated cyclically.
    pub ecn: Vec<Ecn>,
    /// Rate of the source, bit/s.
    pub offered_bps: u64,
    /// Rate of the link, bit/s.
    pub link_bps: u64,
}

/// Runs until it is dropped.
#[derive(Debug)]
pub struct RealTime {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RealTime {
    /// Starts the packet path in a separate thread.
    ///
    /// # Errors
    /// A rate, size or codepoint list that is empty, or the thread cannot be
    /// started.
    pub fn start(router: SharedRouter, load: Load) -> io::Result<RealTime> {
        if load.packet_bytes == 0
            || load.offered_bps == 0
            || load.link_bps == 0
            || load.ecn.is_empty()
        {
            let what = "a load needs a packet size, two rates and a codepoint";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("packets".into())
            .spawn(move || run(&router, &load, &stopped))?;
        Ok(RealTime {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on stderr.
            let _ = thread.join();
        }
    }
}

fn run(router: &SharedRouter, load: &Load, stopped: &Receiver<()>) {
    let time_of = |bps: u64| {
        (u64::from(load.packet_bytes) * 8 * 1_000_000_000)
            .div_ceil(bps)
            .max(1)
    };
    let (gap, transmission) = (time_of(load.offered_bps), time_of(load.link_bps));
    let mut arrival = now_ns();
    let mut link_free = arrival;
    let mut cookie = 0;
    let mut drops = Vec::new();
    loop {
        let next = {
            // Even if poisoned by a panic elsewhere, the queue is consistent.
            let mut router = router.lock().unwrap_or_else(PoisonError::into_inner);
            let now = now_ns();
            loop {
                let departure = (router.backlog().packets > 0).then_some(link_free);
                if departure.is_some_and(|at| at <= now.min(arrival)) {
                    if router.dequeue(now, &mut drops).is_some() {
                        link_free += transmission;
                    }
                } else if arrival <= now {
                    let ecn = load.ecn[cookie as usize % load.ecn.len()];
                    let packet = Packet {
                        cookie,
                        flow: 0,
                        bytes: load.packet_bytes,
                        ecn,
                        dscp: 0,
                    };
                    // An idle link starts with this packet.
                    if departure.is_none() && link_free < arrival {
                        router.idle(link_free);
                        router.stall(arrival);
                        link_free = arrival;
                    }
                    router.enqueue(now, packet, &mut drops);
                    cookie += 1;
                    arrival += gap;
                } else {
                    break departure.map_or(arrival, |at| at.min(arrival));
                }
                drops.clear();
            }
        };
        let wait = Duration::from_nanos(next.saturating_sub(now_ns()));
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

//! UDP Prague between real hosts: the emulator's congestion control on sockets.
//!
//! The messages are those of udp_prague (L4STeam), with which both ends
//! interoperate: every datagram is acknowledged with counters of packets
//! received, marked and lost. Times are the host's, in microseconds, and only
//! ever returned to their sender.

mod receive;
mod send;
mod socket;
mod wire;

pub use receive::{Received, receive};
pub use send::{Options, PragueError, send};

use serde::Serialize;

/// Measurements of a sender or a receiver. The intervals have the names of
/// iperf3's JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// One after another.
    pub intervals: Vec<Interval>,
    /// Packets sent; 0 of a receiver.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets received with CE.
    pub marked: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// Whether packets arrived with neither ECT(1) nor CE: the path clears ECN.
    pub bleached: bool,
    /// Time from the first packet to the last, s.
    pub seconds: f64,
    /// Payload received per time, bits per second.
    pub goodput_bits_per_s: f64,
}

/// A part of the time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Interval {
    /// The only stream.
    pub streams: [Stream; 1],
}

/// A flow in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stream {
    /// Start, s after the first packet.
    pub start: f64,
    /// End, s.
    pub end: f64,
    /// Payload bytes received in it.
    pub bytes: u64,
    /// Packets received with CE in it.
    pub marked: u64,
    /// Congestion window at its end, bytes; 0 of a receiver.
    pub snd_cwnd: u64,
    /// Smoothed round-trip time at its end, us; 0 of a receiver.
    pub rtt: u64,
}

/// Collects intervals of equal length.
#[derive(Debug)]
struct Meter {
    every_ns: u64,
    began_ns: Option<u64>,
    last_ns: u64,
    report: Report,
    /// Bytes and marks up to the last interval.
    before: (u64, u64),
}

impl Meter {
    fn new(every_ns: u64) -> Meter {
        Meter {
            every_ns,
            began_ns: None,
            last_ns: 0,
            report: Report::default(),
            before: (0, 0),
        }
    }

    /// When the current interval ends, ns; `None` before the first packet.
    fn next_ns(&self) -> Option<u64> {
        self.began_ns.map(|_| self.last_ns + self.every_ns)
    }

    /// Begins with the first packet.
    fn begin(&mut self, now_ns: u64) {
        if self.began_ns.is_none() {
            self.began_ns = Some(now_ns);
            self.last_ns = now_ns;
        }
    }

    /// Ends the current interval, in which the totals became `bytes` and `marked`.
    fn end_interval(&mut self, now_ns: u64, bytes: u64, marked: u64, state: (u64, u64)) {
        let Some(began_ns) = self.began_ns.filter(|_| now_ns > self.last_ns) else {
            return;
        };
        let second = |ns: u64| (ns - began_ns) as f64 / 1e9;
        let stream = Stream {
            start: second(self.last_ns),
            end: second(now_ns),
            bytes: bytes - self.before.0,
            marked: marked - self.before.1,
            snd_cwnd: state.0,
            rtt: state.1,
        };
        self.report.intervals.push(Interval { streams: [stream] });
        self.last_ns = now_ns;
        self.before = (bytes, marked);
    }

    fn finish(mut self, bytes: u64) -> Report {
        let began_ns = self.began_ns.unwrap_or(self.last_ns);
        self.report.seconds = (self.last_ns - began_ns) as f64 / 1e9;
        if self.report.seconds > 0.0 {
            self.report.goodput_bits_per_s = bytes as f64 * 8.0 / self.report.seconds;
        }
        self.report
    }
}

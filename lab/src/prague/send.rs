//! The sender: the emulator's UDP Prague, with a socket and the host's clock.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use l4sllm_abi::Ecn;
use l4sllm_testbed::transport::{
    Body, Cc, DATAGRAM_HEADER_BYTES, EcnCounts, Endpoint, FlowConfig, Segment, sender,
};
use l4sllmd::clock::now_ns;
use thiserror::Error;

use super::receive::micros;
use super::socket::EcnSocket;
use super::wire::{Ack, Data};
use super::{Meter, Report};

/// Longest time between two looks at the flag that ends it.
const POLL: Duration = Duration::from_millis(100);
/// Time without an acknowledgement from the start, after which there is no
/// receiver.
const PATIENCE_NS: u64 = 5_000_000_000;
/// Bytes of an IPv6 header beyond those of an IPv4 header.
const V6_BYTES: u32 = 20;

/// Traffic and destination.
#[derive(Debug, Clone)]
pub struct Options {
    /// The receiver.
    pub to: SocketAddr,
    /// Most bits per second on the wire; `None`: no limit.
    pub max_bps: Option<u64>,
    /// Largest packet on the wire, bytes.
    pub packet_bytes: u32,
    /// How long; until cancelled if `None`.
    pub duration: Option<Duration>,
    /// Length of an interval of the report, ns.
    pub every_ns: u64,
}

/// A failure of the sender or the receiver.
#[derive(Debug, Error)]
pub enum PragueError {
    /// A socket.
    #[error("cannot {operation} {address}: {source}")]
    Socket {
        /// Such as "listen on".
        operation: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No acknowledgement arrives.
    #[error("{0}: no receiver answers; start one with `l4sllm prague receive`")]
    NoReceiver(SocketAddr),
}

/// Sends until the end of the duration or until `cancel` is set.
///
/// # Errors
/// The socket cannot be used, or no receiver answers within 5 s.
pub fn send(options: &Options, cancel: &AtomicBool) -> Result<Report, PragueError> {
    let to = options.to;
    let failed = |operation| {
        move |source: io::Error| match source.kind() {
            ErrorKind::ConnectionRefused => PragueError::NoReceiver(to),
            _ => PragueError::Socket {
                operation,
                address: to,
                source,
            },
        }
    };
    let any: IpAddr = match to.is_ipv6() {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    let socket = EcnSocket::bind((any, 0).into()).map_err(failed("send to"))?;
    socket.connect(to).map_err(failed("send to"))?;
    // Late packets are sent together; the default slack alone is 50 us.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let began_ns = now_ns();
    let end_ns = options
        .duration
        .map(|duration| began_ns + duration.as_nanos() as u64);
    let mut flow = Flow::new(options, began_ns);
    let mut buffer = [0; 2048];
    loop {
        let now = now_ns();
        if cancel.load(Ordering::Relaxed) || end_ns.is_some_and(|end_ns| now >= end_ns) {
            return Ok(flow.finish(now));
        }
        if !flow.is_known() && now > began_ns + PATIENCE_NS {
            return Err(PragueError::NoReceiver(to));
        }
        match flow.exchange(&socket, &mut buffer) {
            // The receiver has ended.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && flow.is_known() => {
                return Ok(flow.finish(now));
            }
            result => result.map_err(failed("exchange packets with"))?,
        }
        flow.sample(now);
        let wait_ns = flow.due_ns().saturating_sub(now_ns());
        socket.wait(Duration::from_nanos(wait_ns).min(POLL));
    }
}

/// A flow without its socket. Times are the host's, ns.
struct Flow {
    sender: l4sllm_testbed::transport::Sender,
    /// Offset from the endpoint's times, which begin at 0.
    began_ns: u64,
    datagram: Vec<u8>,
    meter: Meter,
    counts: EcnCounts,
    lost: u32,
    bleached: bool,
    /// Time of this host minus the receiver's timestamp, us.
    remote_us: Option<u32>,
    /// Payload of the last packet sent, bytes.
    payload: u64,
}

impl Flow {
    fn new(options: &Options, began_ns: u64) -> Flow {
        let header = match options.to.is_ipv6() {
            true => V6_BYTES,
            false => 0,
        };
        let config = FlowConfig {
            rate_bps: options.max_bps,
            packet_bytes: options.packet_bytes - header,
            ..FlowConfig::new(0, Cc::UdpPrague)
        };
        Flow {
            sender: sender(&config),
            began_ns,
            datagram: vec![0; options.packet_bytes as usize],
            meter: Meter::new(options.every_ns),
            counts: EcnCounts::default(),
            lost: 0,
            bleached: false,
            remote_us: None,
            payload: 0,
        }
    }

    /// Whether the receiver has acknowledged something.
    fn is_known(&self) -> bool {
        self.counts.packets > 0
    }

    /// Takes all acknowledgements that have arrived and sends all that may leave.
    fn exchange(&mut self, socket: &EcnSocket, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(arrival) = socket.receive(buffer)? {
            if let Some(ack) = Ack::read(&buffer[..arrival.length]) {
                self.on_ack(&ack, now_ns());
            }
        }
        while let Some((datagram, ecn)) = self.next(now_ns()) {
            socket.send(datagram, ecn, None)?;
        }
        Ok(())
    }

    /// Passes an acknowledgement to the congestion control.
    fn on_ack(&mut self, ack: &Ack, now_ns: u64) {
        let now_us = micros(now_ns);
        self.remote_us = Some(now_us.wrapping_sub(ack.timestamp));
        let news = ack.received.wrapping_sub(self.counts.packets as u32);
        // Older ones, which were overtaken, count down.
        if news == 0 || news > u32::MAX / 2 {
            return;
        }
        let marked = ack.marked.wrapping_sub(self.counts.ce_packets as u32);
        self.counts.packets += u64::from(news);
        self.counts.ce_packets += u64::from(marked.min(news));
        self.counts.bytes += u64::from(news) * self.payload;
        self.lost = ack.lost;
        self.bleached |= ack.bleached;
        let rtt_us = now_us.wrapping_sub(ack.echoed);
        let now_ns = now_ns - self.began_ns;
        let segment = Segment {
            flow: 0,
            bytes: 0,
            ecn: Ecn::NotEct,
            sent_ns: now_ns,
            body: Body::DatagramAck {
                next: u64::from(ack.number),
                counts: self.counts,
                lost: u64::from(ack.lost),
                echo_ns: now_ns.saturating_sub(u64::from(rtt_us) * 1000),
            },
        };
        self.sender.on_segment(now_ns, &segment);
    }

    /// The next datagram that may leave now, with its codepoint.
    fn next(&mut self, now_ns: u64) -> Option<(&[u8], Ecn)> {
        let at_ns = now_ns - self.began_ns;
        self.sender.on_timer(at_ns);
        let segment = self.sender.poll_transmit(at_ns)?;
        let Body::Datagram { seq } = segment.body else {
            return None;
        };
        let now_us = micros(now_ns);
        let header = Data {
            timestamp: now_us,
            echoed: self
                .remote_us
                .map_or(0, |remote_us| now_us.wrapping_sub(remote_us)),
            number: (seq + 1) as u32,
        };
        let length = (segment.bytes - DATAGRAM_HEADER_BYTES) as usize;
        self.payload = length as u64;
        self.meter.begin(now_ns);
        self.meter.report.sent += 1;
        let datagram = &mut self.datagram[..length.max(Data::BYTES)];
        header.write(datagram);
        let ecn = match self.bleached {
            true => Ecn::NotEct,
            false => segment.ecn,
        };
        Some((datagram, ecn))
    }

    /// When something is due next, ns.
    fn due_ns(&self) -> u64 {
        let timer = self.sender.next_timer();
        let timer = timer.map_or(u64::MAX, |at_ns| at_ns + self.began_ns);
        timer.min(self.meter.next_ns().unwrap_or(u64::MAX))
    }

    fn sample(&mut self, now_ns: u64) {
        if self
            .meter
            .next_ns()
            .is_some_and(|next_ns| now_ns >= next_ns)
        {
            self.end_interval(now_ns);
        }
    }

    fn end_interval(&mut self, now_ns: u64) {
        let stats = self.sender.stats();
        let state = (stats.cwnd_bytes, stats.srtt_ns / 1000);
        let EcnCounts {
            bytes, ce_packets, ..
        } = self.counts;
        self.meter.end_interval(now_ns, bytes, ce_packets, state);
    }

    fn finish(mut self, now_ns: u64) -> Report {
        self.end_interval(now_ns);
        let report = self.meter.finish(self.counts.bytes);
        Report {
            received: self.counts.packets,
            marked: self.counts.ce_packets,
            lost: self.lost.into(),
            bleached: self.bleached,
            ..report
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::receive::Received;
    use super::*;

    const MS: u64 = 1_000_000;

    /// A sender and a receiver with a round trip of 20 ms and no socket: the rate
    /// grows without marks, falls with them, and ECN stops when it is cleared.
    #[test]
    fn a_flow_follows_marks_and_cleared_ecn() {
        let options = Options {
            to: "10.0.0.1:1".parse().unwrap(),
            max_bps: None,
            packet_bytes: 1500,
            duration: None,
            every_ns: 100 * MS,
        };
        let began_ns = 77 * MS;
        let mut flow = Flow::new(&options, began_ns);
        let mut received = Received::default();
        let mut acks: Vec<(u64, Ack)> = Vec::new();
        let mut sent = [0_u64; 3];
        let mut codepoints = Vec::new();
        for step in 0..30_000 {
            let now_ns = began_ns + step * MS / 10;
            let part = (step / 10_000) as usize;
            while acks.first().is_some_and(|(at_ns, _)| *at_ns <= now_ns) {
                let (_, ack) = acks.remove(0);
                flow.on_ack(&ack, now_ns);
            }
            while let Some((datagram, ecn)) = flow.next(now_ns) {
                let data = Data::read(datagram).unwrap();
                sent[part] += datagram.len() as u64;
                codepoints.push(ecn);
                // The second part marks everything, the third clears ECN.
                let arrives = [ecn, Ecn::Ce, Ecn::NotEct][part];
                received.count(data.number, arrives);
                let ack = Ack {
                    number: data.number,
                    timestamp: 0,
                    echoed: data.timestamp,
                    received: received.packets,
                    marked: received.marked,
                    lost: received.lost,
                    bleached: received.bleached,
                };
                acks.push((now_ns + 20 * MS, ack));
            }
            flow.sample(now_ns);
        }
        assert!(sent[1] < sent[0] / 2, "{sent:?}");
        assert_eq!(codepoints[0], Ecn::Ect1);
        assert_eq!(codepoints.last(), Some(&Ecn::NotEct));
        let stats = flow.sender.stats();
        assert!(
            (20 * MS..23 * MS).contains(&stats.srtt_ns),
            "{}",
            stats.srtt_ns
        );
        let report = flow.finish(began_ns + 3000 * MS);
        assert!(
            report.bleached && report.marked > 0 && report.lost == 0,
            "{report:?}"
        );
        assert_eq!(report.intervals.len(), 30);
        let last = report.intervals[29].streams[0];
        assert!(last.end > 2.9 && last.rtt >= 20_000, "{last:?}");
    }
}

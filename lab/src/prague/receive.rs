//! The receiver: counts datagrams and acknowledges each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use l4sllm_abi::Ecn;
use l4sllmd::clock::now_ns;

use super::socket::EcnSocket;
use super::wire::{Ack, Data};
use super::{Meter, PragueError, Report};

/// Largest datagram, bytes.
const MAX_DATAGRAM: usize = 65_536;
/// Longest time between two looks at the flag that ends it.
const POLL: Duration = Duration::from_millis(100);

/// Counters of the receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Datagrams.
    pub packets: u32,
    /// With CE.
    pub marked: u32,
    /// Missing.
    pub lost: u32,
    /// Whether one had neither ECT(1) nor CE.
    pub bleached: bool,
}

impl Received {
    /// Counts datagram `number`, from 1. One that arrives late is no longer
    /// missing.
    pub fn count(&mut self, number: u32, ecn: Ecn) {
        self.packets = self.packets.wrapping_add(1);
        let known = self.packets.wrapping_add(self.lost);
        match number.wrapping_sub(known) as i32 {
            skipped @ 0.. => self.lost = self.lost.wrapping_add(skipped as u32),
            _ => self.lost = self.lost.saturating_sub(1),
        }
        match ecn {
            Ecn::Ce => self.marked = self.marked.wrapping_add(1),
            Ecn::Ect1 => {}
            Ecn::NotEct | Ecn::Ect0 => self.bleached = true,
        }
    }
}

/// Receives on `local` from the first sender, until `cancel` is set or for
/// `most`. `ready` is called with the local address once it listens.
///
/// # Errors
/// The socket cannot be used.
pub fn receive(
    local: SocketAddr,
    every_ns: u64,
    most: Option<Duration>,
    cancel: &AtomicBool,
    ready: impl FnOnce(SocketAddr),
) -> Result<Report, PragueError> {
    let failed = |operation| {
        move |source| PragueError::Socket {
            operation,
            address: local,
            source,
        }
    };
    let socket = EcnSocket::bind(local).map_err(failed("listen on"))?;
    ready(socket.local().map_err(failed("listen on"))?);
    let end_ns = most.map(|most| now_ns() + most.as_nanos() as u64);
    let mut state = State {
        meter: Meter::new(every_ns),
        sender: None,
        received: Received::default(),
        bytes: 0,
    };
    let mut buffer = vec![0; MAX_DATAGRAM];
    while !cancel.load(Ordering::Relaxed) && end_ns.is_none_or(|end_ns| now_ns() < end_ns) {
        match socket.receive(&mut buffer).map_err(failed("receive on"))? {
            Some(arrival) => {
                let ack = state.arrive(arrival.from, arrival.ecn, &buffer[..arrival.length]);
                if let Some(ack) = ack {
                    // A failed send has the effect of a lost acknowledgement.
                    let to = Some(arrival.from);
                    let _ = socket.send(&ack.to_bytes(), state.ecn(), to);
                }
            }
            None => socket.wait(POLL),
        }
        state.sample(now_ns());
    }
    Ok(state.finish(now_ns()))
}

struct State {
    meter: Meter,
    sender: Option<SocketAddr>,
    received: Received,
    bytes: u64,
}

impl State {
    /// Counts a datagram and returns its acknowledgement; `None` for messages of
    /// another kind or from another sender.
    fn arrive(&mut self, from: SocketAddr, ecn: Ecn, datagram: &[u8]) -> Option<Ack> {
        let data = Data::read(datagram)?;
        if *self.sender.get_or_insert(from) != from {
            return None;
        }
        let now_ns = now_ns();
        self.meter.begin(now_ns);
        self.received.count(data.number, ecn);
        self.bytes += datagram.len() as u64;
        Some(Ack {
            number: data.number,
            timestamp: micros(now_ns),
            // Sent at once, so no time has passed since its arrival.
            echoed: data.timestamp,
            received: self.received.packets,
            marked: self.received.marked,
            lost: self.received.lost,
            bleached: self.received.bleached,
        })
    }

    /// Codepoint of acknowledgements.
    fn ecn(&self) -> Ecn {
        match self.received.bleached {
            true => Ecn::NotEct,
            false => Ecn::Ect1,
        }
    }

    fn sample(&mut self, now_ns: u64) {
        if self
            .meter
            .next_ns()
            .is_some_and(|next_ns| now_ns >= next_ns)
        {
            let marked = self.received.marked.into();
            self.meter.end_interval(now_ns, self.bytes, marked, (0, 0));
        }
    }

    fn finish(mut self, now_ns: u64) -> Report {
        let marked = self.received.marked.into();
        self.meter.end_interval(now_ns, self.bytes, marked, (0, 0));
        let report = self.meter.finish(self.bytes);
        Report {
            received: self.received.packets.into(),
            marked,
            lost: self.received.lost.into(),
            bleached: self.received.bleached,
            ..report
        }
    }
}

/// The host's clock as in messages, us modulo 2^32.
pub(super) fn micros(now_ns: u64) -> u32 {
    (now_ns / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_until_the_packet_arrives() {
        let mut received = Received::default();
        for number in [1, 2, 5] {
            received.count(number, Ecn::Ect1);
        }
        assert_eq!((received.packets, received.lost), (3, 2));
        received.count(4, Ecn::Ce);
        assert_eq!(
            (received.packets, received.marked, received.lost),
            (4, 1, 1)
        );
        assert!(!received.bleached);
        received.count(6, Ecn::NotEct);
        assert_eq!((received.packets, received.lost), (5, 1));
        assert!(received.bleached);
    }

    #[test]
    fn numbers_wrap() {
        let mut received = Received {
            packets: u32::MAX,
            ..Received::default()
        };
        received.count(0, Ecn::Ect1);
        assert_eq!((received.packets, received.lost), (0, 0));
        received.count(2, Ecn::Ect1);
        assert_eq!((received.packets, received.lost), (1, 1));
    }
}

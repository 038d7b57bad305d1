//! A router with a virtual clock and without interfaces.

#![allow(dead_code, reason = "each test uses a part")]

use std::io;

use l4sllm_abi::{Ecn, Limits, Params};
use l4sllm_router::{Forwarder, Side, Wire};
use l4sllm_testbed::aqm::{Fifo, FifoParams};
use l4sllm_testbed::net::Discipline;
use l4sllm_testbed::router::Router;
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::sim::Random;

pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000_000_000;
/// Start time of the router, ns.
pub const EPOCH: u64 = 77 * S;
pub const MTU: usize = 1500;

/// A written packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub at_ns: u64,
    pub to: Side,
    pub packet: Vec<u8>,
}

/// A clock set by the test, and the packets written with their times.
#[derive(Debug, Default)]
pub struct Bench {
    pub now_ns: u64,
    pub sent: Vec<Sent>,
    pub refuses: bool,
}

impl Wire for Bench {
    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn send(&mut self, to: Side, packet: &[u8]) -> io::Result<()> {
        if self.refuses {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        self.sent.push(Sent {
            at_ns: self.now_ns,
            to,
            packet: packet.to_vec(),
        });
        Ok(())
    }
}

/// A router and its test fixture.
pub struct Setup {
    pub forwarder: Forwarder,
    pub bench: Bench,
    /// Maximum lateness of the host, ns.
    pub lateness_ns: u64,
    pub random: Random,
}

impl Setup {
    pub fn new(scenario: &Scenario, discipline: Discipline) -> Setup {
        Setup {
            forwarder: Forwarder::new(scenario, discipline, MTU, EPOCH),
            bench: Bench {
                now_ns: EPOCH,
                ..Bench::default()
            },
            lateness_ns: 0,
            random: Random::stream(1, "test"),
        }
    }

    /// Runs the router's events up to `at_ns` from the start.
    pub fn run_until(&mut self, at_ns: u64) {
        let until_ns = EPOCH + at_ns;
        while let Some(next_ns) = self.forwarder.next_ns().filter(|next| *next <= until_ns) {
            let late_ns = self.random.below(self.lateness_ns + 1);
            self.bench.now_ns = self.bench.now_ns.max(next_ns + late_ns);
            self.forwarder.advance(&mut self.bench);
        }
        self.bench.now_ns = self.bench.now_ns.max(until_ns);
    }

    pub fn arrive(&mut self, from: Side, packet: &[u8]) {
        let now_ns = self.forwarder.advance(&mut self.bench);
        let (slot, buffer) = self.forwarder.buffer().unwrap();
        buffer[..packet.len()].copy_from_slice(packet);
        self.forwarder.arrive(from, slot, packet.len(), now_ns);
    }

    /// Passes a packet that arrives at `at_ns` from the start.
    pub fn arrive_at(&mut self, at_ns: u64, from: Side, packet: &[u8]) {
        self.run_until(at_ns);
        self.arrive(from, packet);
    }

    pub fn is_balanced(&self) -> bool {
        self.forwarder
            .measured(self.bench.now_ns)
            .imbalance()
            .is_none()
    }

    /// Times since the start at which packets were written at OUT, ns.
    pub fn times(&self) -> Vec<u64> {
        let out = self.bench.sent.iter().filter(|sent| sent.to == Side::Out);
        out.map(|sent| sent.at_ns - EPOCH).collect()
    }
}

pub fn scenario(bits_per_s: u64, rtt_ns: u64) -> Scenario {
    Scenario::new("test", bits_per_s, rtt_ns)
}

pub fn dualpi2() -> Discipline {
    let router = Router::new(&Params::default(), &Limits::default(), 1024, 1).unwrap();
    Discipline::Router(router)
}

pub fn fifo(limit_packets: u32) -> Discipline {
    Discipline::Baseline(Box::new(Fifo::new(FifoParams { limit_packets })))
}

/// An IPv4 packet of UDP; `number` is in its payload.
pub fn packet(ecn: Ecn, bytes: usize, flow: u16, number: u32) -> Vec<u8> {
    let mut packet = vec![0; bytes];
    packet[0] = 0x45;
    packet[1] = ecn.code();
    packet[9] = 17;
    packet[20..22].copy_from_slice(&flow.to_be_bytes());
    packet[28..32].copy_from_slice(&number.to_be_bytes());
    packet
}

pub fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[28..32].try_into().unwrap())
}

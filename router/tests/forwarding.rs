//! The router with a virtual clock and without interfaces.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};

use l4sllm_abi::{Action, Ecn};
use l4sllm_router::{Delay, Header, Observer, Side};
use l4sllm_testbed::aqm::{Departure, Packet};
use l4sllm_testbed::net::{Bottleneck, Bursts, Distribution, RateSchedule, RateStep};
use l4sllm_testbed::net::{Spread, Transmit};
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::sim::Random;
use proptest::prelude::*;

use common::*;

/// 1500 bytes at 12 Mbit/s take 1 ms, followed by half of the round-trip time.
#[test]
fn packets_leave_at_the_links_rate_after_its_delay() {
    let mut setup = Setup::new(&scenario(12_000_000, 20 * MS), fifo(100));
    for number in 0..3 {
        setup.arrive_at(5 * MS, Side::In, &packet(Ecn::NotEct, 1500, 1, number));
    }
    setup.arrive_at(5 * MS, Side::Out, &packet(Ecn::NotEct, 60, 1, 9));
    setup.run_until(S);
    assert_eq!(setup.times(), [16 * MS, 17 * MS, 18 * MS]);
    let back = setup.bench.sent.iter().find(|sent| sent.to == Side::In);
    assert_eq!(back.unwrap().at_ns, EPOCH + 15 * MS);
    assert!(setup.is_balanced());
}

/// The delay of a port applies to packets to it and to replies from it.
#[test]
fn flows_have_their_own_delays() {
    let mut setup = Setup::new(&scenario(12_000_000, 20 * MS), fifo(100));
    let own = Delay {
        forward_ns: 30 * MS,
        back_ns: 50 * MS,
    };
    setup.forwarder.set_delays(HashMap::from([(5201, own)]));
    let to = |port: u16, number| {
        let mut packet = packet(Ecn::NotEct, 1500, 40_000, number);
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet
    };
    setup.arrive_at(0, Side::In, &to(5201, 1));
    setup.arrive_at(0, Side::In, &to(5202, 2));
    setup.arrive_at(0, Side::Out, &packet(Ecn::NotEct, 60, 5201, 3));
    setup.arrive_at(0, Side::Out, &packet(Ecn::NotEct, 60, 5202, 4));
    setup.run_until(S);
    let at = |wanted| {
        let mut sent = setup.bench.sent.iter();
        let found = sent.find(|sent| number(&sent.packet) == wanted).unwrap();
        (found.at_ns - EPOCH) / MS
    };
    assert_eq!([at(1), at(2), at(3), at(4)], [31, 12, 50, 10]);
    assert!(setup.is_balanced());
}

/// Passes on what it sees.
#[derive(Debug)]
struct Seen(Sender<(u64, Departure, Vec<u8>)>);

impl Observer for Seen {
    fn left(&mut self, at_ns: u64, departure: &Departure, packet: &[u8], _: &Bottleneck) {
        self.0.send((at_ns, *departure, packet.to_vec())).unwrap();
    }
}

/// An observer sees every forwarded packet, with its mark, and every drop.
#[test]
fn an_observer_sees_forwarded_and_dropped_packets() {
    let mut setup = Setup::new(&scenario(8_000_000, 0), dualpi2());
    let (to, seen) = channel();
    setup.forwarder.observe(Box::new(Seen(to)));
    for number in 0..4000 {
        // Counters do not count marks of packets that arrive with CE.
        let ecn = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1][number as usize % 3];
        let packet = packet(ecn, 1500, number as u16 % 7, number);
        setup.arrive_at(u64::from(number) * MS, Side::In, &packet);
    }
    setup.run_until(20 * S);
    let seen: Vec<(u64, Departure, Vec<u8>)> = seen.try_iter().collect();
    let counts = setup.forwarder.measured(setup.bench.now_ns).counts;
    let count = |action| {
        let of = seen
            .iter()
            .filter(|(_, departure, _)| departure.action == action);
        of.count() as u64
    };
    assert_eq!(count(Action::Drop), counts.dropped.iter().sum::<u64>());
    assert_eq!(count(Action::Mark), counts.marked.iter().sum::<u64>());
    assert!(count(Action::Drop) > 100 && count(Action::Mark) > 100);
    assert_eq!(seen.len() as u64, counts.received);
    assert!(seen.is_sorted_by_key(|(at_ns, ..)| *at_ns));
    for (_, departure, packet) in &seen {
        assert_eq!(Header::parse(packet).unwrap().ecn, departure.ecn);
        assert_eq!(packet.len(), departure.bytes as usize);
    }
}

/// However late the host wakes, a backlog leaves at the link's rate: the lateness
/// of one packet is not added to the next.
#[test]
fn lateness_does_not_accumulate() {
    let mut setup = Setup::new(&scenario(12_000_000, 0), fifo(10_000));
    setup.lateness_ns = 900 * US;
    for number in 0..1000 {
        setup.arrive(Side::In, &packet(Ecn::NotEct, 1500, 1, number));
    }
    setup.run_until(2 * S);
    let times = setup.times();
    assert_eq!(times.len(), 1000);
    for (at, time) in times.iter().enumerate() {
        let due = (at as u64 + 1) * MS;
        assert!((due..=due + 900 * US).contains(time), "{at}: {time}");
    }
    let late = setup.forwarder.measured(setup.bench.now_ns).lateness;
    assert!((300..700).contains(&(late.quantile(0.5).unwrap() / US)));
    assert!((800..=900).contains(&(late.most().unwrap() / US)));
}

/// The emulator's result for the same packets: its bottleneck in virtual time.
fn emulated(scenario: &Scenario, arrivals: &[(u64, Vec<u8>)]) -> Vec<(u64, u32, Ecn)> {
    let rate = scenario.link_rate(scenario.repetition_seed(0));
    let mut bottleneck = Bottleneck::new(dualpi2(), rate, scenario.link.service());
    let mut sent = Vec::new();
    let mut drops: Vec<Departure> = Vec::new();
    let mut due_ns: Option<u64> = None;
    let mut waiting = arrivals.iter().enumerate().peekable();
    loop {
        let arrival_ns = waiting.peek().map(|(_, (at_ns, _))| *at_ns);
        let is_arrival = match (arrival_ns, due_ns) {
            (None, None) => return sent,
            (arrival, due) => due.is_none_or(|due| arrival.is_some_and(|at| at < due)),
        };
        let now_ns;
        if is_arrival {
            let (at, (at_ns, bytes)) = waiting.next().unwrap();
            now_ns = *at_ns;
            let header = Header::parse(bytes).unwrap();
            let packet = Packet {
                cookie: at as u64,
                flow: header.flow,
                bytes: bytes.len() as u32,
                ecn: header.ecn,
                dscp: header.dscp,
            };
            bottleneck.arrive(now_ns, packet, &mut drops);
            if due_ns.is_some() {
                continue;
            }
        } else {
            now_ns = due_ns.unwrap();
            bottleneck.transmitted();
        }
        due_ns = match bottleneck.transmit(now_ns, &mut drops) {
            Transmit::Begun(begun) => {
                let number = begun.departure.cookie as u32;
                sent.push((begun.end_ns.unwrap(), number, begun.departure.ecn));
                Some(begun.free_ns)
            }
            Transmit::Wait(at_ns) => Some(at_ns),
            Transmit::Nothing => None,
        };
    }
}

/// Packets get the same marks, drops and departure times as in the emulator.
#[test]
fn packets_match_the_emulator() {
    let mut bursty = scenario(20_000_000, 0);
    bursty.link.bursts = Some(Bursts::new(4 * MS, 6 * MS, Distribution::Exponential));
    bursty.duration_ns = 10 * S;
    for scenario in [scenario(8_000_000, 0), bursty] {
        let mut random = Random::stream(5, "arrivals");
        let mut at_ns = 0;
        let arrivals: Vec<(u64, Vec<u8>)> = (0..6000)
            .map(|number| {
                at_ns += random.exponential(1.2e6) as u64;
                let ecn = Ecn::ALL[random.below(4) as usize];
                let bytes = 60 + random.below(1441) as usize;
                (at_ns, packet(ecn, bytes, number as u16 % 7, number))
            })
            .collect();
        let mut setup = Setup::new(&scenario, dualpi2());
        for (at_ns, packet) in &arrivals {
            setup.arrive_at(*at_ns, Side::In, packet);
        }
        setup.run_until(20 * S);
        let real: Vec<(u64, u32, Ecn)> = setup
            .bench
            .sent
            .iter()
            .map(|sent| {
                let ecn = Header::parse(&sent.packet).unwrap().ecn;
                (sent.at_ns - EPOCH, number(&sent.packet), ecn)
            })
            .collect();
        let virtual_ = emulated(&scenario, &arrivals);
        assert!(virtual_.len() > 5000, "{}", virtual_.len());
        let marks = |list: &[(u64, u32, Ecn)]| {
            let marked = |(_, number, ecn): &&(u64, u32, Ecn)| {
                let before = Header::parse(&arrivals[*number as usize].1).unwrap().ecn;
                *ecn == Ecn::Ce && before != Ecn::Ce
            };
            list.iter().filter(marked).count()
        };
        assert!(marks(&virtual_) > 50, "{}", marks(&virtual_));
        assert_eq!(real, virtual_);
        let measured = setup.forwarder.measured(setup.bench.now_ns);
        assert_eq!(
            measured.counts.marked.iter().sum::<u64>(),
            marks(&real) as u64
        );
        assert_eq!(measured.imbalance(), None);
    }
}

/// 12 Mbit/s for a second, an outage of a second, repeated.
#[test]
fn schedule_repeats_with_its_scenario() {
    let mut scenario = scenario(1, 0);
    scenario.duration_ns = 2 * S;
    let steps = [(0, 12_000_000), (S, 0)].map(|(from_ns, bits_per_s)| RateStep {
        from_ns,
        bits_per_s,
    });
    scenario.bottleneck = RateSchedule::new(steps.to_vec()).unwrap();
    let mut setup = Setup::new(&scenario, fifo(100));
    setup.arrive_at(500 * MS, Side::In, &packet(Ecn::NotEct, 1500, 1, 0));
    setup.arrive_at(1500 * MS, Side::In, &packet(Ecn::NotEct, 1500, 1, 1));
    setup.arrive_at(1600 * MS, Side::In, &packet(Ecn::NotEct, 1500, 1, 2));
    setup.arrive_at(2500 * MS, Side::In, &packet(Ecn::NotEct, 1500, 1, 3));
    setup.run_until(4 * S);
    let times = setup.times();
    assert_eq!((times.len(), times[0], times[3]), (4, 501 * MS, 2501 * MS));
    assert!(times[1] >= 2 * S && times[2] <= 2002 * MS, "{times:?}");
    let measured = setup.forwarder.measured(EPOCH + 4 * S);
    assert_eq!(measured.capacity_bits, 24_000_000);
}

#[test]
fn loss_and_jitter_match_the_scenario() {
    let mut scenario = scenario(100_000_000, 0);
    scenario.link.loss = 0.1;
    scenario.link.jitter = Some(Spread::new(5 * MS, Distribution::Exponential));
    let mut setup = Setup::new(&scenario, fifo(100));
    for number in 0..5000 {
        let packet = packet(Ecn::NotEct, 125, number as u16 % 3, number);
        setup.arrive_at(u64::from(number) * MS, Side::In, &packet);
    }
    setup.run_until(10 * S);
    let lost = setup.forwarder.measured(setup.bench.now_ns).counts.lost;
    assert!((400..600).contains(&lost), "{lost}");
    assert_eq!(setup.bench.sent.len() as u64, 5000 - lost);
    let order: Vec<u32> = setup
        .bench
        .sent
        .iter()
        .map(|sent| number(&sent.packet))
        .collect();
    assert!(!order.is_sorted(), "jitter changes the order of flows");
    for flow in 0..3 {
        let own = order.iter().filter(|number| **number % 3 == flow);
        assert!(own.is_sorted(), "but not that in a flow");
    }
    assert!(setup.is_balanced());
}

#[test]
fn malformed_packets_are_refused_by_cause() {
    let mut setup = Setup::new(&scenario(12_000_000, 0), dualpi2());
    let mut long = packet(Ecn::NotEct, MTU + 1, 1, 0);
    setup.arrive(Side::In, &long);
    setup.arrive(Side::Out, &long);
    long.truncate(19);
    setup.arrive(Side::In, &long);
    setup.arrive(Side::In, &[0x60; 39]);
    setup.arrive(Side::In, &[]);
    setup.arrive(Side::Out, &[0x10; 100]);
    setup.run_until(S);
    let refused = setup.forwarder.measured(setup.bench.now_ns).counts.refused;
    assert_eq!((refused.too_long, refused.short, refused.not_ip), (2, 2, 2));
    assert!(setup.bench.sent.is_empty() && setup.is_balanced());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Random packets in both directions through random links, written late or
    /// never.
    #[test]
    fn every_packet_is_accounted_for(
        seed: u64,
        rate in 100_000..1_000_000_000u64,
        return_bps in prop_oneof![Just(0), 100_000..10_000_000u64],
        lateness_us in 0..2000u64,
        grant: bool,
    ) {
        let mut scenario = scenario(rate, 3 * MS);
        scenario.return_bps = return_bps;
        scenario.duration_ns = S;
        scenario.link.loss = 0.02;
        scenario.link.grant_ns = grant.then_some(5 * MS);
        if !grant {
            scenario.link.bursts = Some(Bursts::new(2 * MS, 3 * MS, Distribution::Uniform));
        }
        let mut setup = Setup::new(&scenario, dualpi2());
        setup.lateness_ns = lateness_us * US;
        let mut random = Random::stream(seed, "packets");
        let mut at_ns = 0;
        for number in 0..3000 {
            at_ns += random.below(2 * MS);
            let from = [Side::In, Side::Out][random.below(2) as usize];
            setup.bench.refuses = random.below(50) == 0;
            let bytes = 32 + random.below(1500) as usize;
            let ecn = Ecn::ALL[random.below(4) as usize];
            setup.arrive_at(at_ns, from, &packet(ecn, bytes, 1, number));
            let measured = setup.forwarder.measured(setup.bench.now_ns);
            prop_assert_eq!(measured.imbalance(), None);
        }
        setup.bench.refuses = false;
        setup.run_until(at_ns + 60 * S);
        let measured = setup.forwarder.measured(setup.bench.now_ns);
        prop_assert_eq!(measured.imbalance(), None);
        prop_assert_eq!((measured.queued, measured.under_way), (0, 0));
        prop_assert!(measured.counts.sent + measured.counts.back_sent > 0);
        // A Not-ECT packet is never marked.
        for sent in &setup.bench.sent {
            let ecn = Header::parse(&sent.packet).unwrap().ecn;
            prop_assert!(ecn == Ecn::Ce || ecn.code() == sent.packet[1]);
        }
    }
}

//! Links with outages, loss and jitter.

use l4sllm_abi::Params;
use l4sllm_testbed::aqm::FifoParams;
use l4sllm_testbed::net::{Bursts, Distribution, Link, Spread, Walk};
use l4sllm_testbed::result::{PacketRow, Run, RunMeta};
use l4sllm_testbed::scenario::{Aqm, Arm, FlowGroup, Scenario};
use l4sllm_testbed::sim::Simulation;
use l4sllm_testbed::transport::Cc;

use crate::support::{MBIT, MS, S, flow, run, scenario, statistics, udp};

fn plain() -> Arm {
    Arm::dualpi2("dualpi2", Params::default())
}

/// Keeps a permanent backlog.
fn fifo() -> Arm {
    Arm::new("fifo", Aqm::Fifo(FifoParams::default()))
}

fn bursts(distribution: Distribution) -> Link {
    Link {
        bursts: Some(Bursts::new(4 * MS, 6 * MS, distribution)),
        ..Link::default()
    }
}

fn walk() -> Link {
    Link {
        walk: Some(Walk {
            every_ns: 100 * MS,
            sigma: 0.3,
            least_bps: 2 * MBIT,
            most_bps: 60 * MBIT,
        }),
        grant_ns: Some(5 * MS),
        ..Link::default()
    }
}

fn lossy() -> Link {
    Link {
        loss: 0.002,
        jitter: Some(Spread::new(MS, Distribution::Exponential)),
        ..Link::default()
    }
}

fn on(link: Link, flows: Vec<FlowGroup>) -> Scenario {
    Scenario {
        link,
        ..scenario(20 * MBIT, 20 * MS, 6, flows)
    }
}

/// Rate of the link at a time.
fn rate_at(meta: &RunMeta, time_ns: u64) -> u64 {
    let after = meta
        .capacity
        .partition_point(|step| step.from_ns <= time_ns);
    meta.capacity[after - 1].bits_per_s
}

/// Everything is accounted for, as a run checks at its end; repetitions are
/// reproducible, and all arms of one have the same link.
#[test]
fn links_repeat_and_are_the_same_for_every_arm() {
    let rows = |run: &Run| (run.packets.clone(), run.flows.clone());
    for link in [bursts(Distribution::Exponential), walk(), lossy()] {
        let web = FlowGroup {
            bytes: Some(30_000),
            count: 20,
            stagger_ns: 100 * MS,
            ..FlowGroup::new("web", Cc::Cubic)
        };
        let scenario = on(link, vec![flow(Cc::Cubic), flow(Cc::Prague), web]);
        let first = run(&scenario, &plain());
        assert!(first.packets.len() > 1000);
        assert_eq!(rows(&first), rows(&run(&scenario, &plain())));
        let other = run(&scenario, &fifo());
        assert_eq!(other.meta.capacity, first.meta.capacity);
        let second = Simulation::new(&scenario, &plain(), 1, None).unwrap();
        let second = second.finish().unwrap();
        assert_ne!(second.packets, first.packets);
        let drawn = link.bursts.is_some() || link.walk.is_some();
        assert_eq!(second.meta.capacity != first.meta.capacity, drawn);
    }
}

/// While the link is off no packet leaves the queue, and packets that arrive
/// then wait; a backlog uses the whole time that it is on.
#[test]
fn a_bursty_link_sends_in_its_bursts() {
    let light = on(bursts(Distribution::Fixed), vec![udp("udp", 970_000)]);
    let light = run(&light, &plain());
    let forwarded = light.packets.iter().filter(|row| row.forwarded());
    assert!(
        forwarded
            .clone()
            .all(|row| rate_at(&light.meta, row.time_ns) > 0)
    );
    // Alone in the queue, 60 % wait, for 3 ms on average.
    let measured = statistics(&light).queue_delay_ms.classic;
    assert!((measured.mean.unwrap() - 1.8).abs() < 0.2, "{measured:?}");
    assert!(measured.p99.unwrap() < 6.1, "{measured:?}");

    let heavy = on(bursts(Distribution::Fixed), vec![udp("udp", 10 * MBIT)]);
    let heavy = run(&heavy, &plain());
    // 8 Mbit/s of 20 on average.
    let used = statistics(&heavy).utilisation;
    assert!((used - 1.0).abs() < 0.003, "{used}");
}

/// Packets leave at multiples of the grant's period, and carry its capacity.
#[test]
fn link_with_grants_sends_at_multiples_of_the_period() {
    let run = run(&on(walk(), vec![udp("udp", 100 * MBIT)]), &fifo());
    let forwarded: Vec<&PacketRow> = run.packets.iter().filter(|row| row.forwarded()).collect();
    assert!(forwarded.iter().all(|row| row.time_ns % (5 * MS) == 0));
    let used = statistics(&run).utilisation;
    assert!((used - 1.0).abs() < 0.005, "{used}");
}

/// A packet lost beyond the bottleneck does not count as the queue's drop and
/// is retransmitted.
#[test]
fn path_losses_are_retransmitted() {
    let bytes = 5_000_000;
    let flow = FlowGroup {
        bytes: Some(bytes),
        ..FlowGroup::new("file", Cc::Cubic)
    };
    let link = Link {
        loss: 0.01,
        ..Link::default()
    };
    let scenario = Scenario {
        warmup_ns: 0,
        duration_ns: 60 * S,
        ..on(link, vec![flow])
    };
    let run = run(&scenario, &plain());
    let file = &run.meta.flows[0];
    assert_eq!(file.goodput_bytes, bytes);
    // Its retransmissions are Not-ECT: the queue drops them where it would mark
    // other packets.
    let lost = file.retransmits - run.meta.packets.dropped;
    // 3453 segments; the standard deviation of the losses is 6.
    assert!((15..60).contains(&lost), "{lost}");
}

//! Flow weights: their benefits and their bounded harm.

use l4sllm_abi::Params;
use l4sllm_testbed::result::Statistics;
use l4sllm_testbed::scenario::{Arm, Arrivals, FlowGroup, Identity, SizeDistribution};
use l4sllm_testbed::sim::Simulation;
use l4sllm_testbed::transport::Cc;

use crate::support::*;

/// Flows with a given round-trip time.
fn flows(cc: Cc, name: &str, rtt_ms: u64, count: u32) -> FlowGroup {
    FlowGroup {
        name: name.to_owned(),
        count,
        rtt_ns: Some(rtt_ms * MS),
        ..flow(cc)
    }
}

/// Without weights and with them.
fn both(rate_bps: u64, seconds: u64, flows: Vec<FlowGroup>) -> [Statistics; 2] {
    repetition(0, rate_bps, seconds, flows)
}

/// Without weights and with them, for any repetition.
fn repetition(number: u32, rate_bps: u64, seconds: u64, flows: Vec<FlowGroup>) -> [Statistics; 2] {
    [false, true].map(|flow_weights| {
        let params = Params {
            flow_weights,
            ..Params::tuned()
        };
        let scenario = scenario(rate_bps, 20 * MS, seconds, flows.clone());
        let arm = Arm::dualpi2("tuned", params);
        let run = Simulation::new(&scenario, &arm, number, None).unwrap();
        let stats = statistics(&run.finish().unwrap());
        let goodputs = stats.flows.iter().map(|flow| flow.goodput_mbps);
        println!(
            "weights {flow_weights}: utilisation {:.4}, Jain {:.3}, classic {:.2} ms, drops \
             {:.4}, Mbit/s {:.2?}",
            stats.utilisation,
            stats.jain.unwrap_or(1.0),
            stats.queue_delay_ms.classic.mean.unwrap_or(0.0),
            stats.drop_share.unwrap_or(0.0),
            goodputs.collect::<Vec<_>>()
        );
        stats
    })
}

/// Jain's index of responsive flows.
fn jain(stats: &Statistics) -> f64 {
    stats.jain.unwrap()
}

/// Mean goodput of the flows with a name prefix, Mbit/s.
fn mean(stats: &Statistics, group: &str) -> f64 {
    let of = stats.flows.iter().filter(|f| f.name.starts_with(group));
    let goodputs: Vec<f64> = of.map(|flow| flow.goodput_mbps).collect();
    goodputs.iter().sum::<f64>() / goodputs.len() as f64
}

/// Weights change shares without affecting delay or utilisation.
fn assert_costs_nothing([without, with]: &[Statistics; 2]) {
    let delay = |of: &Statistics| of.queue_delay_ms.classic.mean;
    if let (Some(without), Some(with)) = (delay(without), delay(with)) {
        assert!((with / without - 1.0).abs() < 0.05, "{with} ms, {without}");
    }
    let (with, without) = (with.utilisation, without.utilisation);
    assert!(with > without - 0.005, "{with}, {without}");
}

/// Between scalable flows all signals come from the step: without weights both
/// are marked equally, and shares depend on round-trip times.
#[test]
fn two_prague_flows_of_10_and_160_ms_share() {
    for rate_bps in [20 * MBIT, 40 * MBIT] {
        let groups = vec![
            flows(Cc::Prague, "short", 10, 1),
            flows(Cc::Prague, "long", 160, 1),
        ];
        let stats = both(rate_bps, 45, groups);
        assert_costs_nothing(&stats);
        let [without, with] = stats.map(|s| goodput(&s, "short") / goodput(&s, "long"));
        assert!(without > 10.0, "{without}");
        assert!(with < 3.0, "{with}");
    }
}

#[test]
fn round_trip_times_matter_less_with_ecn_and_without() {
    for ecn in [true, false] {
        let group = |name, rtt_ms| FlowGroup {
            ecn,
            ..flows(Cc::Cubic, name, rtt_ms, 2)
        };
        let stats = both(40 * MBIT, 45, vec![group("short", 10), group("long", 80)]);
        assert_costs_nothing(&stats);
        let [without, with] = stats.map(|s| jain(&s));
        assert!(with > without + 0.1, "{with}, {without}");
    }
}

/// Many flows of both kinds, with few packets each in the time over which rates
/// decay. If there were only one bucket per flow, most flows would share one.
#[test]
fn many_flows_are_distinguished() {
    let groups = vec![
        flows(Cc::Cubic, "near", 10, 12),
        flows(Cc::Cubic, "far", 30, 12),
        flows(Cc::Prague, "scalable", 60, 12),
    ];
    let stats = both(60 * MBIT, 45, groups);
    assert_costs_nothing(&stats);
    let [without, with] = stats.map(|s| jain(&s));
    assert!(without < 0.85, "{without}");
    assert!(with > 0.93, "{with}");
}

/// Change of utilisation by weights, with unresponsive datagrams at 30 to 60 %
/// of the link and two flows with this round-trip time.
fn next_to_datagrams(cc: Cc, rtt_ms: u64) -> f64 {
    let mut sum = 0.0;
    for percent in [30, 45, 60] {
        for number in 0..2 {
            let groups = vec![
                flows(cc, "responsive", rtt_ms, 2),
                udp("datagrams", 40 * MBIT * percent / 100),
            ];
            let [without, with] = repetition(number, 40 * MBIT, 30, groups);
            sum += with.utilisation - without.utilisation;
        }
    }
    sum / 6.0
}

/// Signals moved from responsive flows to datagrams have no effect, and signals
/// moved to responsive flows cost capacity. The clamp bounds both.
#[test]
fn unresponsive_datagrams_leave_no_capacity_unused() {
    for (cc, rtt_ms) in [(Cc::Cubic, 20), (Cc::Prague, 20), (Cc::NewReno, 160)] {
        let gain = next_to_datagrams(cc, rtt_ms);
        assert!(gain > -0.01, "{cc}, {rtt_ms} ms: {gain:+.4}");
    }
}

/// An unresponsive flow is policed above its fair share and spared below it.
#[test]
fn unresponsive_datagrams_are_policed_above_their_share() {
    let with = |rate_bps| {
        let groups = vec![flows(Cc::Cubic, "cubic", 20, 8), udp("datagrams", rate_bps)];
        both(40 * MBIT, 30, groups)
    };
    let stats = with(18 * MBIT);
    let [without, weighted] = [0, 1].map(|i| goodput(&stats[i], "datagrams"));
    assert!(weighted < 0.85 * without, "{weighted}, {without}");
    // It is not starved: its loss is bounded.
    assert!(weighted > 0.6 * without, "{weighted}, {without}");
    let [without, weighted] = [0, 1].map(|i| mean(&stats[i], "cubic"));
    assert!(weighted > 1.1 * without, "{weighted}, {without}");

    let stats = with(MBIT);
    let [without, weighted] = [0, 1].map(|i| goodput(&stats[i], "datagrams"));
    assert!(weighted > without, "{weighted}, {without}");
}

/// Overload by datagrams is dropped as without weights.
#[test]
fn overload_drops_are_unchanged() {
    let groups = vec![
        flows(Cc::Cubic, "cubic", 20, 2),
        flows(Cc::Prague, "prague", 20, 2),
        udp("flood", 60 * MBIT),
    ];
    let [without, with] = both(40 * MBIT, 20, groups);
    let p99 = |of: &Statistics| of.queue_delay_ms.classic.p99.unwrap();
    assert!(p99(&with) < 1.1 * p99(&without));
    let l4s = |of: &Statistics| of.queue_delay_ms.l4s.p99.unwrap();
    assert!(l4s(&with) < 1.2 * l4s(&without) + 0.5);
    assert!(with.utilisation > without.utilisation - 0.005);
}

/// A tunnel is treated as one flow, and the clamp bounds the cost: four flows
/// in it get more than a third of the rate of those outside.
#[test]
fn a_tunnel_counts_as_one_flow() {
    let groups = vec![
        FlowGroup {
            identity: Identity::Tunnel,
            ..flows(Cc::Cubic, "tunnel", 20, 4)
        },
        flows(Cc::Cubic, "other", 20, 4),
    ];
    let stats = both(40 * MBIT, 45, groups);
    assert_costs_nothing(&stats);
    let [without, with] = stats.map(|s| mean(&s, "tunnel") / mean(&s, "other"));
    assert!((0.85..1.2).contains(&without), "{without}");
    assert!((0.35..0.75).contains(&with), "{with}");
}

/// A flow that changes its port every 20 ms does not count as slow.
#[test]
fn changing_ports_gives_no_advantage() {
    let groups = |identity| {
        let hopping = FlowGroup {
            identity,
            ..flows(Cc::Cubic, "hopping", 20, 1)
        };
        vec![hopping, flows(Cc::Cubic, "other", 20, 3)]
    };
    let gain = |identity| {
        let [_, with] = both(40 * MBIT, 60, groups(identity));
        goodput(&with, "hopping") / mean(&with, "other")
    };
    let (still, hopping) = (gain(Identity::Own), gain(Identity::PortHop(20 * MS)));
    assert!(hopping < 1.4 * still, "{hopping}, {still}");
}

/// Short page loads with long flows: they are not slower, and the others lose
/// little.
#[test]
fn short_flows_are_not_slowed_down() {
    let web = FlowGroup {
        name: "web".to_owned(),
        arrivals: Some(Arrivals {
            per_s: 20.0,
            size: SizeDistribution::Pareto {
                shape: 1.2,
                least: 10_000,
                most: 10_000_000,
            },
        }),
        ..flow(Cc::Cubic)
    };
    let stats = both(40 * MBIT, 60, vec![flows(Cc::Cubic, "lasting", 20, 2), web]);
    let completions = stats.each_ref().map(|s| s.flows[2].completions.unwrap());
    println!("{completions:?}");
    let [without, with] = completions.map(|c| c.mean_ms.unwrap());
    assert!(with < 1.05 * without, "{with} ms, {without}");
    let [without, with] = stats.map(|s| s.utilisation);
    assert!(with > without - 0.03, "{with}, {without}");
}

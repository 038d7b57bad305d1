//! BBR in front of DualPI2.

use l4sllm_abi::Params;
use l4sllm_testbed::result::Statistics;
use l4sllm_testbed::scenario::{Arm, FlowGroup};
use l4sllm_testbed::transport::Cc;

use crate::support::*;

const RTT: u64 = 40 * MS;

fn share(flows: Vec<FlowGroup>) -> Statistics {
    let arm = Arm::dualpi2("dualpi2", Params::default());
    statistics(&run(&scenario(20 * MBIT, RTT, 90, flows), &arm))
}

/// Alone it fills 20 Mbit/s, with a queue of at most a product of rate and delay.
#[test]
fn bbr_fills_a_link_with_a_short_queue() {
    let statistics = share(vec![flow(Cc::Bbr)]);
    assert!(statistics.utilisation > 0.95, "{statistics:?}");
    let delay = statistics.queue_delay_ms.classic;
    assert!(delay.p50.unwrap() < 15.0, "{delay:?}");
    assert!(delay.p99.unwrap() < 40.0, "{delay:?}");
}

#[test]
fn two_bbr_flows_share_a_link() {
    let two = FlowGroup {
        count: 2,
        stagger_ns: 2 * S,
        ..flow(Cc::Bbr)
    };
    let statistics = share(vec![two]);
    let rates = [1, 2].map(|at| goodput(&statistics, &format!("bbr-{at}")));
    assert!((0.4..2.5).contains(&(rates[0] / rates[1])), "{rates:?}");
    assert!(statistics.utilisation > 0.95, "{statistics:?}");
}

/// BBR does not yield to DualPI2's drops, and CUBIC does: as in front of any AQM that
/// keeps the queue below a product of rate and delay, BBR takes most of the link.
#[test]
fn bbr_takes_most_of_a_link_from_cubic() {
    let statistics = share(vec![flow(Cc::Bbr), flow(Cc::Cubic)]);
    let [bbr, cubic] = ["bbr", "cubic"].map(|name| goodput(&statistics, name));
    println!("BBR {bbr}, CUBIC {cubic} Mbit/s");
    assert!(bbr > 2.0 * cubic, "{bbr} and {cubic}");
    assert!(cubic > 0.2, "{cubic}");
}

//! A long time of mixed traffic in virtual time, with the adaptive rule in the
//! loop: memory and descriptors stay flat, and everything is accounted for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use l4sllm_abi::Params;
use l4sllmd::engine::Preset;
use serde::Serialize;

use super::usage::{Trend, Usage};
use crate::result::{Overrides, Packets};
use crate::scenario::{Arm, Arrivals, Control, FlowGroup, Scenario, SizeDistribution};
use crate::sim::{SimError, Simulation};
use crate::transport::{Cc, Chunks};

const BITS_PER_S: u64 = 10_000_000;
const RTT_NS: u64 = 20_000_000;
/// Number of events between two looks at `cancel`.
const EVENTS: usize = 1 << 16;
/// Number of samples of memory and descriptors.
pub const SAMPLES: u64 = 96;
const S: u64 = 1_000_000_000;

/// Traffic of all kinds at 10 Mbit/s: long flows of every congestion control, one
/// of which comes and goes, a video, an unresponsive stream, and short flows.
pub fn scenario(duration_ns: u64) -> Scenario {
    let mut scenario = Scenario::new("soak", BITS_PER_S, RTT_NS);
    scenario.duration_ns = duration_ns;
    scenario.warmup_ns = S;
    scenario.sample_ns = 10 * S;
    let [
        cubic,
        prague,
        mut newreno,
        mut udp_prague,
        mut video,
        mut udp,
        mut short,
    ] = [
        ("cubic", Cc::Cubic),
        ("prague", Cc::Prague),
        ("newreno", Cc::NewReno),
        ("udp-prague", Cc::UdpPrague),
        ("video", Cc::Cubic),
        ("udp", Cc::Udp),
        ("short", Cc::Cubic),
    ]
    .map(|(name, cc)| FlowGroup::new(name, cc));
    newreno.ecn = false;
    newreno.rtt_ns = Some(4 * RTT_NS);
    udp_prague.start_ns = duration_ns / 3;
    udp_prague.duration_ns = Some(duration_ns / 3);
    video.chunks = Some(Chunks {
        bytes: 500_000,
        every_ns: 4 * S,
    });
    udp.rate_bps = Some(BITS_PER_S / 20);
    short.arrivals = Some(Arrivals {
        per_s: 0.5,
        size: SizeDistribution::Pareto {
            shape: 1.2,
            least: 5_000,
            most: 1_000_000,
        },
    });
    scenario.flows = vec![cubic, prague, newreno, udp_prague, video, udp, short];
    scenario
}

/// Result of a long run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Soak {
    /// Virtual time, s.
    pub virtual_s: f64,
    /// Real time, s.
    pub wall_s: f64,
    /// Packets at the bottleneck.
    pub packets: Packets,
    /// Overrides of the rule.
    pub overrides: Overrides,
    /// Memory and descriptors of this process; none on systems that do not report
    /// them.
    pub usage: Option<Trend>,
}

/// Runs the mixed traffic; none if cancelled. `progress` gets the virtual time.
///
/// # Errors
/// The run's accounting is violated.
pub fn run(
    duration_ns: u64,
    cancel: &AtomicBool,
    progress: impl Fn(u64),
) -> Result<Option<Soak>, SimError> {
    let began = Instant::now();
    let scenario = scenario(duration_ns);
    let mut arm = Arm::dualpi2("adaptive", Params::default());
    arm.control = Some(Control::adaptive(Preset::default()));
    let mut simulation = Simulation::new(&scenario, &arm, 0, None)?;
    let mut samples = Vec::new();
    for sample in 1..=SAMPLES {
        let until_ns = duration_ns / SAMPLES * sample;
        while !simulation.run_some(until_ns, EVENTS)? {
            drop(simulation.take_rows());
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        drop(simulation.take_rows());
        samples.extend(Usage::of(None));
        progress(until_ns);
    }
    let run = simulation.finish()?;
    Ok(Some(Soak {
        virtual_s: duration_ns as f64 / 1e9,
        wall_s: began.elapsed().as_secs_f64(),
        packets: run.meta.packets,
        overrides: run.meta.overrides,
        usage: Trend::of(&samples),
    }))
}

//! Link shares of a classic and a scalable flow, and their cause.

use l4sllm_abi::Params;
use l4sllm_testbed::result::{PacketRow, Run};
use l4sllm_testbed::scenario::Arm;
use l4sllm_testbed::transport::Cc;

use crate::support::*;

/// Quantities that determine the rate of one flow.
#[derive(Debug)]
struct Share {
    /// Mean rate, packets/s, of forwarded packets.
    rate: f64,
    /// Mean smoothed round-trip time, s.
    rtt: f64,
    /// Share of its packets marked or dropped.
    signal: f64,
}

impl Share {
    /// Packets in flight, by Little's law.
    fn window(&self) -> f64 {
        self.rate * self.rtt
    }

    fn of(run: &Run, flow: u32) -> Share {
        let measured = run.meta.start_ns..run.meta.end_ns;
        let own = |row: &&PacketRow| row.flow == flow && measured.contains(&row.time_ns);
        let packets: Vec<&PacketRow> = run.packets.iter().filter(own).collect();
        let sent = packets.iter().filter(|row| row.action != 1).count() as f64;
        let signalled = packets.iter().filter(|row| row.action != 0).count() as f64;
        let samples = run.flows.iter().filter(|row| row.flow == flow);
        let rtts: Vec<f64> = samples
            .filter(|row| measured.contains(&row.time_ns) && row.srtt_ns > 0)
            .map(|row| row.srtt_ns as f64 / 1e9)
            .collect();
        Share {
            rate: sent / ((measured.end - measured.start) as f64 / 1e9),
            rtt: rtts.iter().sum::<f64>() / rtts.len() as f64,
            signal: signalled / packets.len() as f64,
        }
    }
}

/// A CUBIC and a DCTCP flow with equal base round trips at 40 Mbit/s.
fn against_dctcp(base_ms: u64) -> (Share, Share) {
    let flows = vec![flow(Cc::Cubic), flow(Cc::Dctcp)];
    let arm = Arm::dualpi2("dualpi2", Params::default());
    let run = run(&scenario(40 * MBIT, base_ms * MS, 90, flows), &arm);
    (Share::of(&run, 0), Share::of(&run, 1))
}

/// DCTCP gets about twice CUBIC's rate at equal base round trips, and the queue
/// is not the cause. The coupling equalises windows (RFC 9332, section 2.1 and
/// appendix A) within a factor of two: the step adds marks at short round trips,
/// and CUBIC's window is not Reno's. But DCTCP does not reduce its dependence on
/// the round trip like Prague (RFC 9331, section 4.3), and CUBIC's round trip
/// also includes the classic queue of 15 ms: rates differ by the ratio of
/// windows times (base + 15 ms) / (base + 0.7 ms).
#[test]
fn dctcp_advantage_comes_from_its_shorter_round_trip() {
    for base_ms in [10, 20, 50] {
        let (cubic, dctcp) = against_dctcp(base_ms);
        let (rates, rtts) = (dctcp.rate / cubic.rate, cubic.rtt / dctcp.rtt);
        let windows = dctcp.window() / cubic.window();
        let coupled = dctcp.signal / (2.0 * cubic.signal.sqrt());
        println!(
            "{base_ms} ms: rates {rates:.2} = windows {windows:.2} x round trips {rtts:.2}; \
             marks over coupled ones {coupled:.2}; {cubic:?} {dctcp:?}"
        );
        let base = base_ms as f64;
        let expected = (base + 15.0) / (base + 0.7);
        assert!((rtts / expected - 1.0).abs() < 0.15, "{rtts} or {expected}");
        assert!((0.5..2.0).contains(&windows), "{windows}");
        // At least the coupled marks, apart from variations of p' within the
        // run.
        assert!((0.6..2.0).contains(&coupled), "{coupled}");
        // Windows of the response functions for the observed signals: 2/p to (1
        // + sqrt 3)/p of DCTCP, and Reno's sqrt(3/2p) of CUBIC.
        let product = dctcp.window() * dctcp.signal;
        assert!((1.7..3.3).contains(&product), "{product}");
        let reno = (1.5 / cubic.signal).sqrt();
        assert!((cubic.window() / reno - 1.0).abs() < 0.2, "{cubic:?}");
    }
}

//! A long time of mixed traffic in real time: the daemon's and the router's memory
//! and descriptors do not grow.

use std::time::{Duration, Instant};

use l4sllm_testbed::drill::usage::{Trend, Usage};
use l4sllm_testbed::scenario::FlowGroup;
use l4sllm_testbed::transport::Cc;
use serde::Serialize;

use super::bench::Bench;
use super::{MOST_GAP_MS, PATIENCE, Stage, descriptors};
use crate::LabError;

/// Time between two samples, status requests and scrapes.
const EVERY: Duration = Duration::from_secs(1);

/// Result of a long run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Soak {
    /// Duration, s.
    pub seconds: f64,
    /// Longest time between two packets that left the queue, ms.
    pub gap_ms: f64,
    /// Overrides that the device received.
    pub overrides: u64,
    /// Messages that the daemon lost.
    pub lost: u64,
    /// Memory and descriptors of the daemon; none if too short.
    pub daemon: Option<Trend>,
    /// The same of the router, which is this process.
    pub router: Option<Trend>,
    /// Violated requirements; empty if none.
    pub faults: Vec<String>,
}

/// All kinds of traffic that hosts can send.
fn flows() -> Vec<FlowGroup> {
    let mut cubic = FlowGroup::new("cubic", Cc::Cubic);
    cubic.count = 2;
    let mut newreno = FlowGroup::new("newreno", Cc::NewReno);
    newreno.ecn = false;
    let mut udp = FlowGroup::new("udp", Cc::Udp);
    udp.rate_bps = Some(1_000_000);
    vec![cubic, newreno, FlowGroup::new("prague", Cc::UdpPrague), udp]
}

/// Sends mixed traffic for a time. The daemon has the adaptive rule, a flight
/// recorder and a metrics endpoint, and is asked for status and metrics once a
/// second. `progress` gets the time so far.
///
/// # Errors
/// It cannot be set up, or a program fails.
pub fn run(
    stage: &Stage<'_>,
    time: Duration,
    progress: impl Fn(Duration),
) -> Result<Soak, LabError> {
    let mut bench = Bench::start(stage, flows(), time.as_secs())?;
    let dir = bench.dir().join("flight");
    std::fs::create_dir_all(&dir).map_err(LabError::system("make a directory"))?;
    descriptors::prepare(&mut bench);
    let recorder = format!("[recorder]\ndirectory = {dir:?}\nsize_mb = 1\n");
    bench.extras.sections.push_str(&recorder);
    bench.start_daemon()?;
    bench.wait_for("the daemon to steer the queue", PATIENCE, |bench| {
        Ok(!bench.is_plain())
    })?;
    let metrics = descriptors::metrics(&bench.log());
    let mut samples = [Vec::new(), Vec::new()];
    let mut faults = Vec::new();
    let began = Instant::now();
    let mut next = Duration::ZERO;
    bench.fail(|_| Ok(()))?;
    let mut unanswered = 0;
    bench.wait_for("the traffic", time * 2, |bench| {
        let now = began.elapsed();
        if now < next {
            return Ok(false);
        }
        next += EVERY;
        progress(now);
        let daemon = bench.daemon_id().map(|id| id.as_raw_nonzero().get() as u32);
        samples[0].extend(daemon.and_then(|id| Usage::of(Some(id))));
        samples[1].extend(Usage::of(None));
        let scraped = metrics.and_then(descriptors::scrape);
        unanswered += u32::from(bench.status().is_none() || scraped.is_none());
        Ok(now >= time)
    })?;
    if unanswered > 0 {
        faults.push(format!(
            "{unanswered} requests for status or metrics failed"
        ));
    }
    let seconds = began.elapsed().as_secs_f64();
    let overrides = bench.received()?;
    let lost = bench.status().map_or(0, |status| status.counters.lost);
    let gap_ms = bench.worst_gap_ms();
    if gap_ms > MOST_GAP_MS {
        faults.push(format!("no packet for {gap_ms:.0} ms"));
    }
    let expected = seconds / bench.period().as_secs_f64();
    if (overrides as f64) < expected / 10.0 {
        faults.push(format!("{overrides} overrides, expected {expected:.0}"));
    }
    faults.extend(bench.finish()?);
    let [daemon, router] = samples.map(|samples| Trend::of(&samples));
    for (name, trend) in [("daemon", daemon), ("router", router)] {
        let growth = trend.and_then(|trend| trend.growth());
        faults.extend(growth.map(|growth| format!("{name}: {growth}")));
    }
    Ok(Soak {
        seconds,
        gap_ms,
        overrides,
        lost,
        daemon,
        router,
        faults,
    })
}

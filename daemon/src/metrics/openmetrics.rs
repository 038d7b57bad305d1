//! Metrics in the OpenMetrics text format.
//!
//! Names, types and units are documented in l4sllm(1). Counters of the daemon are
//! those of [`Counters::TABLE`]; those of the queues come from the device.

use std::fmt::Error;

use l4sllm_abi::{Cause, Params, Queue, Queues, Stats, raw};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::page::{Page, alone, text_of};
use super::{Counters, Kind};
use crate::config::DeviceConfig;
use crate::device::{Device, DeviceError};
use crate::files::Files;
use crate::status::{EngineStatus, RecorderStatus, RemoteStatus, State, Status};

/// Content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is exported.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Status of the daemon.
    pub status: Status,
    /// The device; none if it cannot be read.
    pub device: Option<DeviceSnapshot>,
}

/// Statistics of a device over all instances.
#[derive(Debug, Clone)]
pub struct DeviceSnapshot {
    /// Both queues.
    pub queues: Queues,
    /// Counters.
    pub stats: Stats,
    /// Parameters.
    pub params: Params,
}

impl DeviceSnapshot {
    /// Reads a device as an observer.
    ///
    /// # Errors
    /// The device does not exist, cannot be opened, or has another interface
    /// version.
    pub async fn read(files: &Files, config: &DeviceConfig) -> Result<DeviceSnapshot, DeviceError> {
        let mut device = Device::open(files, config).await?;
        device.version().await?;
        Ok(DeviceSnapshot {
            queues: device.queues().await?,
            stats: device.stats().await?,
            params: device.params().await?,
        })
    }
}

/// The text of a snapshot.
pub fn text(snapshot: Snapshot) -> String {
    text_of(Box::new(snapshot))
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page::new(encoder);
        daemon(&mut page, &self.status)?;
        let readable = self.device.is_some();
        page.gauges(
            "l4sllmd_device_readable",
            "Whether the statistics of the device can be read.",
            None,
            &alone(f64::from(u8::from(readable))),
        )?;
        if let Some(device) = &self.device {
            queues(&mut page, &device.queues)?;
            signals(&mut page, &device.stats)?;
            device_counters(&mut page, &device.stats)?;
            set_points(&mut page, &device.params, &self.status)?;
        }
        Ok(())
    }
}

fn daemon(page: &mut Page<'_>, status: &Status) -> Result<(), Error> {
    let (kind, name) = match &status.engine {
        EngineStatus::Adaptive { preset } => ("adaptive", preset.as_str()),
        EngineStatus::Policy { name, .. } => ("policy", name.as_str()),
        EngineStatus::Remote { name, .. } => ("remote", name.as_str()),
        EngineStatus::Script { .. } => ("script", ""),
        EngineStatus::Fixed { profile } => ("fixed", profile.as_str()),
    };
    // A label must not end the line or its value.
    let plain = |text: &str| text.replace(['\\', '"', '\n'], "_");
    let (version, name) = (plain(&status.version), plain(name));
    let labels = vec![
        ("version", version.as_str()),
        ("engine", kind),
        ("name", name.as_str()),
    ];
    page.gauges(
        "l4sllmd_build",
        "Version and engine, always 1.",
        None,
        &[(labels, 1.0)],
    )?;
    page.gauges(
        "l4sllmd_running",
        "1 while the daemon controls a device, 0 while it waits for one.",
        None,
        &alone(f64::from(u8::from(status.state == State::Running))),
    )?;
    page.gauges(
        "l4sllmd_uptime",
        "Time since the daemon started.",
        Some(Unit::Seconds),
        &alone(status.uptime_s),
    )?;
    for row in Counters::TABLE {
        let name = format!("l4sllmd_{}", row.name);
        let value = alone(row.of(&status.counters) as f64);
        match row.kind {
            Kind::Counter => page.counters(&name, row.help, None, &value)?,
            Kind::Gauge => page.gauges(&name, row.help, None, &value)?,
        }
    }
    page.quantiles(
        "l4sllmd_latency",
        "Time from a record to its override, last minute.",
        &status.latency_minute_us,
    )?;
    page.quantiles(
        "l4sllmd_decision",
        "Time to compute a decision, last minute.",
        &status.decision_minute_us,
    )?;
    page.gauges(
        "l4sllmd_deciding",
        "Duration of the decision in progress; 0 if there is none.",
        Some(Unit::Seconds),
        &alone(status.deciding_s),
    )?;
    let reloads = &status.reloads;
    let results = [
        (vec![("result", "succeeded")], reloads.succeeded as f64),
        (vec![("result", "failed")], reloads.failed as f64),
    ];
    page.counters(
        "l4sllmd_reloads",
        "Reloads of the configuration.",
        None,
        &results,
    )?;
    if let Some(remote) = &status.remote {
        self::remote(page, remote)?;
    }
    match &status.recorder {
        Some(recorder) => self::recorder(page, recorder),
        None => Ok(()),
    }
}

fn remote(page: &mut Page<'_>, remote: &RemoteStatus) -> Result<(), Error> {
    page.gauges(
        "l4sllmd_remote_connected",
        "Whether the server is connected, and has the policy's tensors.",
        None,
        &alone(f64::from(u8::from(remote.connected))),
    )?;
    page.gauges(
        "l4sllmd_remote_waiting",
        "Requests in flight.",
        None,
        &alone(remote.waiting as f64),
    )?;
    let by_outcome = [
        ("answered", remote.answered),
        ("late", remote.late),
        ("invalid", remote.invalid),
        ("failed", remote.failed),
        ("abandoned", remote.abandoned),
    ];
    page.counters(
        "l4sllmd_remote_answers",
        "Requests that ended, by outcome: late answers are dropped.",
        None,
        &by_outcome.map(|(outcome, count)| (vec![("outcome", outcome)], count as f64)),
    )?;
    for (name, help, value) in [
        ("requests", "Requests sent to the server.", remote.requests),
        (
            "missed",
            "Deadlines of requests that were missed.",
            remote.missed,
        ),
        (
            "unsent",
            "Intervals for which no request was sent.",
            remote.unsent,
        ),
        (
            "connects",
            "Connections made to the server.",
            remote.connects,
        ),
        ("refused", "Failed attempts to connect.", remote.refused),
    ] {
        page.counters(
            &format!("l4sllmd_remote_{name}"),
            help,
            None,
            &alone(value as f64),
        )?;
    }
    Ok(())
}

fn recorder(page: &mut Page<'_>, recorder: &RecorderStatus) -> Result<(), Error> {
    for (name, help, unit, value) in [
        (
            "frames",
            "Frames that the flight recorder wrote.",
            None,
            recorder.frames,
        ),
        (
            "written",
            "Bytes that the flight recorder wrote.",
            Some(Unit::Bytes),
            recorder.bytes,
        ),
        (
            "lost_frames",
            "Frames that the flight recorder could not write.",
            None,
            recorder.lost,
        ),
        (
            "failures",
            "Failed writes of the flight recorder.",
            None,
            recorder.failures,
        ),
    ] {
        let name = format!("l4sllmd_recorder_{name}");
        page.counters(&name, help, unit, &alone(value as f64))?;
    }
    Ok(())
}

/// Both queues, with label `queue`.
const QUEUES: [(Queue, &str); 2] = [(Queue::Classic, "classic"), (Queue::L4s, "l4s")];

fn queues(page: &mut Page<'_>, queues: &Queues) -> Result<(), Error> {
    type Value = fn(&raw::l4s_queue_stats) -> u64;
    let of = |value: Value| {
        QUEUES.map(|(queue, name)| (vec![("queue", name)], value(&queues.queue(queue)) as f64))
    };
    let counters: [(&str, &str, Option<Unit>, Value); 7] = [
        ("packets_in", "Packets that arrived.", None, |q| {
            q.packets_in
        }),
        ("in", "Bytes that arrived.", Some(Unit::Bytes), |q| {
            q.bytes_in
        }),
        ("forwarded", "Packets that left.", None, |q| q.forwarded),
        ("out", "Bytes that left.", Some(Unit::Bytes), |q| {
            q.forwarded_bytes
        }),
        ("marked", "Packets marked and forwarded.", None, |q| {
            q.marked
        }),
        ("dropped", "Packets dropped, for any reason.", None, |q| {
            q.dropped
        }),
        (
            "tail_drops",
            "Packets dropped by a queue limit.",
            None,
            |q| q.drops_tail,
        ),
    ];
    for (name, help, unit, value) in counters {
        page.counters(&format!("l4sllm_queue_{name}"), help, unit, &of(value))?;
    }
    let gauges: [(&str, &str, Option<Unit>, Value); 2] = [
        ("packets", "Packets waiting.", None, |q| q.queued),
        ("waiting", "Bytes waiting.", Some(Unit::Bytes), |q| {
            q.queued_bytes
        }),
    ];
    for (name, help, unit, value) in gauges {
        page.gauges(&format!("l4sllm_queue_{name}"), help, unit, &of(value))?;
    }
    let mut delays = page.encoder().encode_descriptor(
        "l4sllm_queue_delay",
        "Delay of packets that left.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (queue, name) in QUEUES {
        let stats = queues.queue(queue);
        let edges = (1..stats.delays.len()).map(|bin| stats.bin_from_ns(bin) as f64 / 1e9);
        let bins: Vec<(f64, u64)> = edges
            .chain([f64::MAX])
            .zip(stats.delays.iter().copied())
            .collect();
        let labels = vec![("queue", name)];
        let (sum, count) = (stats.delay_sum_ns as f64 / 1e9, stats.forwarded);
        let mut metric = delays.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, &bins, None)?;
    }
    let share = |p: u32| f64::from(p) / f64::from(raw::L4S_PROB_ONE);
    let probabilities = [
        (vec![("of", "base")], share(queues.base_probability)),
        (vec![("of", "classic")], share(queues.classic_probability)),
        (vec![("of", "coupled")], share(queues.coupled_probability)),
    ];
    page.gauges(
        "l4sllm_probability",
        "The base probability p', p_C of the classic queue and p_CL of the L4S queue.",
        None,
        &probabilities,
    )?;
    page.gauges(
        "l4sllm_overload",
        "Instances in overload now.",
        None,
        &alone(queues.overload.into()),
    )?;
    page.counters(
        "l4sllm_overloads",
        "Number of times that overload began.",
        None,
        &alone(queues.overloads as f64),
    )
}

fn signals(page: &mut Page<'_>, stats: &Stats) -> Result<(), Error> {
    let by = |causes: [Cause; 4]| {
        causes.map(|cause| (vec![("cause", cause.name)], (cause.of)(stats) as f64))
    };
    page.counters(
        "l4sllm_marks",
        "Packets marked, by cause.",
        None,
        &by(Cause::MARKS),
    )?;
    page.counters(
        "l4sllm_drops",
        "Packets dropped, by cause.",
        None,
        &by(Cause::DROPS),
    )?;
    page.counters(
        "l4sllm_overrides",
        "Overrides that the device received, by outcome.",
        None,
        &[
            (vec![("outcome", "applied")], stats.overrides_applied as f64),
            (vec![("outcome", "expired")], stats.overrides_expired as f64),
            (vec![("outcome", "refused")], stats.overrides_refused as f64),
            (
                vec![("outcome", "replaced")],
                stats.overrides_replaced as f64,
            ),
        ],
    )?;
    page.counters(
        "l4sllm_decisions_overridden",
        "Packets on which an override changed DualPI2's decision.",
        None,
        &alone(stats.decisions_overridden as f64),
    )
}

fn device_counters(page: &mut Page<'_>, stats: &Stats) -> Result<(), Error> {
    page.counters(
        "l4sllm_records_written",
        "Records that the device wrote.",
        None,
        &alone(stats.records_written as f64),
    )?;
    page.counters(
        "l4sllm_records_lost",
        "Records that a reader did not read in time.",
        None,
        &alone(stats.records_lost as f64),
    )?;
    page.counters(
        "l4sllm_watchdog_misses",
        "Deadlines for an override that were missed.",
        None,
        &alone(stats.watchdog_misses as f64),
    )?;
    page.gauges(
        "l4sllm_imbalance",
        "1 if the device's counters do not add up.",
        None,
        &alone(f64::from(u8::from(stats.imbalance().is_some()))),
    )
}

fn set_points(page: &mut Page<'_>, params: &Params, status: &Status) -> Result<(), Error> {
    let factor = |of: fn(&crate::status::InForce) -> Option<f64>| {
        status.in_force.as_ref().and_then(of).unwrap_or(1.0)
    };
    type Row = (&'static str, &'static str, Option<Unit>, f64, f64);
    let rows: [Row; 5] = [
        (
            "target",
            "Target delay, as configured and in force.",
            Some(Unit::Seconds),
            params.target_ns as f64 / 1e9,
            factor(|f| f.target),
        ),
        (
            "alpha",
            "Integral gain, as configured and in force.",
            Some(Unit::Other("hertz".to_owned())),
            f64::from(params.alpha_uhz) / 1e6,
            factor(|f| f.alpha),
        ),
        (
            "beta",
            "Proportional gain, as configured and in force.",
            Some(Unit::Other("hertz".to_owned())),
            f64::from(params.beta_uhz) / 1e6,
            factor(|f| f.beta),
        ),
        (
            "coupling",
            "Coupling factor k, as configured and in force.",
            None,
            f64::from(params.coupling_q8) / 256.0,
            factor(|f| f.coupling),
        ),
        (
            "tupdate",
            "Period of the controller, as configured and in force.",
            Some(Unit::Seconds),
            params.tupdate_ns as f64 / 1e9,
            factor(|f| f.tupdate),
        ),
    ];
    for (name, help, unit, base, factor) in rows {
        let samples = [
            (vec![("setting", "configured")], base),
            (vec![("setting", "in_force")], base * factor),
        ];
        page.gauges(&format!("l4sllm_set_point_{name}"), help, unit, &samples)?;
    }
    Ok(())
}

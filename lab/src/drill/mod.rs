//! Failure drills: failures while traffic flows.
//!
//! Each drill has a bottleneck with TCP flows and `l4sllmd` with the adaptive
//! rule. Something fails once the rule steers the queue. Packets must keep
//! flowing, the queue must be plain DualPI2 when the last override expires,
//! counters must add up, and the daemon must steer again without help.

mod bench;
mod clock;
mod counters;
mod descriptors;
mod disk;
pub mod malicious;
mod phase;
mod slow;
pub mod soak;
mod write;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use l4sllm_abi::{Interval, MESSAGE_SIZE};
use l4sllm_testbed::scenario::FlowGroup;
use l4sllm_testbed::transport::Cc;
use l4sllmd::clock::now_ns;
use l4sllmd::status::State;
use rustix::process::Signal;
use serde::Serialize;

use crate::{Host, LabError};
use bench::Bench;

/// Time for a daemon to steer the queue, at first or again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time that the stopped daemon is stopped for.
const STOPPED: Duration = Duration::from_secs(5);
/// Time that a drill without a plain queue lasts.
const UNSHAKEN: Duration = Duration::from_secs(3);
/// Longest time between two packets, ms. The link sends one every 0.6 ms; the
/// rest is the host's.
const MOST_GAP_MS: f64 = 500.0;
/// Time to notice that the queue is plain, beyond an override's life, ms.
const SLACK_MS: f64 = 500.0;

/// A failure to cause while traffic flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drill {
    /// The daemon is killed and started again, as by a service manager.
    Killed,
    /// The daemon is stopped for 5 s.
    Stopped,
    /// The daemon runs for a tenth of the time.
    Slow,
    /// The device's socket is closed and opened again.
    Socket,
    /// A controller stops in the middle of a request.
    Write,
    /// A reload names a damaged policy.
    Policy,
    /// Another reader of the device is too slow.
    Reader,
    /// Another program reads the device's counters all the time, on a busy host.
    Counters,
    /// The disk of the flight recorder is full for some time.
    Disk,
    /// The daemon runs out of descriptors for some time.
    Descriptors,
    /// The daemon's wall clock jumps.
    Clock,
}

impl Drill {
    /// Every drill.
    pub const ALL: [Drill; 11] = [
        Drill::Killed,
        Drill::Stopped,
        Drill::Slow,
        Drill::Socket,
        Drill::Write,
        Drill::Policy,
        Drill::Reader,
        Drill::Counters,
        Drill::Disk,
        Drill::Descriptors,
        Drill::Clock,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Drill::Killed => "killed",
            Drill::Stopped => "stopped",
            Drill::Slow => "slow",
            Drill::Socket => "socket",
            Drill::Write => "write",
            Drill::Policy => "policy",
            Drill::Reader => "reader",
            Drill::Counters => "counters",
            Drill::Disk => "disk",
            Drill::Descriptors => "descriptors",
            Drill::Clock => "clock",
        }
    }

    /// Description in a few words.
    pub fn what(self) -> &'static str {
        match self {
            Drill::Killed => "daemon gets SIGKILL, is started again",
            Drill::Stopped => "daemon gets SIGSTOP, 5 s later SIGCONT",
            Drill::Slow => "daemon has a tenth of the time",
            Drill::Socket => "device socket is cut and restored",
            Drill::Write => "controller stops in the middle of a request",
            Drill::Policy => "reload of a damaged policy",
            Drill::Reader => "another reader is too slow",
            Drill::Counters => "counters are read every 10 ms on a busy host",
            Drill::Disk => "disk of the flight recorder is full, then not",
            Drill::Descriptors => "daemon has no descriptor left, then again",
            Drill::Clock => "wall clock jumps a month back, a year ahead",
        }
    }

    /// Requirement that this host lacks, with the remedy.
    fn missing(self) -> Option<&'static str> {
        match self {
            Drill::Clock if clock::library().is_none() => {
                Some("no libfaketime: install the package libfaketime")
            }
            _ => None,
        }
    }
}

/// Result of a drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub drill: String,
    /// Longest time between two packets that left the queue, ms.
    pub gap_ms: f64,
    /// From the failure until the queue was plain DualPI2, ms; `None` if the
    /// daemon was not to be affected.
    pub plain_ms: Option<f64>,
    /// From the end of the failure until the daemon steered again, ms; `None` as
    /// above.
    pub recovered_ms: Option<f64>,
    /// Violated requirements; empty if none.
    pub faults: Vec<String>,
    /// Why it did not run; the numbers are then meaningless.
    pub skipped: Option<String>,
}

/// Requirements of drills.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// The program `l4sllmd`.
    pub daemon: &'a Path,
    /// The program `l4sllm`, for UDP Prague.
    pub program: &'a Path,
    /// This host.
    pub host: &'a Host,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
}

/// Runs a drill.
///
/// # Errors
/// It cannot be set up, or a program does not respond within a minute.
pub fn drill(drill: Drill, stage: &Stage<'_>) -> Result<Outcome, LabError> {
    let mut outcome = Outcome {
        drill: drill.name().to_owned(),
        gap_ms: 0.0,
        plain_ms: None,
        recovered_ms: None,
        faults: Vec::new(),
        skipped: drill.missing().map(str::to_owned),
    };
    if outcome.skipped.is_some() {
        return Ok(outcome);
    }
    let mut cubic = FlowGroup::new("cubic", Cc::Cubic);
    cubic.count = 4;
    let mut bench = Bench::start(stage, vec![cubic], 0)?;
    // Unmounted before the bench removes its directory.
    let mut disk = None;
    match drill {
        Drill::Disk => disk = Some(disk::Disk::mount(&mut bench)?),
        Drill::Descriptors => descriptors::prepare(&mut bench),
        Drill::Clock => clock::prepare(&mut bench)?,
        _ => {}
    }
    bench.start_daemon()?;
    bench.wait_for("the daemon to steer the queue", PATIENCE, |bench| {
        Ok(!bench.is_plain())
    })?;
    let mut plain_by_ms = bench.ttl_ms();
    match drill {
        Drill::Killed => {
            bench.fail(|bench| {
                bench.end_daemon();
                Ok(())
            })?;
            outcome.plain_ms = Some(bench.wait_plain()?);
            bench.heal(Bench::start_daemon)?;
            outcome.recovered_ms = Some(bench.wait_steered(PATIENCE)?);
        }
        Drill::Stopped => {
            bench.fail(|bench| bench.signal(Signal::STOP))?;
            outcome.plain_ms = Some(bench.wait_plain()?);
            bench.watch_for(STOPPED)?;
            bench.heal(|bench| bench.signal(Signal::CONT))?;
            outcome.recovered_ms = Some(bench.wait_steered(PATIENCE)?);
        }
        Drill::Socket => {
            bench.fail(|bench| {
                bench.close_device();
                Ok(())
            })?;
            outcome.plain_ms = Some(bench.wait_plain()?);
            bench.wait_for("the daemon to notice", PATIENCE, |bench| {
                Ok(bench
                    .status()
                    .is_some_and(|status| status.state == State::Waiting))
            })?;
            bench.heal(Bench::open_device)?;
            outcome.recovered_ms = Some(bench.wait_steered(PATIENCE)?);
        }
        Drill::Slow => slow::drill(&mut bench, &mut outcome)?,
        Drill::Write => plain_by_ms = write::drill(&mut bench, &mut outcome)?,
        Drill::Policy => damage_policy(&mut bench, &mut outcome)?,
        Drill::Reader => slow_reader(&mut bench, &mut outcome)?,
        Drill::Counters => counters::drill(&mut bench, &mut outcome)?,
        Drill::Disk => {
            if let Some(disk) = &disk {
                disk.drill(&mut bench, &mut outcome)?;
            }
        }
        Drill::Descriptors => descriptors::drill(&mut bench, &mut outcome)?,
        Drill::Clock => clock::drill(&mut bench, &mut outcome)?,
    }
    finish(bench, plain_by_ms, &mut outcome)?;
    drop(disk);
    Ok(outcome)
}

/// The daemon refuses the policy and continues as before.
fn damage_policy(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let dir = bench.dir().join("damaged");
    let damage = || {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("config.json"), "{ \"name\": ")?;
        fs::write(dir.join("weights.safetensors"), [0xff; 64])
    };
    damage().map_err(LabError::system("write a damaged policy"))?;
    let engine = format!("policy = {dir:?}");
    bench.fail(|bench| bench.reload(&engine))?;
    bench.wait_for("the daemon to refuse the policy", PATIENCE, |bench| {
        Ok(bench
            .status()
            .is_some_and(|status| status.reloads.failed == 1))
    })?;
    watch_unshaken(bench, outcome)
}

/// A reader that stops until messages are overwritten loses them; other readers
/// do not.
fn slow_reader(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let mut reader = bench.reader()?;
    reader.interval(Interval::of_records(1), now_ns())?;
    let mut buffer = vec![0; MESSAGE_SIZE];
    reader.read(&mut buffer, now_ns())?;
    bench.fail(|_| Ok(()))?;
    bench.wait_for("messages to be overwritten", PATIENCE, |_| {
        Ok(reader.unread() > u64::from(reader.ring_records()))
    })?;
    reader.read(&mut buffer, now_ns())?;
    watch_unshaken(bench, outcome)?;
    let stats = reader.stats(now_ns())?;
    if stats.records_lost == 0 {
        outcome.faults.push("the reader lost nothing".to_owned());
    }
    let sum = stats.records_read + stats.records_lost + stats.records_waiting;
    if stats.records_written != sum {
        outcome.faults.push(format!(
            "the reader's records: {} written, {sum} found",
            stats.records_written
        ));
    }
    let lost = bench.status().map(|status| status.counters.lost);
    if lost != Some(0) {
        outcome
            .faults
            .push(format!("the daemon lost messages: {lost:?}"));
    }
    Ok(())
}

/// Watches for a time, and checks that the daemon decides meanwhile: at least a tenth
/// as often as it should, because the host may be busy.
fn watch_unshaken(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let (before, began) = (bench.received()?, Instant::now());
    bench.watch_for(UNSHAKEN)?;
    let decisions = bench.received()? - before;
    let expected = began.elapsed().as_secs_f64() / bench.period().as_secs_f64();
    if (decisions as f64) < expected / 10.0 {
        outcome.faults.push(format!(
            "the daemon stopped to decide: {decisions} overrides, expected {expected:.0}"
        ));
    }
    Ok(())
}

/// Ends the traffic and judges.
fn finish(bench: Bench<'_>, plain_by_ms: f64, outcome: &mut Outcome) -> Result<(), LabError> {
    outcome.gap_ms = bench.worst_gap_ms();
    outcome.faults.extend(bench.finish()?);
    if outcome.gap_ms > MOST_GAP_MS {
        let fault = format!("no packet for {:.0} ms", outcome.gap_ms);
        outcome.faults.push(fault);
    }
    if let Some(plain_ms) = outcome.plain_ms.filter(|ms| *ms > plain_by_ms + SLACK_MS) {
        let fault = format!("plain after {plain_ms:.0} ms, expected {plain_by_ms:.0} ms");
        outcome.faults.push(fault);
    }
    Ok(())
}

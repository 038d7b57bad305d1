//! Failure drills: what goes wrong while traffic flows, and what must not.
//!
//! Each drill has a bottleneck with TCP flows and `l4sllmd` with the adaptive
//! rule. Something fails once the rule steers the queue. Packets must keep
//! flowing, the queue must be plain DualPI2 by the time that an override lives,
//! counters must add up, and the daemon must steer again without help.

mod bench;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use l4sllm_abi::{Interval, MESSAGE_SIZE};
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

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drill {
    /// The daemon is killed and started again, as by a service manager.
    Killed,
    /// The daemon is stopped for 5 s.
    Stopped,
    /// The device's socket is closed and comes back.
    Socket,
    /// A reload names a damaged policy.
    Policy,
    /// Another reader of the device is too slow.
    Reader,
}

impl Drill {
    /// Every drill.
    pub const ALL: [Drill; 5] = [
        Drill::Killed,
        Drill::Stopped,
        Drill::Socket,
        Drill::Policy,
        Drill::Reader,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Drill::Killed => "killed",
            Drill::Stopped => "stopped",
            Drill::Socket => "socket",
            Drill::Policy => "policy",
            Drill::Reader => "reader",
        }
    }

    /// What it does, in a few words.
    pub fn what(self) -> &'static str {
        match self {
            Drill::Killed => "daemon gets SIGKILL, is started again",
            Drill::Stopped => "daemon gets SIGSTOP, 5 s later SIGCONT",
            Drill::Socket => "device socket is cut and restored",
            Drill::Policy => "reload of a damaged policy",
            Drill::Reader => "another reader is too slow",
        }
    }
}

/// What a drill showed.
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
    /// What was wrong; empty if nothing.
    pub faults: Vec<String>,
}

/// Runs a drill. `daemon` is the program `l4sllmd`.
///
/// # Errors
/// It cannot be set up, or a program does not do its part within a minute.
pub fn drill(
    drill: Drill,
    daemon: &Path,
    host: &Host,
    cancel: &AtomicBool,
) -> Result<Outcome, LabError> {
    let mut bench = Bench::start(daemon, host, cancel)?;
    bench.wait_for("the daemon to steer the queue", PATIENCE, |bench| {
        Ok(!bench.is_plain())
    })?;
    let mut outcome = Outcome {
        drill: drill.name().to_owned(),
        gap_ms: 0.0,
        plain_ms: None,
        recovered_ms: None,
        faults: Vec::new(),
    };
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
        Drill::Policy => damage_policy(&mut bench, &mut outcome)?,
        Drill::Reader => slow_reader(&mut bench, &mut outcome)?,
    }
    finish(bench, &mut outcome)?;
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
    let before = bench.accepted();
    let engine = format!("policy = {dir:?}");
    bench.fail(|bench| bench.reload(&engine))?;
    bench.wait_for("the daemon to refuse the policy", PATIENCE, |bench| {
        Ok(bench
            .status()
            .is_some_and(|status| status.reloads.failed == 1))
    })?;
    bench.watch_for(UNSHAKEN)?;
    check_unshaken(bench, before, outcome);
    Ok(())
}

/// A reader that reads once and then not again until messages were overwritten
/// loses these, and nobody else does.
fn slow_reader(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let before = bench.accepted();
    let mut reader = bench.reader()?;
    reader.interval(Interval::of_records(1), now_ns())?;
    let mut buffer = vec![0; MESSAGE_SIZE];
    reader.read(&mut buffer, now_ns())?;
    bench.fail(|_| Ok(()))?;
    bench.wait_for("messages to be overwritten", PATIENCE, |_| {
        Ok(reader.unread() > u64::from(reader.ring_records()))
    })?;
    reader.read(&mut buffer, now_ns())?;
    bench.watch_for(UNSHAKEN)?;
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
    check_unshaken(bench, before, outcome);
    Ok(())
}

/// Checks that the daemon decided during a failure that is not its own.
fn check_unshaken(bench: &Bench<'_>, before: u64, outcome: &mut Outcome) {
    let after = bench.accepted();
    if after <= before {
        let fault = format!("the daemon stopped to decide: {before} overrides, then {after}");
        outcome.faults.push(fault);
    }
}

/// Ends the traffic and judges.
fn finish(bench: Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let ttl_ms = bench.ttl_ms();
    outcome.gap_ms = bench.worst_gap_ms();
    outcome.faults.extend(bench.finish()?);
    if outcome.gap_ms > MOST_GAP_MS {
        let fault = format!("no packet for {:.0} ms", outcome.gap_ms);
        outcome.faults.push(fault);
    }
    if let Some(plain_ms) = outcome.plain_ms.filter(|ms| *ms > ttl_ms + SLACK_MS) {
        let fault = format!("plain after {plain_ms:.0} ms, expected {ttl_ms:.0} ms");
        outcome.faults.push(fault);
    }
    Ok(())
}

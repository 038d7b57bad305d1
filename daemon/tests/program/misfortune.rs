//! Devices that appear late, disappear, fall behind or send invalid data.

use std::process::{Child, Command, Stdio};

use l4sllm_abi::{Op, Refusal, V1_SIZE};
use l4sllmd::clock::now_ns;
use l4sllmd::status::{self, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fake::{Fake, Read};
use crate::harness::{Emulated, Place, Program, policy_section, until};

const SCRIPT: &str = "[[engine.script]]\nat_ms = 0\ntarget = 0.5";

#[test]
fn waits_for_a_late_device() {
    let place = Place::new();
    place.configure("on_missing = \"wait\"", SCRIPT);
    let mut program = Program::start(&place);
    let line = program.log("no device yet");
    assert!(
        line["error"]
            .as_str()
            .unwrap()
            .contains("no emulated device is listening there")
    );
    program.status("waiting", |s| s.state == State::Waiting);
    let _device = Emulated::start(&place, 1024);
    program.log("controlling the device");
    program.status("records", |s| s.counters.records > 0);
}

#[test]
fn reconnects_to_a_device_that_returns() {
    let place = Place::new();
    let policy = place.policy("p", 3);
    place.configure(
        "",
        &format!("{}\n[pipeline]\ninterval = 10", policy_section(&policy)),
    );
    let device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.status("decisions", |s| s.counters.accepted > 0);
    drop(device);
    program.log("device lost");
    let between = program.status("waiting", |s| s.state == State::Waiting);
    assert_eq!(between.device.module, None);
    let _device = Emulated::start(&place, 1024);
    program.log("controlling the device");
    let after = program.status("decisions again", |s| {
        s.counters.accepted > between.counters.accepted
    });
    assert_eq!(after.device.opened, 2);
    assert_eq!(
        after.counters.gaps, 0,
        "a new stream is no hole in the old one"
    );
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

#[test]
fn exits_when_the_device_disappears_if_configured() {
    let place = Place::new();
    place.configure("on_gone = \"exit\"", SCRIPT);
    let device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    drop(device);
    program.end_with(75);
    assert!(
        program.log("ended")["error"]
            .as_str()
            .unwrap()
            .contains("disappeared")
    );
}

#[test]
fn signals_interrupt_the_wait_for_a_device() {
    let place = Place::new();
    place.configure("on_missing = \"wait\"", SCRIPT);
    let mut program = Program::start(&place);
    program.log("no device yet");
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

#[test]
fn lost_records_are_counted_and_deciding_continues() {
    let place = Place::new();
    let policy = place.policy("p", 3);
    place.configure(
        "",
        &format!("{}\n[pipeline]\ninterval = 10", policy_section(&policy)),
    );
    let mut device = Emulated::start(&place, 64);
    let mut program = Program::start(&place);
    let before = program.status("decisions", |s| s.counters.accepted > 0);
    program.signal(Signal::SIGSTOP);
    let now = device.record("a record", |_| true).seq();
    device.record("more records than the ring holds", |r| r.seq() > now + 200);
    program.signal(Signal::SIGCONT);
    let line = program.log("records lost");
    assert!(line["lost"].as_u64().unwrap() > 0, "{line}");
    let after = program.status("decisions again", |s| {
        s.counters.accepted > before.counters.accepted + 3
    });
    assert!(
        after.counters.losses > 0 && after.counters.resets > 0,
        "{:?}",
        after.counters
    );
    assert_eq!(after.counters.gaps, 0, "each hole was announced");
}

#[test]
fn a_torn_read_is_dropped_and_the_stream_continues() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let mut bad_header = Fake::record(5);
    bad_header[2] = 77;
    let _device = Fake::start(
        &place,
        vec![
            Read::Bytes(Fake::record(0)),
            Read::Bytes(vec![0; 100]),
            Read::Bytes(bad_header.clone()),
            Read::Bytes(Fake::record(6)),
            Read::Never,
        ],
    );
    let mut program = Program::start(&place);
    let line = program.log("torn read");
    assert_eq!(line["bytes"], 100);
    let line = program.log("torn read");
    assert!(
        line["reason"]
            .as_str()
            .unwrap()
            .contains("l4s_header.type: 77"),
        "{line}"
    );
    let status = program.status("the next record", |s| s.counters.records == 2);
    assert_eq!(status.counters.torn_reads, 2);
    assert_eq!(status.counters.torn_bytes as usize, 100 + V1_SIZE);
    // Torn messages are missing in the sequence.
    assert_eq!(status.counters.gaps, 1);
}

#[test]
fn endless_torn_reads_end_the_daemon() {
    let place = Place::new();
    place.configure("max_torn_reads = 3", SCRIPT);
    let _device = Fake::start(&place, vec![Read::Bytes(vec![1; 17]); 3]);
    let mut program = Program::start(&place);
    program.end_with(74);
    assert!(
        program.log("ended")["error"]
            .as_str()
            .unwrap()
            .contains("3 consecutive torn reads")
    );
}

#[test]
fn unresponsive_device_is_considered_gone() {
    let place = Place::new();
    place.configure("on_gone = \"exit\"\nrequest_timeout_ms = 50", SCRIPT);
    let _device = Fake::start_with(&place, vec![], |op| op != l4sllm_abi::Op::Interval.code());
    let mut program = Program::start(&place);
    program.end_with(75);
    let error = program.log("ended")["error"].to_string();
    assert!(
        error.contains("cannot set the interval: no reply within"),
        "{error}"
    );
}

#[test]
fn failing_device_is_retried_with_backoff() {
    let place = Place::new();
    place.configure("retry_min_ms = 2", SCRIPT);
    // The device closes the connection on every read.
    let _device = Fake::start(&place, vec![Read::Close; 1000]);
    let mut program = Program::start(&place);
    let pauses: Vec<_> = (0..8)
        .map(|_| program.log("device lost")["retry_in_ms"].as_u64().unwrap())
        .collect();
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 100, 100]);
    // After this the log is silent, and the device is retried as before.
    let opened = program
        .status("attempts", |s| s.device.opened > 12)
        .device
        .opened;
    program.signal(Signal::SIGTERM);
    program.end_with(0);
    let lines = program.rest();
    let lost = |l: &&serde_json::Value| {
        l["message"]
            .as_str()
            .is_some_and(|m| m.contains("device lost"))
    };
    assert_eq!(lines.iter().filter(lost).count(), 8, "of {opened}");
}

#[test]
fn a_device_with_a_truncated_reply_is_considered_lost() {
    let place = Place::new();
    place.configure("on_gone = \"exit\"\nrequest_timeout_ms = 50", SCRIPT);
    let _device = Fake::start(&place, vec![Read::Frame(vec![0; 7])]);
    let mut program = Program::start(&place);
    program.end_with(75);
    let error = program.log("ended")["error"].to_string();
    assert!(
        error.contains("cannot read records: no reply within"),
        "{error}"
    );
}

#[test]
fn oversized_reply_is_rejected() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let huge = l4sllm_abi::Reply {
        op: l4sllm_abi::Op::Read.code(),
        tag: 5,
        result: Ok(i32::MAX as u32),
    };
    let _device = Fake::start(&place, vec![Read::Frame(huge.to_bytes().to_vec())]);
    let mut program = Program::start(&place);
    program.end_with(76);
    let error = program.log("ended")["error"].to_string();
    assert!(error.contains("unexpected reply"), "{error}");
}

#[test]
fn full_log_pipe_does_not_block() {
    let place = Place::new();
    let policy = place.policy("p", 3);
    let pipeline = "[pipeline]\ninterval = 1\nttl_ms = 20000";
    place.configure("", &format!("{}\n{pipeline}", policy_section(&policy)));
    // Each refusal is logged at level debug: many times the capacity of the pipe.
    let reads = (0..2000).map(|seq| Read::Bytes(Fake::record_at(seq, now_ns())));
    let (op, refusal) = (Op::Override, Refusal::BeyondLimits);
    let _device = Fake::refusing_with(&place, op, refusal, reads.collect());
    let mut child = Killed(
        Command::new(env!("CARGO_BIN_EXE_l4sllmd"))
            .arg("--config")
            .arg(place.path("l4sllmd.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    // One page, the minimum on Linux; the default is 64 KiB.
    #[cfg(target_os = "linux")]
    nix::fcntl::fcntl(
        child.0.stderr.as_ref().unwrap(),
        nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096),
    )
    .unwrap();
    let counters = until("all intervals", || {
        let status = status::ask(&place.path("status")).ok()?;
        (status.counters.due == 2000).then_some(status.counters)
    });
    // A daemon that falls behind skips intervals. A line has at least 100 bytes.
    assert!(counters.refused >= 100, "{counters:?}");
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGTERM).unwrap();
    let ended = until("the end", || child.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_log_disk_does_not_stop_decisions() {
    let place = Place::new();
    let pipeline = "[pipeline]\ninterval = 5";
    let policy = place.policy("p", 3);
    place.configure("", &format!("{}\n{pipeline}", policy_section(&policy)));
    let _device = Emulated::start(&place, 1024);
    // Every write fails with ENOSPC.
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut child = Killed(
        Command::new(env!("CARGO_BIN_EXE_l4sllmd"))
            .arg("--config")
            .arg(place.path("l4sllmd.toml"))
            .stderr(full)
            .spawn()
            .unwrap(),
    );
    until("decisions", || {
        let status = status::ask(&place.path("status")).ok()?;
        (status.counters.accepted >= 20).then_some(())
    });
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGTERM).unwrap();
    let ended = until("the end", || child.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! The control socket: another engine while records flow.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use l4sllmd::control::{Choice, ControlError, select};
use l4sllmd::status::{EngineStatus, Status};
use nix::sys::signal::Signal;

use crate::harness::{Emulated, Place, Program, policy_section, steered};

fn control(place: &Place, more: &str) -> String {
    format!("[control]\nsocket = {:?}\n{more}\n", place.path("control"))
}

/// The factor on the target delay in force.
fn target(status: &Status) -> Option<f64> {
    status.in_force.and_then(|factors| factors.target)
}

#[test]
fn selected_engines_take_effect() {
    let place = Place::new();
    let policy = place.summary_policy("periods", 60);
    place.configure(
        "on_gone = \"exit\"",
        &(policy_section(&policy) + "\n" + &control(&place, "")),
    );
    let mut device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    let status = program.status("the policy's set-points", |s| target(s).is_some());
    let offered = status.control.expect("the control socket is on");
    assert_eq!(offered.selected, Choice::Config);
    assert_eq!(offered.available, Choice::ALL);

    let socket = place.path("control");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let switch = |choice: Choice, wanted: &dyn Fn(&Status) -> bool| {
        select(&socket, choice).unwrap();
        let status = program.status(choice.name(), |s| wanted(s));
        assert_eq!(status.control.as_ref().unwrap().selected, choice);
        status
    };
    // 10 ms instead of 15 ms.
    let tuned = |s: &Status| target(s).is_some_and(|t| (t - 2.0 / 3.0).abs() < 1e-3);
    let status = switch(Choice::Tuned, &tuned);
    assert_eq!(status.in_force.unwrap().alpha, Some(4.0));
    device.record("a steered record", steered);

    let status = switch(Choice::Plain, &|s| s.in_force.is_none());
    let profile = "plain".to_owned();
    assert_eq!(status.engine, EngineStatus::Fixed { profile });
    let before = device.stats().overrides_received;
    let records = device.stats().records_written;
    device.record("a record without an override", |r| !steered(r));
    while device.stats().records_written < records + 300 {
        device.record("records", |_| true);
    }
    assert_eq!(device.stats().overrides_received, before);
    assert_eq!(device.stats().watchdog_misses, 0);

    switch(Choice::Adaptive, &|s| {
        matches!(s.engine, EngineStatus::Adaptive { .. }) && s.in_force.is_some()
    });
    let is_policy = |s: &Status| matches!(s.engine, EngineStatus::Policy { .. });
    switch(Choice::Policy, &is_policy);
    switch(Choice::Plain, &|s| s.in_force.is_none());
    // A reload keeps the selection.
    program.signal(Signal::SIGHUP);
    program.log("reloaded");
    program.status("still plain", |s| {
        s.control.as_ref().unwrap().selected == Choice::Plain
    });
    select(&socket, Choice::Config).unwrap();
    let status = program.status("the configured engine", is_policy);
    assert_eq!((status.reloads.succeeded, status.reloads.failed), (1, 0));
    assert_eq!((status.counters.gaps, status.counters.torn_reads), (0, 0));

    program.signal(Signal::SIGTERM);
    program.end_with(0);
    assert!(!socket.exists(), "the control socket stayed behind");
    assert_eq!(device.stats().imbalance(), None);
}

#[test]
fn invalid_selections_are_refused_without_effect() {
    let place = Place::new();
    let adaptive = "[engine]\nengine = \"adaptive\"\n";
    place.configure("", &(adaptive.to_owned() + &control(&place, "")));
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    let socket = place.path("control");
    let refused = select(&socket, Choice::Policy).unwrap_err();
    let ControlError::Refused(reason) = refused else {
        panic!("{refused}");
    };
    assert!(reason.contains("[control]"), "{reason}");
    let status = program.status("any", |_| true);
    assert_eq!(status.reloads.failed, 0);
    let offered = status.control.unwrap();
    assert_eq!(offered.selected, Choice::Config);
    assert!(!offered.available.contains(&Choice::Policy));

    // A client that sends nothing does not keep others from selecting.
    let silent = UnixStream::connect(&socket).unwrap();
    select(&socket, Choice::Tuned).unwrap();
    drop(silent);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"reboot\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("error: expected the line"), "{answer}");
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

#[test]
fn a_policy_of_the_control_section_can_be_selected() {
    let place = Place::new();
    let policy = place.summary_policy("other", 60);
    let policy = format!("policy = {policy:?}\n");
    let adaptive = "[engine]\nengine = \"adaptive\"\n";
    place.configure("", &(adaptive.to_owned() + &control(&place, &policy)));
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    select(&place.path("control"), Choice::Policy).unwrap();
    program.status("decisions of the policy", |s| {
        let named = matches!(&s.engine, EngineStatus::Policy { name, .. } if name == "other");
        named && s.counters.accepted > 3
    });
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

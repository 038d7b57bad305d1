//! The flight recorder of the running program.

use std::path::{Path, PathBuf};
use std::process::Command;

use l4sllmd::recorder::ring::{SEGMENTS, file};
use l4sllmd::recorder::segments;
use l4sllmd::replay::{Totals, replay};
use nix::sys::signal::Signal;

use crate::harness::{Emulated, Place, Program, check, policy_section, until};

fn section(directory: &Path, size_mb: u32) -> String {
    format!("[recorder]\ndirectory = {directory:?}\nsize_mb = {size_mb}")
}

/// Replays a recording, in which every decision must be reproduced.
fn reproduced(directory: &Path) -> Totals {
    let mut first = None;
    let totals = replay(&segments(directory).unwrap(), None, |made| {
        if !made.same && first.is_none() {
            first = Some(made);
        }
    });
    let totals = totals.unwrap();
    assert_eq!(first, None, "{totals:?}");
    assert_eq!((totals.same, totals.additional), (totals.decisions, 0));
    totals
}

fn directory(place: &Place) -> PathBuf {
    let path = place.path("flight");
    std::fs::create_dir(&path).unwrap();
    path
}

#[test]
fn a_killed_daemon_leaves_a_recording_that_is_reproduced() {
    let place = Place::new();
    let flight = directory(&place);
    for (name, engine) in [
        ("records", policy_section(&place.policy("records", 1))),
        ("rule", "[engine]\nengine = \"adaptive\"".to_owned()),
        (
            "summaries",
            policy_section(&place.summary_policy("summaries", 50)),
        ),
    ] {
        let more = "[pipeline]\ninterval = 7\nperiod_ms = 20";
        place.configure("", &format!("{engine}\n{more}\n{}", section(&flight, 1)));
        let _device = Emulated::start(&place, 1024);
        let before = reproduced_so_far(&flight);
        let program = Program::start(&place);
        let status = program.status("decisions", |s| s.counters.accepted >= 20);
        let recorder = status.recorder.unwrap();
        assert_eq!((recorder.lost, recorder.failures), (0, 0));
        program.signal(Signal::SIGKILL);
        drop(program);
        let after = reproduced(&flight);
        let known = if after.segments < SEGMENTS as u64 {
            before
        } else {
            0
        };
        assert!(after.decisions >= known + 15, "{name}: {after:?}");
    }
}

/// Decisions in a recording; 0 if it does not exist yet.
fn reproduced_so_far(directory: &Path) -> u64 {
    match segments(directory) {
        Ok(_) => reproduced(directory).decisions,
        Err(_) => 0,
    }
}

#[test]
fn a_reload_and_a_lost_device_are_part_of_a_recording() {
    let place = Place::new();
    let flight = directory(&place);
    let recorder = section(&flight, 4);
    let interval = |n: u32| format!("[pipeline]\ninterval = {n}\n{recorder}");
    let first = policy_section(&place.policy("first", 1));
    place.configure("", &format!("{first}\n{}", interval(5)));
    let device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.status("decisions", |s| s.counters.accepted >= 5);
    let second = policy_section(&place.policy("second", 2));
    place.configure("", &format!("{second}\n{}", interval(9)));
    program.signal(Signal::SIGHUP);
    program.log("reloaded");
    let reloaded = program.status("interval", |s| s.interval == 9).counters;
    program.status("more", |s| s.counters.accepted >= reloaded.accepted + 5);
    drop(device);
    program.log("device lost");
    let _device = Emulated::start(&place, 1024);
    program.log("controlling the device");
    let lost = program.status("opened", |s| s.device.opened == 2).counters;
    program.status("again", |s| s.counters.accepted >= lost.accepted + 5);
    program.signal(Signal::SIGTERM);
    program.end_with(0);
    let stopped = program.log("stopped");
    let totals = reproduced(&flight);
    // Everything up to the end is on disk.
    assert_eq!(stopped["decisions"].as_u64(), Some(totals.decisions));
    assert_eq!(totals.engines.len(), 2, "{totals:?}");
}

#[test]
fn a_directory_that_is_missing_or_in_use_is_named() {
    let place = Place::new();
    let engine = "[engine]\nengine = \"adaptive\"";
    let flight = place.path("missing");
    place.configure("", &format!("{engine}\n{}", section(&flight, 1)));
    assert_eq!(check(&place).0, Some(0), "nothing is opened to check");
    let mut program = Program::start(&place);
    program.end_with(73);
    let said = format!("{:?}", program.rest());
    assert!(said.contains("flight recorder: "), "{said}");
    assert!(said.contains("missing/flight-0.l4sllm"), "{said}");
}

/// A file system of 256 kB; unmounted on drop.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf) -> Option<Small> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(&path)
            .output();
        mounted
            .is_ok_and(|out| out.status.success())
            .then(|| Small(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_recording_but_not_the_daemon() {
    let place = Place::new();
    let flight = directory(&place);
    let Some(_small) = Small::mount(flight.clone()) else {
        println!(
            "skipped: a_full_disk_stops_the_recording_but_not_the_daemon (needs root and tmpfs)"
        );
        return;
    };
    let engine = policy_section(&place.policy("first", 1));
    let more = format!(
        "{engine}\n[pipeline]\ninterval = 5\n{}",
        section(&flight, 64)
    );
    place.configure("", &more);
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("flight recorder: cannot write");
    let full = program.status("a failure", |s| {
        s.recorder.is_some_and(|r| r.failures > 0 && r.lost > 0)
    });
    // Decisions continue.
    let more = full.counters.accepted + 20;
    program.status("decisions", |s| s.counters.accepted >= more);
    let before = reproduced(&flight);
    assert!(before.decisions > 0, "{before:?}");
    // With space again, so does the recording.
    std::fs::write(file(&flight, 0), "").unwrap();
    let written = full.recorder.unwrap().frames;
    program.status("frames", |s| {
        s.recorder.is_some_and(|r| r.frames > written + 5)
    });
    program.signal(Signal::SIGTERM);
    program.end_with(0);
    until("the recording", || {
        (reproduced(&flight).decisions > 0).then_some(())
    });
}

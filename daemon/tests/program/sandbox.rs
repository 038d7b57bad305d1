//! In the sandbox the program needs only its open descriptors.

use nix::sys::signal::Signal;

use crate::harness::{Emulated, Place, Program, policy_section};

#[test]
fn continues_after_its_paths_are_removed() {
    let mut place = Place::new();
    let (first, second) = (place.policy("first", 1), place.policy("second", 2));
    let configure = |place: &Place, policy, interval| {
        let pipeline = format!("[pipeline]\ninterval = {interval}");
        let socket = format!("{}\n{pipeline}", policy_section(policy));
        place.configure("retry_min_ms = 1", &socket);
        place.configure_first("sandbox = true");
    };
    configure(&place, &first, 10);
    let device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("only in these directories");
    let before = program.status("decisions", |s| s.counters.accepted > 0);

    // The configuration still names paths that no longer exist.
    place.move_away();
    program.follow(&place);
    assert!(!first.exists() && !second.exists());
    configure(&place, &second, 25);
    program.signal(Signal::SIGHUP);
    program.log("reloaded");
    let after = program.status("decisions after the reload", |s| {
        s.interval == 25 && s.counters.accepted > before.counters.accepted
    });
    assert_ne!(after.engine, before.engine);
    assert_eq!((after.reloads.succeeded, after.reloads.failed), (1, 0));

    drop(device);
    program.log("device lost");
    let _ = std::fs::remove_file(place.path("device"));
    let _device = Emulated::start(&place, 1024);
    program.status("decisions of the new device", |s| {
        s.device.opened == 2 && s.counters.accepted > after.counters.accepted
    });

    let elsewhere = Place::new();
    configure(&place, &elsewhere.policy("third", 3), 25);
    program.signal(Signal::SIGHUP);
    let failed = program.log("reload failed");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("outside the directories"), "{error}");

    program.signal(Signal::SIGTERM);
    program.end_with(0);
    assert!(!place.path("status").exists(), "the socket is cleared away");
}

#[test]
fn exits_if_a_directory_cannot_be_opened() {
    let place = Place::new();
    place.configure("", &policy_section(&place.path("missing/policy")));
    place.configure_first("sandbox = true");
    let mut program = Program::start(&place);
    let end = program.log("ended");
    let error = end["error"].as_str().unwrap();
    assert!(error.contains("missing: cannot open"), "{error}");
    program.end_with(78);
}

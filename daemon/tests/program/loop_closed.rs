//! The closed loop: records reach the program, overrides reach the queue, and
//! the queue reverts to plain DualPI2 if the program ends or is slow.

use l4sllmd::status::{EngineStatus, State};
use nix::sys::signal::Signal;

use crate::harness::{Emulated, Place, Program, policy_section, steered, until};

#[test]
fn a_policy_decides_and_its_overrides_are_applied() {
    let place = Place::new();
    let policy = place.policy("first", 1);
    place.configure(
        "",
        &format!("{}\n[pipeline]\ninterval = 10", policy_section(&policy)),
    );
    let mut device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");

    let record = device.record("an override in a record", |r| r.override_id != 0);
    assert!(record.override_id > 0);
    until("overrides applied", || {
        (device.stats().overrides_applied >= 5).then_some(())
    });
    let status = program.status("decisions", |s| s.counters.accepted >= 5);
    assert_eq!(status.state, State::Running);
    let c = &status.counters;
    assert_eq!(c.due + c.unscheduled, c.decisions + c.skipped);
    assert_eq!(c.decisions, c.overrides + c.stale);
    assert_eq!(
        c.overrides,
        c.accepted + c.refused + c.failed + c.outstanding
    );
    assert_eq!((c.lost, c.gaps, c.torn_reads), (0, 0, 0));
    assert!(
        status.latency_us.count >= 5 && status.latency_us.p50 > 0.0,
        "{status:?}"
    );
    assert!(
        matches!(&status.engine, EngineStatus::Policy { name, hash, .. }
        if name == "first" && hash.len() == 64)
    );

    program.signal(Signal::SIGTERM);
    let counters = program.log("device counters");
    assert!(
        counters["overrides_applied"].as_u64().unwrap() >= 5,
        "{counters}"
    );
    program.end_with(0);
    let stopped = program.log("stopped");
    assert_eq!(stopped["why"], "SIGTERM");
    assert!(stopped["accepted"].as_u64().unwrap() >= 5, "{stopped}");
    println!(
        "latency {:?}, of which deciding {:?}",
        status.latency_us, status.decision_us
    );
    assert!(
        !place.path("status").exists(),
        "the status socket stayed behind"
    );
    assert_eq!(device.stats().imbalance(), None);
    let errors = program
        .rest()
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .count();
    assert_eq!(errors, 0, "{:#?}", program.rest());
}

#[test]
fn a_policy_on_summaries_shifts_the_set_points() {
    let place = Place::new();
    let policy = place.summary_policy("periods", 60);
    let engine = format!("{}\nidle_budget = 0.002", policy_section(&policy));
    // Configuration for other engines does not matter.
    let pipeline = "[pipeline]\ninterval = 10\nperiod_ms = 40\nttl_ms = 50";
    place.configure("", &format!("{engine}\n{pipeline}"));
    let mut device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    device.record("a steered record", steered);
    let status = program.status("decisions", |s| s.counters.accepted >= 10);
    let c = &status.counters;
    assert_eq!(c.decided_steer, c.decisions);
    assert_eq!((c.records, c.skipped, c.lost, c.gaps), (0, 0, 0, 0));
    assert_eq!((status.period_ms, status.idle_budget), (60, Some(0.002)));
    assert_eq!(status.pace(), "every 60 ms");
    // Overrides are in effect without gaps: each outlives the next decision.
    assert_eq!(device.stats().overrides_expired, 0);

    // From summaries to records, and back.
    let records = place.policy("records", 1);
    for (policy, name) in [(&records, "records"), (&policy, "periods")] {
        let before = program.status("any", |_| true).counters.accepted;
        let engine = policy_section(policy);
        place.configure("", &format!("{engine}\n[pipeline]\ninterval = 10"));
        program.signal(Signal::SIGHUP);
        program.log("reloaded");
        program.status("decisions after it", |s| {
            let named = matches!(&s.engine, EngineStatus::Policy { name: is, .. } if is == name);
            s.counters.accepted > before + 3 && named
        });
    }
    program.signal(Signal::SIGTERM);
    program.end_with(0);
    assert_eq!(device.stats().imbalance(), None);
}

#[test]
fn sigint_ends_it_cleanly() {
    let place = Place::new();
    place.configure("", "[[engine.script]]\nat_ms = 0\ntarget = 0.5");
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    program.signal(Signal::SIGINT);
    program.end_with(0);
}

#[test]
fn a_killed_program_leaves_plain_dualpi2() {
    let place = Place::new();
    place.configure(
        "",
        "[pipeline]\nttl_ms = 20000\n[[engine.script]]\nat_ms = 0\ntarget = 0.5",
    );
    let mut device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    let record = device.record("a steered record", steered);
    assert_eq!(record.qdelay_reference, 7_500);
    program.signal(Signal::SIGKILL);
    program.end();
    let record = device.record("a plain record", |r| !steered(r));
    assert_eq!(record.qdelay_reference, 15_000);
    assert_eq!(record.override_id, 0);
}

#[test]
fn a_stopped_program_leaves_plain_dualpi2_when_its_override_expires() {
    let place = Place::new();
    place.configure(
        "",
        "[pipeline]\nttl_ms = 500\n[[engine.script]]\nat_ms = 0\ntarget = 0.5",
    );
    let mut device = Emulated::start(&place, 4096);
    let program = Program::start(&place);
    let first = device.record("a steered record", steered);
    program.signal(Signal::SIGSTOP);
    let plain = device.record("a plain record", |r| !steered(r));
    assert_eq!(plain.qdelay_reference, 15_000);
    assert!(plain.time_ns() - first.time_ns() < 5_000_000_000);
    program.signal(Signal::SIGCONT);
}

#[test]
fn reload_loads_new_policy_or_keeps_the_old_one() {
    let place = Place::new();
    let (first, second) = (place.policy("first", 1), place.policy("second", 2));
    let sections = |policy, interval| {
        format!(
            "{}\n[pipeline]\ninterval = {interval}",
            policy_section(policy)
        )
    };
    place.configure("", &sections(&first, 10));
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    let before = program.status("decisions", |s| s.counters.accepted > 0);

    place.configure("", &sections(&second, 25));
    program.signal(Signal::SIGHUP);
    program.log("reloaded");
    let after = program.status("decisions after it", |s| {
        s.interval == 25 && s.counters.accepted > before.counters.accepted
    });
    assert_ne!(after.engine, before.engine);
    assert_eq!((after.reloads.succeeded, after.reloads.failed), (1, 0));
    assert_eq!(after.device.opened, 1, "the device stayed open");
    assert_eq!(
        (after.counters.lost, after.counters.gaps),
        (0, 0),
        "the stream has no hole"
    );

    std::fs::write(second.join("model.safetensors"), b"no weights").unwrap();
    for (config, complaint) in [
        (sections(&second, 25), "model.safetensors"),
        (sections(&first, 0), "pipeline.interval"),
        ("[pipelin]".into(), "did you mean \"pipeline\"?"),
        (
            format!("{}\n[pipeline]\nttl_ms = 40000", policy_section(&first)),
            "pipeline.ttl_ms",
        ),
    ] {
        place.configure("", &config);
        program.signal(Signal::SIGHUP);
        let line = program.log("reload failed");
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(complaint), "{error}");
    }
    let status = program.status("failures counted", |s| s.reloads.failed == 4);
    assert_eq!((&status.engine, status.interval), (&after.engine, 25));
    program.status("decisions by the old policy", |s| {
        s.counters.accepted > status.counters.accepted
    });
}

//! `l4sllm student` on an emulated device.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{done, refused};
use l4sllm_abi::{Ecn, Limits, Params};
use l4sllm_testbed::device::{DeviceServer, Load, RealTime};
use l4sllm_testbed::router::Router;
use serde_json::Value;

#[test]
fn a_student_is_loaded_enabled_and_unloaded() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("device");
    let router = Router::new(&Params::default(), &Limits::default(), 1024, 1).unwrap();
    let router = Arc::new(Mutex::new(router));
    let _server = DeviceServer::start(&socket, router.lock().unwrap().opener()).unwrap();
    let load = Load {
        packet_bytes: 1000,
        ecn: vec![Ecn::Ect0],
        offered_bps: 9_000_000,
        link_bps: 8_000_000,
    };
    let _packets = RealTime::start(Arc::clone(&router), load).unwrap();
    let device = ["--device", socket.to_str().unwrap()];
    let student = |words: &[&str]| done(&[&["student"], words, &device].concat());
    let state = || -> Value {
        let said = student(&["show", "--format", "json"]);
        serde_json::from_str(&said).unwrap()
    };

    let error = refused(&[&["student", "on"], &device[..]].concat());
    assert!(error.contains("no student is loaded"), "{error}");
    assert!(student(&["show"]).contains("no student is loaded"));

    let said = student(&["load", "context"]);
    assert!(said.contains("64 inputs, 24 and 16 hidden units"), "{said}");
    assert!(said.contains("l4sllm student on enables it"), "{said}");
    assert_eq!(
        (&state()["name"], &state()["on"]),
        (&"context".into(), &false.into())
    );

    let said = student(&["on", "--idle-budget", "0.002"]);
    assert_eq!(said, "context steers\n");
    let deadline = Instant::now() + Duration::from_secs(30);
    while state()["steering"] != 1 {
        assert!(Instant::now() < deadline, "{}", state());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(state()["idle_budget"], 0.002);
    assert!(state()["decisions"].as_u64().unwrap() > 0);
    let base = Params::default().target_ns;
    assert_ne!(router.lock().unwrap().set_points().target_ns, base);

    student(&["off"]);
    student(&["unload"]);
    assert_eq!(state()["name"], Value::Null);

    let file = dir.path().join("damaged.l4s");
    std::fs::write(&file, [7; 200]).unwrap();
    let line = ["student", "load", file.to_str().unwrap()];
    let error = refused(&[&line[..], &device[..]].concat());
    assert!(error.contains("not a student of version 1"), "{error}");
}

#[test]
fn a_file_is_shown() {
    let text = done(&["student", "show", "context"]);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let said = done(&["student", "show", "context", "--format", "json"]);
    let file: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(file["hidden"], serde_json::json!([24, 16]));
    assert_eq!(file["inputs"].as_array().unwrap().len(), 64);
    // The teacher is the policy next to it.
    let policy = done(&["policy", "info", "context", "--format", "json"]);
    let policy: Value = serde_json::from_str(&policy).unwrap();
    assert_eq!(file["teacher"], policy["sha256"]);
}

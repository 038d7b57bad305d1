//! The page of a lab. Without root, iperf3, iproute2 or ping, this test is skipped by
//! name.

#![cfg(target_os = "linux")]

use crate::harness::{Live, target};

/// Why a lab cannot run here.
fn missing() -> Option<String> {
    l4sllm_lab::Host::here()
        .err()
        .map(|missing| missing.0.to_owned())
}

/// Namespaces of the lab of this process.
fn namespaces(id: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(&format!("l4sllm-lab-{id}-")))
        .collect()
}

#[test]
fn real_packets_are_steered_and_the_lab_is_removed() {
    if let Some(missing) = missing() {
        println!("skipped: real_packets_are_steered_and_the_lab_is_removed ({missing})");
        return;
    }
    let live = Live::start(&["--lab"]);
    let id = live.id();
    assert_eq!(namespaces(id).len(), 2);
    let mut events = live.events();
    events.sample("packets in both queues", |sample| {
        let rate = |queue: usize| sample["queues"][queue]["mbit_s"].as_f64();
        rate(0) > Some(1.0) && rate(1) > Some(1.0)
    });
    assert_eq!(live.select("adaptive"), "HTTP/1.1 204 No Content");
    events.sample("set-points of the rule", |sample| target(sample) != 1.0);
    assert!(live.end().success());
    assert!(namespaces(id).is_empty());
}

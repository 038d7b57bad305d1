//! The page with a plain HTTP client.

use std::io::Write;
use std::net::TcpStream;

use l4sllm_testbed::device::{DeviceServer, Network};
use l4sllm_testbed::scenario::Scenario;
use l4sllmd::status::{Status, ask};

use crate::common::start_daemon;
use crate::common::two_flows;
use crate::harness::{Live, Place, target, until};

#[test]
fn engines_of_an_emulated_queue_are_switched_within_a_second() {
    let live = Live::emulated(&[]);
    let mut events = live.events();
    let (name, about) = events.event();
    assert_eq!(name, "about");
    assert_eq!(about["may_switch"], true);
    assert!(
        about["subject"].as_str().unwrap().contains("emulated"),
        "{about}"
    );
    let flows = |sample: &serde_json::Value| sample["queues"][0]["mbit_s"].as_f64() > Some(1.0);
    let sample = events.sample("packets", flows);
    assert_eq!(
        (sample["engine"].as_str(), target(&sample)),
        (Some("plain"), 1.0)
    );
    assert_eq!(sample["switch"].as_array().unwrap().len(), 4);
    for (engine, is_in_force) in [
        (
            "tuned",
            (|target| (target - 2.0 / 3.0).abs() < 1e-3) as fn(f64) -> bool,
        ),
        ("adaptive", |target| target != 1.0),
        ("learned", |target| target != 1.0),
        ("plain", |target| target == 1.0),
    ] {
        assert_eq!(live.select(engine), "HTTP/1.1 204 No Content");
        events.sample(engine, |sample| {
            sample["engine"] == engine && is_in_force(target(sample))
        });
    }
    assert!(live.end().success());
}

#[test]
fn other_sites_and_hosts_are_refused() {
    let live = Live::emulated(&["--engine", "tuned"]);
    let body = "{\"engine\": \"adaptive\"}";
    let json = "Content-Type: application/json\r\n";
    let own = format!("{json}Origin: http://{}\r\n", live.address);
    let with = |fields: &str| live.ask("POST /engine", fields, body);
    for (answer, wanted) in [
        (
            with(&format!("{json}Origin: http://evil.example\r\n")),
            "403",
        ),
        (with(&format!("{json}Origin: null\r\n")), "403"),
        (
            with(&format!("{json}Sec-Fetch-Site: cross-site\r\n")),
            "403",
        ),
        (with("Content-Type: text/plain\r\n"), "415"),
        (live.ask("GET /engine", &own, ""), "405"),
        (live.ask("PUT /engine", &own, body), "405"),
        (live.ask("POST /", &own, body), "405"),
        (live.ask("GET /nothing", "", ""), "404"),
        (
            live.ask("POST /engine", &own, "{\"engine\": \"reboot\"}"),
            "400",
        ),
        (live.ask("POST /engine", &own, "{}"), "400"),
        // A name that somebody's DNS points to this host.
        (
            live.ask_as("Host: evil.example\r\n", "GET /events", "", ""),
            "403",
        ),
        (
            live.ask_as("Host: evil.example\r\n", "POST /engine", json, body),
            "403",
        ),
        (live.ask_as("", "GET /", "", ""), "403"),
    ] {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {wanted} ")),
            "{answer}"
        );
    }
    let mut events = live.events();
    assert_eq!(events.sample("any", |_| true)["engine"], "tuned");
    assert!(with(&own).starts_with("HTTP/1.1 204 "));
    events.sample("adaptive", |sample| sample["engine"] == "adaptive");

    let page = live.ask("GET /", "", "");
    for wanted in [
        "frame-ancestors 'none'",
        "default-src 'none'",
        "<!doctype html>",
    ] {
        assert!(page.contains(wanted), "{page}");
    }
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "{page}"
    );
    assert!(live.end().success());
}

#[test]
fn a_client_that_stalls_does_not_block_others() {
    let live = Live::emulated(&[]);
    // Half of them do not finish their request, the others do not read.
    let stalled: Vec<TcpStream> = (0..16)
        .map(|number| {
            let mut stream = TcpStream::connect(live.address).unwrap();
            let line = format!("GET /events HTTP/1.1\r\nHost: {}\r\n", live.address);
            stream.write_all(line.as_bytes()).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"\r\n").unwrap();
            }
            stream
        })
        .collect();
    let mut events = live.events();
    let first = events.sample("any", |_| true)["t"].as_f64().unwrap();
    events.sample("samples of three seconds", |sample| {
        sample["t"].as_f64().unwrap() > first + 3.0
    });
    assert_eq!(live.select("adaptive"), "HTTP/1.1 204 No Content");
    assert!(live.end().success());
    drop(stalled);
}

/// A queue in real time, its device, and a daemon with this configuration.
fn daemon(place: &Place, more: &str) -> (Network, DeviceServer) {
    let text = two_flows("two", &[("plain", "aqm = \"dualpi2\"")]);
    let mut scenario = Scenario::parse("two.toml".as_ref(), &text).unwrap();
    scenario.set_duration(3_600_000_000_000);
    let network = Network::start(&scenario, &scenario.arms[0]).unwrap();
    let device = place.path("device.sock");
    let server = DeviceServer::start(&device, network.opener()).unwrap();
    let config = place.path("l4sllmd.toml");
    let status = place.path("status.sock");
    let text = format!(
        "[device]\nsocket = {device:?}\n[engine]\nengine = \"adaptive\"\n\
         [status]\nsocket = {status:?}\n[log]\nlevel = \"error\"\n{more}"
    );
    std::fs::write(&config, text).unwrap();
    start_daemon(&config);
    until("the daemon", || ask(&status).ok());
    (network, server)
}

fn attach(place: &Place) -> Live {
    Live::start(&["--socket", place.path("status.sock").to_str().unwrap()])
}

#[test]
fn engines_of_a_running_daemon_are_switched() {
    let place = Place::new();
    let control = place.path("control.sock");
    let _queue = daemon(&place, &format!("[control]\nsocket = {control:?}\n"));
    let live = attach(&place);
    let mut events = live.events();
    let sample = events.sample("the rule", |sample| sample["engine"] == "adaptive");
    // There is no policy in the configuration.
    let offered = serde_json::json!(["plain", "tuned", "adaptive"]);
    assert_eq!(sample["switch"], offered);
    let refused = live.select("learned");
    assert!(refused.starts_with("HTTP/1.1 502 "), "{refused}");
    let status = |what: &str, wanted: fn(&Status) -> bool| {
        until(what, || ask(&place.path("status.sock")).ok().filter(wanted))
    };
    assert_eq!(live.select("tuned"), "HTTP/1.1 204 No Content");
    let tuned = status("tuned", |s| {
        let target = s.in_force.and_then(|factors| factors.target);
        target.is_some_and(|target| (target - 2.0 / 3.0).abs() < 1e-3)
    });
    assert_eq!(tuned.engine.to_string(), "tuned DualPI2");
    assert_eq!(live.select("plain"), "HTTP/1.1 204 No Content");
    status("plain", |s| {
        s.in_force.is_none() && s.engine.to_string() == "plain DualPI2"
    });
    // Stopping the page does not change the daemon's engine.
    assert!(live.end().success());
    status("still plain", |s| s.engine.to_string() == "plain DualPI2");
}

#[test]
fn without_a_control_socket_the_page_only_shows() {
    let place = Place::new();
    let _queue = daemon(&place, "");
    let live = attach(&place);
    let mut events = live.events();
    let sample = events.sample("the rule", |sample| sample["engine"] == "adaptive");
    assert!(sample["switch"].is_null(), "{sample}");
    assert!(live.select("plain").starts_with("HTTP/1.1 409 "));
    assert!(live.end().success());
}

#[test]
fn a_missing_daemon_and_an_address_in_use_are_named() {
    let place = Place::new();
    let socket = place.path("nobody.sock");
    let error = crate::common::refused(&["live", "--socket", socket.to_str().unwrap()]);
    assert!(
        error.contains("nobody.sock") && error.contains("--scenario"),
        "{error}"
    );
    let live = Live::emulated(&[]);
    let address = live.address.to_string();
    let error = crate::common::refused(&["live", "--scenario", "paper", "--listen", &address]);
    assert!(error.contains(&format!("--listen {address}")), "{error}");
}

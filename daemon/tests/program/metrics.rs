//! The metrics endpoint of the running program, and what is built on its names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use l4sllmd::metrics::Counters;
use l4sllmd::metrics::openmetrics::CONTENT_TYPE;
use l4sllmd::status::State;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{DEADLINE, Emulated, Place, Program, until};

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub fn ask(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Some(answer)
}

fn get(address: SocketAddr) -> Option<String> {
    let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(CONTENT_TYPE), "{head}");
    Some(body.to_owned())
}

/// Samples by name and labels. Checks the rules of the format: each sample
/// belongs to the last family, with the suffixes of its type, and is unique.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = ("", "");
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap();
            assert!(families.insert(family), "{family} twice");
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (of, unit) = rest.split_once(' ').unwrap();
            assert!(of == family && of.ends_with(&format!("_{unit}")), "{line}");
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).unwrap_or("?");
            let allowed: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line} in {family} ({kind})");
            let value: f64 = value.parse().unwrap();
            assert!(
                all.insert(sample.to_owned(), value).is_none(),
                "{line} twice"
            );
        }
    }
    all
}

/// The metrics of a daemon that decides, with everything turned on.
fn exported() -> BTreeMap<String, f64> {
    let place = Place::new();
    let (address, flight) = (free_address(), place.path("flight"));
    std::fs::create_dir(&flight).unwrap();
    let more = format!(
        "[engine]\nengine = \"adaptive\"\n[pipeline]\nperiod_ms = 20\n\
         [metrics]\nlisten = \"{address}\"\n[recorder]\ndirectory = {flight:?}"
    );
    place.configure("", &more);
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    let line = program.log("metrics endpoint");
    assert_eq!(line["address"], address.to_string());
    let before = program.status("decisions", |s| s.counters.accepted >= 5);
    assert_eq!(before.state, State::Running);
    let text = until("the endpoint", || get(address));
    let samples = samples(&text);
    let after = program.status("more", |_| true);
    let decisions = samples["l4sllmd_decisions_total"];
    assert!(decisions >= before.counters.decisions as f64);
    assert!(decisions <= after.counters.decisions as f64);
    assert!(
        after.in_force.is_some_and(|f| f.target.is_some()),
        "{after:?}"
    );
    for (request, want) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 "),
        ("hello\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let answer = ask(address, request).unwrap();
        assert!(answer.starts_with(want), "{answer}");
    }
    program.signal(Signal::SIGTERM);
    program.end_with(0);
    samples
}

#[test]
#[cfg(target_os = "linux")]
fn an_endpoint_without_descriptors_says_so_and_recovers() {
    use nix::libc;

    let place = Place::new();
    let address = free_address();
    let more = format!("[engine]\nengine = \"adaptive\"\n[metrics]\nlisten = \"{address}\"");
    place.configure("", &more);
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("metrics endpoint");
    let pid = program
        .status("decisions", |s| s.counters.accepted >= 5)
        .pid;
    let lowest_free = || {
        let used = |fd: &u64| std::fs::symlink_metadata(format!("/proc/{pid}/fd/{fd}")).is_ok();
        (0..).find(|fd| !used(fd)).unwrap()
    };
    let limit = |soft: u64| {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: 1024,
        };
        // SAFETY: `limit` is a live rlimit; the old one is not requested.
        let set = unsafe {
            libc::prlimit(
                pid as i32,
                libc::RLIMIT_NOFILE,
                &limit,
                std::ptr::null_mut(),
            )
        };
        assert_eq!(set, 0);
    };
    limit(lowest_free());
    // Several, because earlier connections may still be closing.
    let waiting = [(); 6].map(|()| TcpStream::connect(address).unwrap());
    let line = program.log("metrics endpoint: cannot accept");
    assert!(line["error"].to_string().contains("limits(1)"), "{line}");
    drop(waiting);
    limit(1024);
    until("the endpoint", || get(address));
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

fn names(samples: &BTreeMap<String, f64>) -> BTreeSet<&str> {
    let names = samples
        .keys()
        .map(|sample| sample.split('{').next().unwrap());
    names.collect()
}

/// Names of this project in an expression.
fn used(expression: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !word(c));
    // The job of the same name as the daemon.
    words
        .filter(|w| w.starts_with("l4sllm") && *w != "l4sllmd")
        .collect()
}

pub fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "definition" => {
                        found.push(text.to_owned());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(array) => array.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn metrics_of_dashboard_alerts_and_manual_are_exported() {
    let samples = exported();
    let names = names(&samples);
    let check = |expression: &str, place: &str| {
        for name in used(expression) {
            assert!(
                names.contains(name),
                "{place}: no metric {name} in {expression}"
            );
        }
    };
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../packaging/grafana/l4sllm.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 12, "{found:?}");
    for expression in &found {
        check(expression, "dashboard");
    }
    let rules = include_str!("../../../packaging/prometheus/l4sllm.rules.yml");
    let lines: Vec<&str> = rules.lines().map(str::trim).collect();
    let alerts = lines.iter().filter(|line| line.starts_with("- alert: "));
    let expressions: Vec<&str> = lines
        .windows(2)
        .filter(|two| two[0] == "expr: >-")
        .map(|two| two[1])
        .collect();
    assert_eq!(alerts.count(), expressions.len());
    for expression in expressions {
        check(expression, "rules");
    }
    let manual = include_str!("../../../man/l4sllm.1");
    for name in names {
        let family = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let counter = family
            .strip_prefix("l4sllmd_")
            .map(|n| n.trim_end_matches("_total"));
        let listed = Counters::TABLE.iter().any(|row| Some(row.name) == counter);
        assert!(
            listed
                || manual.contains(&format!("Cm {family}\n"))
                || manual.contains(&format!("Cm {family} ,")),
            "man/l4sllm.1: {family}"
        );
    }
}

#[test]
fn panels_of_the_dashboard_are_whole() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../packaging/grafana/l4sllm.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: id twice"
        );
        for key in [
            "type",
            "description",
            "gridPos",
            "fieldConfig",
            "datasource",
        ] {
            assert!(!panel[key].is_null(), "{title}: {key}");
        }
        let grid = &panel["gridPos"];
        let (x, w) = (grid["x"].as_u64().unwrap(), grid["w"].as_u64().unwrap());
        assert!(x + w <= 24, "{title}: outside Grafana's 24 columns");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let open = expression.matches('(').count();
            assert_eq!(open, expression.matches(')').count(), "{title}");
            assert!(!target["refId"].as_str().unwrap().is_empty(), "{title}");
        }
    }
    assert_eq!(dashboard["uid"], "l4sllm");
}

#[test]
fn an_address_in_use_is_named() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = format!("[engine]\nengine = \"adaptive\"\n[metrics]\nlisten = \"{address}\"");
    place.configure("", &more);
    let mut program = Program::start(&place);
    program.end_with(73);
    let said = format!("{:?}", program.rest());
    assert!(
        said.contains(&format!("metrics endpoint {address}: cannot listen")),
        "{said}"
    );
}

//! The alert rules and the endpoint with Prometheus's own programs. Without them, these
//! tests are skipped by name.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{Emulated, Place, Program, until};
use crate::metrics::{ask, expressions, free_address};

const RULES: &str = "packaging/prometheus/l4sllm.rules.yml";

/// Returns from the named test, as skipped, if a program is missing.
macro_rules! needs {
    ($program:literal, $test:literal) => {
        if Command::new($program).arg("--version").output().is_err() {
            println!("skipped: {} (no {})", $test, $program);
            return;
        }
    };
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn promtool(arguments: &[&str]) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root());
    command.output().unwrap()
}

fn passes(arguments: &[&str]) {
    let output = promtool(arguments);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[test]
fn alerts_fire_in_their_state_and_only_there() {
    needs!("promtool", "alerts_fire_in_their_state_and_only_there");
    passes(&["check", "rules", RULES]);
    passes(&["test", "rules", "tests/prometheus/rules.test.yml"]);
    // Each alert is part of the unit tests.
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (rules, tests) = (read(RULES), read("tests/prometheus/rules.test.yml"));
    for line in rules.lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert}");
        }
    }
}

/// A Prometheus server; killed on drop.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one that scrapes `target` every second, with the alert rules.
    fn start(place: &Place, target: SocketAddr) -> Server {
        let config = place.path("prometheus.yml");
        let rules = root().join(RULES).canonicalize().unwrap();
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs: [{{job_name: l4sllmd, static_configs: [{{targets: [{:?}]}}]}}]\n",
            target.to_string()
        );
        std::fs::write(&config, text).unwrap();
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                place.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Server { child, address }
    }

    /// The data of an answer, once there is one.
    fn get(&self, path: &str) -> Option<Value> {
        Some(self.answer(path)?["data"].clone())
    }

    /// The reply to a request; `None` before the server is ready.
    fn answer(&self, path: &str) -> Option<Value> {
        let request = format!("GET {path} HTTP/1.0\r\nHost: here\r\n\r\n");
        let answer = ask(self.address, &request)?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The queries of the dashboard, as Grafana sends them.
fn queries() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("packaging/grafana/l4sllm.json")).unwrap();
    let mut found = Vec::new();
    expressions(&serde_json::from_str(&text).unwrap(), &mut found);
    let queries = found
        .iter()
        .filter(|query| !query.starts_with("label_values("));
    let replaced = queries.map(|query| {
        let query = query.replace("$__rate_interval", "1m");
        query.replace("$instance", ".*")
    });
    replaced.collect()
}

/// Text in a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| format!("%{byte:02X}");
    text.bytes().map(byte).collect()
}

/// The endpoint as Prometheus reads it, with its parser of OpenMetrics, and the rules
/// and the dashboard's queries on what it read.
#[test]
fn prometheus_reads_the_endpoint_and_evaluates_the_rules() {
    needs!(
        "prometheus",
        "prometheus_reads_the_endpoint_and_evaluates_the_rules"
    );
    let place = Place::new();
    let address = free_address();
    place.configure(
        "",
        &format!("[engine]\nengine = \"adaptive\"\n[metrics]\nlisten = \"{address}\"\n"),
    );
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("metrics endpoint");
    program.status("decisions", |s| s.counters.accepted > 0);
    let server = Server::start(&place, address);
    until("a scrape", || {
        let data = server.get("/api/v1/query?query=l4sllmd_decisions_total")?;
        let value = data["result"][0]["value"][1].as_str()?;
        (value.parse::<f64>().ok()? > 0.0).then_some(())
    });
    let targets = server.get("/api/v1/targets").unwrap();
    let target = &targets["activeTargets"][0];
    assert_eq!(
        (target["health"].as_str(), target["lastError"].as_str()),
        (Some("up"), Some(""))
    );
    let groups = until("an evaluation of the rules", || {
        let data = server.get("/api/v1/rules")?;
        let rules = data["groups"][0]["rules"].as_array()?.clone();
        rules
            .iter()
            .all(|rule| rule["health"] != "unknown")
            .then_some(rules)
    });
    assert!(groups.len() > 10);
    for rule in &groups {
        assert_eq!(rule["health"], "ok", "{rule}");
        // Alerts of a queue without a bottleneck may be pending.
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    for query in queries() {
        let answer = server.answer(&format!("/api/v1/query?query={}", encoded(&query)));
        let answer = answer.unwrap_or_default();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    program.signal(nix::sys::signal::Signal::SIGTERM);
    program.end_with(0);
}

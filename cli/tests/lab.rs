//! `l4sllm lab` and `l4sllm prague` as programs. The lab's traffic stays in network
//! namespaces. Without root, TUN, iperf3 or ping, tests of the lab are skipped by
//! name; those with a daemon also without `l4sllmd` next to `l4sllm`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use l4sllm_lab::Host;
use serde_json::Value;

use common::{done, l4sllm, refused, text};

const DEADLINE: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_l4sllm");

/// One lab at a time: they measure the host's timing.
static TURN: Mutex<()> = Mutex::new(());

/// The turn of the test, or a return from it, with its name, if this host cannot
/// have a lab.
macro_rules! lab_or_skip {
    ($test:literal) => {
        match Host::here() {
            Ok(_) => TURN.lock().unwrap_or_else(PoisonError::into_inner),
            Err(missing) => {
                println!("skipped: {} ({})", $test, missing.0);
                return;
            }
        }
    };
}

/// The daemon's program, or a return from the test that is named.
macro_rules! daemon_or_skip {
    ($test:literal) => {{
        let program = Path::new(PROGRAM).with_file_name("l4sllmd");
        if !program.is_file() {
            println!("skipped: {} (no {})", $test, program.display());
            return;
        }
        program
    }};
}

/// A scenario of `seconds` with a CUBIC and a NewReno flow, and these arms.
fn scenario(dir: &Path, seconds: u32, arms: &str) -> PathBuf {
    let file = dir.join("mine.toml");
    let source = format!(
        "name = \"mine\"\nduration = \"{seconds} s\"\nwarmup = \"1 s\"\nrtt = \"10 ms\"\n\
         [bottleneck]\nrate = \"10 Mbit/s\"\n\
         [[flow]]\ncc = \"cubic\"\n\
         [[flow]]\ncc = \"newreno\"\nrtt = \"20 ms\"\n{arms}"
    );
    fs::write(&file, source).unwrap();
    file
}

const PLAIN: &str = "[[arm]]\nname = \"dualpi2\"\naqm = \"dualpi2\"\n";
const ADAPTIVE: &str =
    "[[arm]]\nname = \"adaptive\"\naqm = \"dualpi2\"\ncontrol = { engine = \"adaptive\" }\n";

/// Namespaces and directories of the lab with this process number.
fn leftovers(process: u32) -> Vec<String> {
    let own = format!("l4sllm-lab-{process}-");
    let names = |dir: &str| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap())
    };
    let all = names("/run").chain(names("/run/netns"));
    all.filter(|name| name.starts_with(&own)).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_scenario_runs_with_real_packets_into_a_result() {
    let _turn = lab_or_skip!("a_scenario_runs_with_real_packets_into_a_result");
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (scenario(dir.path(), 6, PLAIN), dir.path().join("out"));
    let child = Command::new(PROGRAM)
        .args([
            "lab",
            "run",
            text(&file),
            "--out",
            text(&out),
            "--format",
            "csv",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let process = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(leftovers(process), [""; 0]);

    let summary = json(&out.join("summary.json"));
    assert_eq!(summary["complete"], true, "{summary}");
    let pooled = &summary["arms"][0]["pooled"];
    let utilisation = pooled["utilisation"].as_f64().unwrap();
    assert!((0.7..=1.0).contains(&utilisation), "{pooled}");
    let flows = pooled["flows"].as_array().unwrap();
    let names: Vec<&str> = flows
        .iter()
        .map(|flow| flow["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["cubic", "newreno", "ping"]);
    // iperf3's goodput is the link's, less headers.
    let goodput: f64 = flows
        .iter()
        .map(|flow| flow["goodput_mbps"].as_f64().unwrap())
        .sum();
    let expected = 10.0 * utilisation * 1448.0 / 1500.0;
    assert!(
        (goodput / expected - 1.0).abs() < 0.1,
        "{goodput} of {expected}"
    );
    // ECN was negotiated, so the queue marks.
    assert!(pooled["marks"].as_u64() > Some(0), "{pooled}");
    let p50 = pooled["queue_delay_ms"]["classic"]["p50"].as_f64().unwrap();
    assert!((2.0..60.0).contains(&p50), "{pooled}");

    let repetition = out.join("arms/dualpi2/0");
    for name in ["iperf3-cubic-client.json", "iperf3-newreno-server.json"] {
        assert!(
            json(&repetition.join(name))["intervals"].is_array(),
            "{name}"
        );
    }
    let ping = json(&repetition.join("ping.json"));
    assert!(ping["p50_ms"].as_f64() > Some(10.0), "{ping}");
    assert!(json(&out.join("facts.json"))["lab"]["kernel"].is_string());
    // The emulator's tools read it, and it is not continued by the emulator.
    done(&["report", text(&out)]);
    let error = refused(&["run", text(&file), "--out", text(&out)]);
    assert!(error.contains("another run"), "{error}");
}

#[test]
fn a_daemon_decides_in_the_lab() {
    let _turn = lab_or_skip!("a_daemon_decides_in_the_lab");
    let daemon = daemon_or_skip!("a_daemon_decides_in_the_lab");
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (scenario(dir.path(), 6, ADAPTIVE), dir.path().join("out"));
    let (file, daemon) = (text(&file), text(&daemon));
    done(&["lab", "run", file, "--out", text(&out), "--daemon", daemon]);
    let summary = json(&out.join("summary.json"));
    let pooled = &summary["arms"][0]["pooled"];
    assert!(
        pooled["overrides"]["received"].as_u64() > Some(10),
        "{pooled}"
    );
    assert_eq!(pooled["overrides"]["refused"], 0, "{pooled}");
    let status = json(&out.join("arms/adaptive/0/daemon.json"));
    assert_eq!(status["engine"]["kind"], "adaptive", "{status}");
    assert!(out.join("arms/adaptive/0/setpoints.parquet").is_file());
}

/// Programs that are children of the process, or were.
fn programs(namespace: &str) -> String {
    let output = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_lab_is_cleaned_up() {
    let _turn = lab_or_skip!("a_killed_lab_is_cleaned_up");
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (scenario(dir.path(), 60, PLAIN), dir.path().join("out"));
    let mut child = Command::new(PROGRAM)
        .args(["lab", "run", text(&file), "--out", text(&out)])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = format!("l4sllm-lab-{}-0-server", child.id());
    wait_until("servers in the namespace", || {
        programs(&server).lines().count() == 2
    });
    // A lab that runs is left alone.
    done(&["lab", "clean"]);
    assert!(leftovers(child.id()).contains(&server));

    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("programs ended", || programs(&server).is_empty());
    assert!(leftovers(child.id()).contains(&server));
    done(&["lab", "clean"]);
    assert_eq!(leftovers(child.id()), [""; 0]);
}

#[test]
fn traffic_that_the_lab_cannot_send_is_refused() {
    let _turn = lab_or_skip!("traffic_that_the_lab_cannot_send_is_refused");
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(dir.path(), 6, PLAIN);
    let source = fs::read_to_string(&file).unwrap() + "[[flow]]\ncc = \"prague\"\n";
    fs::write(&file, source).unwrap();
    let out = dir.path().join("out");
    let error = refused(&["lab", "run", text(&file), "--out", text(&out)]);
    assert!(error.contains("flow prague: "), "{error}");
    assert!(!out.join("facts.json").exists());
}

#[test]
fn the_emulator_is_compared_with_the_lab() {
    let _turn = lab_or_skip!("the_emulator_is_compared_with_the_lab");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let grid = "--controls cubic,udp-prague --rates 10Mbit/s --rtts 10ms --duration 6s";
    let mut line = vec!["lab", "compare", "--out", text(&out), "--format", "json"];
    line.extend(grid.split(' '));
    let rows: Value = serde_json::from_str(&done(&line)).unwrap();
    let row = |cell: &str, quantity: &str| {
        let mut rows = rows.as_array().unwrap().iter();
        let found = rows.find(|row| row["scenario"] == cell && row["quantity"] == quantity);
        found
            .unwrap_or_else(|| panic!("{cell}, {quantity}: {rows:?}"))
            .clone()
    };
    let utilisation = row("cubic-10M-10ms", "utilisation");
    let ratio = utilisation["ratio"].as_f64().unwrap();
    assert!((0.75..1.33).contains(&ratio), "{utilisation}");
    assert_eq!(utilisation["agrees"], true);
    // UDP Prague is in the L4S queue and has a row for its share.
    let share = row("udp-prague-10M-10ms", "share of udp-prague");
    assert!(
        (0.02..0.98).contains(&share["lab"].as_f64().unwrap()),
        "{share}"
    );
    row("udp-prague-10M-10ms", "l4s p99, ms");
}

#[test]
fn controllers_are_compared_on_real_packets() {
    let _turn = lab_or_skip!("controllers_are_compared_on_real_packets");
    let daemon = daemon_or_skip!("controllers_are_compared_on_real_packets");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let grid = "--controls bbr --rates 10Mbit/s --rtts 10ms --duration 4s --repetitions 2";
    let mut line = vec!["lab", "grid", "--out", text(&out), "--format", "json"];
    line.extend(["--daemon", text(&daemon)]);
    line.extend(grid.split(' '));
    let rows: Value = serde_json::from_str(&done(&line)).unwrap();
    for arm in ["plain", "tuned", "adaptive", "learned"] {
        let mut own = rows.as_array().unwrap().iter();
        let row = own.find(|row| row["arm"] == arm && row["quantity"] == "utilisation");
        let row = row.unwrap_or_else(|| panic!("{arm}: {rows:?}"));
        assert!(row["mean"].as_f64() > Some(0.5), "{row}");
        assert!(row["half_width"].is_number(), "{row}");
        assert_eq!(row["difference"].is_null(), arm == "plain", "{row}");
    }
}

#[test]
fn drills_end_in_a_table() {
    let _turn = lab_or_skip!("drills_end_in_a_table");
    let daemon = daemon_or_skip!("drills_end_in_a_table");
    let line = [
        "lab",
        "drill",
        "--format",
        "json",
        "--daemon",
        text(&daemon),
    ];
    let (code, said, error) = l4sllm(&line);
    let rows: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{error}"));
    assert_eq!(code, Some(0), "{rows}{error}");
    let rows = rows.as_array().unwrap();
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["drill"].as_str().unwrap())
        .collect();
    let all = "killed stopped slow socket write policy reader counters disk descriptors clock";
    assert_eq!(names, all.split(' ').collect::<Vec<_>>());
    for row in &rows[..5] {
        assert!(row["plain_after_ms"].is_number(), "{row}");
        assert!(row["steers_after_ms"].is_number(), "{row}");
    }
    for row in rows {
        match row["passed"].as_str().unwrap() {
            "yes" => {}
            "skipped" => println!("skipped: drills_end_in_a_table, {}", row["drill"]),
            _ => panic!("{row}{error}"),
        }
    }
}

#[test]
fn malicious_policies_are_measured_on_real_packets() {
    let _turn = lab_or_skip!("malicious_policies_are_measured_on_real_packets");
    let daemon = daemon_or_skip!("malicious_policies_are_measured_on_real_packets");
    let line = "lab drill --malicious --duration 2s --format json --daemon";
    let mut line: Vec<&str> = line.split(' ').collect();
    line.push(text(&daemon));
    let rows: Value = serde_json::from_str(&done(&line)).unwrap();
    let value = |policy: &str, quantity: &str, column: &str| {
        let mut rows = rows.as_array().unwrap().iter();
        let row = rows.find(|row| row["policy"] == policy && row["quantity"] == quantity);
        row.unwrap_or_else(|| panic!("{policy}, {quantity}: {rows:?}"))[column]
            .as_f64()
            .unwrap()
    };
    // The policies are at work, and the limits hold.
    assert!(value("drop", "dropped, %", "harm") > 1.0, "{rows:#}");
    assert!(
        value("drop", "dropped, %", "with_policy") < 20.0,
        "{rows:#}"
    );
    assert!(value("mark", "utilisation, %", "harm") < 20.0, "{rows:#}");
    for policy in ["enqueue", "oscillate", "lax"] {
        let delay_ms = value(policy, "classic p99, ms", "with_policy");
        assert!(delay_ms < 300.0, "{rows:#}");
    }
}

#[test]
fn memory_stays_flat_in_real_time() {
    let _turn = lab_or_skip!("memory_stays_flat_in_real_time");
    let daemon = daemon_or_skip!("memory_stays_flat_in_real_time");
    let line = "lab drill --soak 20s --format json --daemon";
    let mut line: Vec<&str> = line.split(' ').collect();
    line.push(text(&daemon));
    let rows: Value = serde_json::from_str(&done(&line)).unwrap();
    let names = rows.as_array().unwrap().iter().map(|row| &row["quantity"]);
    let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
    assert!(names.contains(&"daemon: memory, KiB"), "{names:?}");
    assert!(names.contains(&"router: descriptors"), "{names:?}");
}

/// A receiver on loopback and its address; killed if a test fails.
struct Receiver {
    child: Child,
    address: String,
}

impl Receiver {
    fn start() -> Receiver {
        let mut child = Command::new(PROGRAM)
            .args(["prague", "receive", "127.0.0.1:0", "--format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        let address = line.split([' ', ';']).nth(2).unwrap().to_owned();
        Receiver { child, address }
    }

    fn end(mut self) -> Value {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        let stdout = self.child.stdout.take().unwrap();
        let report = serde_json::from_reader(stdout).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        report
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prague_sends_to_a_receiver() {
    let receiver = Receiver::start();
    let options = "--duration 2s --max-rate 8Mbit/s --interval 100ms --format json";
    let mut line = vec!["prague", "send", receiver.address.as_str()];
    line.extend(options.split(' '));
    let sent: Value = serde_json::from_str(&done(&line)).unwrap();
    let received = receiver.end();
    assert_eq!(received["bleached"], false, "{received}");
    assert_eq!(received["lost"], 0, "{received}");
    let (out, arrived) = (
        sent["sent"].as_u64().unwrap(),
        received["received"].as_u64().unwrap(),
    );
    assert!(out > 100 && arrived == out, "{sent} {received}");
    let rate = received["goodput_bits_per_s"].as_f64().unwrap();
    assert!(rate < 8.2e6, "{rate}");
    // Intervals are longer when the machine is busy, but have no gaps.
    let mut end = 0.0;
    for interval in sent["intervals"].as_array().unwrap() {
        let at = |key: &str| interval["streams"][0][key].as_f64().unwrap();
        assert_eq!(at("start"), end, "{sent}");
        end = at("end");
    }
    assert!(end > 1.5, "{sent}");
}

#[test]
fn prague_names_a_missing_receiver() {
    // A port that was free a moment ago.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let error = refused(&["prague", "send", &address, "--duration", "2s"]);
    assert!(
        error.contains(&address) && error.contains("no receiver"),
        "{error}"
    );
}

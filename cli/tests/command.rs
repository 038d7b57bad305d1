//! The program from a user's view: exit codes, messages, files on disk.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use l4sllm_abi::{Ecn, Limits, Params};
use l4sllm_testbed::device::{DeviceServer, Load, RealTime};
use l4sllm_testbed::router::Router;
use l4sllmd::status::{Counters, DeviceStatus, EngineStatus, Quantiles, Reloads, State, Status};

fn scenario_text() -> String {
    common::two_flows(
        "short",
        &[
            ("dualpi2", "aqm = \"dualpi2\""),
            ("dualpi2-tuned", "aqm = \"dualpi2\"\nprofile = \"tuned\""),
            ("fifo", "aqm = \"fifo\""),
        ],
    )
}

fn l4sllm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l4sllm"));
    command.args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    l4sllm(args).output().unwrap()
}

/// Exit code, standard output, standard error.
fn ran(args: &[&str]) -> (Option<i32>, String, String) {
    let output = output(args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A temporary directory with the scenario file in it.
fn place() -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("short.toml");
    fs::write(&scenario, scenario_text()).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let out = text(&dir.path().join("out"));
    (dir, text(&scenario), out)
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_ends_with_the_table_and_the_page() {
    let (_dir, scenario, out) = place();
    let (code, stdout, stderr) = ran(&["run", &scenario, "--out", &out]);
    assert_eq!(code, Some(0), "{stderr}");
    for arm in ["dualpi2", "dualpi2-tuned", "fifo"] {
        assert!(stdout.lines().any(|line| line.starts_with(arm)), "{stdout}");
    }
    let page = stdout.lines().last().unwrap();
    assert!(
        page.ends_with("report.html") && Path::new(page).is_file(),
        "{stdout}"
    );
    let summary = json(&Path::new(&out).join("summary.json"));
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["arms"].as_array().unwrap().len(), 3);
    for arm in summary["arms"].as_array().unwrap() {
        let packets = &arm["pooled"]["packets"];
        let of = |key: &str| packets[key].as_u64().unwrap();
        assert_eq!(of("in"), of("forwarded") + of("dropped") + of("queued"));
        assert!(arm["pooled"]["utilisation"].as_f64().unwrap() > 0.5);
    }

    let (code, _, stderr) = ran(&["run", &scenario, "--out", &out, "--seed", "4"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("another run") && stderr.contains("--force"),
        "{stderr}"
    );
    assert_eq!(
        stderr
            .lines()
            .filter(|line| line.starts_with("l4sllm:"))
            .count(),
        1
    );

    let before = fs::read(page).unwrap();
    fs::remove_file(page).unwrap();
    let (code, _, stderr) = ran(&["report", &out]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        fs::read(page).unwrap(),
        before,
        "the page from disk is the page of the run"
    );
}

#[test]
fn same_seed_gives_same_bytes_for_any_thread_count() {
    let (dir, scenario, _) = place();
    let bytes = |name: &str, jobs: &str| {
        let out = dir.path().join(name);
        let out_text = out.to_str().unwrap();
        let (code, _, stderr) = ran(&["run", &scenario, "--out", out_text, "--threads", jobs]);
        assert_eq!(code, Some(0), "{stderr}");
        let files = [
            "fifo/1/packets.parquet",
            "dualpi2/0/packets.parquet",
            "dualpi2/0/flows.parquet",
        ];
        files.map(|file| fs::read(out.join("arms").join(file)).unwrap())
    };
    assert!(bytes("one", "1") == bytes("two", "2"));
}

#[test]
fn an_interrupted_run_leaves_a_valid_result_and_resumes() {
    let (_dir, scenario, out) = place();
    let args = [
        "run",
        &scenario,
        "--out",
        &out,
        "--arms",
        "fifo",
        "--threads",
        "1",
    ];
    let long = [&args[..], &["--repetitions", "10000"]].concat();
    let mut child = l4sllm(&long)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = Path::new(&out).join("arms/fifo/0");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !first.exists() {
        assert!(Instant::now() < deadline, "no repetition was finished");
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let summary = json(&Path::new(&out).join("summary.json"));
    assert_eq!(summary["complete"], false);
    let finished = summary["arms"][0]["repetitions"].as_array().unwrap().len();
    assert!((1..10_000).contains(&finished));
    let page = fs::read_to_string(Path::new(&out).join("report.html")).unwrap();
    assert!(page.contains("Partial result"));
}

#[test]
fn completed_repetitions_are_not_rerun() {
    let (_dir, scenario, out) = place();
    let args = ["run", &scenario, "--out", &out, "--arms", "fifo"];
    assert_eq!(ran(&args).0, Some(0));
    let file = Path::new(&out).join("arms/fifo/0/packets.parquet");
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let (code, stdout, _) = ran(&args);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("fifo"));
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
}

#[test]
fn mistakes_are_reported_in_one_line() {
    let (dir, scenario, out) = place();
    let bad = dir.path().join("bad.toml");
    fs::write(&bad, scenario_text().replace("rtt =", "rtd = 1\nrtt =")).unwrap();
    let bad = bad.to_str().unwrap();
    let missing = dir.path().join("missing.toml");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["scenario", "check", bad], 1, "rtd"),
        (
            &["scenario", "check", missing.to_str().unwrap()],
            1,
            "cannot read",
        ),
        (
            &["run", &scenario, "--out", &out, "--arms", "pie"],
            2,
            "no arm `pie`",
        ),
        (&["run", &scenario], 2, "--out"),
        (&["report", &out], 1, "is not a result"),
        (
            &["status", "--socket", missing.to_str().unwrap()],
            1,
            "no daemon answers",
        ),
    ];
    for (args, expected, named) in cases {
        let (code, stdout, stderr) = ran(args);
        assert_eq!(code, Some(expected), "{args:?}: {stderr}");
        assert!(stderr.contains(named), "{args:?}: {stderr}");
        assert!(stdout.is_empty());
        assert!(
            expected == 2 || stderr.lines().count() == 1,
            "{args:?}: {stderr}"
        );
    }
    assert!(
        !Path::new(&out).exists(),
        "nothing is written for a command that is wrong"
    );
}

#[test]
fn checks_all_scenarios_and_lists_invalid_ones() {
    let (dir, scenario, _) = place();
    let bad = dir.path().join("bad.toml");
    fs::write(&bad, scenario_text().replace("rtt =", "rtd = 1\nrtt =")).unwrap();
    let missing = dir.path().join("missing.toml");
    let (bad, missing) = (bad.to_str().unwrap(), missing.to_str().unwrap());
    let (code, stdout, stderr) = ran(&["scenario", "check", bad, &scenario, missing]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("short: Two flows"), "{stdout}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(lines[0].contains("bad.toml") && lines[0].contains("rtd"));
    assert!(lines[1].contains("missing.toml") && lines[1].contains("cannot read"));
    assert_eq!(lines[2], "l4sllm: 2 of 3 files are invalid");
}

#[test]
fn closed_stdout_does_not_panic() {
    let (_dir, scenario, _) = place();
    let mut child = l4sllm(&["scenario", "check", &scenario])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn scenario_and_version_print_their_facts() {
    let (_dir, scenario, _) = place();
    let (code, stdout, _) = ran(&["scenario", "check", &scenario]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("short: Two flows") && stdout.contains("arm dualpi2-tuned"),
        "{stdout}"
    );
    let (code, stdout, _) = ran(&["version", "--socket", "/nonexistent"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.starts_with(concat!("l4sllm    ", env!("CARGO_PKG_VERSION"))),
        "{stdout}"
    );
}

/// A build from a checkout names its commit; other builds name none.
#[test]
fn version_includes_the_commit() {
    let (code, stdout, _) = ran(&["--version"]);
    assert_eq!(code, Some(0));
    let expected = concat!("l4sllm ", env!("CARGO_PKG_VERSION"));
    let rest = stdout.trim_end().strip_prefix(expected).unwrap();
    let git = |line: &[&str]| {
        let output = Command::new("git")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(line)
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    if git(&["cat-file", "-e", "HEAD:./build.rs"]) {
        let commit = rest.strip_prefix(" (commit ").unwrap();
        let commit = commit.strip_suffix(')').unwrap();
        assert!(
            git(&["cat-file", "-e", &format!("{commit}^{{commit}}")]),
            "{stdout}"
        );
    } else {
        assert_eq!(rest, "");
    }
}

#[test]
fn doctor_reports_a_missing_module_and_daemon() {
    let (code, stdout, stderr) = ran(&["doctor", "--socket", "/nonexistent", "--watch", "1ms"]);
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    for expected in ["PROBLEM  module", "PROBLEM  daemon", "/nonexistent"] {
        assert!(stdout.contains(expected), "{stdout}");
    }
    assert_eq!(stdout.matches(" # ").count(), 2, "a command each: {stdout}");
}

#[test]
fn doctor_checks_an_emulated_device() {
    let dir = tempfile::tempdir().unwrap();
    let (device, daemon) = (dir.path().join("device"), dir.path().join("status"));
    let router = Router::new(&Params::default(), &Limits::default(), 1024, 1).unwrap();
    let router = Arc::new(Mutex::new(router));
    let _server = DeviceServer::start(&device, router.lock().unwrap().opener()).unwrap();
    let load = Load {
        packet_bytes: 1000,
        ecn: vec![Ecn::Ect1],
        offered_bps: 9_000_000,
        link_bps: 8_000_000,
    };
    let _packets = RealTime::start(Arc::clone(&router), load).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while router.lock().unwrap().stats().marks_native == 0 {
        assert!(Instant::now() < deadline, "the queue never marked");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (device, daemon_text) = (device.to_str().unwrap(), daemon.to_str().unwrap());
    let args = [
        "doctor",
        "--device",
        device,
        "--socket",
        daemon_text,
        "--watch",
        "200ms",
        "--format",
        "json",
    ];
    let report = |code: i32| {
        let (got, stdout, stderr) = ran(&args);
        assert_eq!(got, Some(code), "{stdout}{stderr}");
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()
    };
    let level = |report: &serde_json::Value, about: &str| {
        let findings = report["findings"].as_array().unwrap();
        let one = findings.iter().find(|finding| finding["about"] == about);
        one.unwrap_or_else(|| panic!("{about}: {report}"))["level"].clone()
    };
    let found = report(1);
    assert_eq!(found["healthy"], false);
    for about in ["module", "traffic", "queue", "ecn"] {
        assert_eq!(level(&found, about), "ok", "{found}");
    }
    assert_eq!(level(&found, "daemon"), "problem");

    // A daemon that reports no problem.
    let listener = UnixListener::bind(&daemon).unwrap();
    let status = Status {
        version: "0".into(),
        pid: 1,
        uptime_s: 1.0,
        state: State::Running,
        abi: (1, 1),
        device: DeviceStatus {
            path: device.into(),
            module: None,
            abi: None,
            opened: 1,
        },
        engine: EngineStatus::Script { steps: 1 },
        interval: 100,
        period_ms: 0,
        ttl_ms: 1000,
        idle_budget: None,
        reloads: Reloads::default(),
        counters: Counters::default(),
        latency_us: Quantiles::default(),
        latency_minute_us: Quantiles::default(),
        decision_us: Quantiles::default(),
        decision_minute_us: Quantiles::default(),
        deciding_s: 0.0,
        in_force: None,
        recorder: None,
        remote: None,
        control: None,
    };
    let answer = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            serde_json::to_writer(&mut stream, &status).unwrap();
        }
    });
    let found = report(0);
    assert_eq!(found["healthy"], true);
    assert_eq!(level(&found, "daemon"), "ok");

    // The daemon's status includes the queues of its device.
    let (code, stdout, stderr) = ran(&["status", "--socket", daemon_text, "--format", "json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let l4s = &status["queues"]["l4s"];
    let count = |name: &str| {
        l4s[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {stdout}"))
    };
    assert_eq!(
        count("packets_in"),
        count("forwarded") + count("dropped") + count("queued")
    );
    assert!(count("marked") > 0 && count("queued_max") > 1, "{stdout}");
    assert_eq!(status["queues"]["classic"]["packets_in"], 0);
    let (_, text, _) = ran(&["status", "--socket", daemon_text]);
    assert!(
        text.contains("\nqueues     p' ") && text.contains("\nL4S "),
        "{text}"
    );
    assert_eq!(status["queues"]["flow_weights"], false);
    assert!(text.contains("; flow weights off\n"), "{text}");
    answer.join().unwrap();
}

/// Like `train`: the second program exits immediately and writes nothing.
#[test]
fn two_runs_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("s.toml");
    fs::write(&scenario, scenario_text()).unwrap();
    let out = dir.path().join("out");
    let claim = l4sllm_model::files::Claim::of(&out).unwrap();
    let (scenario, out) = (scenario.to_str().unwrap(), out.to_str().unwrap());
    let run = ["run", scenario, "--out", out];
    let (code, _, error) = ran(&run);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("another l4sllm process is writing there"),
        "{error}"
    );
    assert!(!Path::new(out).join("facts.json").exists());
    drop(claim);
    assert_eq!(ran(&run).0, Some(0));
}

#[test]
fn validate_prints_results_next_to_published_ones() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/published");
    let published = published.to_str().unwrap();
    let validate = |format: &str| {
        let (code, said, error) = ran(&[
            "validate",
            "--published",
            published,
            "--case",
            "overload-50",
            "--repetitions",
            "1",
            "--duration",
            "4s",
            "--format",
            format,
        ]);
        assert_eq!(code, Some(0), "{error}");
        said
    };
    let said = validate("text");
    assert!(
        said.contains("overload-50") && said.contains("Sources:"),
        "{said}"
    );
    let compared: serde_json::Value = serde_json::from_str(&validate("json")).unwrap();
    let first = &compared[0];
    assert_eq!(first["measure"], "share of udp");
    assert_eq!(first["theirs"], 0.5114);
    assert!(first["ours"].as_f64().unwrap() > 0.3, "{first}");
    let (code, _, error) = ran(&["validate", "--published", published, "--case", "nothing"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("no case contains `nothing`"), "{error}");
}

#[test]
fn memory_stays_flat_in_virtual_time() {
    let line = "drill soak --duration 10min --format json";
    let (code, said, error) = ran(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{said}{error}");
    let rows: serde_json::Value = serde_json::from_str(&said).unwrap();
    let value = |quantity: &str| {
        let mut rows = rows.as_array().unwrap().iter();
        let row = rows.find(|row| row["quantity"] == quantity)?;
        row["last_quarter"].as_u64()
    };
    assert!(value("packets in") > Some(400_000), "{said}");
    // Ten decisions a second.
    assert!(value("overrides") > Some(5_900), "{said}");
    if cfg!(target_os = "linux") {
        assert!(value("memory, KiB") > Some(1024), "{said}");
    }
}

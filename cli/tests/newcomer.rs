//! Commands that work in any directory: built-in names, an emulated device with
//! a daemon, and commands of builds without libtorch.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::start_daemon;

const DEADLINE: Duration = Duration::from_secs(60);

/// An empty working directory.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l4sllm"));
        command.args(line.split_whitespace()).stdin(Stdio::null());
        // Built-in files are unpacked here, so that leftovers are detected.
        let temporary = self.path("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        command.current_dir(self.0.path()).env("TMPDIR", temporary);
        command
    }

    fn output(&self, line: &str) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(line).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let leftover = std::fs::read_dir(self.path("tmp")).unwrap().next();
        assert!(leftover.is_none(), "{line}: {leftover:?}");
        (status.code(), text(stdout), text(stderr))
    }

    fn done(&self, line: &str) -> String {
        let (code, stdout, stderr) = self.output(line);
        assert_eq!(code, Some(0), "{line}: {stderr}");
        stdout
    }

    fn refused(&self, line: &str) -> String {
        let (code, _, stderr) = self.output(line);
        let about_option = stderr.starts_with("l4sllm: --");
        assert_eq!(code, Some(1 + i32::from(about_option)), "{line}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
        stderr
    }
}

#[test]
fn dry_run_prints_testbed_commands() {
    let place = Place::new();
    for provider in ["qemu", "virtualbox", "vmware", "bhyve"] {
        for step in ["up", "start", "stop", "snapshot", "reset", "down"] {
            let text = place.done(&format!("testbed {step} --provider {provider} --dry-run"));
            assert!(text.lines().count() >= 4, "{provider} {step}: {text}");
        }
    }
    assert!(!place.path("out").exists());
    let up = place.done("testbed up --provider virtualbox --dry-run --cpus 3 --memory 1024");
    assert!(
        up.contains("modifyvm l4sllm-server --cpus 3 --memory 1024 "),
        "{up}"
    );

    let refused = place.refused("testbed up --provider qemu");
    assert!(
        refused.contains("build it with: vm-images/build.sh qemu"),
        "{refused}"
    );
    let refused = place.refused("testbed up --provider qemu --settings none.conf");
    assert!(refused.contains("none.conf: cannot be read"), "{refused}");
    let (code, _, error) = place.output("testbed up --provider xen");
    assert_eq!(code, Some(2));
    assert!(
        error.contains("expected one of qemu, virtualbox, vmware, bhyve, ssh"),
        "{error}"
    );
    let (code, _, error) = place.output("testbed up --provider ssh --host router=-oProxyCommand=x");
    assert_eq!(code, Some(2));
    assert!(error.contains("expected ROLE=HOST"), "{error}");
}

#[test]
fn shipped_files_are_listed_shown_and_run_by_name() {
    let place = Place::new();
    let list = place.done("scenarios list");
    for name in ["paper ", "headroom ", "smoke ", "curriculum "] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    let policies = place.done("policies list");
    for said in [
        "name       decision  ",
        "context    sets DualPI2's set-points      8 s of summaries, one every 250 ms",
        "default  ",
    ] {
        assert!(
            policies.lines().any(|line| line.starts_with(said)),
            "{policies}"
        );
    }
    assert!(place.done("policy info default").contains("trained on"));

    // A custom scenario starts as a copy of a shipped one.
    let shown = place.done("scenarios show paper");
    std::fs::write(place.path("mine.toml"), shown).unwrap();
    let mine = "run mine.toml --out mine --duration 1s --repetitions 1 --arms dualpi2,l4sllm-100";
    assert!(place.done(mine).contains("l4sllm-100"));
    let ours = "run paper --out paper --duration 1s --repetitions 1 --arms dualpi2,l4sllm-100";
    place.done(ours);
    let packets = |dir: &str| {
        let file = place.path(dir).join("arms/l4sllm-100/0/packets.parquet");
        std::fs::read(file).unwrap()
    };
    assert!(packets("mine") == packets("paper"), "the same scenario");

    let error = place.refused("run papper --out out");
    assert!(error.contains("did you mean paper?"), "{error}");
    let error = place.refused("policy info defualt");
    assert!(error.contains("did you mean default?"), "{error}");
}

/// The refusal is the only line: no progress of a run that did not start.
#[test]
fn a_result_of_another_run_is_refused_in_one_line() {
    let place = Place::new();
    let run =
        |seconds| format!("run paper --out a --duration {seconds}s --repetitions 1 --arms dualpi2");
    place.done(&run(1));
    let refusal = place.refused(&run(2));
    assert!(refusal.contains("--force"), "{refusal}");
}

#[test]
fn results_are_exported() {
    let place = Place::new();
    place.done("run paper --out out --duration 4s --repetitions 2 --arms dualpi2,dualpi2-tuned");
    let csv = place.done("export out");
    let mut lines = csv.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    // Two repetitions and both together, of two arms.
    assert_eq!(lines.clone().count(), 6);
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), columns.len(), "{line}");
        let number = |name: &str| fields[at(name)].parse::<f64>().unwrap();
        assert!(number("utilisation") > 0.5, "{line}");
        assert!(number("queue_delay_ms.classic.p50") > 0.0, "{line}");
    }
    // The comparison with its intervals, from the repetitions in the same result.
    let utilisation = |arm: &str| -> Vec<f64> {
        let of = csv
            .lines()
            .filter(|line| line.split(',').nth(1) == Some(arm));
        let fields = of.map(|line| line.split(',').collect::<Vec<_>>());
        let each = fields.filter(|fields| fields[at("repetition")] != "pooled");
        each.map(|fields| fields[at("utilisation")].parse::<f64>().unwrap() * 100.0)
            .collect()
    };
    let (tuned, plain) = (utilisation("dualpi2-tuned"), utilisation("dualpi2"));
    let differences = [tuned[0] - plain[0], tuned[1] - plain[1]];
    let mean = (differences[0] + differences[1]) / 2.0;
    // Student's t of one degree of freedom; the error of a mean of two is half of
    // their distance.
    let half = 12.706_204_736 * (differences[0] - differences[1]).abs() / 2.0;
    let comparison = place.done("export out --table comparison");
    let mut rows = comparison.lines();
    assert_eq!(
        rows.next().unwrap(),
        "scenario,arm,baseline,metric,pairs,value,baseline_value,difference,low,high,verdict"
    );
    let row = rows
        .find(|row| row.contains("utilisation_percent"))
        .unwrap();
    let fields: Vec<&str> = row.split(',').collect();
    assert_eq!(
        fields[..5],
        [
            "paper",
            "dualpi2-tuned",
            "dualpi2",
            "utilisation_percent",
            "2"
        ]
    );
    for (at, expected) in [(7, mean), (8, mean - half), (9, mean + half)] {
        let found: f64 = fields[at].parse().unwrap();
        assert!((found - expected).abs() < 1e-6, "{row}: {expected}");
    }
    assert!(
        place
            .refused("export out --table families")
            .contains("runs, comparison, flows")
    );
    // The machine-readable output of `run` and `report` is the same.
    assert_eq!(place.done("report out --format csv"), csv);
    let all: serde_json::Value =
        serde_json::from_str(&place.done("report out --format json")).unwrap();
    assert_eq!(all["runs"].as_array().unwrap().len(), 6);
    assert_eq!(all["comparison"][0]["metric"], fields[3]);

    place.done("export out --table flows --format json --out flows.json");
    let flows: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path("flows.json")).unwrap()).unwrap();
    assert_eq!(flows.as_array().unwrap().len(), 6 * 9);
    assert!(flows[0]["goodput_mbps"].is_number() && flows[0]["flow"].is_string());

    place.done("export out --format flent --out flent");
    let file = place.path("flent/paper-dualpi2-tuned-1.flent");
    let data: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(data["version"], 4);
    let values = |name: &str| data["results"][name].as_array().unwrap().clone();
    let sum = values("TCP upload sum");
    assert_eq!(sum.len(), data["x_values"].as_array().unwrap().len());
    // 8 Mbit/s on the wire, including headers.
    let late = sum[15].as_f64().unwrap();
    assert!((5.0..8.5).contains(&late), "{sum:?}");
    assert!(values("Ping (ms) ICMP")[15].as_f64().unwrap() > 1.0);
    assert!(data["results"]["TCP upload::9"].is_array());
    let error = place.refused("export out --format flent --out flent");
    assert!(error.contains("--force"), "{error}");
}

/// Text, CSV and JSON of one command have the same values.
#[test]
fn every_table_has_csv_and_json_output() {
    let place = Place::new();
    let json = |line: &str| -> serde_json::Value {
        let said = place.done(&format!("{line} --format json"));
        serde_json::from_str(&said).unwrap()
    };
    let csv = |line: &str| place.done(&format!("{line} --format csv"));

    let policies = "policies list";
    assert_eq!(json(policies)[0]["decision"], "sets DualPI2's set-points");
    let context = "context,sets DualPI2's set-points,\"8 s of summaries, one every 250 ms\"";
    assert_eq!(csv(policies).lines().nth(1), Some(context));
    let scenarios = csv("scenarios list");
    assert_eq!(scenarios.lines().next(), Some("name,kind,description"));
    let listed = json("scenarios list");
    assert_eq!(
        scenarios.lines().count(),
        listed.as_array().unwrap().len() + 1
    );

    let info = json("policy info default");
    let width = format!("config.window,{}", info["config"]["window"]);
    assert!(csv("policy info default").lines().any(|line| line == width));
    let (code, findings, _) = place.output("doctor --watch 1ms --socket none --format csv");
    assert_eq!(code, Some(1));
    let mut findings = findings.lines();
    assert_eq!(findings.next(), Some("level,about,text,command"));
    assert!(findings.next().unwrap().starts_with("problem,module,"));
}

#[test]
fn completions_cover_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.done(&format!("completions {shell}"));
        for word in ["scenario", "doctor", "repetitions", "backbone"] {
            assert!(script.contains(word), "{word} in {shell}");
        }
    }
    let script = place.done("completions bash");
    std::fs::write(place.path("l4sllm.bash"), script).unwrap();
    let complete = "source ./l4sllm.bash; COMP_WORDS=(l4sllm pol); COMP_CWORD=1; \
                    _l4sllm l4sllm pol l4sllm; echo ${COMPREPLY[*]}";
    let output = Command::new("bash")
        .args(["-c", complete])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.trim(), "policy policies", "{:?}", output.stderr);
}

/// Results go to standard output; notes go to standard error, at the requested
/// verbosity.
#[test]
fn verbosity_options_select_notes() {
    let place = Place::new();
    let run = "run paper --duration 1s --repetitions 1 --arms dualpi2";
    let (code, plain, notes) = place.output(&format!("{run} --out a"));
    assert!(
        code == Some(0) && notes.starts_with("paper: ") && notes.ends_with("real time\n"),
        "{notes}"
    );
    let (code, quiet, notes) = place.output(&format!("{run} --out b --quiet"));
    assert_eq!((code, notes.as_str()), (Some(0), ""));
    assert_eq!(quiet.lines().count(), plain.lines().count());
    let (code, _, notes) = place.output(&format!("-v {run} --out c"));
    assert_eq!(code, Some(0));
    let first = notes.lines().next().unwrap();
    assert!(
        first.starts_with("scenario: paper, built into l4sllm "),
        "{notes}"
    );
    // No terminal, no colour.
    let (_, said, _) = place.output("doctor --watch 1ms --socket none");
    assert!(
        said.contains("PROBLEM  module") && !said.contains('\x1b'),
        "{said}"
    );
}

#[cfg(not(feature = "torch"))]
#[test]
fn commands_without_libtorch_say_how_to_install_it() {
    let place = Place::new();
    for line in [
        "train pool.parquet --out out",
        "reproduce pool.csv",
        "published pool.csv",
        "backbone info gpt2",
        "policy export default --out out",
        "bench backbones gpt2",
        "bench training",
    ] {
        let error = place.refused(line);
        let command = line.split(' ').next().unwrap();
        for part in [command, "scripts/libtorch.sh", "--features torch"] {
            assert!(error.contains(part), "{line}: {error}");
        }
    }
    assert!(place.done("train --help").contains("scripts/libtorch.sh"));
    let (_, help, _) = place.output("--help");
    assert!(help.contains("  train  ") && help.contains("  backbone  "));
}

/// A served device; killed if a test fails.
struct Served(Child);

impl Served {
    /// Waits until it listens.
    fn start(place: &Place, line: &str) -> Served {
        let mut child = place
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        let mut served = Served(child);
        if !said.contains(": serving scenario ") {
            let mut error = String::new();
            served.0.kill().unwrap();
            let mut stderr = served.0.stderr.take().unwrap();
            stderr.read_to_string(&mut error).unwrap();
            panic!("{said}{error}");
        }
        served
    }

    fn signal(&mut self, signal: &str) -> Option<i32> {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_controls_a_served_device() {
    let place = Place::new();
    let mut device = Served::start(&place, "device serve device.sock --scenario headroom");
    let at = |name: &str| place.path(name).display().to_string();
    let text = format!(
        "[device]\nsocket = {:?}\n[engine]\nengine = \"adaptive\"\n[status]\nsocket = {:?}\n",
        at("device.sock"),
        at("status.sock")
    );
    std::fs::write(place.path("l4sllmd.toml"), text).unwrap();
    start_daemon(&place.path("l4sllmd.toml"));
    let began = Instant::now();
    let applied = |queues: &serde_json::Value| queues["queues"]["l4s"]["marked"].as_u64() > Some(0);
    loop {
        assert!(began.elapsed() < DEADLINE, "no decision in time");
        let (code, said, _) = place.output("status --socket status.sock --format json");
        if code == Some(0) {
            let status: serde_json::Value = serde_json::from_str(&said).unwrap();
            let accepted = status["counters"]["accepted"].as_u64();
            if accepted > Some(0) && applied(&status) {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let values = place.done("status --socket status.sock --format csv");
    assert!(values.starts_with("name,value\n"), "{values}");
    for value in ["\ncounters.accepted,", "\nqueues.flow_weights,false\n"] {
        assert!(values.contains(value), "{values}");
    }
    let said = place.done("doctor --device device.sock --socket status.sock");
    for about in ["traffic", "daemon", "overrides"] {
        let line = said.lines().find(|line| line.contains(about)).unwrap();
        assert!(line.starts_with("ok "), "{said}");
    }
    assert_eq!(device.signal("-INT"), Some(0));
    assert!(!place.path("device.sock").exists());
}

/// The README's commands to try the daemon, in another directory than /tmp.
#[test]
fn readme_commands_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, section) = readme.split_once("### The daemon on Linux").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let place = Place::new();
    let here = format!("{}/", place.path("").display());
    let (mut device, mut asked) = (None, Vec::new());
    for line in block.lines() {
        let line = line.trim_end_matches(" &").replace("/tmp/", &here);
        match line.split_once(' ').unwrap() {
            ("l4sllm", rest) if rest.starts_with("device serve") => {
                device = Some(Served::start(&place, rest));
            }
            ("l4sllm", rest) => asked.push(rest.to_owned()),
            ("l4sllmd", rest) => {
                let sample = root.join(rest.strip_prefix("--config ").unwrap());
                let text = std::fs::read_to_string(sample).unwrap();
                let config = place.path("l4sllmd.toml");
                // Relative to the repository, the directory that the README
                // assumes.
                let policies = format!("\"{}/policies/", root.display());
                let text = text.replace("\"policies/", &policies);
                std::fs::write(&config, text.replace("/tmp/", &here)).unwrap();
                start_daemon(&config);
            }
            (other, _) => panic!("{other} in the README"),
        }
    }
    assert!(device.is_some() && asked.len() == 2, "{block}");
    let began = Instant::now();
    for line in asked {
        // The daemon needs a moment to start.
        loop {
            let (code, said, error) = place.output(&line);
            if code == Some(0) {
                break;
            }
            assert!(began.elapsed() < DEADLINE, "{line}: {said}{error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn keeps_socket_in_use_and_replaces_stale_one() {
    let place = Place::new();
    let serve = "device serve device.sock --scenario smoke";
    let mut device = Served::start(&place, serve);
    let error = place.refused(serve);
    assert!(
        error.contains("another program serves this socket"),
        "{error}"
    );
    assert!(place.path("device.sock").exists());
    assert_eq!(device.signal("-TERM"), Some(0));
    assert!(!place.path("device.sock").exists());

    // A stale socket: its program has exited.
    drop(UnixListener::bind(place.path("device.sock")).unwrap());
    let mut device = Served::start(&place, serve);
    assert_eq!(device.signal("-INT"), Some(0));

    std::fs::write(place.path("file"), "").unwrap();
    let error = place.refused("device serve file");
    assert!(error.contains("exists and is not a socket"), "{error}");
    for (line, part) in [
        ("device serve none/device.sock", "cannot listen on none/"),
        ("device serve s --scenario missing.toml", "cannot read"),
        ("device serve s --arm fifo", "it has dualpi2, "),
    ] {
        let error = place.refused(line);
        assert!(error.contains(part), "{line}: {error}");
    }
    assert!(!Path::new(&place.path("s")).exists());
}

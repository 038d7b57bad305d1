//! The engine `remote` as processes: `l4sllmd` against `l4sllm serve`, which is killed,
//! started again, and stopped for a while.
//!
//! Nothing here waits for a fixed time: each step waits for a log line or a counter.

#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "shared with `program`")]
#[path = "program/harness.rs"]
mod harness;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::{Emulated, Place, Program};
use l4sllmd::recorder::segments;
use l4sllmd::replay::replay;
use l4sllmd::status::{EngineStatus, RemoteStatus, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAME: &str = "a_killed_server_is_replaced_within_one_interval";

/// Period of the policies, ms.
const PERIOD_MS: u32 = 100;

/// `l4sllm` next to `l4sllmd`, if it has `serve`.
fn l4sllm() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_l4sllmd")).with_file_name("l4sllm");
    let found = Command::new(&program).args(["serve", "--help"]).output();
    found
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--listen"))
        .then_some(program)
}

/// A server; killed on drop.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    /// Starts it, and waits until it listens.
    fn start(program: &Path, policy: &Path, listen: &str) -> Serving {
        let mut child = Command::new(program)
            .arg("serve")
            .arg(policy)
            .args(["--listen", listen])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let (address, _) = line.split_once(": serving policy ").expect("an address");
        let address = address.to_owned();
        Serving { child, address }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn remote(status: &Status) -> RemoteStatus {
    status.remote.unwrap()
}

/// The engine's section. Decisions may take longer than a period, so that an answer
/// after the end of its period is late and does not end its request.
fn section(policy: &Path, local: &Path, address: &str) -> String {
    format!(
        "[engine]\nengine = \"remote\"\npolicy = {policy:?}\n[engine.remote]\n\
         url = \"http://{address}\"\nlocal_policy = {local:?}\ndeadline_ms = 10000\n\
         retry_min_ms = 10\nretry_max_ms = 50\n"
    )
}

#[test]
fn a_killed_server_is_replaced_within_one_interval() {
    let Some(l4sllm) = l4sllm() else {
        println!("skipped: {NAME} (no l4sllm next to l4sllmd: cargo build -p l4sllm -F remote)");
        return;
    };
    let place = Place::new();
    let policy = place.summary_policy("periods", PERIOD_MS);
    let local = place.summary_policy("local", PERIOD_MS);
    let flight = place.path("flight");
    std::fs::create_dir(&flight).unwrap();
    let serving = Serving::start(&l4sllm, &policy, "127.0.0.1:0");
    let address = serving.address.clone();
    let recorder = format!("[recorder]\ndirectory = {flight:?}\nsize_mb = 1");
    place.configure(
        "",
        &format!("{}{recorder}", section(&policy, &local, &address)),
    );
    let _device = Emulated::start(&place, 4096);
    let mut program = Program::start(&place);
    program.log("connected");
    let status = program.status("decisions of the server", |s| remote(s).answered >= 3);
    assert!(matches!(status.engine, EngineStatus::Remote { .. }));

    // Late answers: the server is stopped over the end of a period.
    serving.signal(Signal::SIGSTOP);
    let missed = remote(&status).missed;
    program.status("a missed deadline", |s| remote(s).missed > missed);
    serving.signal(Signal::SIGCONT);
    let status = program.status("a late answer", |s| remote(s).late >= 1);
    let answered = remote(&status).answered;
    let before = program.status("decisions again", |s| remote(s).answered > answered);

    // The local policy decides from the first period on.
    serving.signal(Signal::SIGKILL);
    drop(serving);
    program.log("connection lost");
    let lost = program.status("the loss", |s| !remote(s).connected);
    let after = program.status("local decisions", |s| {
        s.counters.decisions >= lost.counters.decisions + 5
    });
    let skipped = after.counters.skipped - before.counters.skipped;
    assert!(skipped <= 1, "{before:?}\n{after:?}");
    let (lost, after) = (remote(&lost), remote(&after));
    assert_eq!(after.answered, lost.answered);
    assert!(after.unsent >= lost.unsent + 4, "{after:?}");

    // The server decides again after its restart.
    let _serving = Serving::start(&l4sllm, &policy, &address);
    program.log("connected");
    let back = program.status("decisions of the server", |s| {
        remote(s).answered >= after.answered + 3
    });
    let counters = remote(&back);
    assert_eq!((counters.connects, counters.connected), (2, true));
    let ended = counters.answered + counters.late + counters.invalid + counters.failed;
    let ended = ended + counters.abandoned + counters.waiting;
    assert_eq!(counters.requests, ended);
    assert!(back.counters.accepted > before.counters.accepted);
    program.signal(Signal::SIGTERM);
    program.end_with(0);

    // Its recording is refused with the server's name.
    let error = replay(&segments(&flight).unwrap(), None, |_| {}).unwrap_err();
    let expected = format!(
        "segment 1: policy periods: http://{address} made its decisions, which cannot be \
         made again, because the answers of a server are not recorded"
    );
    assert_eq!(error.to_string(), expected);
}

//! `l4sllm top` on a pseudo-terminal. Without script(1) of util-linux, these tests are
//! skipped by name.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use l4sllmd::status::{Counters, Quantiles};

const DEADLINE: Duration = Duration::from_secs(60);

/// Returns from the named test, as skipped, without script(1) of util-linux.
macro_rules! needs_script {
    ($test:literal) => {
        let script = Command::new("script").arg("--version").output();
        if !script.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("util-linux")) {
            println!("skipped: {} (no script of util-linux)", $test);
            return;
        }
    };
}

/// The program on a terminal of 80 columns and 24 lines.
struct Screen {
    child: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// The written text.
    seen: String,
    /// Length of the part that was searched.
    searched: usize,
}

impl Screen {
    /// Starts `l4sllm top`; its exit code and the terminal's settings follow.
    fn start(socket: &Path) -> Screen {
        let line = format!(
            "stty rows 24 cols 80; \
             sh -c 'echo pid=$$; exec {} top --socket {} --watch 100ms'; \
             echo code=$?; stty -a",
            env!("CARGO_BIN_EXE_l4sllm"),
            socket.display()
        );
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Screen {
            child,
            keys,
            output,
            seen: String::new(),
            searched: 0,
        }
    }

    /// Waits for `word` after the last one.
    fn wait_for(&mut self, word: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.seen[self.searched..].find(word) {
                self.searched += at + word.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("{word}: {error}: {}", self.seen),
            }
        }
    }

    /// Sends SIGTERM to the program; false if it has ended.
    fn terminate(&self) -> bool {
        let id = self.seen.split("pid=").nth(1).unwrap();
        let id: String = id.chars().take_while(char::is_ascii_digit).collect();
        let mut kill = Command::new("kill");
        kill.arg(id)
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    /// Sends keys.
    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Checks that it ends with success, and the first screen is shown again in line
    /// mode with echo.
    fn ends_restored(self) {
        self.ends_restored_with(0);
    }

    /// Checks that it ends with `code`, likewise.
    fn ends_restored_with(mut self, code: i32) {
        self.wait_for("\x1b[?1049l");
        self.wait_for(&format!("code={code}"));
        self.wait_for(" icanon");
        self.wait_for(" echo ");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers every query with the status of a daemon, until it is dropped.
struct Answers {
    socket: PathBuf,
    /// Set to accept queries without answering them.
    mute: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answers {
    fn start(socket: &Path, version: &str) -> Answers {
        let listener = UnixListener::bind(socket).unwrap();
        let status = status(version);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mute = Arc::new(AtomicBool::new(false));
        let muted = Arc::clone(&mute);
        let thread = std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if muted.load(Ordering::Relaxed) {
                    unanswered.push(stream);
                    continue;
                }
                // The program may end before it reads the answer.
                let _ = stream.unwrap().write_all(status.as_bytes());
            }
        });
        Answers {
            socket: socket.to_owned(),
            mute,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().unwrap().join();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The status of a daemon whose device cannot be read.
fn status(version: &str) -> String {
    let quantiles = Quantiles::default();
    serde_json::json!({
        "version": version, "pid": 1, "uptime_s": 61.0, "state": "running", "abi": [1, 2],
        "device": { "path": "/nonexistent", "module": null, "abi": null, "opened": 1 },
        "engine": { "kind": "adaptive", "preset": "balanced" },
        "interval": 100, "period_ms": 100,
        "reloads": { "succeeded": 0, "failed": 0, "last_error": null },
        "counters": Counters::default(), "latency_us": quantiles, "decision_us": quantiles,
    })
    .to_string()
}

#[test]
fn a_missing_terminal_or_daemon_is_named() {
    let refused = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
        .arg("top")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("needs a terminal"), "{error}");
    needs_script!("a_missing_terminal_or_daemon_is_named");
    let place = tempfile::tempdir().unwrap();
    let mut screen = Screen::start(&place.path().join("status.sock"));
    screen.wait_for("no daemon answers on ");
    screen.wait_for("code=1");
    assert!(!screen.seen.contains("\x1b[?1049h"), "{}", screen.seen);
}

#[test]
fn keys_and_signals_end_it_and_the_terminal_is_restored() {
    needs_script!("keys_and_signals_end_it_and_the_terminal_is_restored");
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("status.sock");
    let _daemon = Answers::start(&socket, "7.7.7");
    for key in ["q", "\x03", "\x1b"] {
        let mut screen = Screen::start(&socket);
        screen.wait_for("l4sllmd 7.7.7, running for 61 s");
        screen.press(key);
        screen.ends_restored();
    }
    let mut screen = Screen::start(&socket);
    screen.wait_for("l4sllmd 7.7.7, running for 61 s");
    assert!(screen.terminate());
    screen.ends_restored();
}

/// Signals that arrive while a query waits for its answer: the second ends the program.
#[test]
fn the_second_signal_restores_the_terminal() {
    needs_script!("the_second_signal_restores_the_terminal");
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("status.sock");
    let daemon = Answers::start(&socket, "7.7.7");
    let mut screen = Screen::start(&socket);
    screen.wait_for("l4sllmd 7.7.7, running for 61 s");
    daemon.mute.store(true, Ordering::Relaxed);
    // The kernel merges pending signals of the same number.
    while !screen.seen[screen.searched..].contains("\x1b[?1049l") && screen.terminate() {
        if let Ok(bytes) = screen.output.recv_timeout(Duration::from_millis(50)) {
            screen.seen += &String::from_utf8_lossy(&bytes);
        }
    }
    screen.ends_restored_with(130);
}

#[test]
fn a_restarted_daemon_is_shown_again() {
    needs_script!("a_restarted_daemon_is_shown_again");
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("status.sock");
    let daemon = Answers::start(&socket, "7.7.7");
    let mut screen = Screen::start(&socket);
    screen.wait_for("l4sllmd 7.7.7, running for 61 s");
    drop(daemon);
    // Only cells that change are written: some letters are already there.
    screen.wait_for("no daemon ans");
    let _daemon = Answers::start(&socket, "9.9.9");
    screen.wait_for("9.9.9");
    screen.press("q");
    screen.ends_restored();
}

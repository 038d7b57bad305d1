//! Requests to peers that do not answer or send garbage.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Deadline, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn peer(path: &Path, behave: fn(UnixStream)) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || behave(stream));
        }
    });
}

/// Exit code and everything that was printed.
fn ran(args: &[&str]) -> (Option<i32>, String) {
    let before = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(before.elapsed() < DEADLINE, "{args:?}");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The behaviour of a peer on its connection.
type Peer = fn(UnixStream);

#[test]
fn status_requests_end_for_any_peer() {
    let dir = tempfile::tempdir().unwrap();
    let peers: [(&str, Peer, &str); 3] = [
        ("silent", std::mem::forget, "no complete answer within 2 s"),
        (
            "endless",
            |mut s| while s.write_all(&[0x1b; 4096]).is_ok() {},
            "the answer is not a status",
        ),
        (
            "nonsense",
            |mut s| s.write_all(b"\x1b[2J").unwrap_or_default(),
            "the answer is not a status",
        ),
    ];
    for (name, behave, complaint) in peers {
        let path = dir.path().join(name);
        peer(&path, behave);
        let socket = path.to_str().unwrap();
        let doctor = [
            "doctor", "--device", socket, "--socket", socket, "--watch", "1ms",
        ];
        for (args, code) in [
            (&["status", "--socket", socket][..], 1),
            (&["version", "--socket", socket], 0),
            (&doctor, 1),
        ] {
            let (got, text) = ran(args);
            assert_eq!(got, Some(code), "{name} {args:?}: {text}");
            assert!(text.contains(complaint), "{name} {args:?}: {text}");
            assert!(text.contains(socket), "{name} {args:?}: {text}");
            assert!(!text.contains('\x1b'), "{name} {args:?}: {text:?}");
        }
    }
}

//! The status socket under attack, from either end.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use l4sllmd::status;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::harness::{DEADLINE, Emulated, Place, Program};

const SCRIPT: &str = "[[engine.script]]\nat_ms = 0\ntarget = 0.5";

/// Two seconds, and tolerance for the test machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// A peer of the status client, with its handling of a connection.
fn peer(path: &Path, behave: fn(UnixStream)) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            behave(stream);
        }
    });
}

/// Duration of a query, and its error.
fn refused(path: &Path) -> (Duration, String) {
    let before = Instant::now();
    let error = status::ask(path).unwrap_err();
    (before.elapsed(), error.to_string())
}

#[test]
fn status_times_out_on_a_silent_socket() {
    let place = Place::new();
    let silent = place.path("silent");
    peer(&silent, std::mem::forget);
    let (took, error) = refused(&silent);
    assert!(error.contains("no complete answer within 2 s"), "{error}");
    assert!(took >= PATIENCE && took < DEADLINE, "{took:?}");

    // A listener with a full queue, for which connect(2) waits.
    let full = place.path("full");
    let _listener = UnixListener::bind(&full).unwrap();
    let mut queue = Vec::new();
    let (took, error) = loop {
        let flags = SockFlag::SOCK_NONBLOCK;
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let address = UnixAddr::new(&full).unwrap();
        if connect(stream.as_raw_fd(), &address).is_err() {
            break refused(&full);
        }
        queue.push(stream);
    };
    let why = ["does not accept connections", "refused"];
    assert!(why.iter().any(|why| error.contains(why)), "{error}");
    assert!(took < DEADLINE, "{took:?}");
}

#[test]
fn status_gives_up_on_an_endless_reply() {
    let place = Place::new();
    let endless = place.path("endless");
    peer(
        &endless,
        |mut stream| {
            while stream.write_all(&[b'['; 65_536]).is_ok() {}
        },
    );
    let (_, error) = refused(&endless);
    assert!(error.contains("longer than 1048576 bytes"), "{error}");

    let drip = place.path("drip");
    peer(&drip, |mut stream| {
        // One byte at a time; each write waits until the previous byte was read.
        while stream.write_all(b" ").is_ok() {
            std::thread::yield_now();
        }
    });
    let (took, error) = refused(&drip);
    assert!(
        error.contains("not a status") || error.contains("no complete answer"),
        "{error}"
    );
    assert!(took < DEADLINE, "{took:?}");
}

#[test]
fn status_does_not_echo_garbage() {
    let place = Place::new();
    let path = place.path("nonsense");
    peer(&path, |mut stream| {
        stream.write_all(b"\x1b[2J{\"version\": \"\x07\"}").unwrap();
    });
    let (_, error) = refused(&path);
    assert!(error.contains("not a status: not JSON"), "{error}");
    assert!(!error.contains('\x1b'), "{error:?}");
    let path = place.path("other");
    peer(&path, |mut stream| stream.write_all(b"{\"a\": 1}").unwrap());
    let (_, error) = refused(&path);
    assert!(error.contains("JSON with other content"), "{error}");
}

#[test]
fn flood_of_status_requests_does_not_stop_decisions() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    let before = program.status("running", |s| s.counters.records > 0);
    // Some that never read, and then many that do.
    let idle: Vec<_> = (0..40)
        .map(|_| UnixStream::connect(place.path("status")).unwrap())
        .collect();
    let mut answers = 0;
    for _ in 0..200 {
        let mut text = String::new();
        let mut stream = UnixStream::connect(place.path("status")).unwrap();
        stream.read_to_string(&mut text).unwrap();
        answers += usize::from(text.contains("\"counters\""));
    }
    assert_eq!(answers, 200);
    drop(idle);
    program.status("more records", |s| {
        s.counters.records > before.counters.records && s.counters.lost == 0
    });
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

#[test]
fn planted_file_at_the_status_socket_is_unchanged() {
    let place = Place::new();
    let victim = place.path("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (name, target) in [
        ("link", victim.as_path()),
        ("dangling", Path::new("/nonexistent/x")),
    ] {
        let _ = std::fs::remove_file(place.path("status"));
        symlink(target, place.path("status")).unwrap();
        place.configure("", SCRIPT);
        let mut program = Program::start(&place);
        program.end_with(73);
        let said = format!("{:?}", program.rest());
        assert!(
            said.contains("not a socket exists; remove it"),
            "{name}: {said}"
        );
        assert!(
            std::fs::symlink_metadata(place.path("status"))
                .unwrap()
                .is_symlink()
        );
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(std::fs::metadata(&victim).unwrap().mode() & 0o777, 0o600);
    // The stale socket of a killed daemon is replaced.
    std::fs::remove_file(place.path("status")).unwrap();
    drop(UnixListener::bind(place.path("status")).unwrap());
    let _device = Emulated::start(&place, 1024);
    let program = Program::start(&place);
    program.status("running", |s| s.counters.records > 0);
}

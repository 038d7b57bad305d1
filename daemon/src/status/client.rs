//! Client of the status socket.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt};
use nix::sys::socket::{socket, sockopt::SendTimeout};
use nix::sys::time::TimeVal;

use super::Status;

/// Timeout for a complete answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Maximum size of an answer, bytes: many times that of any daemon.
const MOST: usize = 1 << 20;

/// Queries a running daemon. Returns within two seconds.
///
/// # Errors
/// There is no listener on the socket, no answer in time, or the answer is not
/// a status.
pub fn ask(socket: &Path) -> io::Result<Status> {
    let end = Instant::now() + PATIENCE;
    let answer = read(connect_by(socket)?, end)?;
    serde_json::from_slice(&answer).map_err(|error| {
        // Position and kind of the error, but no content.
        let what = match error.classify() {
            serde_json::error::Category::Data => "JSON with other content",
            _ => "not JSON",
        };
        let (bytes, column) = (answer.len(), error.column());
        invalid(format!(
            "the answer is not a status: {what} ({bytes} bytes, up to byte {column})"
        ))
    })
}

/// Connects. Without the timeout, connect(2) waits while the listener's queue
/// is full (on FreeBSD it fails immediately).
fn connect_by(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let patience = TimeVal::new(PATIENCE.as_secs() as _, 0);
    setsockopt(&stream, SendTimeout, &patience)?;
    match connect(stream.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(stream.into()),
        Err(nix::Error::EAGAIN) => Err(late("it does not accept connections")),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads to the end, but not beyond `end` or [`MOST`].
fn read(mut stream: UnixStream, end: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late("no complete answer"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(answer),
            Ok(got) => answer.extend_from_slice(&part[..got]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(late("no complete answer"));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if answer.len() > MOST {
            return Err(invalid(format!(
                "the answer is not a status: it is longer than {MOST} bytes"
            )));
        }
    }
}

fn late(what: &str) -> io::Error {
    let seconds = PATIENCE.as_secs();
    io::Error::new(ErrorKind::TimedOut, format!("{what} within {seconds} s"))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

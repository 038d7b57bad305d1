//! The daemon runs out of descriptors for some time, while clients connect.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::bench::Bench;
use super::{Outcome, PATIENCE, watch_unshaken};
use crate::LabError;

/// Connections to each listener.
const CLIENTS: usize = 20;
/// Most log lines of one kind.
const MOST_LINES: usize = 10;

/// Opens the control socket and the metrics endpoint.
pub fn prepare(bench: &mut Bench<'_>) {
    let control = control(bench);
    bench.extras.sections =
        format!("\n[control]\nsocket = {control:?}\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n");
}

/// The daemon's control socket.
fn control(bench: &Bench<'_>) -> PathBuf {
    bench.dir().join("control.sock")
}

/// Lowers the limit to the descriptors that are open, connects, and restores it.
///
/// # Errors
/// The daemon, the device or the host does not respond in time.
pub fn drill(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<(), LabError> {
    let pid = bench.daemon_id().ok_or_else(|| missing("a daemon"))?;
    let metrics = metrics(&bench.log()).ok_or_else(|| missing("a metrics endpoint"))?;
    // Both answer while there are descriptors.
    bench.wait_for("metrics", PATIENCE, |_| Ok(scrape(metrics).is_some()))?;
    let before = open(pid)?;
    let mut kept: Option<Rlimit> = None;
    let mut clients: (Vec<UnixStream>, Vec<TcpStream>) = Default::default();
    let sockets = [bench.status_socket(), control(bench)];
    bench.fail(|_| {
        kept = Some(limit(pid, lowest_free(&before))?);
        for _ in 0..CLIENTS {
            for socket in &sockets {
                let connect = LabError::system("connect to the daemon");
                clients
                    .0
                    .push(UnixStream::connect(socket).map_err(connect)?);
            }
            let connect = LabError::system("connect to the daemon");
            clients
                .1
                .push(TcpStream::connect(metrics).map_err(connect)?);
        }
        Ok(())
    })?;
    let kinds = [
        "status socket: cannot accept",
        "control socket: cannot accept",
        "metrics endpoint: cannot accept",
    ];
    bench.wait_for("refused connections in the log", PATIENCE, |bench| {
        Ok(kinds.iter().all(|kind| bench.logged(kind) > 0))
    })?;
    watch_unshaken(bench, outcome)?;
    for kind in kinds {
        let times = bench.logged(kind);
        if times > MOST_LINES {
            let fault = format!("{kind:?} was logged {times} times, expected at most {MOST_LINES}");
            outcome.faults.push(fault);
        }
    }
    bench.heal(|_| {
        clients = Default::default();
        match kept {
            Some(kept) => set_limit(pid, kept).map(drop),
            None => Ok(()),
        }
    })?;
    bench.wait_for("status and metrics again", PATIENCE, |bench| {
        Ok(bench.status().is_some() && scrape(metrics).is_some())
    })?;
    bench.wait_for("the descriptors to be closed", PATIENCE, |_| {
        Ok(open(pid)?.len() <= before.len())
    })
}

fn missing(what: &str) -> LabError {
    LabError::Late {
        what: what.to_owned(),
        seconds: 0,
    }
}

/// The address in the daemon's log.
pub fn metrics(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("metrics endpoint"))?;
    let address = line.split("address=").nth(1)?;
    address.split_whitespace().next()?.parse().ok()
}

/// The answer of the metrics endpoint, if it is one.
pub fn scrape(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

/// Numbers of a process's open descriptors.
fn open(pid: Pid) -> Result<BTreeSet<u64>, LabError> {
    let dir = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let entries = fs::read_dir(dir).map_err(LabError::system("list the daemon's descriptors"))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.collect())
}

/// The number that the next descriptor gets.
fn lowest_free(open: &BTreeSet<u64>) -> u64 {
    (0..).find(|number| !open.contains(number)).unwrap_or(0)
}

/// Limits descriptors to numbers below this one; returns the previous limit.
fn limit(pid: Pid, below: u64) -> Result<Rlimit, LabError> {
    // The daemon has inherited it.
    let maximum = getrlimit(Resource::Nofile).maximum;
    set_limit(
        pid,
        Rlimit {
            current: Some(below),
            maximum,
        },
    )
}

/// Sets a limit; returns the one before.
fn set_limit(pid: Pid, limit: Rlimit) -> Result<Rlimit, LabError> {
    prlimit(Some(pid), Resource::Nofile, limit)
        .map_err(|error| LabError::system("limit the daemon's descriptors")(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let log = "2026 INFO x\n2026 INFO metrics endpoint address=127.0.0.1:4321\n";
        assert_eq!(metrics(log), "127.0.0.1:4321".parse().ok());
        assert_eq!(metrics(""), None);
    }

    #[test]
    fn the_next_descriptor_has_the_lowest_free_number() {
        assert_eq!(lowest_free(&BTreeSet::from([0, 1, 2, 4])), 3);
        assert_eq!(lowest_free(&BTreeSet::new()), 0);
    }
}

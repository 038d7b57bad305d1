//! A SIGHUP during startup. There is only one test, because signals are
//! process-wide.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use l4sllmd::config::Config;
use l4sllmd::logging::LogControl;
use l4sllmd::run::Daemon;
use l4sllmd::status;
use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{SignalKind, signal};

/// Deadline, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn sighup_during_startup_reloads_the_daemon() {
    let place = tempfile::tempdir().unwrap();
    let (path, socket) = (place.path().join("d.toml"), place.path().join("status"));
    let write = |interval: u32| {
        let text = format!(
            "[device]\nsocket = {:?}\non_missing = \"wait\"\n[status]\nsocket = {socket:?}\n\
             [pipeline]\ninterval = {interval}\n[[engine.script]]\nat_ms = 0\naction = \"mark\"\n",
            place.path().join("device"),
        );
        std::fs::write(&path, text).unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let hangups = signal(SignalKind::hangup()).unwrap();
        write(7);
        let config = Config::load(&path).unwrap();
        let log = LogControl::start(config.log);
        let daemon = Daemon::new(path.clone(), config, log).unwrap();
        write(9);
        raise(Signal::SIGHUP).unwrap();
        let daemon = daemon.with_hangups(hangups);
        let socket = socket.clone();
        let reloaded = tokio::task::spawn_blocking(move || {
            let end = std::time::Instant::now() + DEADLINE;
            while std::time::Instant::now() < end {
                match status::ask(&socket) {
                    Ok(status) if status.reloads.succeeded == 1 => return Some(status.interval),
                    _ => std::thread::sleep(Duration::from_millis(2)),
                }
            }
            None
        });
        tokio::select! {
            ended = daemon.run() => panic!("{ended:?}"),
            interval = reloaded => assert_eq!(interval.unwrap(), Some(9)),
        }
    });
}

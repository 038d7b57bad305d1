//! A daemon in this process, for a queue of this process.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use l4sllmd::config::Config;
use l4sllmd::control::select;
use l4sllmd::error::Error;
use l4sllmd::logging::LogControl;
use l4sllmd::run::Daemon;
use l4sllmd::status::{State, ask};
use tokio::sync::oneshot;

use super::Engine;

/// Time for the daemon to load a policy and to open the device.
const START: Duration = Duration::from_secs(30);
/// Interval between two questions.
const POLL: Duration = Duration::from_millis(10);

/// The daemon; ends on drop.
pub struct Service {
    socket: PathBuf,
    ended: Receiver<Option<Error>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts a daemon for the device at `device`, with its files in `dir`, and waits
    /// until it controls the queue with `engine`.
    pub fn start(
        dir: &Path,
        device: &Path,
        policy: &Path,
        engine: Engine,
    ) -> anyhow::Result<Service> {
        let path = dir.join("l4sllmd.toml");
        let (socket, control) = (dir.join("status.sock"), dir.join("control.sock"));
        std::fs::write(&path, configuration(device, policy, &socket, &control))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let config = Config::load(&path)?;
        let log = LogControl::start(config.log);
        let daemon = Daemon::new(path, config, log)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop")?;
        let (stop, stopped) = oneshot::channel();
        let (report, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("daemon".into())
            .spawn(move || {
                let ended = runtime.block_on(async {
                    tokio::select! {
                        ended = daemon.run() => ended.err(),
                        _ = stopped => None,
                    }
                });
                // Without a receiver, this process is ending.
                let _ = report.send(ended);
            })
            .context("cannot start the daemon's thread")?;
        let mut service = Service {
            socket,
            ended,
            stop: Some(stop),
            thread: Some(thread),
        };
        service.wait()?;
        select(&control, engine.choice()).context("the daemon does not select an engine")?;
        Ok(service)
    }

    /// The status socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Why the daemon has ended.
    pub fn failure(&mut self) -> Option<anyhow::Error> {
        match self.ended.try_recv() {
            Ok(Some(error)) => Some(anyhow!(error).context("the daemon has ended")),
            // A signal ends this process, too.
            Ok(None) | Err(_) => None,
        }
    }

    /// Waits until the daemon controls the device.
    fn wait(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if ask(&self.socket).is_ok_and(|status| status.state == State::Running) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "the daemon does not control the device within {} s",
                    START.as_secs()
                );
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on stderr.
            let _ = thread.join();
        }
    }
}

fn configuration(device: &Path, policy: &Path, socket: &Path, control: &Path) -> String {
    format!(
        "[device]\nsocket = {device:?}\non_missing = \"wait\"\nretry_min_ms = 10\n\n\
         [engine]\npolicy = {policy:?}\n\n[status]\nsocket = {socket:?}\nmode = \"0600\"\n\n\
         [control]\nsocket = {control:?}\n\n[log]\nlevel = \"error\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_reads_the_configuration() {
        let path = Path::new;
        let text = configuration(path("/d"), path("/p"), path("/s"), path("/c"));
        let config = Config::parse(path("l4sllmd.toml"), &text).unwrap();
        assert_eq!(config.device.path, path("/d"));
        let control = config.control.unwrap();
        assert_eq!(
            (control.socket.as_path(), control.mode),
            (path("/c"), 0o600)
        );
    }
}

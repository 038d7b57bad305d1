//! The program, in two threads.
//!
//! ```text
//! control task                           worker
//! signals, sockets, reloads ─ orders ─▶ device ─▶ pipeline ─▶ device
//!                           ◀─ board ──
//! ```
//!
//! The worker reads, decides and sends, which may take any time. The control
//! task never waits for it: it answers status requests from the last published
//! state, loads files for a reload in a separate thread, and can end the
//! program at any time.

mod backoff;
mod board;
mod changes;
mod connect;
mod control;
mod engines;
mod orders;
mod record;
mod reload;
#[cfg(feature = "remote")]
mod remote;
mod report;
mod serve;
mod turns;
mod worker;

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::advice;
use crate::batch::Scheduler;
use crate::config::{Config, DeviceKind, EngineConfig};
use crate::control::{Choice, ControlSocket};
use crate::engine::Engine;
use crate::error::Error;
use crate::files::{Files, Use};
use crate::logging::LogControl;
use crate::metrics::Counters;
use crate::metrics::endpoint::Endpoint;
use crate::recorder::Recording;
use crate::sandbox::{self, Opened};
use crate::status::{Reloads, StatusSocket};
use changes::{Changes, Outcome};
use control::{Command, Control};
use orders::Order;
use worker::{Running, Worker};

pub use engines::{Engines, SpecError};
#[cfg(feature = "remote")]
pub(crate) use remote::client_options;

/// Events arrive with the next packet. In case no packet follows or an event was
/// lost, the operator's settings are also polled at this interval.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time that the worker may take to end: short while it decides, longer if it
/// only has to report.
const MOMENT: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(2);

/// A daemon that is ready to run.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    path: PathBuf,
    files: Arc<Files>,
    log: LogControl,
    worker: Option<Worker>,
    hangups: Option<Signal>,
    reloads: Reloads,
    /// The engine selected on the control socket.
    choice: Choice,
    recording: Option<Recording>,
    started: Instant,
}

/// How a daemon ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Metrics of the run.
    pub counters: Counters,
    /// The worker is still computing a decision and was abandoned: the process
    /// should end without running exit handlers of libraries.
    pub abandoned: bool,
}

impl Daemon {
    /// Loads the files named in the configuration.
    ///
    /// # Errors
    /// The policy cannot be loaded, or a directory for the sandbox is missing.
    pub fn new(path: PathBuf, config: Config, log: LogControl) -> Result<Daemon, Error> {
        let files = Arc::new(files(&path, &config)?);
        let engines = Engines::load(&config.engine, &files)?;
        let worker = Worker::new(config.clone(), Arc::clone(&files), engines);
        Ok(Daemon {
            worker: Some(worker),
            hangups: None,
            reloads: Reloads::default(),
            choice: Choice::default(),
            recording: None,
            started: Instant::now(),
            config,
            path,
            files,
            log,
        })
    }

    /// Uses this source of advice instead of the device's default.
    #[must_use]
    pub fn with_advice(mut self, source: Box<dyn advice::Source>) -> Daemon {
        if let Some(worker) = &mut self.worker {
            worker.advice_source = source;
        }
        self
    }

    /// Uses this SIGHUP listener, which includes signals received before the
    /// daemon runs.
    #[must_use]
    pub fn with_hangups(mut self, hangups: Signal) -> Daemon {
        self.hangups = Some(hangups);
        self
    }

    /// Sets the polling interval for changes that an idle stream does not
    /// report.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Daemon {
        if let Some(worker) = &mut self.worker {
            worker.patience = patience;
        }
        self
    }

    /// Uses these engines until the first reload, instead of the configured
    /// ones.
    #[must_use]
    pub fn with_engines(
        mut self,
        make: impl Fn(Scheduler) -> Box<dyn Engine> + Send + Sync + 'static,
    ) -> Daemon {
        if let Some(worker) = &mut self.worker {
            worker.use_engines(Engines::made_by(make));
        }
        self
    }

    /// Runs until a signal ends it, and returns what happened.
    ///
    /// # Errors
    /// Errors that waiting cannot resolve; each has an exit code.
    pub async fn run(mut self) -> Result<Ended, Error> {
        let (ask, questions) = mpsc::channel(8);
        let status = match &self.config.status {
            None => None,
            Some(config) => {
                let files = Arc::clone(&self.files);
                let opened = StatusSocket::open(config, files, ask.clone()).await;
                Some(opened.map_err(|source| Error::StatusSocket {
                    path: config.socket.clone(),
                    source,
                })?)
            }
        };
        let (switch, switches) = mpsc::channel(8);
        let control_socket = match &self.config.control {
            None => None,
            Some(config) => {
                let files = Arc::clone(&self.files);
                let opened = ControlSocket::open(config, files, switch.clone()).await;
                Some(opened.map_err(|source| Error::ControlSocket {
                    path: config.socket.clone(),
                    source,
                })?)
            }
        };
        let endpoint = match &self.config.metrics {
            None => None,
            Some(listen) => {
                let opened = Endpoint::open(
                    *listen,
                    Arc::clone(&self.files),
                    self.config.device.clone(),
                    ask.clone(),
                )
                .await;
                Some(opened.map_err(|source| Error::Endpoint {
                    address: *listen,
                    source,
                })?)
            }
        };
        let mut control = Control::new(questions, switches, self.hangups.take())?;
        let mut worker = self.worker.take().expect("until the daemon runs");
        worker.recorder = self.start_recording()?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            config = %self.path.display(),
            device = %self.config.device.path.display(),
            engine = %worker.engines.status(),
            interval = self.config.pipeline.interval,
            "started"
        );
        let event_loop = worker::event_loop()?;
        if self.config.sandbox {
            let listeners = [
                status.as_ref().map(AsRawFd::as_raw_fd),
                control_socket.as_ref().map(AsRawFd::as_raw_fd),
                endpoint.as_ref().map(AsRawFd::as_raw_fd),
            ];
            let recording = self.recording.as_ref();
            self.enter_sandbox(&Opened {
                listeners: listeners.into_iter().flatten().collect(),
                recording: recording.map_or_else(Vec::new, |r| r.descriptors().to_vec()),
            })?;
        }
        let mut running = worker.start(event_loop)?;
        let result = self.supervise(&mut running, &mut control).await;
        let abandoned = matches!(result, Ok((_, true)));
        if let Some(recording) = self.recording.as_ref().filter(|_| !abandoned) {
            recording.finish();
        }
        let why = result.as_ref().map_or("error", |(signal, _)| signal);
        self.summarise(&running.board, why);
        result?;
        let counters = running.board.live().counters;
        Ok(Ended {
            counters,
            abandoned,
        })
    }

    /// Handles signals and status requests until the end. Returns the signal,
    /// and whether the worker was abandoned.
    async fn supervise(
        &mut self,
        worker: &mut Running,
        control: &mut Control,
    ) -> Result<(&'static str, bool), Error> {
        let mut changes = Changes::default();
        loop {
            changes.start(&self.path, &self.files, &self.config, self.choice);
            tokio::select! {
                biased;
                command = control.next() => match command {
                    Command::Stop(signal) => return Ok((signal, stop(worker).await?)),
                    Command::Reload => changes.reload(),
                    Command::Select(switch) => changes.select(switch),
                    Command::Tell(question) => self.answer(&worker.board, question),
                },
                ended = &mut worker.ended => {
                    // It ends without an order only on an error.
                    ended.unwrap_or(Err(Error::Worker))?;
                    return Err(Error::Worker);
                }
                outcome = changes.finish(&worker.orders) => self.note_change(outcome, worker),
            }
        }
    }

    fn note_change(&mut self, outcome: Outcome, worker: &Running) {
        match &outcome.result {
            Ok(applied) => {
                self.log.set(applied.config.log);
                self.config = applied.config.clone();
                self.choice = applied.choice;
                let (engine, interval) = {
                    let live = worker.board.live();
                    (live.engine.clone(), live.interval)
                };
                match outcome.rereads {
                    true => {
                        self.reloads.succeeded += 1;
                        info!(%engine, interval, "reloaded");
                    }
                    false => info!(selected = self.choice.name(), %engine, "selected"),
                }
            }
            Err(error) if outcome.rereads => {
                self.reloads.failed += 1;
                self.reloads.last_error = Some(error.to_string());
                error!(%error, "reload failed, nothing has changed");
            }
            Err(error) => warn!(%error, "the engine cannot be selected, nothing has changed"),
        }
        outcome.answer();
    }

    /// After this the process can use only its open descriptors and files
    /// beneath them.
    fn enter_sandbox(&self, opened: &Opened) -> Result<(), Error> {
        let entered = sandbox::enter(&self.files, opened).map_err(Error::Sandbox)?;
        let directories: Vec<_> = self.files.held().iter().map(|d| &d.path).collect();
        if entered {
            info!(?directories, "in capability mode, with these directories");
        } else {
            warn!(
                ?directories,
                "no capsicum(4) on this system: files are opened only in these directories, and \
                 the process keeps its other rights"
            );
        }
        Ok(())
    }
}

/// Ends the worker; true if it did not end in time and was abandoned. Its
/// device is closed when the process ends, and the queue becomes plain DualPI2.
async fn stop(worker: &mut Running) -> Result<bool, Error> {
    // The channel has space: at most one change precedes it.
    let _ = worker.orders.try_send(Order::Stop);
    for patience in [MOMENT, GRACE] {
        match tokio::time::timeout(patience, &mut worker.ended).await {
            Ok(ended) => return ended.unwrap_or(Err(Error::Worker)).map(|()| false),
            Err(_) if worker.board.deciding_ns().is_some() => break,
            Err(_) => {}
        }
    }
    warn!("the worker does not end; its decision is abandoned");
    Ok(true)
}

/// Access to files: in a sandbox, only in the directories of the files given at
/// startup.
fn files(path: &Path, config: &Config) -> Result<Files, Error> {
    if !config.sandbox {
        return Ok(Files::by_path());
    }
    let device = match config.device.kind {
        DeviceKind::Character => Use::Device,
        DeviceKind::Socket => Use::Connect,
    };
    let mut wanted = vec![(Use::Read, path), (device, config.device.path.as_path())];
    if let EngineConfig::Policy { path, .. } = &config.engine {
        wanted.push((Use::Read, path));
    }
    if let Some(status) = &config.status {
        wanted.push((Use::Remove, &status.socket));
    }
    if let Some(control) = &config.control {
        wanted.push((Use::Remove, &control.socket));
        if let Some(policy) = &control.policy {
            wanted.push((Use::Read, policy));
        }
    }
    Files::by_directory(&wanted).map_err(|(path, source)| Error::Directory { path, source })
}
